//! The receiving half of a worker: datagrams from the underlay become frames and super-frames on TAPs.
//!
//! One batch: `recvmmsg`, then for each datagram the [`engine`](crate::engine), the checksum, the
//! [`coalescer`](crate::offload::coalesce); at the end of the batch everything gathered is written. Payload is not
//! copied in userspace: `writev` takes it from the receive arena.

mod mirror;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use arrayvec::ArrayVec;
use socket2::Socket;
use tracing::error;

use super::shared::{Shared, TapView};
use super::sys::udp::{ReceiveQueue, Received};
use super::tap::Tap;
use crate::addr::PortId;
use crate::capture::Mirror;
use crate::drops::DropReason;
use crate::engine::run::Run;
use crate::engine::{Engine, Forward, Now, Source, clamp_mss};
use crate::frame::Transport;
use crate::offload::check::{Check, verify};
use crate::offload::coalesce::{Coalescer, Frame, MAX_FRAMES, Output, Piece, Sink};
use crate::offload::vnet_hdr::{self, VnetHdr};
use crate::path::probe::Answer;
use crate::seal::worker::Seals;
use crate::stats::Counters;
use crate::wire::sealed::{self, Control, Echo, Kind};
use crate::wire::vxlan;

/// Messages of one receive: with UDP_GRO up to 64 KB each.
const MESSAGES: usize = 64;
/// Echoes answered in one batch.
const ECHOES: usize = 16;
/// How long an unexpected error holds the worker.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The receiving half of a worker.
#[derive(Debug)]
pub(super) struct Receive {
    worker: usize,
    socket: Socket,
    queue: ReceiveQueue,
    coalescer: Coalescer,
    replies: ArrayVec<Echoed, ECHOES>,
}

/// An echo that was asked for, and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echoed {
    /// Who asked.
    pub(super) vtep: IpAddr,
    /// The answer.
    pub(super) control: Control,
    /// Bytes of the question's datagram, and so of the answer's.
    pub(super) len: usize,
}

impl Receive {
    pub(super) fn new(worker: usize, socket: Socket) -> Self {
        let (queue, coalescer) = (ReceiveQueue::new(MESSAGES), Coalescer::default());
        Receive { worker, socket, queue, coalescer, replies: ArrayVec::new() }
    }

    /// One batch: whatever the socket has, up to what the arena holds.
    pub(super) fn batch(
        &mut self,
        shared: &Shared,
        view: &TapView,
        counters: &Counters,
        engine: &mut Engine,
        seals: &mut Seals,
        now: Now,
    ) {
        let Receive { worker, socket, queue, coalescer, replies } = self;
        match queue.receive(socket.as_fd()) {
            Ok(0) => {}
            Ok(overflow) => counters.dropped(DropReason::ReceiveOverflow, u64::from(overflow)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            // The socket stays usable; an error that stays must not turn the worker into a busy loop.
            Err(error) => {
                error!("receiving on the VXLAN socket: {error}");
                return std::thread::sleep(ERROR_PAUSE);
            }
        }
        let (arena, received) = queue.parts();
        let mirror = Mirror::new(&view.captures, *worker, now.ns);
        let out = Delivery { view, counters, mirror };
        let bulk = Bulk::default();
        let mut work = Work { view, shared, engine, seals, coalescer, replies, bulk, out, now };
        for message in received {
            work.message(arena, message);
        }
        work.coalescer.flush(arena, &mut work.out);
    }

    /// The answers that are owed, once.
    pub(super) fn replies(&mut self) -> impl Iterator<Item = Echoed> {
        self.replies.drain(..)
    }
}

impl AsFd for Receive {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One batch's work: the borrowed parts of the worker.
struct Work<'a> {
    view: &'a TapView,
    shared: &'a Shared,
    engine: &'a mut Engine,
    seals: &'a mut Seals,
    replies: &'a mut ArrayVec<Echoed, ECHOES>,
    coalescer: &'a mut Coalescer,
    bulk: Bulk,
    out: Delivery<'a>,
    now: Now,
}

/// What holds for the next segment of a bulk flow, and is not looked up again.
#[derive(Default)]
struct Bulk {
    run: Option<Run>,
    hash: u64,
    mtu: u16,
}

impl Work<'_> {
    fn message(&mut self, arena: &mut [u8], message: &Received) {
        let end = message.at + message.len;
        let whole = message.segment == 0 || vxlan::is_uncut(&arena[message.at..end], message.segment);
        let (size, cut) = if whole { (message.len.max(1), message.segment) } else { (message.segment, 0) };
        let mut at = message.at;
        loop {
            let len = size.min(end - at);
            if let Err(reason) = self.datagram(arena, Piece::new(at, len), message, cut as u16) {
                self.out.drop_frame(reason);
            }
            at += size;
            if at >= end {
                break;
            }
        }
    }

