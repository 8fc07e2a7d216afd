//! Telling a sender that its packet is too large for the network.
//!
//! Enters: the Ethernet frame that does not fit. Leaves: the frame to give back to the endpoint, or nothing where
//! the RFCs forbid an answer. "Fragmentation needed" is ruled by RFC 792, 1191 section 4 and 1812 section 4.3.2,
//! "packet too big" by RFC 4443 sections 2.4 and 3.2. The VTEP has no address on the segment: as Linux's vxlan
//! device does, it answers in the name of the packet's destination. Whether to answer at this rate is the caller's
//! to decide (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)).

use crate::addr::Mac;
use crate::checksum::Sum;
use crate::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, VLAN_LEN, is_vlan};

/// Room for the longest answer: all the VLAN tags that a frame may have, and an IPv6 packet of the minimum MTU.
pub const REPLY_MAX: usize = ETHERNET + TAGS_MAX * VLAN_LEN + V6_MAX;

const ETHERNET: usize = 14;
/// A customer's tag in a provider's (IEEE 802.1ad).
const TAGS_MAX: usize = 2;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Type, code, checksum and the four bytes that hold the MTU: the same length in both families.
const ICMP_HEADER: usize = 8;
/// The longest ICMP error (RFC 1812 section 4.3.2.3).
const V4_MAX: usize = 576;
/// The longest ICMPv6 error (RFC 4443 section 2.4 (c)).
const V6_MAX: usize = 1280;

const PROTO_ICMP: u8 = 1;
const PROTO_ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// Writes the answer to `frame`, an Ethernet frame whose packet is larger than `mtu`, into `out`; says how long it is.
///
/// `None`, and no answer, where a rule forbids it: an IPv4 packet that may be fragmented; a frame or packet to or from
/// a group, or from nobody; an ICMP error; a fragment other than the first; a header that cannot be read to its end.
/// Also `None` if `out` is shorter than the answer: [`REPLY_MAX`] bytes always do.
pub fn too_big(frame: &[u8], mtu: u16, out: &mut [u8]) -> Option<usize> {
    let (dst, src) = (Mac::read(frame)?, Mac::read(frame.get(6..)?)?);
    if !dst.is_station() || !src.is_station() {
        return None;
    }
    let mut link = ETHERNET;
    while link < ETHERNET + TAGS_MAX * VLAN_LEN && is_vlan(read_u16(frame, link - 2)?) {
        link += VLAN_LEN;
    }
    let ethertype = read_u16(frame, link - 2)?;
    let packet = frame.get(link..)?;
    let (head, body) = out.split_at_mut_checked(link)?;
    let len = match ethertype {
        ETHERTYPE_IPV4 => fragmentation_needed(packet, mtu, body)?,
        ETHERTYPE_IPV6 => packet_too_big(packet, mtu, body)?,
        _ => return None,
    };
    head[..6].copy_from_slice(&src.octets());
    head[6..12].copy_from_slice(&dst.octets());
    head[12..].copy_from_slice(&frame[12..link]);
    Some(link + len)
}

