//! Two workers share the ports and the flows; nobody outside can tell.

use std::net::UdpSocket;

use nix::sys::socket::{setsockopt, sockopt};
use weft::traffic::ping;
use weft_vtep::addr::Mac;

use crate::harness::content::{self, Talk};
use crate::harness::frames::{MARK, mark, number, numbers};
use crate::harness::port::Port;
use crate::harness::{PATIENCE, privileged};
use crate::{lab, mac, mesh};

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
