//! A daemon that is killed comes back to what it had, and connections through it go on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use weft::lab::Daemon;
use weft::sandbox::{Netns, link};

use crate::Node;
use crate::harness::{eventually, privileged, weft};

#[test]
fn networks_endpoints_and_connections_survive_kill_9() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16 --subnet fd00:1::/64 -o trust-macs");
    node.text("network create green --plain --vni 77");
    for container in 0..2 {
        node.text(&format!("attach blue --netns {}", node.netns(container)));
    }
    // A container may rename its interface.
    let rename = || std::process::Command::new("ip").args(["link", "set", "eth0", "name", "renamed"]).status();
    let containers = &node.host().containers;
    let index = link::lookup_name(&containers[1].netns, "eth0").unwrap().unwrap().index;
    containers[1]
        .netns
        .run(|| {
            let down = std::process::Command::new("ip").args(["link", "set", "eth0", "down"]).status();
            assert!(down.unwrap().success() && rename().unwrap().success());
            let up = std::process::Command::new("ip").args(["link", "set", "renamed", "up"]).status();
            assert!(up.unwrap().success());
        })
        .unwrap();

    let listener = containers[0].netns.run(|| TcpListener::bind("10.1.0.1:7000")).unwrap().unwrap();
    let mut client = containers[1].netns.run(|| TcpStream::connect("10.1.0.1:7000")).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    say(&mut client, &mut server, b"before");
    let before = documents(&node);

    let node = node.crash_and_restart();
    let restarted = Instant::now();
    say(&mut client, &mut server, b"after");
    say(&mut server, &mut client, b"and back");
    assert!(restarted.elapsed() < Duration::from_secs(3), "{:?}", restarted.elapsed());
    assert_eq!(documents(&node), before);

    // The endpoints are whole: they can be removed, and their addresses are known to be held until then.
    assert!(
        node.refused(&format!("attach blue --netns {} --ip 10.1.0.2 --ifname x", node.netns(0))).contains("10.1.0.2")
    );
    for entry in before[1].as_array().unwrap() {
        node.text(&format!("detach {}", entry["port"].as_str().unwrap()));
    }
    assert_eq!(link::lookup(&node.host().containers[1].netns, index).unwrap(), None);
}

/// What a node says of itself and its networks, without when it started.
fn documents(node: &Node) -> [Value; 4] {
    let mut members = node.json("members");
    members[0]["started"].take();
    [node.json("network ls"), node.json("fdb"), node.status(), members]
}

fn say(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    from.write_all(text).unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

/// A supervisor that does not wait starts the next daemon while the kernel still closes what the killed one had, one
/// TAP after another: the next one must neither be refused by the old lock nor find a device busy.
#[test]
fn a_daemon_that_is_started_before_the_killed_one_has_ended_waits_for_it() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    for n in 0..20 {
        node.text(&format!("attach blue --netns {} --ifname eth{n}", node.netns(n % 2)));
    }
    let Node { daemon: killed, lab } = node;
    killed.signal(Signal::SIGKILL).unwrap();
    let node = Node { daemon: Daemon::start(weft(), &lab.hosts[0], &[]).unwrap(), lab };
    let network = node.json("network inspect blue");
    let endpoints = network["endpoints"].as_array().unwrap();
    let lost: Vec<_> = endpoints.iter().filter(|e| e["state"] != "up").collect();
    assert!(endpoints.len() == 20 && lost.is_empty(), "{lost:?}");
    drop(killed);
}

#[test]
fn an_ordered_end_leaves_the_interfaces_to_the_next_daemon() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    node.text(&format!("attach blue --netns {}", node.netns(0)));
    let Node { daemon, lab } = node;
    assert!(daemon.stop().unwrap().success());
    assert!(link::lookup_name(&lab.hosts[0].containers[0].netns, "eth0").unwrap().is_some());
    let node = Node { daemon: Daemon::start(weft(), &lab.hosts[0], &[]).unwrap(), lab };
    assert_eq!(node.json("network inspect blue")["endpoints"][0]["state"], "up");
}

#[test]
fn a_namespace_that_ended_meanwhile_holds_up_nothing() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let sandbox = Netns::anonymous().unwrap();
    let gone = node.json(&format!("attach blue --netns {}", sandbox.path().display()));
    let stays = node.json(&format!("attach blue --netns {}", node.netns(0)));
    // The daemon is gone first, so that nobody sees the namespace end.
    let Node { daemon, lab } = node;
    daemon.crash().unwrap();
    drop(sandbox);
    let node = Node { daemon: Daemon::start(weft(), &lab.hosts[0], &[]).unwrap(), lab };
    let (gone, stays) = (gone["endpoint"].as_str().unwrap(), stays["endpoint"].as_str().unwrap());
    assert_eq!((node.state_of(gone).as_str(), node.state_of(stays).as_str()), ("lost", "up"));
    assert_eq!(node.daemon.log().matches("is lost").count(), 1, "{}", node.daemon.log());
    node.text(&format!("detach {gone}"));
    assert_eq!(node.json("status")["endpoints"], 1);
}

#[test]
fn after_a_restart_the_daemon_keeps_no_namespace_alive() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let sandbox = Netns::anonymous().unwrap();
    let attached = node.json(&format!("attach blue --netns {}", sandbox.path().display()));
    let node = node.crash_and_restart();
    let id = attached["endpoint"].as_str().unwrap();
    assert_eq!(node.state_of(id), "up");
    drop(sandbox);
    eventually("the daemon lets go of the namespace", || node.state_of(id) == "lost");
}