fn fragmentation_needed(packet: &[u8], mtu: u16, out: &mut [u8]) -> Option<usize> {
    const DONT_FRAGMENT: u16 = 0x4000;
    const OFFSET: u16 = 0x1fff;
    let header = packet.first_chunk::<V4_HEADER>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let fragment = read_u16(packet, 6)?;
    if header[0] >> 4 != 4 || header_len < V4_HEADER || fragment & DONT_FRAGMENT == 0 || fragment & OFFSET != 0 {
        return None;
    }
    let payload = packet.get(header_len..)?;
    if header[9] == PROTO_ICMP && is_v4_error(*payload.first()?) {
        return None;
    }
    let (src, dst) = (*header[12..].first_chunk::<4>()?, *header[16..].first_chunk::<4>()?);
    if !is_v4_host(src) || !is_v4_host(dst) {
        return None;
    }

    let quote = &packet[..packet.len().min(V4_MAX - V4_HEADER - ICMP_HEADER)];
    let len = V4_HEADER + ICMP_HEADER + quote.len();
    let out = out.get_mut(..len)?;
    let (ip, icmp) = out.split_at_mut(V4_HEADER);
    // Precedence "internetwork control" (RFC 1812 section 4.3.2.5), DF, and so no identification (RFC 6864).
    ip[..4].copy_from_slice(&[0x45, 0xc0, (len >> 8) as u8, len as u8]);
    ip[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
    ip[8..12].copy_from_slice(&[HOP_LIMIT, PROTO_ICMP, 0, 0]);
    ip[12..16].copy_from_slice(&dst);
    ip[16..].copy_from_slice(&src);
    let check = Sum::ZERO.add_bytes(ip).finish();
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    // Destination unreachable (3), fragmentation needed (4).
    write_icmp(icmp, [3, 4], mtu, quote, Sum::ZERO);
    Some(len)
}

fn packet_too_big(packet: &[u8], mtu: u16, out: &mut [u8]) -> Option<usize> {
    let header = packet.first_chunk::<V6_HEADER>()?;
    if header[0] >> 4 != 6 || !may_answer_v6(header[6], &packet[V6_HEADER..]) {
        return None;
    }
    let (src, dst) = (*header[8..].first_chunk::<16>()?, *header[24..].first_chunk::<16>()?);
    if !is_v6_host(src) || !is_v6_host(dst) {
        return None;
    }

    let quote = &packet[..packet.len().min(V6_MAX - V6_HEADER - ICMP_HEADER)];
    let payload_len = (ICMP_HEADER + quote.len()) as u16;
    let len = V6_HEADER + usize::from(payload_len);
    let out = out.get_mut(..len)?;
    let (ip, icmp) = out.split_at_mut(V6_HEADER);
    ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    ip[4..6].copy_from_slice(&payload_len.to_be_bytes());
    ip[6..8].copy_from_slice(&[PROTO_ICMPV6, HOP_LIMIT]);
    ip[8..24].copy_from_slice(&dst);
    ip[24..].copy_from_slice(&src);
    // Packet too big (2), whose code is 0.
    write_icmp(icmp, [2, 0], mtu, quote, Sum::pseudo_v6(dst, src, PROTO_ICMPV6, payload_len.into()));
    Some(len)
}

/// Both families keep the MTU in the last two of the four bytes after the checksum; the first two are zero.
fn write_icmp(icmp: &mut [u8], type_code: [u8; 2], mtu: u16, quote: &[u8], pseudo: Sum) {
    icmp[..2].copy_from_slice(&type_code);
    icmp[2..6].fill(0);
    icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    icmp[ICMP_HEADER..].copy_from_slice(quote);
    let check = pseudo.add_bytes(icmp).finish();
    icmp[2..4].copy_from_slice(&check.to_be_bytes());
}

/// Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122 section 3.2.2).
fn is_v4_error(icmp_type: u8) -> bool {
    matches!(icmp_type, 3 | 4 | 5 | 11 | 12)
}

/// An address that one host may hold (RFC 1122 section 3.2.1.3): not "this network", loopback, class D or class E.
fn is_v4_host(address: [u8; 4]) -> bool {
    !matches!(address[0], 0 | 127 | 224..)
}

fn is_v6_host(address: [u8; 16]) -> bool {
    let special = u128::from_be_bytes(address) <= 1; // unspecified, loopback
    address[0] != 0xff && !special
}

/// Walks the extension headers: no answer to an ICMPv6 error, a redirect, or a fragment that cannot tell.
fn may_answer_v6(mut next: u8, mut rest: &[u8]) -> bool {
    const REDIRECT: u8 = 137;
    loop {
        let header_len = match next {
            PROTO_ICMPV6 => return rest.first().is_some_and(|icmp_type| *icmp_type > 127 && *icmp_type != REDIRECT),
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => rest.get(1).map(|units| (usize::from(*units) + 1) * 8),
            // Authentication header (RFC 4302 section 2.2).
            51 => rest.get(1).map(|units| (usize::from(*units) + 2) * 4),
            // Fragment header: the offset is the upper 13 bits.
            44 if read_u16(rest, 2).is_none_or(|offset| offset & !0b111 != 0) => return false,
            44 => Some(8),
            _ => return true,
        };
        let Some((after, next_header)) = header_len.and_then(|len| Some((rest.get(len..)?, *rest.first()?))) else {
            return false;
        };
        (next, rest) = (next_header, after);
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{
        EtherType, IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder, SlicedPacket, TransportSlice,
        icmpv4::DestUnreachableHeader,
    };
    use proptest::prelude::*;

    const SRC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const DST: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const V6_SRC: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const V6_DST: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    fn tcp_v4(payload: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(SRC, DST).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 3, 4);
        let mut frame = Vec::new();
        builder.write(&mut frame, &vec![0x5a; payload]).unwrap();
        assert_eq!(frame[20] & 0x40, 0x40, "etherparse sets DF");
        frame
    }

    fn udp_v6(payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(SRC, DST)
            .ipv6(V6_SRC, V6_DST, 64)
            .udp(1, 2)
            .write(&mut frame, &vec![1; payload])
            .unwrap();
        frame
    }

    fn answer(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
        let mut out = [0xee; REPLY_MAX];
        too_big(frame, mtu, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn an_ipv4_sender_hears_of_the_mtu() {
        for (payload, quoted) in [(100, 140), (508, 548), (3_000, 548), (60_000, 548)] {
            let frame = tcp_v4(payload);
            let reply = answer(&frame, 1450).unwrap();
            let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
            let link = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
            assert_eq!((link.source, link.destination, link.ether_type), (DST, SRC, EtherType::IPV4));
            let net = sliced.net.unwrap();
            let header = net.ipv4_ref().unwrap().header().to_header();
            assert_eq!((header.source, header.destination), ([10, 0, 0, 2], [10, 0, 0, 1]));
            assert_eq!((header.dscp.value(), header.dont_fragment), (48, true));
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), reply.len() - 14);
            assert!(header.total_len <= 576);
            let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("not ICMP") };
            let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1450 };
            assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(needed));
            assert_eq!(icmp.header().icmp_type.calc_checksum(icmp.payload()), icmp.checksum());
            assert_eq!(icmp.payload(), &frame[14..14 + quoted]);
        }
    }

    #[test]
    fn an_ipv6_sender_hears_of_the_mtu() {
        for (payload, quoted) in [(100, 148), (1184, 1232), (3_000, 1232)] {
            let frame = udp_v6(payload);
            let reply = answer(&frame, 1430).unwrap();
            let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
            let link = sliced.link.unwrap().to_header().unwrap().ethernet2().unwrap();
            assert_eq!((link.source, link.destination, link.ether_type), (DST, SRC, EtherType::IPV6));
            let net = sliced.net.unwrap();
            let header = net.ipv6_ref().unwrap().header().to_header();
            assert_eq!((header.source, header.destination, header.next_header), (V6_DST, V6_SRC, IpNumber::IPV6_ICMP));
            assert!(reply.len() - 14 <= 1280);
            let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
            assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1430 });
            assert!(icmp.is_checksum_valid(V6_DST, V6_SRC));
            assert_eq!(icmp.payload(), &frame[14..14 + quoted]);
        }
    }

    #[test]
    fn vlan_tags_come_back() {
        let plain = answer(&tcp_v4(2_000), 1450).unwrap();
        let (vlan, provider) = ([0x81, 0x00, 0x00, 0x2a], [0x88, 0xa8, 0x00, 0x07]);
        let stacked = [provider, vlan].concat();
        for tags in [&vlan[..], &provider, &[0x91, 0x00, 0x00, 0x07], &stacked] {
            let mut frame = tcp_v4(2_000);
            frame.splice(12..12, tags.iter().copied());
            let reply = answer(&frame, 1450).unwrap();
            assert_eq!(reply[12..12 + tags.len()], *tags);
            assert_eq!(reply[12 + tags.len()..], plain[12..]);
        }
        let mut frame = tcp_v4(2_000);
        frame.splice(12..12, [vlan; 3].concat());
        assert_eq!(answer(&frame, 1450), None, "more tags than any standard has");
    }

    fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    }

    #[test]
    fn rfc_1122_forbids_these_answers() {
        let forbidden = [
            ("group frame", with(tcp_v4(2_000), 0, &[0xff; 6])),
            ("group sender", with(tcp_v4(2_000), 6, &[0x01])),
            ("no sender", with(tcp_v4(2_000), 6, &[0; 6])),
            ("may be fragmented", with(tcp_v4(2_000), 20, &[0, 0])),
            ("later fragment", with(tcp_v4(2_000), 20, &[0x40, 1])),
            ("unspecified source", with(tcp_v4(2_000), 26, &[0; 4])),
            ("loopback source", with(tcp_v4(2_000), 26, &[127, 0, 0, 1])),
            ("multicast source", with(tcp_v4(2_000), 26, &[224, 0, 0, 1])),
            ("multicast destination", with(tcp_v4(2_000), 30, &[239, 1, 1, 1])),
            ("broadcast destination", with(tcp_v4(2_000), 30, &[255; 4])),
            ("no IPv4", with(tcp_v4(2_000), 14, &[0x65])),
            ("short IPv4 header", with(tcp_v4(2_000), 14, &[0x44])),
            ("ARP", with(tcp_v4(2_000), 12, &[0x08, 0x06])),
        ];
        for (why, frame) in forbidden {
            assert_eq!(answer(&frame, 1450), None, "{why}");
        }
        for icmp_type in 0..=255 {
            let mut frame = with(tcp_v4(2_000), 23, &[PROTO_ICMP]);
            frame[34] = icmp_type;
            assert_eq!(answer(&frame, 1450).is_none(), [3, 4, 5, 11, 12].contains(&icmp_type), "type {icmp_type}");
        }
    }

    #[test]
    fn rfc_4443_forbids_these_answers() {
        let forbidden = [
            ("group frame", with(udp_v6(2_000), 0, &[0x33, 0x33])),
            ("unspecified source", with(udp_v6(2_000), 22, &[0; 16])),
            ("multicast source", with(udp_v6(2_000), 22, &[0xff, 0x02])),
            ("multicast destination", with(udp_v6(2_000), 38, &[0xff, 0x02])),
            ("no IPv6", with(udp_v6(2_000), 14, &[0x40])),
            // A fragment header: next header UDP, offset 1 (in units of eight bytes).
            ("later fragment", with(with(udp_v6(2_000), 20, &[44]), 54, &[17, 0, 0, 8])),
            // Destination options that end after the packet.
            ("endless options", with(with(udp_v6(100), 20, &[60]), 54, &[17, 255])),
        ];
        for (why, frame) in forbidden {
            assert_eq!(answer(&frame, 1430), None, "{why}");
        }
        let first = with(with(udp_v6(2_000), 20, &[44]), 54, &[17, 0, 0, 1]);
        assert!(answer(&first, 1430).is_some(), "a first fragment is answered");
        for icmp_type in 0..=255 {
            let icmp = with(with(udp_v6(2_000), 20, &[PROTO_ICMPV6]), 54, &[icmp_type]);
            assert_eq!(answer(&icmp, 1430).is_none(), icmp_type < 128 || icmp_type == 137, "type {icmp_type}");
            // The same behind hop-by-hop options of 16 bytes and an authentication header of 24.
            let hidden = with(with(with(udp_v6(2_000), 20, &[0]), 54, &[51, 1]), 70, &[PROTO_ICMPV6, 4]);
            let hidden = with(hidden, 94, &[icmp_type]);
            assert_eq!(answer(&hidden, 1430).is_some(), answer(&icmp, 1430).is_some(), "type {icmp_type}, hidden");
        }
    }

    #[test]
    fn an_answer_that_finds_no_room_is_none() {
        for frame in [tcp_v4(2_000), udp_v6(2_000)] {
            let whole = answer(&frame, 1400).unwrap();
            for len in 0..whole.len() {
                assert_eq!(too_big(&frame, 1400, &mut vec![0; len]), None);
            }
            assert_eq!(too_big(&frame, 1400, &mut vec![0; whole.len()]), Some(whole.len()));
        }
    }

    #[test]
    fn an_echo_request_is_answered_and_the_answer_is_not() {
        let echo = IcmpEchoHeader { id: 1, seq: 1 };
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(SRC, DST).ipv6(V6_SRC, V6_DST, 64);
        builder.icmpv6_echo_request(echo.id, echo.seq).write(&mut frame, &[0; 2_000]).unwrap();
        let reply = answer(&frame, 1430).unwrap();
        assert_eq!(answer(&reply, 600), None);
        assert_eq!(answer(&answer(&tcp_v4(2_000), 1450).unwrap(), 500), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_answer_is_answered(
            mut frame in prop::collection::vec(any::<u8>(), 0..200),
            v4: bool,
            mtu: u16,
        ) {
            // Random bytes seldom get past the first checks: help them.
            if frame.len() > 22 {
                (frame[0], frame[6]) = (2, 2);
                frame[12..14].copy_from_slice(if v4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
                frame[14] = if v4 { 0x40 | frame[14] & 0x0f } else { 0x60 };
                frame[20] = if v4 { 0x40 } else { [0, 43, 44, 51, 58, 60][usize::from(frame[20]) % 6] };
                frame[21] &= if v4 { 0 } else { 0xff };
            }
            if let Some(reply) = answer(&frame, mtu) {
                prop_assert_eq!(answer(&reply, mtu), None);
            }
        }
    }
}
