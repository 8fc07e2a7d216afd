//! The engine and weft end and come back in every order, under containers with a restart policy and without one.

use crate::harness::eventually;
use crate::harness::node::Node;
use crate::harness::privileged;
use crate::{IMAGE, Site, engines, lab, members};

/// Something that happens to a site.
type Blow = fn(&mut Site<'_>);

fn engine_stops(site: &mut Site<'_>) {
    site.engine.restart(false);
}

fn engine_crashes(site: &mut Site<'_>) {
    site.engine.restart(true);
}

fn weft_crashes(site: &mut Site<'_>) {
    site.crash_weft();
}

fn weft_crashes_while_the_engine_is_away(site: &mut Site<'_>) {
    site.engine.end(true);
    site.crash_weft();
    site.engine.begin();
}

fn engine_crashes_while_weft_is_away(site: &mut Site<'_>) {
    site.node.take().unwrap().daemon.crash().unwrap();
    site.engine.end(true);
    site.node = Some(Node::again(site.host, &[]));
    site.engine.begin();
}

fn engine_comes_back_before_weft(site: &mut Site<'_>) {
    site.node.take().unwrap().daemon.crash().unwrap();
    site.engine.end(true);
    site.engine.launch();
    // It asks for its plugin by now, which is not there.
    let asking = || site.host.run(|| std::path::Path::new("/run/docker.sock").exists()).unwrap();
    eventually("the engine has begun", asking);
    site.node = Some(Node::again(site.host, &[]));
    site.engine.wait();
}

/// Each with whether containers without a restart policy live on.
const BLOWS: [(&str, Blow, bool); 6] = [
    ("the engine was restarted", engine_stops, false),
    ("the engine crashed", engine_crashes, false),
    ("weft crashed", weft_crashes, true),
    ("weft crashed while the engine was away", weft_crashes_while_the_engine_is_away, false),
    ("both crashed, and weft came back first", engine_crashes_while_weft_is_away, false),
    ("both crashed, and the engine came back first", engine_comes_back_before_weft, false),
];

impl Site<'_> {
    fn runs(&self, container: &str) -> bool {
        self.engine.docker(&format!("inspect --format '{{{{.State.Running}}}}' {container}")).stdout == b"true\n"
    }

    /// Everything that the first packet to the address may have gone wrong by.
    fn report(&self, peer: &Site<'_>) -> String {
        let look = |site: &Site<'_>, line: &str| String::from_utf8_lossy(&site.engine.docker(line).stdout).into_owned();
        format!(
            "{}\n{}\n{}\n{}\n{}",
            look(peer, "exec client ip neigh"),
            look(self, "exec web ip addr"),
            peer.node().run("neigh"),
            peer.node().run("fdb"),
            self.node().daemon.log()
        )
    }
}

#[test]
fn whatever_ends_first_containers_talk_again_with_the_first_packet() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, b] = members(&lab, &[]);
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 -o network=blue blue");
    b.has_network("blue");
    b.container("client", "--network blue --ip 10.8.200.9");
    a.container("kept", "--network blue --ip 10.8.200.1 --restart always");
    a.container("once", "--network blue --ip 10.8.200.2");
    for (what, blow, lives) in BLOWS {
        assert!(b.reaches("client", "10.8.200.1") && b.reaches("client", "10.8.200.2"), "before {what}");
        blow(&mut a);
        eventually(&format!("the container is back after {what}"), || a.runs("kept"));
        assert!(b.reaches("client", "10.8.200.1"), "the first packet after {what}: {}", a.report(&b));
        assert!(a.reaches("kept", "10.8.200.9"), "after {what}");
        assert_eq!(a.runs("once"), lives, "after {what}");
        if !lives {
            a.engine.run("start once");
        }
        assert!(b.reaches("client", "10.8.200.2"), "the first packet to the other after {what}");
        assert_eq!(a.endpoints("blue"), 2, "after {what}");
    }
    a.engine.run("rm --force kept once");
    assert_eq!(a.endpoints("blue"), 0);
    let late = format!("run --rm --network blue --ip 10.8.200.1 {IMAGE} ping -c 1 -W 5 10.8.200.9");
    a.engine.run(&late);
    a.node().is_well();
    b.node().is_well();
}

#[test]
fn who_has_an_address_after_another_is_reached_with_the_first_packet() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = members(&lab, &[]);
    a.engine.run(
        "network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 --ipv6 --subnet fd08::/64 -o network=blue blue",
    );
    b.has_network("blue");
    b.container("client", "--network blue");
    let reached = |by: &str| {
        for address in ["10.8.200.1", "fd08::c8:1"] {
            assert!(b.reaches("client", address), "the first packet to {address} of {by}: {}", a.report(&b));
        }
    };
    // One that was attached, with a MAC address of weft's choice.
    let six = "--sysctl net.ipv6.conf.all.disable_ipv6=0 --sysctl net.ipv6.conf.default.disable_ipv6=0";
    a.engine.run(&format!("run --detach --stop-timeout 1 --name bare --network none {six} {IMAGE} sleep 100000"));
    let pid = a.engine.run("inspect --format '{{.State.Pid}}' bare");
    let attached = a.node().run(&format!("attach blue --netns /proc/{pid}/ns/net --ip 10.8.200.1 --ip fd08::c8:1"));
    reached("what was attached");
    a.node().run(&format!("detach {}", attached["endpoint"].as_str().unwrap()));
    // One of Docker's, with that which belongs to the address.
    a.container("web", "--network blue --ip 10.8.200.1 --ip6 fd08::c8:1");
    reached("the engine's container");
    a.engine.run("rm --force web bare");
    b.engine.run("rm --force client");
    a.node().is_well();
}
