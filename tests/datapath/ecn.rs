//! Congestion marks: RFC 6040, in all combinations of inner and outer mark and address family.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use socket2::SockRef;
use weft::lab::{Family, Lab, LabSpec, UPLINK, Underlay};
use weft_vtep::addr::Mac;

use crate::harness::frames::{IPV4, IPV6, mark, station, udp4, udp6, vxlan};
use crate::harness::port::{ALL, Port};
use crate::harness::{needs, privileged};
use crate::{Stage, VNI};

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// RFC 6040 figure 4: the inner mark, the outer one, the one that is delivered; `None` is a drop.
const FIGURE_4: [(u8, u8, Option<u8>); 16] = [
    (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
    (NOT_ECT, ECT_0, Some(NOT_ECT)),
    (NOT_ECT, ECT_1, Some(NOT_ECT)),
    (NOT_ECT, CE, None),
    (ECT_0, NOT_ECT, Some(ECT_0)),
    (ECT_0, ECT_0, Some(ECT_0)),
    (ECT_0, ECT_1, Some(ECT_1)),
    (ECT_0, CE, Some(CE)),
    (ECT_1, NOT_ECT, Some(ECT_1)),
    (ECT_1, ECT_0, Some(ECT_1)),
    (ECT_1, ECT_1, Some(ECT_1)),
    (ECT_1, CE, Some(CE)),
    (CE, NOT_ECT, Some(CE)),
    (CE, ECT_0, Some(CE)),
    (CE, ECT_1, Some(CE)),
    (CE, CE, Some(CE)),
];

/// Other bits of the type of service: the inner ones stay, the outer ones mean nothing inside.
const INNER_DSCP: u8 = 10 << 2;
const OUTER_DSCP: u8 = 46 << 2;

#[test]
fn decapsulation_follows_figure_4() {
    privileged!();
    for family in [Family::V4, Family::V6] {
        let lab = Lab::build(LabSpec { family, ..LabSpec::new(2) }).unwrap();
        let stage = Stage::set(&lab, "");
        for (ethertype, make) in [(IPV4, udp4 as fn(Mac, Mac, u8, &[u8]) -> Vec<u8>), (IPV6, udp6)] {
            let inside = stage.port(0, ethertype);
            // Each longer than the one before it: such are never joined.
            let packet = |tos: u8, cell: usize| make(stage.macs[0], station(1), tos, &vec![7; 20 + cell]);
            let before = stage.node.stats();
            let mut expected = Vec::new();
            for (cell, (inner, outer, delivered)) in FIGURE_4.into_iter().enumerate() {
                let datagram = vxlan(VNI, &packet(INNER_DSCP | inner, cell));
                stage.vteps[0].send_with_tos(&datagram, OUTER_DSCP | outer);
                expected.extend(delivered.map(|mark| packet(INNER_DSCP | mark, cell)));
            }
            let last = packet(0, 99);
            stage.vteps[0].send_with_tos(&vxlan(VNI, &last), 0);
            let heard = inside.until("the last packet", |frame| frame == last);
            let of_station = |frame: &&Vec<u8>| frame[6..12] == station(1).octets();
            // Byte for byte, the IPv4 header's checksum too.
            assert_eq!(heard.iter().filter(of_station).count(), expected.len() + 1);
            assert!(heard.iter().filter(of_station).zip(&expected).all(|(is, should)| is == should), "{family:?}");
            let drops = stage.node.stats().drops_since(&before);
            assert_eq!(drops.into_iter().collect::<Vec<_>>(), [("ecn_not_capable".to_owned(), 1)]);
        }
        stage.node.is_well();
    }
}

#[test]
fn encapsulation_copies_the_mark_and_nothing_else() {
    privileged!();
    for (family, ethertype) in [(Family::V4, IPV4), (Family::V6, IPV6)] {
        let lab = Lab::build(LabSpec { family, ..LabSpec::new(2) }).unwrap();
        let stage = Stage::set(&lab, "");
        let (inside, wire) = (stage.port(0, ALL), Port::open(&lab.hosts[1].netns, UPLINK, ethertype));
        for make in [udp4, udp6] {
            for tos in [NOT_ECT, ECT_1, ECT_0, CE].map(|mark| INNER_DSCP | mark) {
                let frame = make(station(1), stage.macs[0], tos, b"a payload");
                inside.send(&frame);
                let packet = wire.find("the datagram", |packet| packet.ends_with(&frame));
                assert_eq!(outer_tos(&packet), tos & 3, "{family:?}");
            }
        }
        // What is not IP has no mark.
        inside.send(&mark(station(1), stage.macs[0], 1));
        let packet = wire.find("the datagram", |packet| packet.ends_with(&mark(station(1), stage.macs[0], 1)));
        assert_eq!(outer_tos(&packet), NOT_ECT);
        stage.node.is_well();
    }
}

/// Each datagram of a super-frame carries its mark, and super-frames are not made of datagrams with different marks.
#[test]
fn marks_survive_segmentation_and_coalescing() {
    privileged!();
    needs!("ethtool");
    let lab = Lab::build(LabSpec { underlay: Underlay::WireGro, ..LabSpec::new(2) }).unwrap();
    let stage = Stage::set(&lab, "");
    let wire = Port::open(&lab.hosts[1].netns, UPLINK, IPV4);
    // A neighbour that never answers need not: the packets go to the station that was made known.
    let station_ip = [10, 77, 200, 1].into();
    let known = [(station_ip, station(1))];
    weft::sandbox::devices::neighbours(&stage.container(0).netns, "eth0", &known).unwrap();
    let socket = stage.container(0).netns.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    SockRef::from(&socket).set_tos_v4(u32::from(ECT_0)).unwrap();
    let target = SockaddrStorage::from(std::net::SocketAddr::from((station_ip, 9)));
    let cut = [ControlMessage::UdpGsoSegments(&1_000)];
    let sent = sendmsg(socket.as_raw_fd(), &[IoSlice::new(&[7; 20_000])], &cut, MsgFlags::empty(), Some(&target));
    assert_eq!(sent, Ok(20_000));
    for _ in 0..20 {
        let packet = wire.find("a datagram", |packet| packet.ends_with(&[7; 1_000]));
        assert_eq!((outer_tos(&packet), packet.len()), (ECT_0, 14 + 20 + 8 + 8 + 14 + 20 + 8 + 1_000));
    }

    let inside = stage.port(0, IPV4);
    let packet = |tos: u8, n: u8| udp4(stage.macs[0], station(1), tos, &[n; 100]);
    for n in 0..100 {
        stage.vteps[0].send_with_tos(&vxlan(VNI, &packet(ECT_0, n)), if n % 2 == 0 { CE } else { ECT_0 });
    }
    for n in 0..100 {
        let expected = packet(if n % 2 == 0 { CE } else { ECT_0 }, n);
        let heard = inside.find("the next packet", |frame| frame[6..12] == station(1).octets());
        assert!(heard == expected, "packet {n} has a type of service of {:#x}", heard[15]);
    }
    stage.node.is_well();
}

/// The type of service or traffic class of a packet with its Ethernet header.
fn outer_tos(packet: &[u8]) -> u8 {
    if packet[12..14] == IPV4.to_be_bytes() { packet[15] } else { packet[14] << 4 | packet[15] >> 4 }
}
