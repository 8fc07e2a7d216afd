//! What the pure core costs per frame, without a system call: encapsulation, decapsulation, segmenter, coalescer, FDB.
//!
//! `cargo bench --bench core`; throughput is of inner frames. The figures of whole overlays are `end_to_end`'s.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::engine::{Engine, Forward, Now};
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check::verify;
use weft_vtep::offload::coalesce::{Coalescer, Frame, Output, Piece, Sink};
use weft_vtep::offload::segment::{MAX_HEADER, Plan};
use weft_vtep::offload::vnet_hdr::{Gso, VnetHdr};
use weft_vtep::switch::cache::Cache;
use weft_vtep::switch::fdb::Fdb;
use weft_vtep::switch::storm::Bucket;
use weft_vtep::switch::view::{Port, Segment, View};
use weft_vtep::switch::{NetworkSpec, Place};
use weft_vtep::wire::vxlan;

const LOCAL: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const NOW: Now = Now { ns: 1, s: 1 };
const KEY: [u64; 2] = [0x5851_f42d_4c95_7f2d, 9];
const MSS: usize = 1398;

fn vtep() -> IpAddr {
    [192, 0, 2, 2].into()
}

fn vni() -> Vni {
    Vni::new(77).expect("not zero")
}

/// One network, one local port, one station behind a VTEP.
fn view() -> View<()> {
    let mut spec = NetworkSpec::new(vni(), 1450);
    spec.remotes.push(vtep());
    let mut segment = Segment::new(spec, 1);
    let port = Arc::new(Port { id: PortId(1), vni: vni(), mac: LOCAL, device: () });
    segment.fdb.set_local(LOCAL, port.id);
    segment.fdb.learn(FAR, Place::Vtep(vtep()), 1);
    segment.ports.push(port.clone());
    View { segments: [(vni(), segment)].into(), ports: [(port.id, port)].into() }
}

/// A TCP frame of `len` bytes, Ethernet header included, in the `index`th place of its flow.
fn tcp(from: Mac, to: Mac, source_port: u16, len: usize, index: usize) -> Vec<u8> {
    let payload = vec![7; len - 54];
    let mut frame = Vec::with_capacity(len);
    let seq = (index * payload.len()) as u32;
    PacketBuilder::ethernet2(from.octets(), to.octets())
        .ipv4([10, 77, 0, 1], [10, 77, 0, 2], 64)
        .tcp(source_port, 80, seq, 500)
        .ack(1)
        .write(&mut frame, &payload)
        .expect("a vector takes all");
    frame
}

/// As a worker does for a frame from a TAP, up to the system call.
fn encapsulate(bencher: &mut Bencher<'_>, len: usize) {
    let view = view();
    let (segment, mut engine, mut storm) = (&view.segments[&vni()], Engine::new(1), Bucket::new(1000, 1000));
    let mut frame = tcp(LOCAL, FAR, 1000, len, 0);
    let hdr = VnetHdr { gso: Gso::TcpV4, gso_size: MSS as u16, csum: Some((34, 16)), ..VnetHdr::default() };
    let key = FlowKey::new(KEY);
    let mut headers = vec![0; 64 * (vxlan::LEN + MAX_HEADER)];
    bencher.iter(|| {
        let plan = (len > 1464).then(|| Plan::new(&frame, &hdr).expect("a super-frame"));
        let layout = plan.map_or_else(|| Layout::of(&frame), |plan| *plan.layout());
        let packet = plan.map_or(frame.len() - layout.l3, |plan| plan.packet_len());
        let port = &segment.ports[0];
        let to = engine.from_port(segment, port, &mut frame, &layout, packet, true, &mut storm, NOW);
        assert!(matches!(to, Ok(Forward::Vtep(_))));
        let lane = key.hash(&frame, &layout) % 64;
        match plan {
            None => {
                weft_vtep::offload::check::finish(&mut frame, 34, 16).expect("inside");
                headers[..vxlan::LEN].copy_from_slice(&vxlan::header(vni()));
            }
            Some(plan) => {
                let each = vxlan::LEN + plan.header_len();
                for (index, header) in headers.chunks_exact_mut(each).take(plan.count()).enumerate() {
                    header[..vxlan::LEN].copy_from_slice(&vxlan::header(vni()));
                    black_box(plan.write_header(&frame, index, &mut header[vxlan::LEN..]));
                }
            }
        }
        black_box(lane)
    });
}

/// Counts what it is given.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn deliver(&mut self, _arena: &[u8], output: Output<'_>) {
        self.0 += u64::from(output.frames);
    }

    fn drop_frame(&mut self, reason: DropReason) {
        unreachable!("dropped: {}", reason.name());
    }
}

