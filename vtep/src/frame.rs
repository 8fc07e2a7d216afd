//! Views of the inner frame: where its headers lie.
//!
//! A frame enters as bytes; a [`Layout`] leaves: a handful of offsets, `Copy`, that hold for these bytes. Nothing
//! here panics on any input, and a frame that is not understood is simply opaque: a switch forwards it all the same.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

use crate::addr::Mac;

/// Bytes of an Ethernet header without a VLAN tag.
pub const ETH_LEN: usize = 14;
/// Bytes of a VLAN tag.
pub const VLAN_LEN: usize = 4;

const ETHERTYPE: usize = 12;
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

pub(crate) const PROTO_TCP: u8 = 6;
pub(crate) const PROTO_UDP: u8 = 17;

/// The destination address. Zero-filled when the frame is shorter than a header.
#[inline]
pub fn destination(frame: &[u8]) -> Mac {
    Mac::read(frame).unwrap_or(Mac::new([0; 6]))
}

/// The source address. Zero-filled when the frame is shorter than a header.
#[inline]
pub fn source(frame: &[u8]) -> Mac {
    frame.get(6..).and_then(Mac::read).unwrap_or(Mac::new([0; 6]))
}

/// The EtherType, or 0 when the frame is too short.
#[inline]
pub fn ethertype(frame: &[u8]) -> u16 {
    be16(frame, ETHERTYPE)
}

/// True when the outermost EtherType is a VLAN tag (802.1Q, 802.1ad).
#[inline]
pub fn has_vlan(frame: &[u8]) -> bool {
    is_vlan(ethertype(frame))
}

/// True for the EtherTypes of VLAN tags.
#[inline]
pub(crate) const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD)
}

/// Removes the outermost VLAN tag by moving the addresses over it. The frame then starts 4 bytes later.
///
/// Does nothing and returns `false` when the frame is too short to hold a tag.
#[inline]
pub fn strip_vlan(frame: &mut [u8]) -> bool {
    if frame.len() < ETH_LEN + VLAN_LEN {
        return false;
    }
    frame.copy_within(..ETHERTYPE, VLAN_LEN);
    true
}

/// Reads a big-endian `u16`; 0 when it lies outside.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(b) => u16::from_be_bytes([b[0], b[1]]),
        None => 0,
    }
}

/// Writes a big-endian `u16`. The caller has checked that it lies inside.
#[inline]
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The network protocol of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// Neither IPv4 nor IPv6, or broken.
    Other,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The transport protocol of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// None that the VTEP looks into: another protocol, a fragment, or broken.
    Other,
    /// TCP, with a whole header.
    Tcp,
    /// UDP, with a whole header whose length agrees with the IP packet's.
    Udp,
}

/// Where the headers of a frame lie, as offsets from its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The network protocol.
    pub network: Network,
    /// The transport protocol.
    pub transport: Transport,
    /// The network header (14, or 18 behind a kept VLAN tag).
    pub l3: usize,
    /// The transport header; without one, the end of what was understood.
    pub l4: usize,
    /// The transport payload.
    pub payload: usize,
    /// The end of the network packet: what follows is Ethernet padding. The frame's length if it is not IP.
    pub end: usize,
}

impl Layout {
    fn opaque(frame: &[u8], l3: usize) -> Layout {
        let l3 = l3.min(frame.len());
        Layout { network: Network::Other, transport: Transport::Other, l3, l4: l3, payload: l3, end: frame.len() }
    }

    /// Reads the layout of `frame`, which starts at its Ethernet header.
    #[inline]
    pub fn of(frame: &[u8]) -> Layout {
        Self::with_l4_length(frame, false)
    }

    /// Like [`Layout::of`] for a super-frame from a device, whose IP and UDP lengths may not be those of the whole
    /// (Linux leaves an IPv6 length of 0, and a UDP length of the first segment, possible): the frame's end counts.
    #[inline]
    pub fn of_super_frame(frame: &[u8]) -> Layout {
        Self::with_l4_length(frame, true)
    }

    #[inline]
    fn with_l4_length(frame: &[u8], super_frame: bool) -> Layout {
        let l3 = if has_vlan(frame) { ETH_LEN + VLAN_LEN } else { ETH_LEN };
        let Some(packet) = frame.get(l3..) else { return Layout::opaque(frame, l3) };
        let (network, protocol, header, end) = match be16(frame, l3 - 2) {
            ETHERTYPE_IPV4 => {
                let Ok(ip) = Ipv4HeaderSlice::from_slice(packet) else { return Layout::opaque(frame, l3) };
                let header = ip.slice().len();
                let total = if super_frame { packet.len() } else { usize::from(ip.total_len()) };
                if total < header || total > packet.len() {
                    return Layout::opaque(frame, l3);
                }
                let protocol = (!ip.is_fragmenting_payload()).then_some(ip.protocol().0);
                (Network::V4, protocol, header, l3 + total)
            }
            ETHERTYPE_IPV6 => {
                let Ok(ip) = Ipv6HeaderSlice::from_slice(packet) else { return Layout::opaque(frame, l3) };
                let total = if super_frame { packet.len() } else { 40 + usize::from(ip.payload_length()) };
                if total > packet.len() {
                    return Layout::opaque(frame, l3);
                }
                match skip_extensions(&packet[..total], ip.next_header().0) {
                    Some((protocol, header)) => (Network::V6, Some(protocol), header, l3 + total),
                    None => (Network::V6, None, 40, l3 + total),
                }
            }
            _ => return Layout::opaque(frame, l3),
        };
        let l4 = l3 + header;
        let mut layout = Layout { network, transport: Transport::Other, l3, l4, payload: l4, end };
        match protocol {
            Some(PROTO_TCP) => {
                if let Ok(tcp) = TcpHeaderSlice::from_slice(&frame[l4..end]) {
                    layout.transport = Transport::Tcp;
                    layout.payload = l4 + tcp.slice().len();
                }
            }
            Some(PROTO_UDP) => {
                if let Ok(udp) = UdpHeaderSlice::from_slice(&frame[l4..end])
                    && (super_frame || usize::from(udp.length()) == end - l4)
                {
                    layout.transport = Transport::Udp;
                    layout.payload = l4 + 8;
                }
            }
            _ => {}
        }
        layout
    }

