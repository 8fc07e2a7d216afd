//! Nodes that die, come back, and go in order.

use std::io::{Read, Write};
use std::net::TcpStream;

use weft::lab::{LabSpec, UPLINK, kernel::INSIDE};
use weft_vtep::addr::Mac;

use crate::harness::content::connect;
use crate::harness::frames::{MARK, mark, number};
use crate::harness::port::{ALL, Port};
use crate::harness::vtep::Vtep;
use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text, try_up};

fn say(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

#[test]
fn a_killed_node_is_dead_to_all_and_comes_back_as_the_same() {
    privileged!();
    for plain in [&[][..], &["--plain"]] {
        let mut cluster = Cluster::shared(LabSpec::new(3), plain);
        let identity = text(&cluster.json(2, "status")["id"]);
        let (a, c) = (&cluster.container(0).netns, &cluster.container(2).netns);
        let (mut client, mut server) = connect(a, c, cluster.container(2).ip());
        say(&mut client, &mut server, b"before");

        cluster.crash(2);
        for n in [0, 1] {
            eventually("the killed node is dead", || cluster.state(n, 2) == "dead");
        }
        cluster.ping_all(&[0, 1]);

        cluster.start(2);
        for n in [0, 1, 2] {
            eventually("it is alive again", || cluster.state(n, 2) == "alive");
        }
        assert_eq!(cluster.json(2, "status")["id"], identity.as_str());
        assert_eq!(cluster.json(0, "members").as_array().unwrap().len(), 3, "it is nobody new");
        cluster.converge();
        say(&mut client, &mut server, b"after");
        say(&mut server, &mut client, b"and back");
        cluster.ping_all(&[0, 1, 2]);
    }
}

/// Nothing is sent to a VTEP whose node is dead, also not what goes to all.
#[test]
fn a_dead_node_is_off_the_flood_lists_and_back_on_them_when_it_lives() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &["--plain"]);
    let source: Mac =
        text(&cluster.json(0, &format!("network inspect {BLUE}"))["endpoints"][0]["mac"]).parse().unwrap();
    let calls = Port::open(&cluster.container(0).netns, INSIDE, MARK);
    let hears = Port::open(&cluster.container(1).netns, INSIDE, MARK);
    cluster.crash(2);
    for n in [0, 1] {
        eventually("the killed node is dead", || cluster.state(n, 2) == "dead");
    }
    let wire = Port::open(&cluster.host(2).netns, UPLINK, ALL);
    for call in 1..=20 {
        calls.send(&mark(Mac::BROADCAST, source, call));
    }
    hears.find("the last call", |frame| number(frame) == Some(20));
    // From the same host, so that it comes after whatever the daemon there had sent.
    Vtep::from_port(cluster.host(0), cluster.host(2), 0).send(b"the last word");
    let frames = wire.until("the last word", |frame| frame.ends_with(b"the last word"));
    // Ethernet, IPv4, UDP, VXLAN.
    let called = frames.iter().filter(|frame| number(frame.get(14 + 20 + 8 + 8..).unwrap_or_default()).is_some());
    assert_eq!(called.count(), 0, "a dead node is still sent what goes to all");

    cluster.start(2);
    cluster.converge();
    let hears = Port::open(&cluster.container(2).netns, INSIDE, MARK);
    calls.send(&mark(Mac::BROADCAST, source, 21));
    hears.find("the call", |frame| number(frame) == Some(21));
}

#[test]
fn a_node_that_is_restarted_at_once_is_not_missed() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    let (a, c) = (&cluster.container(0).netns, &cluster.container(2).netns);
    let (mut client, mut server) = connect(a, c, cluster.container(2).ip());
    for round in [b"first", b"again"] {
        say(&mut client, &mut server, round);
        cluster.crash(2);
        cluster.start(2);
        say(&mut server, &mut client, round);
        cluster.converge();
    }
    cluster.ping_all(&[0, 1, 2]);
}

#[test]
fn all_nodes_at_once_come_back_to_one_cluster() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    let before: Vec<_> = cluster.up().into_iter().map(|n| cluster.json(n, "network ls")).collect();
    for n in 0..3 {
        cluster.crash(n);
    }
    for n in [2, 0, 1] {
        cluster.start(n);
    }
    cluster.converge();
    let after: Vec<_> = cluster.up().into_iter().map(|n| cluster.json(n, "network ls")).collect();
    assert_eq!(after, before);
    cluster.ping_all(&[0, 1, 2]);
    // It still is a cluster that lets nodes in, and hands out what is free.
    assert!(cluster.json(1, "token create")["token"].is_string());
}

#[test]
fn a_node_that_ends_in_order_keeps_its_place_for_the_next_daemon() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    cluster.stop(1);
    for n in [0, 2] {
        eventually("the others notice", || cluster.state(n, 1) != "alive");
    }
    cluster.ping_all(&[0, 2]);
    // A VXLAN port of its own would cut it off from all the others.
    let said = try_up(cluster.host(1), &["--vxlan-port", "6000"]);
    assert!(said.contains("4789") && said.contains("6000"), "{said}");
    cluster.start(1);
    cluster.converge();
    cluster.ping_all(&[0, 1, 2]);
}