    #[inline]
    fn datagram(&mut self, arena: &mut [u8], piece: Piece, message: &Received, cut: u16) -> Result<(), DropReason> {
        let datagram = &mut arena[piece.at as usize..][..piece.len as usize];
        if !sealed::is_sealed(datagram) {
            let taken = self.tunnelled(arena, piece, Source::Plain(message.source), message.tos, cut);
            return taken.inspect_err(|reason| self.out.refused(piece.of(arena), message.source, *reason));
        }
        let opened = match self.seals.open(datagram, self.now.ns) {
            Ok(opened) => opened,
            Err(reason) => {
                self.out.unopened(datagram, message.source, reason);
                return Err(reason);
            }
        };
        let text = Piece::new(piece.at as usize + sealed::LEN, piece.len as usize - sealed::OVERHEAD);
        if opened.kind == Kind::Control {
            return self.control(text.of(arena), opened.address, piece.len as usize);
        }
        let taken = self.tunnelled(arena, text, Source::Sealed(opened.address), message.tos, 0);
        taken.inspect_err(|reason| {
            self.out.refused(text.of(arena), opened.address, *reason);
            self.seals.refused(&opened, *reason);
        })
    }

    /// A message between the two VTEPs.
    #[cold]
    fn control(&mut self, body: &[u8], vtep: IpAddr, len: usize) -> Result<(), DropReason> {
        let control = Control::parse(body)?;
        match control.echo {
            Echo::Request => {
                let answer = Control { echo: Echo::Reply, ..control };
                // A batch owes no more answers than there is room for.
                let _ = self.replies.try_push(Echoed { vtep, control: answer, len });
            }
            Echo::Reply => {
                let rtt = Duration::from_nanos(self.shared.now().ns.saturating_sub(control.time_ns));
                self.shared.probes.answer(Answer { vtep, id: control.id, rtt });
            }
        }
        Ok(())
    }

    /// A VXLAN header and what follows it.
    #[inline]
    fn tunnelled(
        &mut self,
        arena: &mut [u8],
        piece: Piece,
        source: Source,
        tos: u8,
        cut: u16,
    ) -> Result<(), DropReason> {
        let datagram = &mut arena[piece.at as usize..][..piece.len as usize];
        let run = &mut self.bulk.run;
        let (decapsulated, again) = self.engine.follow(run, self.view, datagram, source, tos, self.now)?;
        let layout = decapsulated.layout;
        let inner = &mut datagram[vxlan::LEN..];
        let check = verify(inner, &layout);
        if check == Check::Wrong {
            self.out.counters.damaged(1);
        }
        if !again {
            let Some(segment) = self.view.segments.get(&decapsulated.vni) else { return Err(DropReason::UnknownVni) };
            let mtu = segment.spec.mtu;
            clamp_mss(inner, &layout, mtu, check == Check::Partial);
            (self.bulk.mtu, self.bulk.hash) = (mtu, self.shared.key.hash(inner, &layout));
        }
        let Bulk { hash, mtu, .. } = self.bulk;
        let frame = Frame {
            port: PortId(0),
            piece: Piece::new(piece.at as usize + vxlan::LEN, piece.len as usize - vxlan::LEN),
            layout,
            check,
            hash,
            mtu,
            cut,
        };
        if self.out.mirror.is_on() {
            self.out.arrived(arena, &frame, decapsulated.vni, decapsulated.forward, source);
        }
        let alone = self.view.udp_alone && layout.transport == Transport::Udp;
        match decapsulated.forward {
            Forward::Port(port) if alone => self.coalescer.push_alone(arena, Frame { port, ..frame }, &mut self.out),
            Forward::Port(port) => self.coalescer.push(arena, Frame { port, ..frame }, &mut self.out),
            // Group frames are few, and the header of what is coalesced is edited in place: one copy per port, alone.
            _ => {
                let ports = self.view.segments.get(&decapsulated.vni).map_or(&[][..], |segment| &segment.ports);
                for port in ports {
                    self.coalescer.push_alone(arena, Frame { port: port.id, ..frame }, &mut self.out);
                }
            }
        }
        Ok(())
    }
}

/// Writes what leaves to the ports' devices, and counts.
struct Delivery<'a> {
    view: &'a TapView,
    counters: &'a Counters,
    mirror: Mirror<'a>,
}

impl Sink for Delivery<'_> {
    #[inline]
    fn deliver(&mut self, arena: &[u8], output: Output<'_>) {
        let frames = u64::from(output.frames);
        let Some(port) = self.view.ports.get(&output.port) else {
            return self.counters.dropped(DropReason::TapDown, frames);
        };
        match write_pieces(&port.device, output.hash, &output.header, output.pieces.iter().map(|piece| piece.of(arena)))
        {
            Ok(()) => self.counters.received(frames, output.bytes),
            Err(reason) => {
                self.counters.dropped(reason, frames);
                self.not_taken(arena, port, &output, reason);
            }
        }
    }

    #[inline]
    fn drop_frame(&mut self, reason: DropReason) {
        self.counters.dropped(reason, 1);
    }
}

/// Writes an offload header and the pieces of a frame as one frame; for `spread` see [`Tap::write`].
#[inline]
pub(super) fn write_pieces<'a>(
    device: &Tap,
    spread: u64,
    header: &VnetHdr,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    let header: [u8; vnet_hdr::LEN] = header.write();
    let mut slices: ArrayVec<IoSlice<'_>, { MAX_FRAMES + 1 }> = ArrayVec::new();
    slices.push(IoSlice::new(&header));
    for piece in pieces {
        slices.push(IoSlice::new(piece));
    }
    device.write(spread, &slices)
}
