//! The offload header in front of each frame on a TAP with IFF_VNET_HDR (virtio 1.2 section 5.1.6, legacy layout).
//!
//! ```text
//! flags u8 · gso_type u8 · hdr_len u16 · gso_size u16 · csum_start u16 · csum_offset u16    (native byte order)
//! ```

use crate::drops::DropReason;

/// Bytes of the header.
pub const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// How a super-frame is to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gso {
    /// Not a super-frame.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of equal size (the last may be shorter), over either.
    Udp,
}

/// The offload header as a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VnetHdr {
    /// Where the checksum starts and where, from there, its field lies, when it is still to be finished: the field
    /// holds the uncomplemented sum of the pseudo-header.
    pub csum: Option<(u16, u16)>,
    /// How the frame is to be cut.
    pub gso: Gso,
    /// The TCP segments carry CWR semantics: only the first may keep the flag.
    pub ecn: bool,
    /// Bytes of headers. A hint only: the packet itself is believed.
    pub hdr_len: u16,
    /// Bytes of payload in each segment.
    pub gso_size: u16,
}

impl VnetHdr {
    /// Reads a header. `None` as a whole: the bytes are too few.
    ///
    /// # Errors
    /// [`DropReason::TapTruncated`] for too few bytes, [`DropReason::TapOffload`] for a kind of super-frame that was
    /// not asked for, or one without a size.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<VnetHdr, DropReason> {
        let Some(raw) = bytes.first_chunk::<LEN>() else { return Err(DropReason::TapTruncated) };
        let word = |at: usize| u16::from_ne_bytes([raw[at], raw[at + 1]]);
        let gso = match raw[1] & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::Udp,
            _ => return Err(DropReason::TapOffload),
        };
        if gso != Gso::None && word(4) == 0 {
            return Err(DropReason::TapOffload);
        }
        Ok(VnetHdr {
            csum: (raw[0] & NEEDS_CSUM != 0).then(|| (word(6), word(8))),
            gso,
            ecn: raw[1] & GSO_ECN != 0,
            hdr_len: word(2),
            gso_size: word(4),
        })
    }

    /// The header as bytes.
    #[inline]
    pub fn write(&self) -> [u8; LEN] {
        let gso = match self.gso {
            Gso::None => GSO_NONE,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::Udp => GSO_UDP_L4,
        } | if self.ecn { GSO_ECN } else { 0 };
        let (start, offset) = self.csum.unwrap_or((0, 0));
        let flags = if self.csum.is_some() { NEEDS_CSUM } else { 0 };
        let ([a, b], [c, d]) = (self.hdr_len.to_ne_bytes(), self.gso_size.to_ne_bytes());
        let ([e, f], [g, h]) = (start.to_ne_bytes(), offset.to_ne_bytes());
        [flags, gso, a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips() {
        for gso in [Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::Udp] {
            for csum in [None, Some((34, 16))] {
                let header = VnetHdr { csum, gso, ecn: gso == Gso::TcpV4, hdr_len: 66, gso_size: 1398 };
                assert_eq!(VnetHdr::read(&header.write()), Ok(header));
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        assert_eq!(VnetHdr::read(&[0; 9]), Err(DropReason::TapTruncated));
        let mut raw = VnetHdr { gso: Gso::Udp, gso_size: 8, ..VnetHdr::default() }.write();
        raw[1] = 3; // UDP fragmentation offload: gone from Linux, never asked for
        assert_eq!(VnetHdr::read(&raw), Err(DropReason::TapOffload));
        raw = VnetHdr { gso: Gso::TcpV4, ..VnetHdr::default() }.write();
        assert_eq!(VnetHdr::read(&raw), Err(DropReason::TapOffload));
    }
}
