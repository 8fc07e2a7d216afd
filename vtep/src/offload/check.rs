//! Inner transport checksums: verified on receipt, finished on transmit.
//!
//! A kernel VXLAN peer on a local veth hands over inner packets whose checksum field holds only the pseudo-header sum,
//! because no wire was ever meant to see them. They are told apart from damage here, and only here.

use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{ETH_LEN, Layout, Network, Transport, be16, put16};

/// Offset of the checksum field from the TCP header.
pub(crate) const TCP_CHECK: usize = 16;
/// Offset of the checksum field from the UDP header.
pub(crate) const UDP_CHECK: usize = 6;

/// What the transport checksum of a received frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Complete and right.
    Verified,
    /// The field holds the pseudo-header sum: the sender left the rest to an offload.
    Partial,
    /// There is none to verify: no TCP or UDP, or UDP without checksum.
    Absent,
    /// Wrong. The frame is delivered as it is, alone: the endpoint's own stack refuses and counts it.
    Wrong,
}

impl Transport {
    /// The IP protocol number; 0 for what the VTEP does not look into.
    #[inline]
    pub(crate) fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Other => 0,
        }
    }

    /// Where the checksum field lies in the transport header.
    #[inline]
    pub(crate) fn check_offset(self) -> usize {
        if self == Transport::Udp { UDP_CHECK } else { TCP_CHECK }
    }
}

/// The pseudo-header sum for a transport segment of `len` bytes.
#[inline]
pub(crate) fn pseudo(frame: &[u8], layout: &Layout, len: usize) -> Sum {
    let protocol = layout.transport.number();
    let addresses = layout.addresses(frame);
    match layout.network {
        Network::V4 | Network::V6 => Sum::ZERO.add_bytes(addresses).add_u16(u16::from(protocol)).add_u32(len as u32),
        Network::Other => Sum::ZERO,
    }
}

/// Verifies the transport checksum of a frame with the given layout.
#[inline]
pub fn verify(frame: &[u8], layout: &Layout) -> Check {
    if layout.transport == Transport::Other {
        return Check::Absent;
    }
    let segment = &frame[layout.l4..layout.end];
    let field = be16(segment, layout.transport.check_offset());
    if field == 0 && layout.transport == Transport::Udp {
        return Check::Absent;
    }
    let pseudo = pseudo(frame, layout, segment.len());
    if pseudo.add_bytes(segment).is_valid() {
        Check::Verified
    } else if field == pseudo.fold() {
        Check::Partial
    } else {
        Check::Wrong
    }
}

/// True where the checksum field holds the pseudo-header sum: what [`verify`] calls partial, unless the sum of all the
/// rest happens to be zero. Reads no payload.
#[inline]
pub fn looks_partial(frame: &[u8], layout: &Layout) -> bool {
    let field = layout.l4 + layout.transport.check_offset();
    layout.transport != Transport::Other && be16(frame, field) == pseudo(frame, layout, layout.end - layout.l4).fold()
}

/// Finishes the checksum that a device left partial: from `start`, the field at `start + offset`.
///
/// Zero becomes 0xffff, as Linux does for every protocol: over UDP zero would mean "none", elsewhere they are equal.
///
/// # Errors
/// [`DropReason::TapOffload`] when the field lies outside of the frame, or when what is summed starts in the Ethernet
/// header: an endpoint could have its addresses rewritten after they were judged. The frame is unchanged.
#[inline]
pub fn finish(frame: &mut [u8], start: u16, offset: u16) -> Result<(), DropReason> {
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
    if start < ETH_LEN || field + 2 > frame.len() {
        return Err(DropReason::TapOffload);
    }
    let check = Sum::ZERO.add_bytes(&frame[start..]).finish_udp();
    put16(frame, field, check);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn frames(payload: &[u8]) -> [Vec<u8>; 4] {
        let eth = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let mut out = [const { Vec::new() }; 4];
        eth().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut out[0], payload).unwrap();
        eth().ipv6([1; 16], [2; 16], 64).udp(1, 2).write(&mut out[1], payload).unwrap();
        eth().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 9, 100).write(&mut out[2], payload).unwrap();
        eth().ipv6([1; 16], [2; 16], 64).tcp(1, 2, 9, 100).write(&mut out[3], payload).unwrap();
        out
    }

    #[test]
    fn an_independent_builder_s_checksums_verify_and_any_flip_is_wrong() {
        for frame in frames(b"seven b") {
            let layout = Layout::of(&frame);
            assert_eq!(verify(&frame, &layout), Check::Verified);
            for bit in layout.payload * 8..layout.end * 8 {
                let mut bad = frame.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(verify(&bad, &layout), Check::Wrong);
            }
        }
    }

    #[test]
    fn a_partial_sum_is_told_apart_and_finishing_it_gives_the_builder_s_frame() {
        for frame in frames(b"eight by") {
            let layout = Layout::of(&frame);
            let mut partial = frame.clone();
            let offset = layout.transport.check_offset();
            let sum = pseudo(&frame, &layout, layout.end - layout.l4).fold();
            put16(&mut partial, layout.l4 + offset, sum);
            assert_eq!(verify(&partial, &layout), Check::Partial);
            assert!(looks_partial(&partial, &layout) && !looks_partial(&frame, &layout));
            finish(&mut partial, layout.l4 as u16, offset as u16).unwrap();
            assert_eq!(partial, frame);
        }
    }

    #[test]
    fn udp_without_checksum_is_absent_and_an_outside_field_is_refused() {
        let [mut frame, ..] = frames(b"abc");
        let layout = Layout::of(&frame);
        put16(&mut frame, layout.l4 + UDP_CHECK, 0);
        assert_eq!(verify(&frame, &layout), Check::Absent);
        let before = frame.clone();
        let len = frame.len() as u16;
        for (start, offset) in [(0xffff, 0xffff), (len, 0), (len - 1, 0), (0, 6), (13, 2)] {
            assert_eq!(finish(&mut frame, start, offset), Err(DropReason::TapOffload));
        }
        assert_eq!(frame, before);
    }
}
