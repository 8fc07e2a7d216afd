//! Into a sealed tunnel, or into the queue of those that wait for one.
//!
//! Each datagram is put together in the header arena, VXLAN header and frame, and sealed where it lies: datagrams of one
//! super-frame stand one behind the other and leave as one slice. Without a session nothing leaves: the frame waits, and
//! the daemon is told that a session is wanted.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::shared::TapView;
use super::{Fill, Step, Tap, Transmit, lane};
use crate::addr::Vni;
use crate::capture::Mirror;
use crate::drops::DropReason;
use crate::engine::{Engine, Now};
use crate::frame::Layout;
use crate::io::batch::To;
use crate::io::shared::Shared;
use crate::offload::check;
use crate::offload::coalesce::Piece;
use crate::offload::segment::Plan;
use crate::offload::vnet_hdr::{self, Gso, VnetHdr};
use crate::path::probe::Ask;
use crate::path::{ecn, mtu};
use crate::seal::pending::{Pending, Waiting};
use crate::seal::worker::{Sealer, Seals};
use crate::stats::Counters;
use crate::switch::view::Segment;
use crate::wire::sealed::{self, Control, Echo, Kind};
use crate::wire::vxlan;

/// Bytes around an inner frame.
const AROUND: usize = sealed::OVERHEAD + vxlan::LEN;
/// VTEPs whose wish for a session is remembered, so that it is told now and then and not for each frame.
const ASKED: usize = 256;
/// How often the daemon is told of one VTEP.
const ASK_EVERY_NS: u64 = 100_000_000;

/// What waits for sessions.
#[derive(Debug)]
pub(super) struct Waits {
    pending: Pending,
    /// VTEPs asked for, and when.
    asked: Vec<(IpAddr, u64)>,
    /// Frames taken out of the queue in this round, with their place in the frame arena.
    resumed: Vec<(Waiting, Piece)>,
}

impl Default for Waits {
    fn default() -> Self {
        Waits { pending: Pending::default(), asked: Vec::with_capacity(ASKED), resumed: Vec::with_capacity(1024) }
    }
}

impl Waits {
    fn ask(&mut self, shared: &Shared, vtep: IpAddr, now_ns: u64) {
        match self.asked.iter_mut().find(|(other, _)| *other == vtep) {
            Some((_, last)) if now_ns.saturating_sub(*last) < ASK_EVERY_NS => return,
            Some((_, last)) => *last = now_ns,
            None => {
                if self.asked.len() == ASKED {
                    self.asked.clear();
                }
                self.asked.push((vtep, now_ns));
            }
        }
        shared.wanted.ask(vtep);
    }
}

impl Transmit {
    /// True while frames wait for a session.
    pub(in crate::io) fn waits(&self) -> bool {
        !self.waits.pending.is_empty()
    }

    /// Sends the frames whose session has come, and counts those that waited too long. At the start of a turn: the frame
    /// arena is empty.
    pub(in crate::io) fn resume(
        &mut self,
        shared: &Shared,
        view: &TapView,
        counters: &Counters,
        engine: &mut Engine,
        seals: &mut Seals,
        now: Now,
    ) {
        while self.waits() {
            let Transmit { worker, arena, fill, out, waits } = self;
            let mirror = Mirror::new(&view.captures, *worker, now.ns);
            waits.resumed.clear();
            let Waits { pending, resumed, .. } = waits;
            // What does not fit into the arena stays for the next round.
            let room = arena.len() - super::MAX_READ;
            let ready = |vtep| seals.sealer(vtep).is_some();
            pending.take(now.ns, room, ready, |waiting, bytes, go| {
                if !go {
                    super::mirror::unsent(&mirror, waiting.vni, waiting.vtep, bytes, DropReason::NoSession);
                    return counters.dropped(DropReason::NoSession, waiting.frames);
                }
                arena[fill.at..][..bytes.len()].copy_from_slice(bytes);
                resumed.push((*waiting, Piece::new(fill.at, bytes.len())));
                fill.at += bytes.len();
            });
            if waits.resumed.is_empty() {
                break;
            }
            for index in 0..waits.resumed.len() {
                let (waiting, piece) = waits.resumed[index];
                let mut step = Step { view, shared, counters, mirror, engine, seals, waits, arena, out, queue: 0, now };
                if let Err((reason, frames)) = step.again(&waiting, piece) {
                    counters.dropped(reason, frames);
                    super::mirror::unsent(&mirror, waiting.vni, waiting.vtep, piece.of(arena), reason);
                }
            }
            out.flush(arena, counters);
            *fill = Fill::default();
        }
    }

    /// Answers an echo to who asked, on the worker's first lane, in a datagram as large as the question.
    pub(in crate::io) fn reply(
        &mut self,
        seals: &mut Seals,
        counters: &Counters,
        vtep: IpAddr,
        control: Control,
        len: usize,
        now: Now,
    ) {
        match seals.sealer(vtep) {
            Some(sealer) => self.control(sealer, counters, vtep, control, len, now.ns),
            None => counters.dropped(DropReason::NoSession, 1),
        }
    }

    /// Sends the echoes that are due. One without a session is not sent, and not answered.
    #[inline]
    pub(in crate::io) fn probe(&mut self, shared: &Shared, seals: &mut Seals, counters: &Counters) {
        for Ask { vtep, id, size } in shared.probes.asks() {
            let Some(sealer) = seals.sealer(vtep) else { continue };
            let now_ns = shared.now().ns;
            let control = Control { echo: Echo::Request, id, time_ns: now_ns };
            let len = usize::from(size) - mtu::udp_ip(vtep.is_ipv6());
            self.control(sealer, counters, vtep, control, len, now_ns);
        }
    }

