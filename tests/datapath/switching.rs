//! Where frames go: to the one who is meant, to everybody once, and never out of one tunnel into another.

use std::collections::BTreeMap;

use weft::lab::kernel::INSIDE;
use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::node::Node;
use crate::harness::port::Port;
use crate::harness::{content, eventually, privileged};
use crate::{Stage, VNI, inner, lab, mesh};

/// A number that no other mark has: when it comes, all before it have come.
const LAST: u32 = 999_999;

fn is_last(frame: &[u8]) -> bool {
    number(frame) == Some(LAST)
}

fn is_last_inside(datagram: &[u8]) -> bool {
    is_last(&datagram[8..])
}

#[test]
fn a_frame_for_a_neighbour_on_the_node_goes_to_it_alone() {
    privileged!();
    let lab = lab(2, 3);
    let stage = Stage::set(&lab, "");
    let [from, to, third] = [0, 1, 2].map(|n| stage.port(n, MARK));
    for n in 1..=10 {
        from.send(&mark(stage.macs[1], stage.macs[0], n));
    }
    from.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    assert_eq!(numbers(&to.until("the last", is_last)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, LAST]);
    assert_eq!(numbers(&third.until("the last", is_last)), [LAST]);
    assert_eq!(numbers(&inner(&stage.vteps[0].until("the last", is_last_inside))), [LAST]);
    // Super-frames cross from one TAP to the other as they are.
    let talk = content::Talk { write: 60_000, writes: 20 };
    for address in [stage.container(1).ip(), stage.container(1).ip6()] {
        content::tcp(&stage.container(0).netns, &stage.container(1).netns, address, talk);
    }
    stage.node.is_well();
}

#[test]
fn two_networks_of_a_node_do_not_meet() {
    privileged!();
    let lab = lab(2, 4);
    let node = Node::start(&lab.hosts[0]);
    node.network("red", 1, &[], "");
    node.network("green", 2, &[], "");
    let containers = &lab.hosts[0].containers;
    let macs: Vec<_> =
        ["red", "red", "green", "green"].iter().zip(containers).map(|(n, c)| node.attach(n, c)).collect();
    let ports: Vec<_> = containers.iter().map(|container| Port::open(&container.netns, INSIDE, MARK)).collect();
    let before = node.stats();
    for n in 1..=10 {
        ports[0].send(&mark(Mac::BROADCAST, macs[0], n));
        ports[2].send(&mark(Mac::BROADCAST, macs[2], 100 + n));
        // The other network's stations are unknown in this one.
        ports[0].send(&mark(macs[3], macs[0], 1_000));
        ports[2].send(&mark(macs[1], macs[2], 1_000));
    }
    ports[0].send(&mark(Mac::BROADCAST, macs[0], LAST));
    ports[2].send(&mark(Mac::BROADCAST, macs[2], LAST));
    for (port, base) in [(&ports[1], 0), (&ports[3], 100)] {
        let expected: Vec<_> = (base + 1..=base + 10).chain([LAST]).collect();
        assert_eq!(numbers(&port.until("the last", is_last)), expected);
    }
    assert_eq!(node.stats().drops_since(&before), BTreeMap::from([("unknown_unicast".into(), 20)]));
    node.is_well();
}

#[test]
fn a_flood_reaches_everybody_once() {
    privileged!();
    const ROUNDS: u32 = 20;
    let lab = lab(3, 2);
    let nodes = mesh(&lab, &["--workers", "1"], "");
    let ports: Vec<_> = lab.containers().map(|container| Port::open(&container.netns, INSIDE, MARK)).collect();
    let stations: BTreeMap<_, _> =
        nodes.iter().flat_map(|node| node.fdb()).filter(|(_, row)| row.kind == "local").collect();
    assert_eq!(stations.len(), ports.len());
    let macs: Vec<_> = lab.containers().map(crate::mac).collect();
    for round in 1..=ROUNDS {
        for (who, port) in ports.iter().enumerate() {
            port.send(&mark(Mac::BROADCAST, macs[who], who as u32 * 1_000 + round));
        }
    }
    for (who, port) in ports.iter().enumerate() {
        // Until the last call of each of the others has been heard; a repeated one would have come before it.
        let mut open: Vec<_> =
            (0..ports.len()).filter(|other| *other != who).map(|other| other as u32 * 1_000 + ROUNDS).collect();
        let mut heard = Vec::new();
        while !open.is_empty() {
            heard.extend(numbers(&port.until("all calls", |frame| number(frame).is_some_and(|n| open.contains(&n)))));
            open.retain(|last| !heard.contains(last));
        }
        for other in 0..ports.len() {
            let of_other: Vec<_> = heard.iter().filter(|n| **n / 1_000 == other as u32).map(|n| n % 1_000).collect();
            let expected: Vec<_> = if other == who { Vec::new() } else { (1..=ROUNDS).collect() };
            assert_eq!(of_other, expected, "what {who} heard of {other}");
        }
    }
    nodes.iter().for_each(Node::is_well);
}

#[test]
fn what_came_out_of_a_tunnel_goes_into_none() {
    privileged!();
    let lab = lab(3, 1);
    let stage = Stage::set(&lab, "");
    let inside = stage.port(0, MARK);
    let before = stage.node.stats();
    for n in 1..=10 {
        stage.vteps[0].send(&vxlan(VNI, &mark(Mac::BROADCAST, station(1), n)));
        stage.vteps[0].send(&vxlan(VNI, &mark(station(7), station(1), 100 + n)));
        // To a station that was learned behind the other tunnel.
        stage.vteps[1].send(&vxlan(VNI, &mark(station(1), station(2), 200 + n)));
    }
    stage.vteps[0].send(&vxlan(VNI, &mark(Mac::BROADCAST, station(1), LAST)));
    assert_eq!(numbers(&inside.until("the last", is_last)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, LAST]);
    eventually("all are counted", || stage.node.stats().dropped("not_here") == before.dropped("not_here") + 20);
    inside.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    for vtep in &stage.vteps {
        assert_eq!(numbers(&inner(&vtep.until("the container's call", is_last_inside))), [LAST]);
    }
    assert_eq!(stage.node.stats().drops_since(&before), BTreeMap::from([("not_here".into(), 20)]));
    stage.node.is_well();
}

#[test]
fn a_frame_for_nobody_known_is_asked_of_all_until_its_station_speaks() {
    privileged!();
    let lab = lab(3, 2);
    let stage = Stage::set(&lab, "");
    let [from, other] = [0, 1].map(|n| stage.port(n, MARK));
    from.send(&mark(station(5), stage.macs[0], 1));
    from.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    assert_eq!(numbers(&other.until("the last", is_last)), [1, LAST]);
    for vtep in &stage.vteps {
        assert_eq!(numbers(&inner(&vtep.until("the last", is_last_inside))), [1, LAST]);
    }
    stage.vteps[1].send(&vxlan(VNI, &mark(stage.macs[0], station(5), 2)));
    from.find("the station", |frame| number(frame) == Some(2));
    from.send(&mark(station(5), stage.macs[0], 3));
    from.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    assert_eq!(numbers(&other.until("the last", is_last)), [LAST]);
    let [silent, spoke] = [0, 1].map(|n| numbers(&inner(&stage.vteps[n].until("the last", is_last_inside))));
    assert_eq!((silent, spoke), (vec![LAST], vec![3, LAST]));
    stage.node.is_well();
}