    /// Bytes of transport payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.end - self.payload
    }

    /// The network source and destination addresses, as one slice of 8 or 32 bytes; empty if the frame is not IP.
    #[inline]
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let range = match self.network {
            Network::V4 => self.l3 + 12..self.l3 + 20,
            Network::V6 => self.l3 + 8..self.l3 + 40,
            Network::Other => return &[],
        };
        frame.get(range).unwrap_or(&[])
    }

    /// The type-of-service or traffic-class byte; 0 if the frame is not IP.
    #[inline]
    pub fn tos(&self, frame: &[u8]) -> u8 {
        match self.network {
            Network::V4 => frame.get(self.l3 + 1).copied().unwrap_or(0),
            Network::V6 => (be16(frame, self.l3) >> 4) as u8,
            Network::Other => 0,
        }
    }
}

/// Skips hop-by-hop, routing and destination options. `None` for a fragment and for a broken chain.
fn skip_extensions(packet: &[u8], mut next: u8) -> Option<(u8, usize)> {
    let mut at = 40;
    // RFC 8200 section 4.1 expects each header at most once or twice; eight is far past any honest packet.
    for _ in 0..8 {
        match next {
            0 | 43 | 60 => {
                let header = packet.get(at..at + 2)?;
                next = header[0];
                at += 8 + 8 * usize::from(header[1]);
                if at > packet.len() {
                    return None;
                }
            }
            44 => return None,
            _ => return Some((next, at)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1000, 2000)
            .write(&mut out, payload)
            .unwrap();
        out
    }

    #[test]
    fn padding_after_the_packet_is_not_payload() {
        let mut frame = udp4(b"abc");
        let end = frame.len();
        frame.resize(60, 0);
        let layout = Layout::of(&frame);
        assert_eq!((layout.transport, layout.end, layout.payload_len()), (Transport::Udp, end, 3));
    }

    #[test]
    fn a_fragment_has_no_transport() {
        let mut frame = udp4(b"abc");
        frame[20] |= 0x20; // more fragments
        assert_eq!(Layout::of(&frame).transport, Transport::Other);
        assert_eq!(Layout::of(&frame).network, Network::V4);
    }

    #[test]
    fn a_vlan_tag_is_seen_and_stripped() {
        let plain = udp4(b"abc");
        let mut tagged = plain[..12].to_vec();
        tagged.extend_from_slice(&[0x81, 0, 0, 7]);
        tagged.extend_from_slice(&plain[12..]);
        assert!(has_vlan(&tagged));
        assert_eq!(Layout::of(&tagged).l3, 18);
        assert!(strip_vlan(&mut tagged));
        assert_eq!(&tagged[4..], &plain[..]);
    }

    #[test]
    fn ipv6_extension_headers_are_passed_and_fragments_are_not() {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv6([1; 16], [2; 16], 64)
            .udp(1, 2)
            .write(&mut frame, b"abc")
            .unwrap();
        let plain = Layout::of(&frame);
        assert_eq!((plain.transport, plain.l4, plain.tos(&frame)), (Transport::Udp, 54, 0));
        let insert = |kind: u8| {
            let mut with = frame[..54].to_vec();
            with.extend_from_slice(&[with[20], 0, 0, 0, 0, 0, 0, 0]);
            with.extend_from_slice(&frame[54..]);
            with[20] = kind;
            put16(&mut with, 18, be16(&frame, 18) + 8);
            Layout::of(&with)
        };
        assert_eq!((insert(60).transport, insert(60).l4), (Transport::Udp, 62));
        assert_eq!(insert(44).transport, Transport::Other);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_offsets_are_ordered(frame in prop::collection::vec(any::<u8>(), 0..200), v6: bool, vlan: bool) {
            let mut frame = frame;
            if frame.len() > 20 {
                let kind = if v6 { 0x86dd } else { 0x0800 };
                if vlan { put16(&mut frame, 12, 0x8100); put16(&mut frame, 16, kind); frame[18] = if v6 { 0x60 } else { 0x45 } }
                else { put16(&mut frame, 12, kind); frame[14] = if v6 { 0x60 } else { 0x45 } }
            }
            for layout in [Layout::of(&frame), Layout::of_super_frame(&frame)] {
                prop_assert!(layout.l3 <= layout.l4 && layout.l4 <= layout.payload);
                prop_assert!(layout.payload <= layout.end && layout.end <= frame.len());
                layout.addresses(&frame);
                layout.tos(&frame);
            }
        }
    }
}
