//! The sending half of a worker: frames from TAPs become datagrams, or go to local TAPs as they are.
//!
//! One turn: drain each ready TAP of this worker's share until it has no more (bounded), decide by the
//! [`engine`](crate::engine), cut super-frames, and gather datagrams in a batch that leaves by `sendmmsg`. A
//! single frame's VXLAN header is written over the offload header that stood before it; a segment's headers go to an
//! arena of their own and its payload leaves by scatter-gather: payload is not copied in userspace.

mod mirror;
mod out;
mod seal;

use std::net::IpAddr;
use std::sync::Arc;

use nix::errno::Errno;
use socket2::Socket;
use tracing::debug;

use self::out::Out;
use self::seal::Waits;
use super::batch::To;
use super::rx::write_pieces;
use super::shared::{Shared, TapView};
use super::sys::arena::Arena;
use super::tap::{MAX_READ, Tap};
use super::underlay::tell_too_big;
use crate::addr::PortId;
use crate::capture::Mirror;
use crate::drops::DropReason;
use crate::engine::{Engine, Forward, Now};
use crate::frame::{ETH_LEN, Layout};
use crate::offload::check;
use crate::offload::coalesce::Piece;
use crate::offload::segment::{MAX_HEADER, Plan};
use crate::offload::vnet_hdr::{self, Gso, VnetHdr};
use crate::path::ecn;
use crate::seal::worker::Seals;
use crate::stats::Counters;
use crate::switch::view::{Port, Segment};
use crate::wire::vxlan;

/// A turn reads no further frame once it holds this many, or this many bytes: what is sent is still in the cache.
const TURN_FRAMES: usize = 64;
const TURN_BYTES: usize = 120 << 10;

/// A worker's share of a port: one of the queues of its device.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) port: Arc<Port<Arc<Tap>>>,
    pub(super) queue: usize,
}

/// The sending half of a worker.
#[derive(Debug)]
pub(super) struct Transmit {
    worker: usize,
    arena: Arena,
    fill: Fill,
    out: Out,
    waits: Waits,
}

/// Why a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drained {
    /// There are no more frames, or the turn is full and the rest waits for the next one.
    Paused,
    /// The device has vanished with its namespace.
    Gone,
}

impl Transmit {
    pub(super) fn new(worker: usize, lanes: Vec<Socket>, (local, vxlan_port): (IpAddr, u16)) -> Self {
        Transmit {
            worker,
            arena: Arena::new(TURN_BYTES + MAX_READ),
            fill: Fill::default(),
            out: Out::new(lanes, local, vxlan_port),
            waits: Waits::default(),
        }
    }

    /// Reads one queue's frames until there are none or the turn is full.
    #[allow(clippy::too_many_arguments)] // the parts of one worker
    pub(super) fn drain(
        &mut self,
        shared: &Shared,
        view: &TapView,
        counters: &Counters,
        engine: &mut Engine,
        seals: &mut Seals,
        Share { port, queue }: &Share,
        now: Now,
    ) -> Drained {
        self.out.paths.turn(now.s);
        loop {
            if self.fill.frames >= TURN_FRAMES || self.fill.at >= TURN_BYTES {
                // The device is still readable: the next turn goes on, after the other ports.
                self.flush(counters);
                return Drained::Paused;
            }
            let len = match port.device.read(*queue, &mut self.arena[self.fill.at..]) {
                Ok(len) => len,
                Err(Errno::EAGAIN) => return Drained::Paused,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    debug!(port = port.id.0, "the endpoint's device is gone: {error}");
                    return Drained::Gone;
                }
            };
            let piece = Piece::new(self.fill.at, len);
            self.fill.frames += 1;
            self.fill.at += len.next_multiple_of(64);
            let Transmit { worker, arena, out, waits, .. } = self;
            let mirror = Mirror::new(&view.captures, *worker, now.ns);
            let mut step =
                Step { view, shared, counters, mirror, engine, seals, waits, arena, out, queue: *queue, now };
            if let Err((reason, frames)) = step.frame(port, piece) {
                counters.dropped(reason, frames);
            }
        }
    }

    /// Sends what was gathered: the end of a turn.
    pub(super) fn flush(&mut self, counters: &Counters) {
        self.out.flush(&self.arena, counters);
        self.fill = Fill::default();
    }
}

/// How much of the frame arena the turn has used.
#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    at: usize,
    frames: usize,
}

