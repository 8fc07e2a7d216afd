//! The VXLAN header (RFC 7348 section 5).
//!
//! ```text
//!  0                   1                   2                   3
//! |R|R|R|R|I|R|R|R|            Reserved                           |
//! |                VXLAN Network Identifier (VNI) |   Reserved    |
//! ```

use crate::addr::Vni;
use crate::drops::DropReason;
use crate::frame::{ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, be16};

/// Bytes of the header.
pub const LEN: usize = 8;
/// The UDP port that IANA assigned.
pub const PORT: u16 = 4789;
/// The I flag: the VNI is valid.
pub const FLAG_VNI: u8 = 0x08;

const FLAGS: usize = 0;
const VNI: usize = 4;

/// The header for `vni`: the I flag set, all reserved bits zero.
#[inline]
pub const fn header(vni: Vni) -> [u8; LEN] {
    let [_, a, b, c] = vni.get().to_be_bytes();
    [FLAG_VNI, 0, 0, 0, a, b, c, 0]
}

/// Reads the VNI off a datagram's payload. Reserved bits are ignored, as the RFC demands.
///
/// # Errors
/// [`DropReason::OuterTruncated`], [`DropReason::NotVxlan`] without the I flag, and [`DropReason::UnknownVni`] for VNI 0,
/// which no network has.
#[inline]
pub fn parse(datagram: &[u8]) -> Result<Vni, DropReason> {
    let Some(&first) = datagram.get(FLAGS) else { return Err(DropReason::OuterTruncated) };
    if first & FLAG_VNI == 0 {
        return Err(DropReason::NotVxlan);
    }
    let Some(header) = datagram.first_chunk::<LEN>() else { return Err(DropReason::OuterTruncated) };
    let vni = u32::from_be_bytes([0, header[VNI], header[VNI + 1], header[VNI + 2]]);
    Vni::new(vni).ok_or(DropReason::UnknownVni)
}

/// True when `message`, which the kernel says is made of datagrams of `segment` bytes, is one datagram all the same.
///
/// A kernel VTEP on the same machine may hand over an inner UDP super-frame uncut; the size that UDP_GRO then reports is
/// the inner datagrams'. Told by the inner IP header, which claims all of the message.
pub fn is_uncut(message: &[u8], segment: usize) -> bool {
    if message.len() <= segment || parse(message).is_err() {
        return false;
    }
    let claimed = |at: usize| usize::from(be16(message, at));
    let l3 = LEN + ETH_LEN;
    let packet = match be16(message, l3 - 2) {
        ETHERTYPE_IPV4 => claimed(l3 + 2),
        ETHERTYPE_IPV6 => 40 + claimed(l3 + 4),
        _ => return false,
    };
    let first = segment - l3.min(segment);
    packet > first && l3 + packet == message.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        for vni in [1, 0xfffffd, 0xfffffe, 0xffffff] {
            let vni = Vni::new(vni).unwrap();
            assert_eq!(parse(&header(vni)), Ok(vni));
        }
    }

    #[test]
    fn reserved_bits_are_zero_on_transmit_and_ignored_on_receipt() {
        let vni = Vni::new(0x123456).unwrap();
        let clean = header(vni);
        assert_eq!(clean, [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
        for bit in (0..64).filter(|bit| *bit != 4 && !(32..56).contains(bit)) {
            let mut dirty = clean;
            dirty[bit / 8] |= 0x80 >> (bit % 8);
            assert_eq!(parse(&dirty), Ok(vni), "bit {bit}");
        }
    }

    #[test]
    fn bad_headers_have_their_own_reasons() {
        let good = header(Vni::new(7).unwrap());
        assert_eq!(parse(&[]), Err(DropReason::OuterTruncated));
        for len in 1..LEN {
            assert_eq!(parse(&good[..len]), Err(DropReason::OuterTruncated), "length {len}");
        }
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 7, 0]), Err(DropReason::NotVxlan));
        assert_eq!(parse(&[0x80, 1, 0, 0, 0, 0, 7, 0]), Err(DropReason::NotVxlan));
        assert_eq!(parse(&[8, 0, 0, 0, 0, 0, 0, 0]), Err(DropReason::UnknownVni));
    }
}