/// As a worker does for the datagrams of a batch, up to the system call.
fn decapsulate(bencher: &mut Bencher<'_>, len: usize, frames: usize) {
    let view = view();
    let (mut engine, mut coalescer, key) = (Engine::new(1), Coalescer::default(), FlowKey::new(KEY));
    let datagrams: Vec<Vec<u8>> =
        (0..frames).map(|index| [&vxlan::header(vni())[..], &tcp(FAR, LOCAL, 1000, len, index)].concat()).collect();
    let clean = datagrams.concat();
    let size = datagrams[0].len();
    // The coalescer edits headers in place, so each round needs the batch anew.
    bencher.iter_batched_ref(
        || clean.clone(),
        |arena| {
            let mut sink = Count::default();
            for index in 0..frames {
                let datagram = &mut arena[index * size..][..size];
                let taken = engine.from_wire(&view, datagram, vtep(), 0, NOW).expect("a good datagram");
                let inner = &datagram[vxlan::LEN..];
                let frame = Frame {
                    port: PortId(1),
                    piece: Piece::new(index * size + vxlan::LEN, size - vxlan::LEN),
                    layout: taken.layout,
                    check: verify(inner, &taken.layout),
                    hash: key.hash(inner, &taken.layout),
                    mtu: 1450,
                    cut: 0,
                };
                coalescer.push(arena, frame, &mut sink);
            }
            coalescer.flush(arena, &mut sink);
            assert_eq!(sink.0, frames as u64);
        },
        BatchSize::SmallInput,
    );
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("encapsulate");
    for len in [64, 512, 1450, 64_000] {
        group.throughput(Throughput::Bytes(len as u64)).bench_function(format!("{len} B"), |b| encapsulate(b, len));
    }
    group.finish();
    let mut group = c.benchmark_group("decapsulate");
    for (len, count) in [(64, 64), (512, 64), (1450, 45)] {
        group.throughput(Throughput::Bytes((len * count) as u64));
        group.bench_function(format!("{count} × {len} B"), |b| decapsulate(b, len, count));
    }
    group.finish();
}

fn segmenter(c: &mut Criterion) {
    let frame = tcp(LOCAL, FAR, 1000, 64_000, 0);
    let hdr = VnetHdr { gso: Gso::TcpV4, gso_size: MSS as u16, ..VnetHdr::default() };
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("64 KB into 1,398 B", |b| {
        let mut header = [0; MAX_HEADER];
        b.iter(|| {
            let plan = Plan::new(&frame, &hdr).expect("a super-frame");
            for index in 0..plan.count() {
                black_box(plan.write_header(&frame, index, &mut header[..plan.header_len()]));
            }
        });
    });
    group.finish();
}

fn coalescer(c: &mut Criterion) {
    let (key, mut group) = (FlowKey::new(KEY), c.benchmark_group("coalesce"));
    for flows in [1, 8, 64] {
        let frames: Vec<Vec<u8>> =
            (0..64).map(|n| tcp(FAR, LOCAL, 1000 + (n % flows) as u16, 1000, n / flows)).collect();
        let clean = frames.concat();
        let entries: Vec<Frame> = (0..64)
            .map(|n| {
                let layout = Layout::of(&frames[n]);
                let check = verify(&frames[n], &layout);
                let piece = Piece::new(n * 1000, 1000);
                Frame { port: PortId(1), piece, layout, check, hash: key.hash(&frames[n], &layout), mtu: 1450, cut: 0 }
            })
            .collect();
        group.throughput(Throughput::Elements(64));
        group.bench_function(format!("64 frames of {flows} flows"), |b| {
            let mut coalescer = Coalescer::default();
            b.iter_batched_ref(
                || clean.clone(),
                |arena| {
                    let mut sink = Count::default();
                    for frame in &entries {
                        coalescer.push(arena, *frame, &mut sink);
                    }
                    coalescer.flush(arena, &mut sink);
                    sink.0
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac::new([2, 0, a, b, c, d])
}

fn fdb(c: &mut Criterion) {
    let fdb = Fdb::new(vni(), 100_000, 7);
    for n in 0..10_000 {
        fdb.learn(station(n), Place::Vtep(vtep()), 1);
    }
    let mut group = c.benchmark_group("fdb");
    group.throughput(Throughput::Elements(1));
    let mut cache = Cache::new(3);
    let mut n = 0;
    group.bench_function("cache, 256 stations", |b| {
        b.iter(|| {
            n = (n + 1) % 256;
            black_box(cache.lookup(&fdb, station(n)))
        });
    });
    group.bench_function("table, 10,000 stations", |b| {
        b.iter(|| {
            n = (n + 1) % 10_000;
            black_box(fdb.lookup(station(n)))
        });
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n = (n + 1) % 1000;
                fdb.learn(station(20_000 + n), Place::Vtep([192, 0, 2, (n % 200) as u8].into()), 1);
                fdb.remove(station(20_000 + n));
            }
        });
        for (name, stations) in [("table, a writer beside", 10_000), ("cache, a writer beside", 256)] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    n = (n + 1) % stations;
                    if stations == 256 { cache.lookup(&fdb, station(n)) } else { fdb.lookup(station(n)) }
                });
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    group.finish();
}

criterion_group!(benches, frames, segmenter, coalescer, fdb);
criterion_main!(benches);
