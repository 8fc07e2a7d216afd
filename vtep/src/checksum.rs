//! The Internet checksum: sums that can be put together, and updates that need no second look at the data.
//!
//! Enters: header fields and byte strings. Leaves: the 16 bits of a checksum field, as a number (write it with
//! `to_be_bytes`). RFC 1071 rules the sum, RFC 1624 the update, RFC 768 and RFC 8200 section 8.1 the two
//! pseudo-headers and the rule that a UDP checksum of zero is sent as 0xffff.

use std::sync::OnceLock;

/// Bytes that are summed at once.
pub const BLOCK: usize = 64;
/// Byte strings of fewer blocks are not worth a call.
const WORTH_A_CALL: usize = 4;

/// What sums long byte strings in the place of the portable code, if [`accelerate`] was told something.
static FASTER: OnceLock<SumBlocks> = OnceLock::new();

/// Adds up the native 32-bit words of some blocks, or what is congruent to that modulo 2¹⁶ − 1: at most 2³⁶ for each block.
pub type SumBlocks = fn(&[[u8; BLOCK]]) -> u64;

/// From now on long byte strings are summed by `sum`, if this is the first call. Only the caller knows what this processor
/// can do beyond what everything here was compiled for.
pub fn accelerate(sum: SumBlocks) {
    let _ = FASTER.set(sum);
}

/// A one's complement sum that is not folded yet.
///
/// The words are added in the machine's byte order, which RFC 1071 section 2 (B) allows, and turned round once in
/// [`fold`](Sum::fold). Sixteen gigabytes of data fit before the accumulator could overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// The pseudo-header of TCP, UDP or ICMP over IPv4; `len` is the length of the upper-layer header and data.
    #[inline]
    pub const fn pseudo_v4(src: [u8; 4], dst: [u8; 4], proto: u8, len: u32) -> Self {
        Sum(u32::from_ne_bytes(src) as u64 + u32::from_ne_bytes(dst) as u64).add_u32(len).add_u16(proto as u16)
    }

    /// The pseudo-header over IPv6; `len` is the upper-layer packet length, extension headers not counted.
    #[inline]
    pub fn pseudo_v6(src: [u8; 16], dst: [u8; 16], proto: u8, len: u32) -> Self {
        Sum::ZERO.add_bytes(&src).add_bytes(&dst).add_u32(len).add_u16(proto.into())
    }

    /// Adds a byte string that starts at an even offset of what is summed.
    ///
    /// An odd length counts as padded with one zero byte, so only the last string may have one.
    // One chain of add-with-carry for each 64 bytes; the processor runs several at once. About 35 GB/s, from 100 bytes
    // on; u32 lanes widened to u64, which LLVM turns into SSE2, are up to a fifth slower on long strings, half as fast there.
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let mut acc = self.0;
        let (blocks, rest) = bytes.as_chunks();
        acc += match FASTER.get() {
            Some(faster) if blocks.len() >= WORTH_A_CALL => faster(blocks),
            _ => sum_blocks(blocks),
        };
        let (words, rest) = rest.as_chunks::<8>();
        acc += chain(words);
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            acc += u64::from(u32::from_ne_bytes(*word));
        }
        let (halves, rest) = rest.as_chunks::<2>();
        for half in halves {
            acc += u64::from(u16::from_ne_bytes(*half));
        }
        if let [last] = rest {
            acc += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(acc)
    }

    /// Adds a 16-bit field.
    #[inline]
    pub const fn add_u16(self, value: u16) -> Self {
        Sum(self.0 + value.to_be() as u64)
    }

    /// Adds a 32-bit field that starts at an even offset.
    #[inline]
    pub const fn add_u32(self, value: u32) -> Self {
        Sum(self.0 + value.to_be() as u64)
    }

    /// Joins two sums, each of which started at an even offset.
    #[inline]
    pub const fn combine(self, other: Sum) -> Self {
        Sum(self.0 + other.0)
    }

    /// The sum in 16 bits, not complemented: what a partial checksum (NEEDS_CSUM) carries in its field.
    #[inline]
    pub const fn fold(self) -> u16 {
        // Two 32-bit halves leave at most 33 bits, then 17 bits and a bit more, then 16 and one carry.
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// The checksum field of an IPv4, TCP, ICMP or ICMPv6 header whose field was zero or left out in the sum.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// The checksum field of a UDP header: as [`finish`](Sum::finish), but never zero, which would mean "none".
    #[inline]
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            check => check,
        }
    }

    /// True when the sum covers its own checksum field and that field is right.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The portable [`SumBlocks`].
#[inline]
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    blocks.iter().map(|block| chain(block.as_chunks().0)).sum()
}

/// The one's complement sum of 64-bit words, as one of 32-bit words: at most 33 bits and a bit more.
#[inline]
fn chain(words: &[[u8; 8]]) -> u64 {
    let (mut sum, mut carry) = (0_u64, false);
    for word in words {
        (sum, carry) = sum.carrying_add(u64::from_ne_bytes(*word), carry);
    }
    (sum >> 32) + (sum & 0xffff_ffff) + u64::from(carry)
}

