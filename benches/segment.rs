//! The segmenter: how fast super-frames are cut into what crosses the wire, checksums included.
//!
//! Only headers are written; payload is read for its checksum and leaves by scatter-gather, so it is not copied here
//! either.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/rates.rs"]
mod rates;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use frames::{Inner, offload};
use rates::Rates;
use weft_vtep::offload::segment::{MAX_HEADER, Plan};

fn segment(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("segment");
    for inner in Inner::ALL {
        // A full MSS, and one that makes headers count for more.
        for size in [inner.mss(), 536] {
            let tcp = frames::tcp(inner, 0, 1, inner.super_payload());
            run(&mut group, inner, "tcp", &tcp, size);
            let udp = frames::udp(inner, 0, tcp.len() - 12);
            run(&mut group, inner, "udp", &udp, size);
        }
    }
    group.finish();
}

fn run(group: &mut criterion::BenchmarkGroup<'_, Rates>, inner: Inner, transport: &str, frame: &[u8], size: usize) {
    let hdr = offload(inner, frame, size);
    let plan = Plan::new(frame, &hdr).expect("a sound super-frame");
    group.throughput(rates::frames(plan.count(), frame.len() + (plan.count() - 1) * plan.header_len()));
    let mut out = [0; MAX_HEADER];
    group.bench_function(BenchmarkId::new(format!("{} {transport}", inner.name()), format!("{size} B")), |bencher| {
        bencher.iter(|| {
            let plan = Plan::new(black_box(frame), &hdr).expect("a sound super-frame");
            for index in 0..plan.count() {
                black_box(plan.write_header(frame, index, &mut out[..plan.header_len()]));
            }
        });
    });
}

criterion_group!(name = benches; config = rates::criterion(); targets = segment);
criterion_main!(benches);
