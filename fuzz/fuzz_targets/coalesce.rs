//! Interleaved flows, honest but for a byte changed now and then: what leaves the coalescer, cut again, is what went in,
//! flow by flow and in order.
//!
//! Input: one step after another, each as {flow, kind, flags, length, what to change}.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{Collect, Input, essence, set_checksum};
use weft_vtep::addr::PortId;
use weft_vtep::checksum::Sum;
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check::verify;
use weft_vtep::offload::coalesce::{Coalescer, Frame, Piece};

const MTU: u16 = 1450;
/// The flow number that stands for the end of a batch.
const FLUSH: u8 = 0xff;

#[derive(Default)]
struct Flow {
    seq: u32,
    id: u16,
}

fuzz_target!(|data: &[u8]| {
    let (mut input, key) = (Input(data), FlowKey::new([0x9e37_79b9_7f4a_7c15, 5]));
    let (mut coalescer, mut out) = (Coalescer::default(), Collect::default());
    let mut flows: [Flow; 8] = Default::default();
    let mut arena = Vec::new();
    let mut steps = Vec::new();
    while !input.is_empty() && arena.len() < 1 << 17 {
        let number = input.byte();
        if number == FLUSH {
            steps.push(None);
        } else {
            let bytes = packet(&mut flows[usize::from(number % 8)], number, &mut input);
            steps.push(Some((PortId(u32::from(number >> 7)), Piece::new(arena.len(), bytes.len()))));
            arena.extend(bytes);
        }
    }

    let mut sent: HashMap<(PortId, u64), Vec<Vec<u8>>> = HashMap::new();
    for step in steps {
        let Some((port, piece)) = step else {
            coalescer.flush(&mut arena, &mut out);
            continue;
        };
        let bytes = piece.of(&arena);
        let layout = Layout::of(bytes);
        let (check, hash) = (verify(bytes, &layout), key.hash(bytes, &layout));
        sent.entry((port, hash)).or_default().push(essence(bytes));
        coalescer.push(&mut arena, Frame { port, piece, layout, check, hash, mtu: MTU, cut: 0 }, &mut out);
    }
    coalescer.flush(&mut arena, &mut out);

    assert!(out.dropped.is_empty());
    let mut got: HashMap<(PortId, u64), Vec<Vec<u8>>> = HashMap::new();
    for delivered in &out.delivered {
        for frame in delivered.cut() {
            let hash = key.hash(&frame, &Layout::of(&frame));
            got.entry((delivered.port, hash)).or_default().push(essence(&frame));
        }
    }
    for (flow, sent) in &sent {
        let got = got.remove(flow).unwrap_or_default();
        assert_eq!(got.len(), sent.len(), "as many frames as came");
        for (got, sent) in got.iter().zip(sent) {
            assert_eq!(got, sent);
        }
    }
    assert!(got.is_empty(), "frames of a flow that never was");
});

/// The flow's next packet: TCP or UDP over IPv4 or IPv6 by the flow's number, no larger than the MTU.
fn packet(flow: &mut Flow, number: u8, input: &mut Input<'_>) -> Vec<u8> {
    let (v6, udp) = (number & 1 != 0, number & 2 != 0);
    let (kind, flags, len) = (input.byte(), input.byte(), usize::from(input.word()) % 1_300);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let options = if !udp && kind & 1 != 0 { vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] } else { vec![] };
    let l4_len = if udp { 8 } else { 20 + options.len() } + len;
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, (l4_len >> 8) as u8, l4_len as u8, if udp { 17 } else { 6 }, 64]);
        frame.extend([0xfd; 15]);
        frame.extend([number % 8]);
        frame.extend([0xfe; 16]);
    } else {
        let total = 20 + l4_len;
        let dont_fragment = (kind & 2) << 5;
        frame.extend([8, 0, 0x45, 0, (total >> 8) as u8, total as u8, (flow.id >> 8) as u8, flow.id as u8]);
        frame.extend([dont_fragment, 0, 64, if udp { 17 } else { 6 }, 0, 0, 10, 0, 0, number % 8, 10, 0, 0, 9]);
        let check = Sum::ZERO.add_bytes(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&check.to_be_bytes());
    }
    frame.extend([0x9c, 0x40, 0, 80]);
    if udp {
        frame.extend([(l4_len >> 8) as u8, l4_len as u8, 0, 0]);
    } else {
        frame.extend(flow.seq.to_be_bytes());
        frame.extend([0, 0, 0, 7, ((20 + options.len()) / 4 * 16) as u8, 0x10 | flags & 0x49, 1, 0, 0, 0, 0, 0]);
        frame.extend(&options);
    }
    frame.extend((0..len).map(|n| (n as u8).wrapping_mul(31) ^ flow.seq as u8));
    flow.seq = flow.seq.wrapping_add(len as u32);
    flow.id = flow.id.wrapping_add(1);

    set_checksum(&mut frame, kind & 4 != 0);
    // Now and then one header byte is another, with or without a transport checksum that agrees.
    if kind & 0xe0 == 0xe0 {
        let (at, value) = (usize::from(input.byte()) % (frame.len() - len), input.byte());
        frame[at] ^= value;
        if kind & 8 != 0 {
            set_checksum(&mut frame, kind & 4 != 0);
        }
    }
    if kind & 0x10 != 0 {
        frame.extend([0; 6]);
    }
    frame
}
