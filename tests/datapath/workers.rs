//! Several workers share the ports' queues and the flows; nobody outside can tell.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use weft::lab::Container;
use weft::sandbox::link::lookup_name;
use weft::traffic::ping;
use weft_vtep::addr::Mac;

use crate::harness::content::{self, Talk};
use crate::harness::frames::{MARK, mark, number, numbers, station};
use crate::harness::node::Node;
use crate::harness::port::Port;
use crate::harness::vtep::Vtep;
use crate::harness::{PATIENCE, eventually, ip, privileged};
use crate::{VNI, lab, mac, mesh};

#[test]
fn two_workers_carry_what_one_carries() {
    privileged!();
    let lab = lab(2, 2);
    let nodes = mesh(&lab, &["--workers", "2"], "");
    let containers: Vec<_> = lab.containers().collect();
    for (a, b) in containers.iter().flat_map(|a| containers.iter().map(move |b| (a, b))) {
        if a.v4 != b.v4 {
            for address in [b.ip(), b.ip6()] {
                assert!(ping::once(&a.netns, address, PATIENCE).unwrap().is_some(), "{} to {address}", a.v4);
            }
        }
    }
    std::thread::scope(|scope| {
        for (from, to) in [(0, 2), (1, 3), (0, 1), (3, 0)].map(|(from, to)| (containers[from], containers[to])) {
            for address in [to.ip(), to.ip6()] {
                let talk = Talk { write: 60_000, writes: 20 };
                scope.spawn(move || content::tcp(&from.netns, &to.netns, address, talk));
            }
        }
    });
    for node in &nodes {
        node.is_well();
    }
}

/// A flow stays with one worker, so its datagrams keep their order.
#[test]
fn flows_keep_their_order_with_two_workers() {
    privileged!();
    const FLOWS: usize = 64;
    const EACH: u32 = 50;
    let lab = lab(2, 1);
    let nodes = mesh(&lab, &["--workers", "2"], "");
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    assert!(ping::once(&a.netns, b.ip(), PATIENCE).unwrap().is_some());
    let hears = b.netns.run(|| UdpSocket::bind((b.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let room = 8 << 20;
    setsockopt(&hears, sockopt::RcvBufForce, &room).or_else(|_| setsockopt(&hears, sockopt::RcvBuf, &room)).unwrap();
    let flow = |_| a.netns.run(|| UdpSocket::bind((a.ip(), 0))).unwrap().unwrap();
    let flows: Vec<_> = (0..FLOWS).map(flow).collect();
    let mut next = [0; FLOWS];
    // In rounds of a few, which any socket has room for.
    for round in 0..EACH / 5 {
        for n in round * 5..round * 5 + 5 {
            for (flow, socket) in flows.iter().enumerate() {
                let text = format!("{flow} {n}");
                socket.send_to(text.as_bytes(), hears.local_addr().unwrap()).unwrap();
            }
        }
        for _ in 0..FLOWS * 5 {
            let mut heard = [0; 100];
            let len = hears.recv(&mut heard).unwrap_or_else(|error| panic!("in round {round}: {error}"));
            let text = std::str::from_utf8(&heard[..len]).unwrap();
            let (flow, n) = text.split_once(' ').unwrap();
            let expected = &mut next[flow.parse::<usize>().unwrap()];
            assert_eq!(n.parse::<u32>().unwrap(), *expected, "the next of flow {flow}");
            *expected += 1;
        }
    }
    nodes.iter().for_each(|node| node.is_well());
}

#[test]
fn a_flood_reaches_everybody_once_with_two_workers() {
    privileged!();
    const CALLS: u32 = 50;
    let lab = lab(2, 2);
    let nodes = mesh(&lab, &["--workers", "2"], "");
    let ports: Vec<_> = lab.containers().map(|container| Port::open(&container.netns, "eth0", MARK)).collect();
    let source = mac(&lab.hosts[0].containers[0]);
    for call in 1..=CALLS {
        ports[0].send(&mark(Mac::BROADCAST, source, call));
    }
    for port in &ports[1..] {
        let heard = port.until("the last call", |frame| number(frame) == Some(CALLS));
        assert_eq!(numbers(&heard), (1..=CALLS).collect::<Vec<_>>());
    }
    nodes.iter().for_each(|node| node.is_well());
}

/// Each worker sends from source ports of its own, of 64: half of a third are all that one of three has for a plain network.
#[test]
fn an_endpoints_flows_are_several_workers_work() {
    privileged!();
    let lab = lab(2, 1);
    let [first, second] = &lab.hosts[..] else { unreachable!() };
    let vtep = Vtep::on(second, first);
    let node = Node::with(first, &["--workers", "3"]);
    node.network("blue", VNI, &[second], "");
    let [here, there] = [first, second].map(|host| &host.containers[0]);
    node.attach("blue", here);
    // Nobody answers there, and nobody need be asked.
    ip(&here.netns, &format!("neigh add {} lladdr {} dev eth0", there.ip(), station(1)));
    let mut ports = BTreeSet::new();
    // In rounds of as many as the VTEP's socket has room for.
    for round in 0..6 {
        let flow = |port| here.netns.run(|| UdpSocket::bind((here.ip(), port))).unwrap().unwrap();
        for port in 0..100 {
            flow(20_000 + 100 * round + port).send_to(b"a flow", (there.ip(), 9)).unwrap();
        }
        ports.extend(vtep.senders(100));
    }
    assert!(ports.len() > 20, "{} source ports", ports.len());
    node.is_well();
}

/// A device that was made for one worker stays with one queue; one that was made for several has as many as there are.
#[test]
fn devices_outlive_a_change_of_workers() {
    privileged!();
    let lab = lab(2, 2);
    let [host, other] = &lab.hosts[..] else { unreachable!() };
    let [a, b] = [0, 1].map(|n| &host.containers[n]);
    let queues = |container: &Container| lookup_name(&container.netns, "eth0").unwrap().unwrap().tx_queues;
    let mut node = Node::with(host, &["--workers", "1"]);
    node.network("blue", VNI, &[other], "");
    node.attach("blue", a);
    for (workers, attached) in [("3", false), ("1", true), ("2", true), ("4", true)] {
        node.daemon.crash().unwrap();
        node = Node::again(host, &["--workers", workers]);
        if !attached {
            node.attach("blue", b);
        }
        // The kernel has seen the devices without a daemon, and takes its time to see them with one.
        for address in [b.ip(), b.ip6()] {
            let reached = || ping::once(&a.netns, address, Duration::from_secs(1)).unwrap().is_some();
            eventually(&format!("{address} is reached with {workers} workers"), reached);
        }
        let talk = Talk { write: 60_000, writes: 20 };
        content::tcp(&a.netns, &b.netns, b.ip(), talk);
        content::tcp(&b.netns, &a.netns, a.ip6(), talk);
        assert!(queues(a) == 1 && queues(b) > 1);
        let shown = ip(&b.netns, "-d link show eth0");
        assert!(shown.contains("qdisc noqueue") && shown.contains(&format!("numqueues {workers} ")), "{shown}");
        node.is_well();
    }
}