/// The checksum after one covered 16-bit field changed from `old` to `new` (RFC 1624 equation 3).
///
/// Over UDP the caller leaves a zero field ("none") alone.
#[inline]
pub const fn update(check: u16, old: u16, new: u16) -> u16 {
    Sum::ZERO.add_u16(!check).add_u16(!old).add_u16(new).finish()
}

/// The checksum after one covered 32-bit field at an even offset changed from `old` to `new`.
#[inline]
pub const fn update32(check: u16, old: u32, new: u32) -> u16 {
    Sum::ZERO.add_u16(!check).add_u32(!old).add_u32(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, word by word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let sum = Sum::ZERO.add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.finish(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        // The case that equation 4 of RFC 1141 got wrong: the result is 0x0000, not 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn folding_the_largest_accumulator_loses_no_carry() {
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
        assert_eq!(Sum(0x0001_fffe_ffff_ffff).fold(), slow(&0x0001_fffe_ffff_ffff_u64.to_ne_bytes()));
        assert_eq!(Sum::ZERO.fold(), 0);
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        assert_eq!(Sum::ZERO.add_u16(0xffff).finish(), 0);
        assert_eq!(Sum::ZERO.add_u16(0xffff).finish_udp(), 0xffff);
        assert_eq!(Sum::ZERO.add_u16(0x1234).finish_udp(), !0x1234);
    }

    #[test]
    fn every_length_up_to_three_blocks_and_every_alignment() {
        let bytes: Vec<u8> = (0..200_u8).map(|i| i.wrapping_mul(167) ^ 0x5a).collect();
        for start in 0..33 {
            for len in 0..=100 {
                let part = &bytes[start..start + len];
                assert_eq!(Sum::ZERO.add_bytes(part).fold(), slow(part), "start {start} length {len}");
            }
        }
    }

    #[test]
    fn pseudo_headers_are_the_sum_of_their_bytes() {
        let (src, dst) = ([192, 0, 2, 255], [203, 0, 113, 254]);
        let v4 = [&src[..], &dst, &[0, 17], &65_000_u16.to_be_bytes()].concat();
        assert_eq!(Sum::pseudo_v4(src, dst, 17, 65_000).fold(), slow(&v4));
        let (src, dst) = ([0xfd; 16], [0x9a; 16]);
        let v6 = [&src[..], &dst, &70_000_u32.to_be_bytes(), &[0, 0, 0, 6]].concat();
        assert_eq!(Sum::pseudo_v6(src, dst, 6, 70_000).fold(), slow(&v6));
    }

    proptest! {
        #[test]
        fn sums_equal_the_slow_model(bytes in prop::collection::vec(any::<u8>(), 0..9_000), start in 0_usize..64) {
            let bytes = &bytes[start.min(bytes.len())..];
            prop_assert_eq!(Sum::ZERO.add_bytes(bytes).fold(), slow(bytes));
        }

        #[test]
        fn sums_combine_at_every_even_cut(bytes in prop::collection::vec(any::<u8>(), 0..3_000), cut in 0_usize..1_500) {
            let (head, tail) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::ZERO.add_bytes(head).add_bytes(tail).fold(), slow(&bytes));
            prop_assert_eq!(Sum::ZERO.add_bytes(tail).combine(Sum::ZERO.add_bytes(head)).fold(), slow(&bytes));
        }

        #[test]
        fn fields_are_added_as_their_wire_bytes(a: u16, b: u32, acc: u32) {
            let bytes = [&a.to_be_bytes()[..], &b.to_be_bytes(), &acc.to_be_bytes()].concat();
            prop_assert_eq!(Sum::ZERO.add_u16(a).add_u32(b).add_u32(acc).fold(), slow(&bytes));
        }

        #[test]
        fn an_update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 8..64), at in 0_usize..64, new: u32) {
            let before = Sum::ZERO.add_bytes(&bytes).finish();
            let at = (at % (bytes.len() - 3)) & !1;
            let old = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
            // Equal as a checksum: a receiver that sums data and field sees all ones.
            let whole = Sum::ZERO.add_bytes(&bytes);
            prop_assert!(whole.add_u16(update32(before, old, new)).is_valid());
            let halves = update(before, (old >> 16) as u16, (new >> 16) as u16);
            prop_assert!(whole.add_u16(update(halves, old as u16, new as u16)).is_valid());
        }

        #[test]
        fn one_flipped_bit_is_seen(mut bytes in prop::collection::vec(any::<u8>(), 2..200), bit in 0_usize..1_600) {
            let check = Sum::ZERO.add_bytes(&bytes).finish();
            prop_assert!(Sum::ZERO.add_bytes(&bytes).add_u16(check).is_valid());
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Sum::ZERO.add_bytes(&bytes).add_u16(check).is_valid());
        }
    }
}
