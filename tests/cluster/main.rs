//! Clusters of real daemons, one on each host of a lab, spoken to by their command line as a user would.
//!
//! Nothing here measures speed: what must happen is waited for, long ([`harness::PATIENCE`]), and that something did not
//! happen is known once a later thing of the same way has.

#[path = "../harness/mod.rs"]
mod harness;

mod addresses;
mod capture;
mod disks;
mod documents;
mod joining;
mod lookup;
mod members;
mod moving;
mod networks;
mod onlookers;
mod paths;
mod recovery;
mod restarts;
mod scale;
mod sealed;
mod stand_in;
#[path = "../../control/tests/control_port/stranger.rs"]
#[allow(dead_code)]
mod stranger;
mod times;
mod tokens;
mod top;
mod trace;
mod upgrades;

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use weft::lab::{Container, Daemon, Host, Lab, LabSpec, overlay};
use weft::traffic::ping;

use harness::{PATIENCE, eventually, weft};

/// The lab's network in a cluster.
const BLUE: &str = "blue";

/// A lab with a cluster on it. A daemon may be down for a while; host and daemon have the same number.
struct Cluster {
    daemons: Vec<Option<Daemon>>,
    lab: Lab,
}

impl Cluster {
    /// A daemon on every host, all in one cluster, without a network.
    fn bare(spec: LabSpec) -> Cluster {
        let lab = Lab::build(spec).unwrap();
        let daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
        overlay::converge(&lab, &daemons).unwrap();
        Cluster { daemons: daemons.into_iter().map(Some).collect(), lab }
    }

    /// A cluster with one network on all, to which every container is attached with the address meant for it.
    fn shared(spec: LabSpec, more: &[&str]) -> Cluster {
        let lab = Lab::build(spec).unwrap();
        let daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
        overlay::share(&lab, &daemons, BLUE, more).unwrap();
        Cluster { daemons: daemons.into_iter().map(Some).collect(), lab }
    }

    /// The first host's daemon alone has begun a cluster; the others have none yet.
    fn begun(spec: LabSpec) -> Cluster {
        let lab = Lab::build(spec).unwrap();
        let mut daemons: Vec<_> = lab.hosts.iter().map(|_| None).collect();
        daemons[0] = Some(Daemon::bootstrap(weft(), &lab.hosts[0], &[]).unwrap());
        Cluster { daemons, lab }
    }

    /// Makes the network of the lab's subnets on a node; its gateways are out of the containers' way.
    fn network(&self, n: usize, name: &str, more: &str) -> Value {
        let [v4, v6] = overlay::SUBNETS;
        let gateways = "--gateway 10.77.255.254 --gateway fd77::ffff:fffe";
        let made =
            self.json(n, &format!("network create {name} --internal --subnet {v4} --subnet {v6} {gateways} {more}"));
        self.converge();
        made
    }

    fn host(&self, n: usize) -> &Host {
        &self.lab.hosts[n]
    }

    fn container(&self, n: usize) -> &Container {
        &self.lab.hosts[n].containers[0]
    }

    fn daemon(&self, n: usize) -> &Daemon {
        self.daemons[n].as_ref().expect("the daemon is up")
    }

    /// The numbers of the hosts whose daemon is up.
    fn up(&self) -> Vec<usize> {
        (0..self.daemons.len()).filter(|n| self.daemons[*n].is_some()).collect()
    }

    /// A token with which nodes may join.
    fn token(&self, n: usize) -> String {
        self.daemon(n).token(self.host(n)).unwrap()
    }

    /// Starts a daemon that joins at the node `at`.
    fn join(&mut self, n: usize, at: usize, token: &str) {
        let daemon = Daemon::join(weft(), &self.lab.hosts[n], &self.lab.hosts[at], token, &[]).unwrap();
        self.daemons[n] = Some(daemon);
    }

    /// Starts a daemon that was here before: its state directory remembers all.
    fn start(&mut self, n: usize) {
        self.daemons[n] = Some(Daemon::up(weft(), &self.lab.hosts[n], &[]).unwrap());
    }

    /// Ends a daemon as a crash does.
    fn crash(&mut self, n: usize) {
        self.daemons[n].take().unwrap().crash().unwrap();
    }

    /// Ends a daemon in order.
    fn stop(&mut self, n: usize) {
        assert!(self.daemons[n].take().unwrap().stop().unwrap().success());
    }

    /// Runs a command that must succeed, and returns its document.
    fn json(&self, n: usize, line: &str) -> Value {
        self.daemon(n).json(self.host(n), &words(line)).unwrap()
    }

    fn run(&self, n: usize, line: &str) -> Output {
        self.daemon(n).weft(self.host(n), &words(line)).unwrap()
    }

    /// Runs a command that must be refused, and returns the line that says why.
    fn refused(&self, n: usize, line: &str) -> String {
        refusal(line, &self.run(n, line))
    }

    /// Attaches the first container of a host to a network, and returns the document.
    fn attach(&self, n: usize, network: &str, more: &str) -> Value {
        self.json(n, &format!("attach {network} --netns {} {more}", self.container(n).netns_arg()))
    }

