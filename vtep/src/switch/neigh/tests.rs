//! Questions made by another library, and the rules that forbid an answer.

use etherparse::{
    EtherType, Icmpv6Type, PacketBuilder, SlicedPacket, TransportSlice, icmpv6::NeighborAdvertisementHeader,
};
use proptest::prelude::*;

use super::*;

const ASKING: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const WANTED: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const ASKING_V4: [u8; 4] = [10, 0, 0, 1];
const WANTED_V4: [u8; 4] = [10, 0, 0, 2];
const ASKING_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const WANTED_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 2];

fn table() -> Neighbors {
    let table = Neighbors::default();
    for (v4, v6, mac) in [(ASKING_V4, ASKING_V6, ASKING), (WANTED_V4, WANTED_V6, WANTED)] {
        table.set(v4.into(), mac);
        table.set(v6.into(), mac);
    }
    table
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = [&[0xff; 6], &ASKING.octets()[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    frame.extend([&ASKING.octets()[..], &sender, &[0; 6], &target, &[0; 18]].concat());
    assert_eq!(frame.len(), 60);
    frame
}

/// A message in an IPv6 packet to the wanted address's solicited-node group, its checksum right.
fn icmpv6(kind: u8, hops: u8, from: [u8; 16], target: [u8; 16], options: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = target;
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    let body = [&target, options].concat();
    let builder = PacketBuilder::ethernet2(ASKING.octets(), [0x33, 0x33, 0xff, a, b, c]).ipv6(from, group, hops);
    let mut frame = Vec::new();
    builder.icmpv6_raw(kind, 0, [0; 4]).write(&mut frame, &body).unwrap();
    frame
}

fn source_link(mac: Mac) -> Vec<u8> {
    [&[1, 1][..], &mac.octets()].concat()
}

fn solicitation() -> Vec<u8> {
    icmpv6(135, 255, ASKING_V6, WANTED_V6, &source_link(ASKING))
}

fn answered(frame: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = frame.to_vec();
    let len = answer(&mut bytes, false, &table());
    if len.is_none() {
        assert_eq!(bytes, frame, "what is not answered is not touched");
    }
    len.map(|len| bytes[..len].to_vec())
}

#[test]
fn an_arp_request_becomes_its_reply() {
    let reply = answered(&arp(1, ASKING_V4, WANTED_V4)).unwrap();
    let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
    let link = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
    assert_eq!((link.source, link.destination, link.ether_type), (WANTED.octets(), ASKING.octets(), EtherType::ARP));
    let want = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &WANTED.octets(), &WANTED_V4, &ASKING.octets(), &ASKING_V4].concat();
    assert_eq!(reply[14..], want);
}

#[test]
fn a_solicitation_becomes_its_advertisement() {
    // A nonce and an unknown option are no hindrance.
    for more in [vec![], [[14, 1, 9, 9, 9, 9, 9, 9], [200, 1, 0, 0, 0, 0, 0, 0]].concat()] {
        let options = [source_link(ASKING), more].concat();
        let reply = answered(&icmpv6(135, 255, ASKING_V6, WANTED_V6, &options)).unwrap();
        let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
        let link = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
        assert_eq!((link.source, link.destination), (WANTED.octets(), ASKING.octets()));
        let net = sliced.net.unwrap();
        let header = net.ipv6_ref().unwrap().header().to_header();
        assert_eq!((header.source, header.destination, header.hop_limit), (WANTED_V6, ASKING_V6, 255));
        assert_eq!(usize::from(header.payload_length), reply.len() - 54);
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
        assert!(icmp.is_checksum_valid(WANTED_V6, ASKING_V6));
        let flags = NeighborAdvertisementHeader { router: false, solicited: true, r#override: true };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::NeighborAdvertisement(flags));
        assert_eq!(icmp.payload(), [&WANTED_V6[..], &[2, 1], &WANTED.octets()].concat());
    }
}

fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn arp_that_is_for_the_members_is_left_to_them() {
    let passes = [
        ("probe", arp(1, [0; 4], WANTED_V4)),
        ("announcement", arp(1, WANTED_V4, WANTED_V4)),
        ("reply", arp(2, ASKING_V4, WANTED_V4)),
        ("unknown address", arp(1, ASKING_V4, [169, 254, 1, 1])),
        ("its own address", arp(1, [10, 0, 0, 9], ASKING_V4)),
        ("to a multicast group", with(arp(1, ASKING_V4, WANTED_V4), 0, &[1, 0, 0x5e, 0, 0, 1])),
        ("in another's name", with(arp(1, ASKING_V4, WANTED_V4), 22, &[2, 0, 0, 0, 0, 7])),
        ("other hardware", with(arp(1, ASKING_V4, WANTED_V4), 15, &[6])),
        ("truncated", arp(1, ASKING_V4, WANTED_V4)[..41].to_vec()),
        (
            "tagged",
            [&arp(1, ASKING_V4, WANTED_V4)[..12], &[0x81, 0, 0, 5], &arp(1, ASKING_V4, WANTED_V4)[12..]].concat(),
        ),
    ];
    for (why, frame) in passes {
        assert_eq!(answered(&frame), None, "{why}");
    }
}

#[test]
fn nd_that_is_for_the_members_is_left_to_them() {
    let link = source_link(ASKING);
    let v6 = |last: u8| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let passes = [
        ("probe for a duplicate", icmpv6(135, 255, [0; 16], WANTED_V6, &[])),
        ("probe with a nonce", icmpv6(135, 255, [0; 16], WANTED_V6, &[14, 1, 1, 2, 3, 4, 5, 6])),
        ("unsolicited advertisement", icmpv6(136, 255, ASKING_V6, WANTED_V6, &link)),
        ("unknown address", icmpv6(135, 255, ASKING_V6, v6(9), &link)),
        ("its own address", icmpv6(135, 255, v6(1), ASKING_V6, &link)),
        ("from outside", icmpv6(135, 254, ASKING_V6, WANTED_V6, &link)),
        ("no link-layer address", icmpv6(135, 255, ASKING_V6, WANTED_V6, &[])),
        ("in another's name", icmpv6(135, 255, ASKING_V6, WANTED_V6, &source_link(WANTED))),
        ("endless options", icmpv6(135, 255, ASKING_V6, WANTED_V6, &[&link[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat())),
        (
            "options past the end",
            icmpv6(135, 255, ASKING_V6, WANTED_V6, &[&link[..], &[1, 9, 0, 0, 0, 0, 0, 0]].concat()),
        ),
        ("wrong checksum", with(solicitation(), 57, &[solicitation()[57] ^ 1])),
        ("another code", with(solicitation(), 55, &[1])),
        ("unicast packet", with(solicitation(), 38, &WANTED_V6)),
        ("from a group", with(solicitation(), 22, &[0xff])),
        ("no IPv6", with(solicitation(), 14, &[0x40])),
        ("truncated", solicitation()[..85].to_vec()),
    ];
    for (why, frame) in passes {
        assert_eq!(answered(&frame), None, "{why}");
    }
}

#[test]
fn a_checksum_left_to_an_offload_is_not_judged() {
    let mut frame = with(solicitation(), 56, &[0x12, 0x34]);
    assert_eq!(answer(&mut frame, true, &table()), Some(86));
}

#[test]
fn an_address_moves_and_goes() {
    let table = table();
    table.set(WANTED_V4.into(), ASKING);
    assert_eq!(table.lookup(WANTED_V4.into()), Some(ASKING));
    table.remove(WANTED_V4.into());
    assert_eq!(table.lookup(WANTED_V4.into()), None);
}

#[test]
fn nothing_is_allocated_for_an_answer() {
    let (table, mut frames) = (table(), [arp(1, ASKING_V4, WANTED_V4), solicitation(), arp(1, ASKING_V4, [9; 4])]);
    let mut lens = [None; 3];
    let allocated = allocation_counter::measure(|| {
        for (len, frame) in lens.iter_mut().zip(&mut frames) {
            *len = answer(frame, false, &table);
        }
    });
    assert_eq!((lens, allocated.count_total), ([Some(42), Some(86), None], 0));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_answer_is_answered(
        start in prop::sample::select(vec![arp(1, ASKING_V4, WANTED_V4), solicitation()]),
        changes in prop::collection::vec((0_usize..100, any::<u8>()), 0..6),
        len in 0_usize..100,
        partial: bool,
    ) {
        let mut frame = start;
        for (at, byte) in changes {
            if let Some(old) = frame.get_mut(at) {
                *old = byte;
            }
        }
        frame.truncate(len);
        if let Some(len) = answer(&mut frame, partial, &table()) {
            frame.truncate(len);
            prop_assert_eq!(answer(&mut frame, partial, &table()), None);
        }
    }
}
