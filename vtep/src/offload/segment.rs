//! Cutting a super-frame into the frames that cross the wire.
//!
//! Only headers are written: each segment is a copied and corrected header, and a range of the super-frame's payload
//! that leaves by scatter-gather. What changes per segment follows Linux's `tcp_gso_segment` and
//! `__udp_gso_segment`: IP length and id, TCP sequence, PSH and FIN only on the last, CWR only on the first, UDP
//! length, and both checksums, finished here.

use std::ops::Range;

use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{Layout, Network, Transport, be16, put16};
use crate::offload::check::{TCP_CHECK, UDP_CHECK, pseudo};
use crate::offload::vnet_hdr::{Gso, VnetHdr};

/// The longest headers, Ethernet to transport, that a segment may have.
pub const MAX_HEADER: usize = 256;
/// The most segments of one super-frame: 64 KB at the 8 bytes of payload that Linux's smallest MSS leaves.
pub const MAX_SEGMENTS: usize = 8192;

const TCP_SEQ: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_FIN_PSH: u8 = 0x01 | 0x08;
const TCP_CWR: u8 = 0x80;
const UDP_LEN: usize = 4;
const IP4_LEN: usize = 2;
const IP4_ID: usize = 4;
const IP4_CHECK: usize = 10;
const IP6_LEN: usize = 4;

/// How one super-frame is cut: made once per super-frame, then asked for each segment.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    layout: Layout,
    size: usize,
    count: usize,
}

impl Plan {
    /// Reads a super-frame. The packet itself says where its headers end; `hdr.hdr_len` is only a hint of the kernel's.
    ///
    /// # Errors
    /// [`DropReason::TapOffload`] when the frame is not what the offload header says.
    #[inline]
    pub fn new(frame: &[u8], hdr: &VnetHdr) -> Result<Plan, DropReason> {
        let layout = Layout::of_super_frame(frame);
        let fits = match hdr.gso {
            Gso::None => false,
            Gso::TcpV4 => layout.network == Network::V4 && layout.transport == Transport::Tcp,
            Gso::TcpV6 => layout.network == Network::V6 && layout.transport == Transport::Tcp,
            Gso::Udp => layout.transport == Transport::Udp,
        };
        let size = usize::from(hdr.gso_size);
        if !fits || size == 0 || layout.payload > MAX_HEADER || layout.payload_len() == 0 {
            return Err(DropReason::TapOffload);
        }
        let count = layout.payload_len().div_ceil(size);
        if count > MAX_SEGMENTS {
            return Err(DropReason::TapOffload);
        }
        Ok(Plan { layout, size, count })
    }

    /// How many segments there are; at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where the super-frame's headers lie; every segment's lie alike.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of each segment's headers.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.layout.payload
    }

    /// Bytes of the longest segment's network packet: what the MTU bounds.
    #[inline]
    pub fn packet_len(&self) -> usize {
        self.layout.payload - self.layout.l3 + self.size.min(self.layout.payload_len())
    }

    /// Writes the headers of segment `index` into `out`, and returns the range of `frame` that is its payload.
    ///
    /// # Panics
    /// When `frame` is not the super-frame of [`Plan::new`], `index` is not below [`Plan::count`], or `out` is not
    /// [`Plan::header_len`] long.
    #[inline]
    pub fn write_header(&self, frame: &[u8], index: usize, out: &mut [u8]) -> Range<usize> {
        let Layout { l3, l4, payload, end, network, transport, .. } = self.layout;
        assert!(index < self.count && out.len() == payload);
        let offset = index * self.size;
        let range = payload + offset..(payload + offset + self.size).min(end);
        out.copy_from_slice(&frame[..payload]);
        let l4_len = payload - l4 + range.len();

        match network {
            Network::V4 => {
                put16(out, l3 + IP4_LEN, (l4 - l3 + l4_len) as u16);
                let id = be16(frame, l3 + IP4_ID).wrapping_add(index as u16);
                put16(out, l3 + IP4_ID, id);
                put16(out, l3 + IP4_CHECK, 0);
                let check = Sum::ZERO.add_bytes(&out[l3..l4]).finish();
                put16(out, l3 + IP4_CHECK, check);
            }
            _ => put16(out, l3 + IP6_LEN, (l4 - l3 - 40 + l4_len) as u16),
        }

        let field = l4 + if transport == Transport::Tcp { TCP_CHECK } else { UDP_CHECK };
        if transport == Transport::Tcp {
            let seq = u32::from_be_bytes([out[l4 + 4], out[l4 + 5], out[l4 + 6], out[l4 + 7]]);
            let seq = seq.wrapping_add(offset as u32);
            out[l4 + TCP_SEQ..l4 + TCP_SEQ + 4].copy_from_slice(&seq.to_be_bytes());
            if index + 1 < self.count {
                out[l4 + TCP_FLAGS] &= !TCP_FIN_PSH;
            }
            if index > 0 {
                out[l4 + TCP_FLAGS] &= !TCP_CWR;
            }
        } else {
            put16(out, l4 + UDP_LEN, l4_len as u16);
        }
        put16(out, field, 0);
        let sum = pseudo(out, &self.layout, l4_len).add_bytes(&out[l4..payload]);
        // Transport headers are an even number of bytes, so the payload starts at an even offset of the sum.
        let check = sum.combine(Sum::ZERO.add_bytes(&frame[range.clone()])).finish_udp();
        put16(out, field, check);
        range
    }
}
