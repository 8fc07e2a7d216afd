//! The frames that a trace sends on their imagined way: a question for an address, an echo request, a TCP SYN.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder};
use weft_vtep::addr::Mac;
use weft_vtep::frame;

/// Where a frame comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) mac: Mac,
    pub(super) ip: IpAddr,
}

/// What is asked of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// An ICMP echo request.
    Echo,
    /// To open a TCP connection to this port.
    Syn(u16),
}

/// The source port of a SYN, and the identifier of an echo.
const OURS: u16 = 50_000;
const TTL: u8 = 64;
/// What Linux announces.
const WINDOW: u16 = 64_240;

/// The question for the station that has `target`, as the kernel of `from` would ask it. `None` if the two are not of one
/// family.
pub(super) fn question(from: Station, target: IpAddr) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match (from.ip, target) {
        (IpAddr::V4(ours), IpAddr::V4(target)) => {
            let (mac, nobody) = (from.mac.octets(), [0; 6]);
            let arp = ArpPacket::new(
                ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                ArpOperation::REQUEST,
                &mac,
                &ours.octets(),
                &nobody,
                &target.octets(),
            );
            PacketBuilder::ethernet2(mac, Mac::BROADCAST.octets()).arp(arp.ok()?).write(&mut bytes).ok()?;
        }
        (IpAddr::V6(ours), IpAddr::V6(target)) => {
            // RFC 4291 section 2.7.1 and RFC 2464 section 7; RFC 4861 section 4.3 with the source link-layer address.
            let [.., x, y, z] = target.octets();
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));
            let link = [0x33, 0x33, 0xff, x, y, z];
            let body = [&target.octets()[..], &[1, 1], &from.mac.octets()].concat();
            let packet = PacketBuilder::ethernet2(from.mac.octets(), link).ipv6(ours.octets(), group.octets(), 255);
            packet.icmpv6_raw(135, 0, [0; 4]).write(&mut bytes, &body).ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// The station that an answer to a question names, from where it is the answer's sender.
pub(super) fn answered(answer: &[u8]) -> Mac {
    frame::source(answer)
}

/// The frame itself, with an IP packet of `size` bytes or, where that is less, of its headers. A destination of the other
/// family is not known: it counts as unspecified.
pub(super) fn probe(from: Station, to: Station, probe: Probe, size: usize) -> Vec<u8> {
    let ip = if from.ip.is_ipv6() { 40 } else { 20 };
    let transport = if probe == Probe::Echo { 8 } else { 20 };
    let payload = vec![0; size.saturating_sub(ip + transport)];
    let mut bytes = Vec::with_capacity(frame::ETH_LEN + ip + transport + payload.len());
    let ethernet = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets());
    let ip = match (from.ip, to.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), TTL),
        (IpAddr::V4(from), _) => ethernet.ipv4(from.octets(), [0; 4], TTL),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), TTL),
        (IpAddr::V6(from), _) => ethernet.ipv6(from.octets(), [0; 16], TTL),
    };
    // Writing to memory fails for a packet that is too large for its length field alone: the request is bounded.
    let _ = match (probe, from.ip) {
        (Probe::Syn(port), _) => ip.tcp(OURS, port, 1, WINDOW).syn().write(&mut bytes, &payload),
        (Probe::Echo, IpAddr::V4(_)) => ip.icmpv4_echo_request(OURS, 1).write(&mut bytes, &payload),
        (Probe::Echo, IpAddr::V6(_)) => ip.icmpv6_echo_request(OURS, 1).write(&mut bytes, &payload),
    };
    bytes
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const ONE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const TWO: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn stations(v6: bool) -> [Station; 2] {
        let ip = |n: u8| {
            if v6 { IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]) } else { [10, 0, 0, n].into() }
        };
        [Station { mac: ONE, ip: ip(1) }, Station { mac: TWO, ip: ip(2) }]
    }

    #[test]
    fn a_probe_is_as_long_as_asked_and_whole() {
        for v6 in [false, true] {
            let [from, to] = stations(v6);
            for size in [0, 100, 1418, 9000] {
                for kind in [Probe::Echo, Probe::Syn(80)] {
                    let bytes = probe(from, to, kind, size);
                    let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
                    assert!(bytes.len() - frame::ETH_LEN == size || (size == 0 && bytes.len() < 90), "{}", bytes.len());
                    assert_eq!((frame::destination(&bytes), frame::source(&bytes)), (TWO, ONE));
                    assert_eq!(matches!(parsed.net, Some(NetSlice::Ipv6(_))), v6);
                    assert_eq!(matches!(parsed.transport, Some(TransportSlice::Tcp(_))), kind != Probe::Echo);
                }
            }
        }
    }

    #[test]
    fn a_question_is_asked_within_one_family() {
        let ([v4, _], [v6, other]) = (stations(false), stations(true));
        assert_eq!(question(v4, v6.ip), None);
        assert_eq!(frame::destination(&question(v4, [10, 0, 0, 9].into()).unwrap()), Mac::BROADCAST);
        let asked = question(v6, other.ip).unwrap();
        assert_eq!(frame::destination(&asked), Mac::new([0x33, 0x33, 0xff, 0, 0, 2]));
    }
}
