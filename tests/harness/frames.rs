//! Frames and datagrams made by hand, independently of the code under test.

use etherparse::PacketBuilder;
use weft_vtep::addr::Mac;

/// The local experimental EtherType 1 (IEEE 802 section 9.2.3): no kernel sends it by itself.
pub(crate) const MARK: u16 = 0x88b5;
/// IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// IPv6.
pub(crate) const IPV6: u16 = 0x86dd;

/// A station that no endpoint is: behind a VTEP made by hand.
pub(crate) const fn station(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac::new([0x02, 0xfe, 0xed, a, b, c])
}

/// An Ethernet frame.
pub(crate) fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.octets()[..], &source.octets(), &ethertype.to_be_bytes(), payload].concat()
}

/// A frame of the smallest size that carries nothing but a number.
pub(crate) fn mark(destination: Mac, source: Mac, number: u32) -> Vec<u8> {
    let mut payload = [0; 46];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    ethernet(destination, source, MARK, &payload)
}

/// The number of a [`mark`], also of one in a [`vxlan`] datagram from byte 8 on.
pub(crate) fn number(frame: &[u8]) -> Option<u32> {
    let behind = frame.get(12..)?.strip_prefix(&MARK.to_be_bytes())?;
    Some(u32::from_be_bytes(*behind.first_chunk()?))
}

/// The numbers of all marks among `frames`.
pub(crate) fn numbers(frames: &[Vec<u8>]) -> Vec<u32> {
    frames.iter().filter_map(|frame| number(frame)).collect()
}

/// The frame with an 802.1Q tag.
pub(crate) fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0], &vlan.to_be_bytes(), rest].concat()
}

/// A VXLAN datagram: RFC 7348 section 5.
pub(crate) fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[0x08, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat()
}

/// An IPv4 frame with a UDP datagram from 10.77.9.9 to 10.77.9.8, checksums right, with this type of service.
pub(crate) fn udp4(destination: Mac, source: Mac, tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [10, 77, 9, 9], [10, 77, 9, 8]).unwrap();
    ip.dscp = (tos >> 2).try_into().unwrap();
    ip.ecn = (tos & 3).try_into().unwrap();
    let builder = PacketBuilder::ethernet2(source.octets(), destination.octets());
    let builder = builder.ip(etherparse::IpHeaders::Ipv4(ip, Default::default())).udp(4000, 5000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// As [`udp4`] over IPv6, with this traffic class.
pub(crate) fn udp6(destination: Mac, source: Mac, class: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = etherparse::Ipv6Header { hop_limit: 64, ..Default::default() };
    ip.traffic_class = class;
    (ip.source, ip.destination) = ([0xfd; 16], [0xfe; 16]);
    ip.next_header = etherparse::IpNumber::UDP;
    let builder = PacketBuilder::ethernet2(source.octets(), destination.octets());
    let builder = builder.ip(etherparse::IpHeaders::Ipv6(ip, Default::default())).udp(4000, 5000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}