/// The lane of a flow, of a worker's `lanes`. Sealed and plain datagrams never leave by the same: those that are alike in size
/// the receiver's kernel would join, and give all of them to the worker of the first, which has no key for the others.
///
/// Sealed ones have the lanes whose number has an even count of ones in binary, plain ones the odd: either half is spread
/// alike over the receiver's workers, whose share goes by the lane's number.
#[inline]
fn lane(hash: u64, lanes: usize, sealed: bool) -> usize {
    if lanes < 2 {
        return 0;
    }
    let pair = (hash % (lanes / 2) as u64) as usize;
    2 * pair + usize::from((pair.count_ones() % 2 == 1) == sealed)
}

/// The way of one frame: the borrowed parts of the worker.
struct Step<'a> {
    view: &'a TapView,
    shared: &'a Shared,
    counters: &'a Counters,
    mirror: Mirror<'a>,
    engine: &'a mut Engine,
    seals: &'a mut Seals,
    waits: &'a mut Waits,
    arena: &'a mut [u8],
    out: &'a mut Out,
    /// The one that the frame came out of.
    queue: usize,
    now: Now,
}

impl Step<'_> {
    /// Takes one frame, offload header first, from the arena to wherever it goes. On an error: why, and how many frames
    /// end with it.
    #[inline]
    fn frame(&mut self, port: &Port<Arc<Tap>>, piece: Piece) -> Result<(), (DropReason, u64)> {
        let one = |reason| (reason, 1);
        let segment = self.view.segments.get(&port.vni).ok_or((DropReason::UnknownVni, 1))?;
        let raw = &mut self.arena[piece.at as usize..][..piece.len as usize];
        let mut hdr = VnetHdr::read(raw).map_err(one)?;
        let untagged = self.engine.untag(segment, &mut raw[vnet_hdr::LEN..]);
        if untagged > 0 {
            hdr.csum = hdr.csum.map(|(start, offset)| (start.saturating_sub(untagged as u16), offset));
        }
        let start = vnet_hdr::LEN + untagged;
        // What the answer to a question is written over.
        let came = self.mirror.is_on().then(|| mirror::Beginning::of(&raw[start..]));
        let done = self.forward(segment, port, &hdr, piece, start);
        if let Some(came) = came {
            self.show(port, &hdr, came, &piece.of(self.arena)[start..], done);
        }
        done.map(drop)
    }

    /// Decides on a frame and sends it there.
    #[inline]
    fn forward(
        &mut self,
        segment: &Segment<Arc<Tap>>,
        port: &Port<Arc<Tap>>,
        hdr: &VnetHdr,
        piece: Piece,
        start: usize,
    ) -> Result<Forward, (DropReason, u64)> {
        let one = |reason| (reason, 1);
        let frame = &mut self.arena[piece.at as usize..][..piece.len as usize][start..];
        let plan = if hdr.gso == Gso::None { None } else { Some(Plan::new(frame, hdr).map_err(one)?) };
        let (layout, packet_len, count) = match &plan {
            Some(plan) => (*plan.layout(), plan.packet_len(), plan.count() as u64),
            None => {
                let layout = Layout::of(frame);
                (layout, frame.len() - layout.l3, 1)
            }
        };
        let decision =
            self.engine.from_port(segment, port, frame, &layout, packet_len, hdr.csum.is_some(), count, self.now);
        let forward = match decision {
            Ok(forward) => forward,
            Err(reason) => {
                if reason == DropReason::Oversize && port.icmp.allow(self.now.ns) {
                    tell_too_big(&port.device, self.queue as u64, frame, segment.spec.mtu);
                }
                return Err((reason, count));
            }
        };
        match forward {
            Forward::Port(id) => self.to_port(id, hdr, piece, start, count)?,
            Forward::Vtep(vtep) => {
                // It is sent all the same: the kernel has the last word, and counts.
                let probed = self.view.narrow.get(&vtep).copied();
                if let Some(mtu) = self.out.paths.inner_mtu(vtep, segment.spec.sealed, probed)
                    // A tag that is kept takes room as well.
                    && let mtu = mtu.saturating_sub((layout.l3.saturating_sub(ETH_LEN)) as u16)
                    && packet_len > usize::from(mtu)
                    && port.icmp.allow(self.now.ns)
                {
                    tell_too_big(&port.device, self.queue as u64, frame, mtu);
                }
                self.encapsulate(segment, &[vtep], hdr, plan, &layout, piece, start)?;
            }
            Forward::Flood => {
                for other in segment.ports.iter().filter(|other| other.id != port.id) {
                    if let Err((reason, frames)) = self.to_port(other.id, hdr, piece, start, count) {
                        self.counters.dropped(reason, frames);
                        self.not_taken(other, hdr, &piece.of(self.arena)[start..], reason);
                    }
                }
                self.encapsulate(segment, segment.flood.all(), hdr, plan, &layout, piece, start)?;
            }
            Forward::Remotes => {
                self.encapsulate(segment, segment.flood.remotes(), hdr, plan, &layout, piece, start)?;
            }
            Forward::Answer(len) => {
                let answer = std::iter::once(&frame[..len]);
                write_pieces(&port.device, self.queue as u64, &VnetHdr::default(), answer)
                    .map_err(|reason| (reason, count))?;
            }
        }
        Ok(forward)
    }

    /// To a local port, as it came: a super-frame is not cut.
    fn to_port(
        &self,
        id: PortId,
        hdr: &VnetHdr,
        piece: Piece,
        start: usize,
        count: u64,
    ) -> Result<(), (DropReason, u64)> {
        let port = self.view.ports.get(&id).ok_or((DropReason::TapDown, count))?;
        let frame = &piece.of(self.arena)[start..];
        write_pieces(&port.device, self.queue as u64, hdr, std::iter::once(frame)).map_err(|reason| (reason, count))
    }

    /// Into the tunnels to `vteps`.
    #[inline]
    #[allow(clippy::too_many_arguments)] // the parts of one frame
    fn encapsulate(
        &mut self,
        segment: &Segment<Arc<Tap>>,
        vteps: &[IpAddr],
        hdr: &VnetHdr,
        plan: Option<Plan>,
        layout: &Layout,
        piece: Piece,
        start: usize,
    ) -> Result<(), (DropReason, u64)> {
        if vteps.is_empty() {
            return Ok(());
        }
        if segment.spec.sealed {
            return self.seal(segment, vteps, hdr, plan, layout, piece, start);
        }
        let raw = &mut self.arena[piece.at as usize..][..piece.len as usize];
        let frame = &mut raw[start..];
        let lane = lane(self.shared.key.hash(frame, layout), self.out.lanes.len(), false);
        let tos = ecn::encap(layout.tos(frame));
        let towards = |vtep| To { vtep, tos, overhead: vxlan::LEN as u8 };
        let vxlan = vxlan::header(segment.spec.vni);
        let Some(plan) = plan else {
            if let Some((at, offset)) = hdr.csum {
                check::finish(frame, at, offset).map_err(|reason| (reason, 1))?;
            }
            // The offload header has done its duty: the VXLAN header takes its place.
            let at = start - vxlan::LEN;
            raw[at..start].copy_from_slice(&vxlan);
            let datagram = Piece::new(piece.at as usize + at, piece.len as usize - at);
            for vtep in vteps {
                self.out.make_room(0, self.arena, self.counters);
                self.out.batch.push(lane, towards(*vtep), Piece::new(0, 0), datagram);
            }
            return Ok(());
        };
        let header_len = vxlan::LEN + plan.header_len();
        for index in 0..plan.count() {
            self.out.make_room(vxlan::LEN + MAX_HEADER, self.arena, self.counters);
            let header = Piece::new(self.out.used, header_len);
            let to = &mut self.out.headers[self.out.used..][..header_len];
            self.out.used += header_len;
            to[..vxlan::LEN].copy_from_slice(&vxlan);
            let frame_at = piece.at as usize + start;
            let frame = &self.arena[frame_at..][..piece.len as usize - start];
            let range = plan.write_header(frame, index, &mut to[vxlan::LEN..]);
            let payload = Piece::new(frame_at + range.start, range.len());
            for vtep in vteps {
                if self.out.batch.is_full() {
                    // The header just written stays valid: only what was gathered before it is sent.
                    self.out.send(self.arena, self.counters);
                }
                self.out.batch.push(lane, towards(*vtep), header, payload);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lane_is_of_both_kinds_and_each_kind_reaches_every_worker() {
        for lanes in [2, 3, 8, 21, 32, 64] {
            let of =
                |sealed| -> std::collections::BTreeSet<_> { (0..1000).map(|hash| lane(hash, lanes, sealed)).collect() };
            let (plain, sealed) = (of(false), of(true));
            assert!(plain.is_disjoint(&sealed) && plain.iter().chain(&sealed).all(|lane| *lane < lanes));
            assert_eq!((plain.len(), sealed.len()), (lanes / 2, lanes / 2));
            for workers in [1, 2, 4, 8, 16, 32].into_iter().filter(|workers| 2 * workers <= lanes) {
                for kind in [&plain, &sealed] {
                    let reached: std::collections::BTreeSet<_> = kind.iter().map(|lane| lane % workers).collect();
                    assert!(lanes % (2 * workers) != 0 || reached.len() == workers, "{lanes} lanes, {workers} workers");
                }
            }
        }
        assert_eq!((lane(7, 1, true), lane(7, 1, false)), (0, 0));
    }
}
