//! Super-frames as a device, or whoever holds its other end, hands them over: nothing panics, the segments are sound
//! frames whose payloads make up the super-frame's, and the coalescer joins them so that they can be cut again.
//!
//! Input: an offload header and a frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{Collect, FRAME_MAX, essence, segment};
use weft_vtep::addr::PortId;
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::{Layout, Network, Transport};
use weft_vtep::offload::check::{Check, verify};
use weft_vtep::offload::coalesce::{Coalescer, Frame, MAX_FRAMES, Piece};
use weft_vtep::offload::segment::Plan;
use weft_vtep::offload::vnet_hdr::{self, VnetHdr};

fuzz_target!(|data: &[u8]| {
    let Ok(hdr) = VnetHdr::read(data) else { return };
    assert_eq!(VnetHdr::read(&hdr.write()), Ok(hdr));
    let frame = &data[vnet_hdr::LEN..];
    if frame.len() > FRAME_MAX {
        return;
    }
    let Ok(plan) = Plan::new(frame, &hdr) else { return };
    let (layout, size) = (*plan.layout(), usize::from(hdr.gso_size));
    let segments: Vec<_> = (0..plan.count()).map(|index| segment(&plan, frame, index)).collect();
    let mut payload = Vec::new();
    for (index, bytes) in segments.iter().enumerate() {
        let (first, last) = (index == 0, index + 1 == segments.len());
        let got = Layout::of(bytes);
        assert_eq!((got.network, got.transport), (layout.network, layout.transport));
        assert_eq!((got.l3, got.l4, got.payload, got.end), (layout.l3, layout.l4, layout.payload, bytes.len()));
        assert_eq!(verify(bytes, &got), Check::Verified);
        assert!(got.end - got.l3 <= plan.packet_len());
        assert!(if last { (1..=size).contains(&got.payload_len()) } else { got.payload_len() == size });
        payload.extend_from_slice(&bytes[got.payload..]);
        unchanged(frame, bytes, &layout, index, size, first, last);
    }
    assert_eq!(payload, frame[layout.payload..layout.end]);
    if segments.len() <= MAX_FRAMES {
        join_and_cut(&segments);
    }
});

/// Each header byte is the super-frame's, but for the fields that RFC and kernel change.
fn unchanged(whole: &[u8], part: &[u8], layout: &Layout, index: usize, size: usize, first: bool, last: bool) {
    let Layout { l3, l4, payload, .. } = *layout;
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut want = whole[..payload].to_vec();
    let changing = match layout.network {
        Network::V4 => {
            assert_eq!(word(part, l3 + 4), word(whole, l3 + 4).wrapping_add(index as u16), "IPv4 id");
            [l3 + 2..l3 + 6, l3 + 10..l3 + 12]
        }
        _ => [l3 + 4..l3 + 6, 0..0],
    };
    let transport = if layout.transport == Transport::Tcp {
        let seq = |bytes: &[u8]| u32::from_be_bytes(*bytes[l4 + 4..].first_chunk().expect("a TCP header"));
        assert_eq!(seq(part), seq(whole).wrapping_add((index * size) as u32), "TCP sequence");
        let (fin_psh, cwr) = (if last { 0x09 } else { 0 }, if first { 0x80 } else { 0 });
        want[l4 + 13] &= !0x89 | fin_psh | cwr;
        [l4 + 4..l4 + 8, l4 + 16..l4 + 18]
    } else {
        [l4 + 4..l4 + 8, 0..0]
    };
    for range in changing.into_iter().chain(transport) {
        want[range.clone()].copy_from_slice(&part[range]);
    }
    assert_eq!(part[..payload], want);
}

fn join_and_cut(segments: &[Vec<u8>]) {
    let (mut coalescer, key, mut out) =
        (Coalescer::default(), FlowKey::new([0x9e37_79b9_7f4a_7c15, 9]), Collect::default());
    let mut arena = segments.concat();
    let mut at = 0;
    for bytes in segments {
        let layout = Layout::of(bytes);
        let (piece, hash) = (Piece::new(at, bytes.len()), key.hash(bytes, &layout));
        let frame = Frame { port: PortId(0), piece, layout, check: Check::Verified, hash, mtu: u16::MAX, cut: 0 };
        coalescer.push(&mut arena, frame, &mut out);
        at += bytes.len();
    }
    coalescer.flush(&mut arena, &mut out);
    let again = out.delivered.iter().flat_map(|delivered| delivered.cut());
    let essences = |frames: Vec<Vec<u8>>| frames.iter().map(|frame| essence(frame)).collect::<Vec<_>>();
    assert_eq!(essences(again.collect()), essences(segments.to_vec()));
    assert!(out.dropped.is_empty());
}
