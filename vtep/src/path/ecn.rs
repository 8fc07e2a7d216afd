//! Congestion marks over the ends of the tunnel.
//!
//! Enters: the TOS byte (IPv4) or traffic class (IPv6) of the inner and the outer header. Leaves: the outer byte on
//! encapsulation; on decapsulation the inner packet with its mark set right, or the reason why it must be dropped.
//! RFC 6040 rules both: section 4.1 in normal mode, and figure 4 of section 4.2.

use crate::checksum;
use crate::drops::DropReason;

/// The two low bits of the TOS byte or traffic class (RFC 3168 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand congestion marks.
    NotEct = 0b00,
    /// ECN-capable, codepoint 1: in L4S (RFC 9331) another service than codepoint 0.
    Ect1 = 0b01,
    /// ECN-capable, codepoint 0.
    Ect0 = 0b10,
    /// A router on the path met congestion.
    Ce = 0b11,
}

impl Ecn {
    /// The mark in a TOS byte or traffic class.
    #[inline]
    pub const fn of(tos: u8) -> Self {
        match tos & 0b11 {
            0b00 => Ecn::NotEct,
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}

/// The outer TOS byte for a packet with `inner_tos`: its mark, and no DSCP.
///
/// The endpoint's DSCP is not trusted to choose the underlay's service (RFC 2983 section 3.1, the pipe model).
#[inline]
pub const fn encap(inner_tos: u8) -> u8 {
    Ecn::of(inner_tos) as u8
}

/// The mark that the inner packet leaves with (RFC 6040 figure 4).
///
/// # Errors
/// [`DropReason::EcnNotCapable`] where the path met congestion and the inner packet cannot say so: to drop it is the
/// only signal left.
#[inline]
pub const fn decap(inner: Ecn, outer: Ecn) -> Result<Ecn, DropReason> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => Err(DropReason::EcnNotCapable),
        (Ecn::NotEct, _) => Ok(Ecn::NotEct),
        (Ecn::Ect0, Ecn::Ect1) => Ok(Ecn::Ect1),
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Ok(Ecn::Ce),
        (inner, _) => Ok(inner),
    }
}

/// Sets the mark of a decapsulated packet, from its first byte on, as the outer header demands.
///
/// True if the packet was changed; an IPv4 header checksum is kept right (RFC 1624). What is neither IPv4 nor IPv6,
/// or shorter than their header, has no mark to set and is left as it is.
///
/// # Errors
/// As [`decap`]; the packet is unchanged.
#[inline]
pub fn apply(packet: &mut [u8], outer_tos: u8) -> Result<bool, DropReason> {
    let outer = Ecn::of(outer_tos);
    // Nearly every datagram: an outer Not-ECT or ECT(0) changes no inner mark.
    if matches!(outer, Ecn::NotEct | Ecn::Ect0) {
        return Ok(false);
    }
    match packet {
        [version_ihl, tos, rest @ ..] if *version_ihl >> 4 == 4 && rest.len() >= 18 => {
            let inner = Ecn::of(*tos);
            let marked = decap(inner, outer)?;
            if marked == inner {
                return Ok(false);
            }
            let old = u16::from_be_bytes([*version_ihl, *tos]);
            *tos = *tos & !0b11 | marked as u8;
            let new = u16::from_be_bytes([*version_ihl, *tos]);
            // Behind version and TOS: length, id, fragment, TTL and protocol, then the checksum.
            let check = u16::from_be_bytes([rest[8], rest[9]]);
            rest[8..10].copy_from_slice(&checksum::update(check, old, new).to_be_bytes());
            Ok(true)
        }
        [first, second, rest @ ..] if *first >> 4 == 6 && rest.len() >= 38 => {
            // The traffic class lies across the two bytes; its mark is bits 4 and 5 of the second.
            let inner = Ecn::of(*second >> 4);
            let marked = decap(inner, outer)?;
            *second = *second & !0b0011_0000 | (marked as u8) << 4;
            Ok(marked != inner)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    /// RFC 6040 figure 4: rows are the inner mark, columns the outer one, both in the order of [`ALL`].
    const FIGURE_4: [[Option<Ecn>; 4]; 4] = [
        [Some(Ecn::NotEct), Some(Ecn::NotEct), Some(Ecn::NotEct), None],
        [Some(Ecn::Ect0), Some(Ecn::Ect0), Some(Ecn::Ect1), Some(Ecn::Ce)],
        [Some(Ecn::Ect1), Some(Ecn::Ect1), Some(Ecn::Ect1), Some(Ecn::Ce)],
        [Some(Ecn::Ce), Some(Ecn::Ce), Some(Ecn::Ce), Some(Ecn::Ce)],
    ];

    fn cells() -> impl Iterator<Item = (Ecn, Ecn, Option<Ecn>)> {
        let row =
            |(inner, row): (Ecn, [Option<Ecn>; 4])| ALL.into_iter().zip(row).map(move |(o, want)| (inner, o, want));
        ALL.into_iter().zip(FIGURE_4).flat_map(row)
    }

    fn ipv4(tos: u8) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 28, 0xab, 0xcd, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let check = Sum::ZERO.add_bytes(&packet).finish();
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet.extend([7; 8]);
        packet
    }

    fn ipv6(class: u8) -> Vec<u8> {
        let mut packet = vec![0x60 | class >> 4, class << 4 | 0x05, 0x12, 0x34, 0, 4, 59, 64];
        packet.extend([0xfd; 32]);
        packet.extend([7; 4]);
        packet
    }

    #[test]
    fn decapsulation_follows_figure_4() {
        for (inner, outer, want) in cells() {
            assert_eq!(decap(inner, outer).ok(), want, "inner {inner:?}, outer {outer:?}");
        }
    }

    #[test]
    fn the_outer_header_takes_the_mark_and_not_the_dscp() {
        for tos in 0..=255 {
            assert_eq!(encap(tos), tos & 3);
            assert_eq!(Ecn::of(tos) as u8, tos & 3);
        }
    }

    /// All sixteen cells in both families, with every DSCP on both sides: only the two bits (and the IPv4 checksum)
    /// change, and the checksum stays right.
    #[test]
    fn a_packet_gets_its_mark_and_nothing_else() {
        for (inner, outer, want) in cells() {
            for dscp in 0..64_u8 {
                let (tos, outer_tos) = (dscp << 2 | inner as u8, !dscp << 2 | outer as u8);
                for make in [ipv4, ipv6] {
                    let mut packet = make(tos);
                    let changed = apply(&mut packet, outer_tos);
                    let Some(marked) = want else {
                        assert_eq!(changed, Err(DropReason::EcnNotCapable));
                        assert_eq!(packet, make(tos));
                        continue;
                    };
                    assert_eq!(changed, Ok(marked != inner));
                    assert_eq!(packet, make(dscp << 2 | marked as u8), "inner {inner:?}, outer {outer:?}, DSCP {dscp}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_whole_ip_header_is_left_alone() {
        for whole in [ipv4(0), ipv6(0)] {
            let header = if whole[0] >> 4 == 4 { 20 } else { 40 };
            for len in 0..header {
                let mut packet = whole[..len].to_vec();
                assert_eq!(apply(&mut packet, 3), Ok(false));
                assert_eq!(packet, whole[..len]);
            }
        }
        let mut arp = [0, 1, 8, 0, 6, 4, 0, 1].repeat(8);
        assert_eq!(apply(&mut arp, 3), Ok(false));
    }
}
