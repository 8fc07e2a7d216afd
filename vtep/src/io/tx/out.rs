//! The way out: what a turn has gathered leaves by `sendmmsg`, lane by lane.
//!
//! What the kernel refuses as a whole is tried datagram by datagram, so that each is counted for what it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use socket2::Socket;
use tracing::warn;

use crate::drops::DropReason;
use crate::io::batch::{Batch, MAX_DATAGRAMS, Message, To};
use crate::io::sys::arena::Arena;
use crate::io::sys::udp::SendQueue;
use crate::io::underlay::Paths;
use crate::offload::coalesce::Piece;
use crate::stats::Counters;

/// Room for the headers of a turn's segments, or for its sealed datagrams as a whole.
const HEADERS: usize = 256 << 10;

/// The way out: what is gathered, where segment headers are written, and the sockets.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) batch: Batch,
    pub(super) headers: Arena,
    pub(super) used: usize,
    queue: SendQueue,
    /// Messages of the lane in hand that the kernel did not take as a whole, and whether that may be since it cannot cut.
    refused: Vec<(u16, bool)>,
    pub(super) lanes: Vec<Socket>,
    vxlan_port: u16,
    pub(super) paths: Paths,
}

impl Out {
    /// `lanes` are the worker's sockets, bound to `local`.
    pub(super) fn new(lanes: Vec<Socket>, local: IpAddr, vxlan_port: u16) -> Self {
        Out {
            batch: Batch::default(),
            headers: Arena::new(HEADERS),
            used: 0,
            queue: SendQueue::new(MAX_DATAGRAMS, 2 * MAX_DATAGRAMS),
            refused: Vec::with_capacity(MAX_DATAGRAMS),
            lanes,
            vxlan_port,
            paths: Paths::new(local, vxlan_port),
        }
    }

    /// Sends what is gathered if another datagram, with `bytes` of it in the header arena, would not fit.
    #[inline]
    pub(super) fn make_room(&mut self, bytes: usize, arena: &[u8], counters: &Counters) {
        if self.batch.is_full() || self.used + bytes > self.headers.len() {
            self.flush(arena, counters);
        }
    }

    /// Gathers the datagram that was made where the header arena's free part began.
    #[inline]
    pub(super) fn push(&mut self, lane: usize, to: To, len: usize) {
        self.batch.push(lane, to, Piece::new(self.used, len), Piece::new(0, 0));
        self.used += len;
    }

    /// Sends what is gathered and starts anew.
    pub(super) fn flush(&mut self, arena: &[u8], counters: &Counters) {
        self.send(arena, counters);
        self.used = 0;
    }

    /// Sends what is gathered; the headers written so far stay.
    pub(super) fn send(&mut self, arena: &[u8], counters: &Counters) {
        if self.batch.is_empty() {
            return;
        }
        let Out { batch, headers, queue, refused, lanes, vxlan_port, paths, .. } = self;
        let vxlan_port = *vxlan_port;
        let headers: &[u8] = headers;
        let mut cannot_segment = false;
        for lane in batch.lanes() {
            let fd = lanes[lane].as_fd();
            let pieces = |(header, payload): (Piece, Piece)| {
                [header.of(headers), payload.of(arena)].into_iter().filter(|slice| !slice.is_empty())
            };
            let mut sending = queue.begin();
            for message in batch.messages(lane) {
                let segment = (message.count > 1).then_some(message.size);
                let to = SocketAddr::new(message.vtep, vxlan_port);
                match batch.contiguous(message) {
                    Some(all) => sending.push(to, std::iter::once(all.of(headers)), segment, message.tos),
                    None => sending.push(to, batch.datagrams(message).flat_map(pieces), segment, message.tos),
                }
            }
            let mut messages = batch.messages(lane);
            refused.clear();
            sending.submit(fd, |index, fate| {
                let Some(message) = messages.next() else { return };
                let count = u64::from(message.count);
                let Err(error) = fate else { return sent(counters, message, count, message.inner_bytes()) };
                match paths.refused(message.vtep, message.size.into(), &error) {
                    DropReason::UnderlayMtu | DropReason::UnderlayError if count > 1 => {
                        refused.push((index as u16, is_of_cutting(&error)));
                    }
                    reason => lost(counters, message, count, reason),
                }
            });
            // One by one: the datagrams that do fit go out, and each of the others is counted for what it is.
            for (index, of_cutting) in refused.drain(..) {
                let Some(message) = batch.messages(lane).nth(usize::from(index)) else { continue };
                let to = SocketAddr::new(message.vtep, vxlan_port);
                let mut sending = queue.begin();
                for datagram in batch.datagrams(message) {
                    sending.push(to, pieces(datagram), None, message.tos);
                }
                let mut datagrams = batch.datagrams(message);
                let mut taken = 0;
                sending.submit(fd, |_, fate| {
                    let Some((header, payload)) = datagrams.next() else { return };
                    match fate {
                        Ok(()) => {
                            taken += 1;
                            sent(
                                counters,
                                message,
                                1,
                                u64::from(header.len + payload.len) - u64::from(message.overhead),
                            );
                        }
                        Err(error) => {
                            let len = (header.len + payload.len) as usize;
                            lost(counters, message, 1, paths.refused(message.vtep, len, &error));
                        }
                    }
                });
                cannot_segment |= of_cutting && taken == message.count;
            }
        }
        batch.clear();
        if cannot_segment {
            warn!("the underlay's device cannot segment UDP (UDP_SEGMENT): sending costs several times more");
            batch.never_segment();
        }
    }
}

/// Whether the kernel refuses a message so where UDP_SEGMENT is not to be had. A firewall's refusal is another, and passes.
fn is_of_cutting(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP))
}

/// Counts frames that the kernel did not take; an echo that is too large for the path is no frame, and was to find that out.
#[cold]
fn lost(counters: &Counters, message: &Message, count: u64, reason: DropReason) {
    if message.overhead > 0 {
        counters.dropped(reason, count);
    }
}

/// Counts frames that left; a message without any overhead is no frame's.
#[inline]
fn sent(counters: &Counters, message: &Message, count: u64, bytes: u64) {
    if message.overhead > 0 {
        counters.sent(count, bytes);
    }
}