    /// Attaches the first container of a host once the cluster has heard that what it asks for is free.
    fn attach_soon(&self, n: usize, network: &str, more: &str) -> Value {
        let line = format!("attach {network} --netns {} {more} --json", self.container(n).netns_arg());
        let mut attached = None;
        eventually(&format!("`weft {line}`"), || {
            let output = self.run(n, &line);
            attached = output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap());
            attached.is_some()
        });
        attached.unwrap()
    }

    /// The id of the endpoint on [`BLUE`] that the container of a host has.
    fn endpoint(&self, n: usize) -> String {
        text(&self.json(n, &format!("network inspect {BLUE}"))["endpoints"][0]["endpoint"])
    }

    /// What a node says of the state of another; empty for one that it does not know.
    fn state(&self, n: usize, of: usize) -> String {
        let members = self.json(n, "members");
        let name = self.host(of).name.as_str();
        let named = members.as_array().unwrap().iter().filter(|m| m["name"] == name).map(|m| text(&m["state"]));
        // Who left and came anew is there twice.
        named.max_by_key(|state| state != "left").unwrap_or_default()
    }

    /// What kinds of events a node has seen.
    fn events(&self, n: usize) -> Vec<String> {
        let events = self.json(n, "events");
        events.as_array().unwrap().iter().map(|event| text(&event["kind"])).collect()
    }

    /// The VTEPs, as a node sees them, of a station: `local`, an address, or nothing.
    fn place(&self, n: usize, mac: &str) -> Option<String> {
        let fdb = self.json(n, "fdb");
        let row = fdb.as_array().unwrap().iter().find(|row| row["mac"] == mac)?.clone();
        Some(if row["kind"] == "local" { "local".to_owned() } else { text(&row["vtep"]) })
    }

    /// Waits until all daemons that are up know each other alive and have equal tables.
    fn converge(&self) {
        let up = self.up();
        for n in &up {
            eventually(&format!("node{} agrees with the others", n + 1), || {
                let status = self.json(*n, "status");
                status["members_alive"] == up.len() && status["members_agreeing"] == status["members_compared"]
            });
        }
    }

    /// One ping, which must be answered.
    fn ping(&self, from: usize, to: IpAddr) {
        let rtt = ping::once(&self.container(from).netns, to, PATIENCE).unwrap();
        assert!(rtt.is_some(), "the first ping from {} to {to} is unanswered: {}", self.host(from).name, self.losses());
    }

    /// What every node that is up has dropped and why: for whoever reads of a failure.
    fn losses(&self) -> String {
        let of = |n: usize| {
            let drops = self.json(n, "stats")["drops"].as_object().cloned().unwrap_or_default();
            let drops: Vec<_> = drops.iter().filter(|(_, count)| **count != 0).collect();
            format!("node{} dropped {drops:?}", n + 1)
        };
        self.up().into_iter().map(of).collect::<Vec<_>>().join(", ")
    }

    /// Pings until one is answered: what a container's kernel knows of another may be older than a move.
    fn ping_soon(&self, from: usize, to: IpAddr) {
        let once = || ping::once(&self.container(from).netns, to, Duration::from_secs(1)).unwrap();
        eventually(&format!("{to} is reached from {}", self.host(from).name), || once().is_some());
    }

    /// One ping from each of the containers of these hosts to each other, over both families.
    fn ping_all(&self, nodes: &[usize]) {
        for from in nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                self.ping(*from, self.container(*to).ip());
                self.ping(*from, self.container(*to).ip6());
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for daemon in self.daemons.iter().flatten() {
                let log = daemon.log();
                assert!(!log.contains("panicked"), "{log}");
            }
        }
    }
}

/// Runs `weft up` on a host with these arguments, which must be refused within 5 s, and returns the line that says why.
fn try_up(host: &Host, words: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("5").arg(weft()).args(["up", "--state-dir", "/run/weft/state", "--socket", "/run/weft/weft.sock"]);
    command.args(["--name", &host.name, "--advertise", &host.address.to_string()]).args(words);
    let output = host.run(|| std::fs::create_dir_all("/run/weft").and_then(|()| command.output()));
    refusal(&words.join(" "), &output.unwrap().unwrap())
}

/// Checks that a command was refused as the contract says, and returns the line that says why.
fn refusal(line: &str, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "`weft {line}` ended with {}: {stderr}", output.status);
    assert!(output.stdout.is_empty(), "`weft {line}` printed a document");
    assert_eq!(stderr.lines().count(), 1, "`weft {line}` said: {stderr}");
    assert!(stderr.starts_with("weft: ") && stderr.ends_with('\n'), "{stderr}");
    stderr
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Writes a file on a host.
fn write(host: &Host, path: &str, content: &str) {
    host.run(|| {
        std::fs::create_dir_all(Path::new(path).parent().unwrap()).and_then(|()| std::fs::write(path, content))
    })
    .unwrap()
    .unwrap();
}
