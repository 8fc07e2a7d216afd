//! One side of a tunnel, and what a worker does for a frame between its two system calls, in both directions.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::engine::{Engine, Forward, Now, Source, clamp_mss};
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check;
use weft_vtep::offload::coalesce::{Frame, Piece};
use weft_vtep::offload::segment::{MAX_HEADER, Plan};
use weft_vtep::offload::vnet_hdr::{self, Gso, VnetHdr};
use weft_vtep::path::ecn;
use weft_vtep::switch::view::{Port, Segment, View};
use weft_vtep::switch::{NetworkSpec, Place};
use weft_vtep::wire::vxlan;

use super::frames::MTU;
use super::receiver::Batch;

/// Frames of one turn.
pub(crate) const TURN: usize = 64;
/// Bytes of the headers of one turn's segments.
pub(crate) const HEADERS: usize = TURN * (vxlan::LEN + MAX_HEADER);
const SECRET: u64 = 0xfeed_5eed_1234_5678;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// One side of a tunnel: a network with one remote and one port, and what a worker owns.
pub(crate) struct Side {
    view: View<()>,
    pub(crate) vni: Vni,
    port: Arc<Port<()>>,
    engine: Engine,
    key: FlowKey,
    now: Now,
}

impl Side {
    /// `station` is the port's own address, `other` is known behind the remote.
    pub(crate) fn new(station: Mac, other: Mac) -> Self {
        let vni = Vni::new(4096).expect("a VNI");
        let port = Arc::new(Port::new(PortId(1), vni, station, ()));
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
            key: FlowKey::new([0x5851_f42d_4c95_7f2d, 9]),
            now: Now { ns: 1, s: 1 },
        }
    }

    /// One frame as it was read, offload header first. Returns the datagrams that came of it.
    pub(crate) fn encapsulate(&mut self, raw: &mut [u8], headers: &mut [u8]) -> usize {
        let segment = &self.view.segments[&self.vni];
        let hdr = VnetHdr::read(raw).expect("an offload header");
        let start = vnet_hdr::LEN + self.engine.untag(segment, &mut raw[vnet_hdr::LEN..]);
        let frame = &mut raw[start..];
        let plan = (hdr.gso != Gso::None).then(|| Plan::new(frame, &hdr).expect("a sound super-frame"));
        let (layout, packet_len, count) = match &plan {
            Some(plan) => (*plan.layout(), plan.packet_len(), plan.count() as u64),
            None => {
                let layout = Layout::of(frame);
                (layout, frame.len() - layout.l3, 1)
            }
        };
        let decision =
            self.engine.from_port(segment, &self.port, frame, &layout, packet_len, hdr.csum.is_some(), count, self.now);
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
    pub(crate) fn decapsulate(&mut self, batch: &mut Batch, at: usize, len: usize) {
        let datagram = &mut batch.arena[at..at + len];
        let source = Source::Plain(PEER);
        let followed = self.engine.follow(&mut batch.run, &self.view, datagram, source, 0, self.now);
        let (decapsulated, again) = followed.expect("a sound datagram");
        let Forward::Port(port) = decapsulated.forward else { panic!("not for the port") };
        let (layout, at, len) = (decapsulated.layout, at + vxlan::LEN, len - vxlan::LEN);
        let inner = &mut batch.arena[at..at + len];
        let verdict = check::verify(inner, &layout);
        if !again {
            let mtu = self.view.segments[&decapsulated.vni].spec.mtu;
            clamp_mss(inner, &layout, mtu, verdict == check::Check::Partial);
            batch.looked_up = (mtu, self.key.hash(inner, &layout));
        }
        let (mtu, hash) = batch.looked_up;
        let frame = Frame { port, piece: Piece::new(at, len), layout, check: verdict, hash, mtu, cut: 0 };
        batch.coalescer.push(&mut batch.arena, frame, &mut batch.sink);
    }
}
