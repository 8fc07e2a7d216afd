//! What a worker does for a frame between its two system calls, in both directions.
//!
//! `encapsulate`: offload header, switch, flow hash, ECN, checksum or segmentation, VXLAN header. `decapsulate`: VXLAN
//! header, membership, switch, ECN, checksum, coalescing, with a sink that counts where the worker would write. Rates are
//! of inner frames, headers included: what one core could carry if system calls were free.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/rates.rs"]
mod rates;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/side.rs"]
mod side;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use frames::{Inner, RECEIVER, SENDER};
use rates::Rates;
use receiver::Batch;
use side::{HEADERS, Side, TURN};
use weft_vtep::offload::vnet_hdr;
use weft_vtep::wire::vxlan;

/// Frame sizes, Ethernet header included.
const SIZES: [usize; 3] = [64, 512, 1450];
/// Bytes of a frame from a TAP that encapsulation may change: offload header and inner headers.
const HEAD: usize = 128;

fn encapsulate(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("encapsulate");
    let mut headers = vec![0; HEADERS];
    for inner in Inner::ALL {
        let mut side = Side::new(SENDER, RECEIVER);
        let tcp = frames::tcp(inner, 0, 1, inner.super_payload());
        let singles = SIZES.map(|len| (format!("{len} B"), frames::udp(inner, 0, len), 0));
        for (name, frame, gso_size) in singles.into_iter().chain([("64 KB super-frame".into(), tcp, inner.mss())]) {
            let hdr = frames::offload(inner, &frame, gso_size);
            let clean = [&hdr.write()[..], &frames::partial(&frame)].concat();
            let mut raw = clean.clone();
            let count = side.encapsulate(&mut raw, &mut headers);
            assert!(count > 1 || raw[vnet_hdr::LEN..] == frame, "the finished checksum is not the builder's");
            let bytes = frame.len() + (count - 1) * usize::from(hdr.hdr_len);
            group.throughput(rates::frames(count, bytes));
            group.bench_function(BenchmarkId::new(inner.name(), name), |bencher| {
                bencher.iter(|| {
                    // The kernel writes each frame anew: its first part is what the last round has changed.
                    let head = clean.len().min(HEAD);
                    raw[..head].copy_from_slice(&clean[..head]);
                    black_box(side.encapsulate(&mut raw, &mut headers))
                });
            });
        }
    }
    group.finish();
}

fn decapsulate(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("decapsulate");
    for inner in Inner::ALL {
        let mut side = Side::new(RECEIVER, SENDER);
        let singles = SIZES.map(|len| (format!("{len} B"), vec![frames::udp(inner, 0, len); TURN]));
        let segments = frames::train(inner, 0, inner.super_payload() / inner.mss());
        for (name, frames) in singles.into_iter().chain([("64 KB super-frame".into(), segments)]) {
            let (mut arena, mut ranges) = (Vec::new(), Vec::new());
            for frame in &frames {
                ranges.push((arena.len(), vxlan::LEN + frame.len()));
                arena.extend_from_slice(&vxlan::header(side.vni));
                arena.extend_from_slice(frame);
            }
            group.throughput(rates::frames(frames.len(), frames.iter().map(Vec::len).sum()));
            let mut batch = Batch::new(arena);
            group.bench_function(BenchmarkId::new(inner.name(), name), |bencher| {
                bencher.iter(|| {
                    for (at, len) in &ranges {
                        side.decapsulate(&mut batch, *at, *len);
                    }
                    assert_eq!(batch.end(), frames.len());
                });
            });
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = rates::criterion(); targets = encapsulate, decapsulate);
criterion_main!(benches);
