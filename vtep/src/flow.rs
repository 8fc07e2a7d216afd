//! Which flow a frame belongs to: the entropy of the outer source port, and the coalescer's quick compare.
//!
//! RFC 7348 section 5 asks for a source port from a hash of the inner headers. The hash is keyed with a secret made
//! at each start, so that nobody outside can aim many flows at one socket or one slot. It is not a MAC: nothing is
//! believed because of it.

use crate::frame::{Layout, Transport};

/// The per-start secret of the flow hash.
#[derive(Clone, Copy)]
pub struct FlowKey([u64; 2]);

impl std::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowKey(..)")
    }
}

impl FlowKey {
    /// A key from two random words.
    pub fn new([multiplier, start]: [u64; 2]) -> Self {
        // An even multiplier would lose bits.
        FlowKey([multiplier | 1, start])
    }

    /// A hash over addresses, ports and protocol of an IP flow, or over MACs and EtherType of anything else.
    ///
    /// All frames of a flow hash alike, as do all fragments of one pair of hosts.
    #[inline]
    pub fn hash(&self, frame: &[u8], layout: &Layout) -> u64 {
        let mut h = self.0[1];
        let addresses = layout.addresses(frame);
        let hashed = if addresses.is_empty() { frame.get(..14).unwrap_or(frame) } else { addresses };
        for chunk in hashed.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            h = self.mix(h ^ u64::from_ne_bytes(word));
        }
        if layout.transport != Transport::Other
            && let Some(ports) = frame.get(layout.l4..layout.l4 + 4)
        {
            let ports = u32::from_ne_bytes([ports[0], ports[1], ports[2], ports[3]]);
            h = self.mix(h ^ u64::from(ports) ^ (layout.transport as u64) << 32);
        }
        h
    }

    /// A 64 × 64 → 128-bit multiply, folded: each input bit reaches all output bits.
    #[inline]
    fn mix(&self, value: u64) -> u64 {
        let wide = u128::from(value ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.0[0]);
        (wide as u64) ^ (wide >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use std::collections::HashSet;

    fn frame(source_port: u16) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(source_port, 7)
            .write(&mut out, &[0; 18])
            .unwrap();
        out
    }

    #[test]
    fn a_thousand_flows_reach_every_one_of_64_lanes() {
        let key = FlowKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        let lanes: HashSet<_> = (0..1000).map(frame).map(|f| key.hash(&f, &Layout::of(&f)) % 64).collect();
        assert_eq!(lanes.len(), 64);
    }

    #[test]
    fn a_flow_is_one_hash_and_another_key_is_another_hash() {
        let (f, key) = (frame(9), FlowKey::new([0x5851_f42d_4c95_7f2d, 7]));
        let mut other_payload = f.clone();
        *other_payload.last_mut().unwrap() ^= 0xff;
        assert_eq!(key.hash(&f, &Layout::of(&f)), key.hash(&other_payload, &Layout::of(&other_payload)));
        assert_ne!(key.hash(&f, &Layout::of(&f)), FlowKey::new([0x1405_7b7e_f767_814f, 7]).hash(&f, &Layout::of(&f)));
    }
}
