//! Keys change under load: nothing is lost, no nonce comes twice, old keys end.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weft::lab::{Container, Family, Lab, LabSpec, Underlay};
use weft::traffic::ping;
use weft_vtep::io::Wanted;
use weft_vtep::seal::suite::Suite;
use weft_vtep::wire::sealed::Header;

use crate::harness::content::{self, Talk};
use crate::harness::{PATIENCE, eventually, needs, privileged};
use crate::{lab, open_session, pair, tap_the_wire, udp_payload};

const EPOCHS: u8 = 20;

/// TCP both ways and a stream of numbered datagrams, while both directions get new keys every 100 ms.
#[test]
fn a_rekey_under_load_loses_nothing() {
    privileged!();
    needs!("ethtool");
    // On a wire-like underlay each datagram is a packet of its own: every nonce can be seen.
    let spec = LabSpec { containers: 2, underlay: Underlay::Wire, ..LabSpec::new(2) };
    let lab = Lab::build(spec).unwrap();
    let nodes = pair(&lab, 2, Suite::Aes256Gcm);
    let containers: Vec<_> = lab.containers().collect();
    for to in &containers[2..] {
        assert!(ping::once(&containers[0].netns, to.ip(), PATIENCE).unwrap().is_some());
        assert!(ping::once(&containers[1].netns, to.ip(), PATIENCE).unwrap().is_some());
    }
    let wires = [0, 1].map(|n: usize| tap_the_wire(&lab.hosts[n]));
    let before = nodes.each_ref().map(|node| node.drops());
    let enough = AtomicBool::new(false);
    let mut headers = [Vec::new(), Vec::new()];
    thread::scope(|scope| {
        for (wire, headers) in wires.iter().zip(&mut headers) {
            let over = || enough.load(Ordering::Acquire);
            let header = |frame: &[u8]| udp_payload(frame).map(|payload| Header::parse(payload).unwrap());
            scope.spawn(move || wire.listen(over, |frame| headers.extend(header(frame))));
        }
        scope.spawn(|| {
            for epoch in 2..=EPOCHS {
                open_session(&nodes[0], &nodes[1], Suite::Aes256Gcm, 2 * epoch);
                open_session(&nodes[1], &nodes[0], Suite::Aes256Gcm, 2 * epoch + 1);
                thread::sleep(Duration::from_millis(100));
            }
            enough.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            let talk = Talk { write: 60_000, writes: 50 };
            while !enough.load(Ordering::Acquire) {
                content::tcp(&containers[0].netns, &containers[2].netns, containers[2].ip(), talk);
            }
        });
        scope.spawn(|| numbered(containers[1], containers[3], &enough));
    });
    for (node, before) in nodes.iter().zip(&before) {
        let drops = node.drops_since(before);
        assert!(drops.is_empty(), "{drops:?}");
        let newest = node.vtep.session_rows().iter().map(|row| row.epoch).max();
        assert_eq!(newest, Some(u32::from(EPOCHS)));
    }
    let mut seen = HashSet::new();
    for headers in &headers {
        let indices: HashSet<_> = headers.iter().map(|header| header.index).collect();
        for header in headers {
            assert!(seen.insert((header.index, header.nonce())), "a nonce twice under one key: {header:?}");
        }
        let (count, sessions) = (headers.len(), indices.len());
        assert!(count > 1000 && sessions >= usize::from(EPOCHS) - 1, "{count} datagrams, {sessions} sessions");
    }
}

/// Datagrams paced so that no buffer overflows; each must arrive.
fn numbered(from: &Container, to: &Container, enough: &AtomicBool) {
    let hears = to.netns.run(|| UdpSocket::bind((to.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says = from.netns.run(|| UdpSocket::bind((from.ip(), 0))).unwrap().unwrap();
    for n in 0_u32.. {
        if enough.load(Ordering::Acquire) {
            break;
        }
        says.send_to(&n.to_be_bytes(), hears.local_addr().unwrap()).unwrap();
        let mut heard = [0; 4];
        hears.recv(&mut heard).unwrap_or_else(|error| panic!("datagram {n} is lost: {error}"));
        assert_eq!(u32::from_be_bytes(heard), n);
    }
}

#[test]
fn weft_rekey_asks_for_every_session() {
    privileged!();
    let lab = lab(2, 1, Family::V4);
    let [a, b] = pair(&lab, 1, Suite::Aes256Gcm);
    a.vtep.wanted();
    a.vtep.rekey();
    let wanted = a.vtep.wanted();
    assert!(wanted.contains(&Wanted::Rekey(b.id, b.host.address)), "{wanted:?}");
    // Until it is done, each second again.
    eventually("asked again", || a.vtep.wanted().contains(&Wanted::Rekey(b.id, b.host.address)));
    open_session(&a, &b, Suite::Aes256Gcm, 5);
    a.vtep.wanted();
    thread::sleep(Duration::from_millis(1500));
    assert!(!a.vtep.wanted().contains(&Wanted::Rekey(b.id, b.host.address)));
}
