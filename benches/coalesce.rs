//! The coalescer: how fast received segments are joined into super-frames, for one flow and for many at once.
//!
//! Layouts, checksums and hashes are computed beforehand: see `encap` for the whole way of a datagram.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/rates.rs"]
mod rates;
#[path = "support/receiver.rs"]
mod receiver;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use frames::{Inner, MTU};
use rates::Rates;
use receiver::Batch;
use weft_vtep::addr::PortId;
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check::verify;
use weft_vtep::offload::coalesce::{Frame, Piece};

/// Frames of one batch: what eight receive messages of 64 KB hold.
const FRAMES: usize = 320;

fn coalesce(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("coalesce");
    for inner in Inner::ALL {
        for flows in [1, 8, 64] {
            let trains: Vec<_> = (0..flows).map(|flow| frames::train(inner, flow as u16, FRAMES / flows)).collect();
            // Frame by frame from flow to flow: the worst order that a coalescer with one slot could meet.
            let interleaved = (0..FRAMES / flows).flat_map(|n| trains.iter().map(move |train| &train[n]));
            let (mut arena, mut ranges) = (Vec::new(), Vec::new());
            for frame in interleaved {
                ranges.push((arena.len(), frame.len()));
                arena.extend_from_slice(frame);
            }
            let entries: Vec<Frame> = ranges.iter().map(|range| describe(&arena, *range)).collect();
            group.throughput(rates::frames(entries.len(), arena.len()));
            let mut batch = Batch::new(arena);
            group.bench_function(BenchmarkId::new(format!("{} tcp", inner.name()), format!("{flows} flows")), |b| {
                b.iter(|| {
                    for entry in &entries {
                        batch.coalescer.push(&mut batch.arena, *entry, &mut batch.sink);
                    }
                    assert_eq!(batch.end(), FRAMES);
                });
            });
        }
    }
    group.finish();
}

/// What the worker tells the coalescer of a frame that lies in the arena at `at`.
fn describe(arena: &[u8], (at, len): (usize, usize)) -> Frame {
    let key = FlowKey::new([0x5851_f42d_4c95_7f2d, 9]);
    let frame = &arena[at..at + len];
    let layout = Layout::of(frame);
    let (check, hash) = (verify(frame, &layout), key.hash(frame, &layout));
    Frame { port: PortId(1), piece: Piece::new(at, len), layout, check, hash, mtu: MTU, cut: 0 }
}

criterion_group!(name = benches; config = rates::criterion(); targets = coalesce);
criterion_main!(benches);
