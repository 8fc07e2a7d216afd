//! weft as the network of real Docker Engines, each on a host of its own.

#[path = "../harness/mod.rs"]
mod harness;

mod cluster;
mod compose;
mod guide;
mod hosts;
mod managed;
mod names;
mod networks;
mod orders;
mod plugin;
mod restarts;
mod settings;

use harness::engine::{Engine, IMAGE, has_engine};
use harness::node::Node;
use harness::process::open_files;
use weft::lab::{Daemon, Host, Lab, LabSpec};

/// Returns from the test unless real engines can be run; see `harness::engine`.
macro_rules! engines {
    () => {
        if !crate::has_engine() {
            return;
        }
    };
}
use engines;

/// Two hosts, joined by a wire.
fn lab() -> Lab {
    Lab::build(LabSpec { containers: 0, ..LabSpec::new(2) }).unwrap()
}

/// A host with an engine and a weft. The engine ends first: it would wait long for a plugin that is gone.
struct Site<'a> {
    engine: Engine<'a>,
    node: Option<Node<'a>>,
    host: &'a Host,
}

/// How each weft is started: with devices of two queues, as hosts with more cores have them.
const FLAGS: [&str; 4] = ["--docker", "auto", "--workers", "2"];

impl<'a> Site<'a> {
    fn start(host: &'a Host) -> Site<'a> {
        Site::with(host, Node::with(host, &FLAGS))
    }

    fn with(host: &'a Host, node: Node<'a>) -> Site<'a> {
        let engine = Engine::start(host);
        harness::eventually("weft serves the engine", || {
            host.run(|| std::path::Path::new("/run/docker/plugins/weft.sock").exists()).unwrap()
        });
        Site { node: Some(node), engine, host }
    }

    fn node(&self) -> &Node<'a> {
        self.node.as_ref().unwrap()
    }

    /// Ends weft as a crash does, and starts it again.
    fn crash_weft(&mut self) {
        self.node = self.node.take().map(Node::crash_and_restart);
    }

    /// Ends weft as one is told to end, and starts it again with `more`.
    fn restart_weft(&mut self, more: &[&'a str]) {
        self.node = None;
        self.node = Some(Node::again(self.host, more));
    }

    /// A container that lives until it is removed. Returns its address on the network.
    fn container(&self, name: &str, more: &str) -> String {
        self.engine.run(&format!("run --detach --stop-timeout 1 --name {name} {more} {IMAGE} sleep 100000"));
        self.address(name, "blue")
    }

    /// The address of a container on a network.
    fn address(&self, container: &str, network: &str) -> String {
        let format = format!("'{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}'");
        self.engine.run(&format!("inspect --format {format} {container}"))
    }

    /// Whether the container reaches the address. If not, what was said is printed.
    fn reaches(&self, container: &str, address: &str) -> bool {
        let asked = self.engine.docker(&format!("exec {container} ping -c 1 -W 2 {address}"));
        if !asked.status.success() {
            let said = [asked.stdout, asked.stderr].concat();
            println!("{container} does not reach {address}: {}", String::from_utf8_lossy(&said).trim());
        }
        asked.status.success()
    }

    /// How many endpoints weft has on a network.
    fn endpoints(&self, network: &str) -> usize {
        self.node().run(&format!("network inspect {network}"))["endpoints"].as_array().unwrap().len()
    }

    /// How many files weft has open.
    fn descriptors(&self) -> usize {
        open_files(self.node().daemon.pid())
    }

    /// The interfaces of the host, less the bridge's ports, which the engine removes in its own time.
    fn interfaces(&self) -> Vec<String> {
        let listed = || {
            let listed = nix::net::if_::if_nameindex().unwrap();
            listed.iter().map(|i| i.name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let mut names = self.host.netns.run(listed).unwrap();
        names.retain(|name| !name.starts_with("veth"));
        names.sort();
        names
    }
}

/// Two members of one cluster, each started with flags of its own.
fn nodes<'a>(lab: &'a Lab, of_first: &[&str], of_second: &[&str]) -> [Node<'a>; 2] {
    let [one, other] = &lab.hosts[..] else { panic!("two hosts") };
    let first = Daemon::bootstrap(harness::weft(), one, of_first).unwrap();
    let token = first.token(one).unwrap();
    let second = Daemon::join(harness::weft(), other, one, &token, of_second).unwrap();
    [Node::of(one, first), Node::of(other, second)]
}

/// Two sites that are members of one cluster, the first of which begins it with `more`.
fn members<'a>(lab: &'a Lab, more: &[&str]) -> [Site<'a>; 2] {
    nodes(lab, &[&FLAGS[..], more].concat(), &FLAGS).map(|node| Site::with(node.host, node))
}

/// Two sites, on each the plain network blue with the other as its remote, made with `weft network create`; each gives out
/// addresses of a range of its own.
fn blue<'a>(lab: &'a Lab) -> [Site<'a>; 2] {
    let [a, b] = &lab.hosts[..] else { panic!("two hosts") };
    let sites = [Site::start(a), Site::start(b)];
    for (site, other, range) in [(&sites[0], b, "10.77.1.0/26"), (&sites[1], a, "10.77.2.0/26")] {
        let remote = other.address;
        site.node().run(&format!("network create blue --plain --vni 5000 --subnet 10.77.0.0/16 --remote {remote}"));
        site.engine.run(&format!(
            "network create -d weft -o network=blue --ipam-driver weft --ipam-opt network=blue --subnet 10.77.0.0/16 \
             --ip-range {range} blue"
        ));
    }
    sites
}
