//! Inner VLAN tags: stripped on encapsulation and dropped on decapsulation (RFC 7348 section 6.1), or kept if asked.

use std::collections::BTreeMap;

use weft::lab::UPLINK;
use weft_vtep::addr::Mac;

use crate::harness::frames::{IPV4, MARK, mark, number, numbers, station, tagged, vxlan};
use crate::harness::port::Port;
use crate::harness::{eventually, privileged};
use crate::{Stage, VNI, inner, lab};

const TAG: u16 = 5;

#[test]
fn a_tag_is_taken_off_what_leaves_and_refused_on_what_comes() {
    privileged!();
    let lab = lab(2, 2);
    let stage = Stage::set(&lab, "");
    let [inside, other] = [0, 1].map(|n| stage.port(n, MARK));
    let plain = |n| mark(Mac::BROADCAST, stage.macs[0], n);
    inside.send(&tagged(&plain(1), TAG));
    inside.send(&plain(2));
    let heard = inner(&stage.vteps[0].until("the last", |datagram| number(&datagram[8..]) == Some(2)));
    assert_eq!(numbers(&heard), [1, 2]);
    assert!(heard.contains(&plain(1)), "nothing but the tag is gone");
    assert_eq!(numbers(&other.until("the last", |frame| number(frame) == Some(2))), [1, 2]);

    let (before, fdb) = (stage.node.stats(), stage.node.fdb());
    // IEEE 802.1Q, 802.1ad, and what came before 802.1ad.
    for tag in [[0x81, 0], [0x88, 0xa8], [0x91, 0]] {
        let mut frame = tagged(&mark(stage.macs[0], station(1), 3), TAG);
        frame[12..14].copy_from_slice(&tag);
        stage.vteps[0].send(&vxlan(VNI, &frame));
    }
    eventually("all three are dropped", || stage.node.stats().dropped("inner_vlan") == 3);
    assert_eq!(stage.node.fdb(), fdb);
    stage.vteps[0].send(&vxlan(VNI, &mark(stage.macs[0], station(2), 4)));
    assert_eq!(numbers(&inside.until("an untagged one", |frame| number(frame) == Some(4))), [4]);
    assert_eq!(stage.node.stats().drops_since(&before), BTreeMap::from([("inner_vlan".into(), 3)]));
    stage.node.is_well();
}

#[test]
fn with_vlan_keep_tags_cross_in_either_direction() {
    privileged!();
    let lab = lab(2, 1);
    let stage = Stage::set(&lab, "-o vlan=keep");
    let inside = stage.port(0, MARK);
    let wire = Port::open(&lab.hosts[1].netns, UPLINK, IPV4);
    let before = stage.node.stats();
    // Small, and as large as the network's MTU, which leaves room for the tag.
    let mtu = stage.node.run("network inspect blue")["mtu"].as_u64().unwrap() as usize;
    assert_eq!(mtu, 1_446);
    for len in [60, 14 + mtu] {
        let mut frame = mark(Mac::BROADCAST, stage.macs[0], len as u32);
        frame.resize(len, 0x77);
        let frame = tagged(&frame, TAG);
        inside.send(&frame);
        wire.find("the tagged frame", |packet| packet.ends_with(&frame));
        let mut frame = mark(stage.macs[0], station(1), len as u32);
        frame.resize(len, 0x77);
        stage.vteps[0].send(&vxlan(VNI, &tagged(&frame, TAG)));
        // The kernel of the container takes the tag off before anybody there sees the frame.
        inside.find("the frame", |heard| heard == frame);
    }
    assert!(stage.node.fdb().contains_key(&(VNI.into(), station(1))));
    assert_eq!(stage.node.stats().drops_since(&before), BTreeMap::new());
    stage.node.is_well();
}
