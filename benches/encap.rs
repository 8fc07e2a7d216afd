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

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use frames::{Inner, MTU, RECEIVER, SENDER};
use rates::Rates;
use receiver::Batch;
use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::engine::{Engine, Forward, Now, Source, clamp_mss};
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check;
use weft_vtep::offload::coalesce::{Frame, Piece};
use weft_vtep::offload::segment::{MAX_HEADER, Plan};
use weft_vtep::offload::vnet_hdr::{self, Gso, VnetHdr};
use weft_vtep::path::ecn;
use weft_vtep::switch::storm::Bucket;
use weft_vtep::switch::view::{Port, Segment, View};
use weft_vtep::switch::{NetworkSpec, Place};
use weft_vtep::wire::vxlan;

/// Frames of one turn.
const TURN: usize = 64;
/// Frame sizes, Ethernet header included.
const SIZES: [usize; 3] = [64, 512, 1450];
/// Bytes of a frame from a TAP that encapsulation may change: offload header and inner headers.
const HEAD: usize = 128;
const SECRET: u64 = 0xfeed_5eed_1234_5678;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// One side of a tunnel: a network with one remote and one port, and what a worker owns.
struct Side {
    view: View<()>,
    vni: Vni,
    port: Arc<Port<()>>,
    engine: Engine,
    storm: Bucket,
    key: FlowKey,
    now: Now,
}

impl Side {
    /// `station` is the port's own address, `other` is known behind the remote.
    fn new(station: Mac, other: Mac) -> Self {
        let vni = Vni::new(4096).expect("a VNI");
        let port = Arc::new(Port { id: PortId(1), vni, mac: station, device: () });
        let spec = NetworkSpec { remotes: vec![PEER], ..NetworkSpec::new(vni, MTU) };
        let mut segment = Segment::new(spec, SECRET);
        segment.fdb.set_local(station, port.id);
        segment.fdb.learn(other, Place::Vtep(PEER), 1);
        segment.ports.push(port.clone());
        let mut view = View::default();
        view.segments.insert(vni, segment);
        view.ports.insert(port.id, port.clone());
        Side {
            view,
            vni,
            port,
            engine: Engine::new(SECRET),
            storm: Bucket::new(1, 1),
            key: FlowKey::new([0x5851_f42d_4c95_7f2d, 9]),
            now: Now { ns: 1, s: 1 },
        }
    }

    /// One frame as it was read, offload header first. Returns the datagrams that came of it.
    fn encapsulate(&mut self, raw: &mut [u8], headers: &mut [u8]) -> usize {
        let segment = &self.view.segments[&self.vni];
        let hdr = VnetHdr::read(raw).expect("an offload header");
        let start = vnet_hdr::LEN + self.engine.untag(segment, &mut raw[vnet_hdr::LEN..]);
        let frame = &mut raw[start..];
        let plan = (hdr.gso != Gso::None).then(|| Plan::new(frame, &hdr).expect("a sound super-frame"));
        let (layout, packet_len) = match &plan {
            Some(plan) => (*plan.layout(), plan.packet_len()),
            None => {
                let layout = Layout::of(frame);
                (layout, frame.len() - layout.l3)
            }
        };
        let partial = hdr.csum.is_some();
        let decision =
            self.engine.from_port(segment, &self.port, frame, &layout, packet_len, partial, &mut self.storm, self.now);
        assert_eq!(decision, Ok(Forward::Vtep(PEER)));
        black_box((self.key.hash(frame, &layout), ecn::encap(layout.tos(frame))));
        let vxlan = vxlan::header(self.vni);
        let Some(plan) = plan else {
            if let Some((at, offset)) = hdr.csum {
                check::finish(frame, at, offset).expect("a field inside of the frame");
            }
            raw[start - vxlan::LEN..start].copy_from_slice(&vxlan);
            return 1;
        };
        let header_len = vxlan::LEN + plan.header_len();
        let (headers, _) = headers.as_chunks_mut::<{ vxlan::LEN + MAX_HEADER }>();
        for index in 0..plan.count() {
            let header = &mut headers[index % TURN][..header_len];
            header[..vxlan::LEN].copy_from_slice(&vxlan);
            black_box(plan.write_header(frame, index, &mut header[vxlan::LEN..]));
        }
        plan.count()
    }

    /// One datagram of a receive batch.
    fn decapsulate(&mut self, batch: &mut Batch, at: usize, len: usize) {
        let datagram = &mut batch.arena[at..at + len];
        let decapsulated =
            self.engine.from_wire(&self.view, datagram, Source::Plain(PEER), 0, self.now).expect("a sound datagram");
        let Forward::Port(port) = decapsulated.forward else { panic!("not for the port") };
        let (layout, at, len) = (decapsulated.layout, at + vxlan::LEN, len - vxlan::LEN);
        let mtu = self.view.segments[&decapsulated.vni].spec.mtu;
        let inner = &mut batch.arena[at..at + len];
        let verdict = check::verify(inner, &layout);
        clamp_mss(inner, &layout, mtu, verdict == check::Check::Partial);
        let hash = self.key.hash(inner, &layout);
        let frame = Frame { port, piece: Piece::new(at, len), layout, check: verdict, hash, mtu, cut: 0 };
        batch.coalescer.push(&mut batch.arena, frame, &mut batch.sink);
    }
}

fn encapsulate(criterion: &mut Criterion<Rates>) {
    let mut group = criterion.benchmark_group("encapsulate");
    let mut headers = vec![0; TURN * (vxlan::LEN + MAX_HEADER)];
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
