//! The inner MTU: what the underlay's MTU leaves after the tunnel's headers.
//!
//! Enters: the underlay's MTU and the kind of tunnel. Leaves: the largest inner IP packet. RFC 7348 section 4.3
//! forbids to fragment at the VTEP, so an inner packet that does not fit is lost: a wrong figure here lets ping pass
//! and starves TCP.

/// Outer IPv4 header without options. The outer Ethernet header is not part of the underlay's MTU.
const IPV4: u16 = 20;
/// Outer IPv6 header.
const IPV6: u16 = 40;
/// Outer UDP header.
const UDP: u16 = 8;
/// VXLAN header (RFC 7348 section 5).
const VXLAN: u16 = 8;
/// Inner Ethernet header without a VLAN tag: the inner MTU does not count it, the underlay does. No FCS is carried.
const ETHERNET: u16 = 14;
/// Header of a sealed datagram: type, version, lane, receiver index, counter.
const SEAL_HEADER: u16 = 16;
/// Tag of the AEAD.
const SEAL_TAG: u16 = 16;

/// Overhead of a plain tunnel over IPv4: 50 bytes.
pub const PLAIN_V4: u16 = IPV4 + UDP + VXLAN + ETHERNET;
/// Overhead of a plain tunnel over IPv6: 70 bytes.
pub const PLAIN_V6: u16 = IPV6 + UDP + VXLAN + ETHERNET;
/// Overhead of a sealed tunnel over IPv4: 82 bytes.
pub const SEALED_V4: u16 = PLAIN_V4 + SEAL_HEADER + SEAL_TAG;
/// Overhead of a sealed tunnel over IPv6: 102 bytes.
pub const SEALED_V6: u16 = PLAIN_V6 + SEAL_HEADER + SEAL_TAG;

/// The least MTU of a segment: every IPv4 host may count on datagrams of 576 bytes (RFC 791 section 3.1).
pub const MIN_V4: u16 = 576;
/// The least MTU of a segment that carries IPv6 (RFC 8200 section 5).
pub const MIN_V6: u16 = 1280;

/// The outer headers before a datagram's payload.
pub const fn udp_ip(underlay_is_v6: bool) -> usize {
    if underlay_is_v6 { (IPV6 + UDP) as usize } else { (IPV4 + UDP) as usize }
}

/// The bytes that the tunnel adds to an inner IP packet.
pub const fn overhead(underlay_is_v6: bool, sealed: bool) -> u16 {
    match (underlay_is_v6, sealed) {
        (false, false) => PLAIN_V4,
        (true, false) => PLAIN_V6,
        (false, true) => SEALED_V4,
        (true, true) => SEALED_V6,
    }
}

/// The inner MTU over an underlay with `underlay_mtu`.
///
/// `None` where less than [`MIN_V4`] would be left. A network with an IPv6 subnet also needs [`MIN_V6`]: whether it
/// has one is the caller's to know.
pub const fn inner_mtu(underlay_mtu: u16, underlay_is_v6: bool, sealed: bool) -> Option<u16> {
    match underlay_mtu.checked_sub(overhead(underlay_is_v6, sealed)) {
        Some(mtu) if mtu >= MIN_V4 => Some(mtu),
        _ => None,
    }
}

/// The underlay MTU that an inner MTU needs; `None` where no IP packet is that large.
pub const fn underlay_mtu(inner_mtu: u16, underlay_is_v6: bool, sealed: bool) -> Option<u16> {
    inner_mtu.checked_add(overhead(underlay_is_v6, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overheads_are_those_of_the_documentation() {
        assert_eq!([PLAIN_V4, PLAIN_V6, SEALED_V4, SEALED_V6], [50, 70, 82, 102]);
    }

    #[test]
    fn an_ethernet_underlay_leaves_what_docker_users_know() {
        assert_eq!(inner_mtu(1500, false, false), Some(1450));
        assert_eq!(inner_mtu(1500, true, false), Some(1430));
        assert_eq!(inner_mtu(1500, false, true), Some(1418));
        assert_eq!(inner_mtu(1500, true, true), Some(1398));
        assert_eq!(inner_mtu(9000, false, false), Some(8950));
    }

    #[test]
    fn an_underlay_that_is_too_small_is_refused() {
        for (v6, sealed) in [(false, false), (true, false), (false, true), (true, true)] {
            let least = MIN_V4 + overhead(v6, sealed);
            assert_eq!(inner_mtu(least, v6, sealed), Some(MIN_V4));
            assert_eq!(inner_mtu(least - 1, v6, sealed), None);
            assert_eq!(inner_mtu(0, v6, sealed), None);
        }
    }

    #[test]
    fn both_directions_agree() {
        for (v6, sealed) in [(false, false), (true, false), (false, true), (true, true)] {
            for mtu in MIN_V4..=u16::MAX {
                match underlay_mtu(mtu, v6, sealed) {
                    Some(underlay) => assert_eq!(inner_mtu(underlay, v6, sealed), Some(mtu)),
                    None => assert!(mtu > u16::MAX - overhead(v6, sealed)),
                }
            }
        }
    }
}