    /// Seals a control message of `len` bytes on the worker's first lane.
    fn control(
        &mut self,
        mut sealer: Sealer<'_>,
        counters: &Counters,
        vtep: IpAddr,
        control: Control,
        len: usize,
        now_ns: u64,
    ) {
        let out = &mut self.out;
        out.make_room(len, &self.arena, counters);
        let datagram = &mut out.headers[out.used..][..len];
        datagram[sealed::LEN..].fill(0);
        datagram[sealed::LEN..][..Control::LEN].copy_from_slice(&control.write());
        match sealer.seal(0, Kind::Control, datagram, now_ns) {
            // Not a frame: none of its bytes counts as one's.
            Ok(()) => out.push(0, To { vtep, tos: 0, overhead: 0 }, len),
            Err(reason) => counters.dropped(reason, 1),
        }
    }
}

impl Step<'_> {
    /// Sends a frame that has waited: an offload header and the frame, judged when it came.
    fn again(&mut self, waiting: &Waiting, piece: Piece) -> Result<(), (DropReason, u64)> {
        let all = |reason| (reason, waiting.frames);
        let same = |segment: &&Segment<_>| segment.fdb.id() == waiting.network;
        let segment = self.view.segments.get(&waiting.vni).filter(same).ok_or(all(DropReason::UnknownVni))?;
        let raw = piece.of(self.arena);
        let hdr = VnetHdr::read(raw).map_err(all)?;
        let frame = &raw[vnet_hdr::LEN..];
        let plan = if hdr.gso == Gso::None { None } else { Some(Plan::new(frame, &hdr).map_err(all)?) };
        let layout = plan.as_ref().map_or_else(|| Layout::of(frame), |plan| *plan.layout());
        self.seal(segment, &[waiting.vtep], &hdr, plan, &layout, piece, vnet_hdr::LEN)
    }

    /// Into the sealed tunnels to `vteps`; where there is none yet, into the queue.
    #[allow(clippy::too_many_arguments)] // the parts of one frame
    pub(super) fn seal(
        &mut self,
        segment: &Segment<Arc<Tap>>,
        vteps: &[IpAddr],
        hdr: &VnetHdr,
        plan: Option<Plan>,
        layout: &Layout,
        piece: Piece,
        start: usize,
    ) -> Result<(), (DropReason, u64)> {
        let frame = &mut self.arena[piece.at as usize..][..piece.len as usize][start..];
        let lane = lane(self.shared.key.hash(frame, layout), self.out.lanes.len(), true);
        let tos = ecn::encap(layout.tos(frame));
        let mut hdr = *hdr;
        if plan.is_none()
            && let Some((at, offset)) = hdr.csum.take()
        {
            check::finish(frame, at, offset).map_err(|reason| (reason, 1))?;
        }
        let count = plan.as_ref().map_or(1, Plan::count);
        let frame = Piece::new(piece.at as usize + start, piece.len as usize - start);
        for vtep in vteps {
            if self.seals.sealer(*vtep).is_none() {
                self.wait(*vtep, segment, &hdr, frame, count as u64);
                continue;
            }
            let to = To { vtep: *vtep, tos, overhead: AROUND as u8 };
            for index in 0..count {
                let sealed = self.seal_one(segment.spec.vni, to, lane, plan.as_ref(), index, frame);
                if let Err(reason) = sealed {
                    // The rest of a super-frame would end alike.
                    self.counters.dropped(reason, (count - index) as u64);
                    self.unsealed(segment.spec.vni, *vtep, &hdr, frame.of(self.arena), reason);
                    break;
                }
            }
        }
        Ok(())
    }

    /// One datagram: the segment `index` of a super-frame, or the frame as it is.
    #[inline]
    fn seal_one(
        &mut self,
        vni: Vni,
        to: To,
        lane: usize,
        plan: Option<&Plan>,
        index: usize,
        frame: Piece,
    ) -> Result<(), DropReason> {
        let longest = plan.map_or(frame.len as usize, |plan| plan.layout().l3 + plan.packet_len());
        self.out.make_room(AROUND + longest, self.arena, self.counters);
        let frame = frame.of(self.arena);
        let room = &mut self.out.headers[self.out.used..];
        let text = &mut room[sealed::LEN..];
        text[..vxlan::LEN].copy_from_slice(&vxlan::header(vni));
        let inner = &mut text[vxlan::LEN..];
        let len = match plan {
            None => {
                inner[..frame.len()].copy_from_slice(frame);
                frame.len()
            }
            Some(plan) => {
                let head = plan.header_len();
                let payload = plan.write_header(frame, index, &mut inner[..head]);
                inner[head..][..payload.len()].copy_from_slice(&frame[payload.clone()]);
                head + payload.len()
            }
        };
        let Some(mut sealer) = self.seals.sealer(to.vtep) else { return Err(DropReason::NoSession) };
        sealer.seal(lane, Kind::Data, &mut room[..AROUND + len], self.now.ns)?;
        self.out.push(lane, to, AROUND + len);
        Ok(())
    }

    /// Keeps a frame until there is a session, if there is room, and asks for one.
    #[cold]
    fn wait(&mut self, vtep: IpAddr, segment: &Segment<Arc<Tap>>, hdr: &VnetHdr, frame: Piece, count: u64) {
        let vni = segment.spec.vni;
        self.waits.ask(self.shared, vtep, self.now.ns);
        let hdr: [u8; vnet_hdr::LEN] = hdr.write();
        if !self.waits.pending.push(vtep, (vni, segment.fdb.id()), count, [&hdr, frame.of(self.arena)], self.now.ns) {
            self.counters.dropped(DropReason::NoSession, count);
            self.unsealed(vni, vtep, &VnetHdr::default(), frame.of(self.arena), DropReason::NoSession);
        }
    }
}
