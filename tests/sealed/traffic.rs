//! Traffic over a sealed network, and what the underlay sees of it.

use std::thread;

use weft::lab::Family;
use weft::traffic::ping;
use weft_vtep::addr::Mac;
use weft_vtep::seal::suite::Suite;

use crate::harness::content::{self, Talk};
use crate::harness::frames::{IPV4, MARK, ethernet, mark, number, numbers};
use crate::harness::port::Port;
use crate::harness::{PATIENCE, privileged};
use crate::{lab, last_word, pair, tap_the_wire, udp_payload};
use weft::lab::kernel::INSIDE;

/// TCP both ways, pings and group frames, in both inner families, with each suite, number of workers and outer family.
#[test]
fn everything_crosses_a_sealed_network() {
    privileged!();
    for (family, workers, suite) in [
        (Family::V4, 1, Suite::Aes256Gcm),
        (Family::V6, 2, Suite::ChaCha20Poly1305),
        (Family::V4, 3, Suite::ChaCha20Poly1305),
        (Family::V6, 1, Suite::Aes256Gcm),
    ] {
        let lab = lab(2, 2, family);
        let nodes = pair(&lab, workers, suite);
        let containers: Vec<_> = lab.containers().collect();
        for (a, b) in containers.iter().flat_map(|a| containers.iter().map(move |b| (a, b))) {
            if a.v4 != b.v4 {
                for address in [b.ip(), b.ip6()] {
                    assert!(ping::once(&a.netns, address, PATIENCE).unwrap().is_some(), "{} to {address}", a.v4);
                }
            }
        }
        thread::scope(|scope| {
            for (from, to) in [(0, 2), (1, 3), (3, 0)].map(|(from, to)| (containers[from], containers[to])) {
                for address in [to.ip(), to.ip6()] {
                    let talk = Talk { write: 60_000, writes: 20 };
                    scope.spawn(move || content::tcp(&from.netns, &to.netns, address, talk));
                }
            }
        });
        let ports: Vec<_> = containers.iter().map(|container| Port::open(&container.netns, INSIDE, MARK)).collect();
        for call in 1..=20 {
            ports[0].send(&mark(Mac::BROADCAST, nodes[0].macs[0], call));
        }
        for port in &ports[1..] {
            let heard = port.until("the last call", |frame| number(frame) == Some(20));
            assert_eq!(numbers(&heard), (1..=20).collect::<Vec<_>>());
        }
        for node in &nodes {
            let rows = node.vtep.session_rows();
            assert_eq!(rows.len(), 2);
            for row in rows {
                assert!(row.datagrams > 500 && row.suite == suite && row.epoch == 1, "{row:?}");
                assert!(row.rejected().all(|(_, count)| count == 0), "{row:?}");
            }
            let stats = node.vtep.stats();
            assert!(stats.tx_frames > 500 && stats.tx_bytes > 60 * stats.tx_frames);
        }
    }
}

/// A marker that containers send in frames, datagrams and TCP never shows on the underlay, and nothing there is VXLAN.
#[test]
fn the_underlay_sees_no_marker_and_no_vxlan() {
    privileged!();
    const MARKER: &[u8] = b"this-must-not-be-seen";
    let lab = lab(2, 1, Family::V4);
    let nodes = pair(&lab, 1, Suite::Aes256Gcm);
    let wires = [0, 1].map(|n: usize| tap_the_wire(&lab.hosts[n]));
    let [a, b] = [0, 1].map(|n: usize| &lab.hosts[n].containers[0]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (client, server) = content::connect(&a.netns, &b.netns, b.ip());
            let text = MARKER.repeat(3000);
            thread::scope(|inner| {
                inner.spawn(|| std::io::Write::write_all(&mut (&client), &text).unwrap());
                let mut heard = vec![0; text.len()];
                std::io::Read::read_exact(&mut (&server), &mut heard).unwrap();
                assert_eq!(heard, text);
            });
            let port = Port::open(&a.netns, INSIDE, IPV4);
            for destination in [nodes[1].macs[0], Mac::BROADCAST] {
                port.send(&ethernet(destination, nodes[0].macs[0], MARK, &MARKER.repeat(10)));
            }
        });
    });
    for (wire, from, to) in [(&wires[1], a, b), (&wires[0], b, a)] {
        let last = last_word(from, to);
        let mut seen = 0;
        let frames = wire.until("the last word", |frame| {
            let Some(payload) = udp_payload(frame) else { return false };
            assert!(matches!(payload, [0x80 | 0x81, 1, ..]), "{:?}", &payload[..4]);
            seen += 1;
            payload.len() == last
        });
        assert!(seen > 2 && frames.len() >= seen);
        for frame in &frames {
            assert!(!frame.windows(MARKER.len()).any(|window| window == MARKER));
        }
    }
}
