//! Captures: frames as they are inside, copied for whoever looks on, beside the packet path.
//!
//! Enters: frames of the workers with what is known of them ([`Seen`]). Leaves: copies, in the order in which a worker
//! came to them, for a reader that takes them now and then ([`ring`]). A capture that does not run costs a worker one
//! comparison for a frame. One that runs costs a copy of what was asked for; where the reader is slower than the frames,
//! copies are lost and counted, and the frames are not held up: nothing here waits or allocates.

pub mod filter;
pub mod ring;

use std::net::IpAddr;
use std::sync::Arc;

use self::filter::Filter;
use self::ring::{Batch, Ring};
use crate::addr::{Mac, PortId, Vni};
use crate::drops::DropReason;

/// Captures that may run at once: each worker looks at all of them for each frame.
pub const MOST: usize = 4;

/// Which way a frame goes, as its endpoint sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the endpoint.
    In,
    /// From the endpoint.
    Out,
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Nobody: the frame ended before that was decided.
    Nobody,
    /// This node, which asks or answers in the place of others.
    Here,
    /// Another port of this node.
    Port(PortId),
    /// A VTEP.
    Vtep(IpAddr),
    /// All others on the network.
    Flood,
}

/// What is known of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The network. `None`: it was not found out, and what is seen is a datagram of the underlay as it came.
    pub vni: Option<Vni>,
    /// The port that it came from or goes to, and the endpoint's own address; `None` for all of the network's.
    pub port: Option<(PortId, Mac)>,
    /// Which way it goes.
    pub way: Way,
    /// Who is at the other end.
    pub peer: Peer,
    /// Why it was dropped, if it was.
    pub dropped: Option<DropReason>,
    /// A super-frame's payload is cut into so many bytes; 0 for a single frame.
    pub cut: u16,
    /// The transport checksum is still to be finished.
    pub unfinished: bool,
}

/// What a capture is to see.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of this network alone.
    pub vni: Option<Vni>,
    /// Of the endpoint with this address alone.
    pub endpoint: Option<Mac>,
    /// What was dropped alone.
    pub drops: bool,
    /// What an expression says.
    pub filter: Option<Filter>,
    /// Bytes kept of each frame.
    pub snap_len: usize,
}

impl Selection {
    /// True for a frame that is to be seen; `head` is the frame, or the beginning of it with all of its headers.
    fn wants(&self, seen: &Seen, head: &[u8], len: usize) -> bool {
        let of_endpoint = |endpoint| match seen.port {
            Some((_, mac)) => mac == endpoint,
            None => seen.way == Way::In,
        };
        (!self.drops || seen.dropped.is_some())
            && self.vni.is_none_or(|vni| seen.vni == Some(vni))
            && self.endpoint.is_none_or(|endpoint| seen.vni.is_some() && of_endpoint(endpoint))
            && self.filter.as_ref().is_none_or(|filter| seen.vni.is_some() && filter.matches(head, len))
    }
}

/// A capture that runs: a ring for each worker.
#[derive(Debug)]
pub struct Capture {
    selection: Selection,
    rings: Box<[Ring]>,
}

impl Capture {
    /// Makes the rings: [`ring::MEMORY`] for each worker.
    pub fn new(selection: Selection, workers: usize) -> Capture {
        Capture { selection, rings: (0..workers).map(|_| Ring::default()).collect() }
    }

    /// Takes what a worker has copied since the last time, and gives it an empty batch for what follows.
    pub fn take(&self, worker: usize, batch: &mut Batch) {
        batch.clear();
        self.rings[worker].swap(batch);
    }

    /// Frames that were to be seen and that there was no room for.
    pub fn lost(&self) -> u64 {
        self.rings.iter().map(Ring::lost).sum()
    }
}

/// A worker's way to the captures.
#[derive(Clone, Copy, Debug)]
pub struct Mirror<'a> {
    captures: &'a [Arc<Capture>],
    worker: usize,
    now_ns: u64,
}

impl<'a> Mirror<'a> {
    /// Of worker number `worker`, at the moment of a batch.
    #[inline]
    pub fn new(captures: &'a [Arc<Capture>], worker: usize, now_ns: u64) -> Mirror<'a> {
        Mirror { captures, worker, now_ns }
    }

    /// Whether anybody looks on. All else here is for when somebody does.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.captures.is_empty()
    }

    /// Shows a frame, given in pieces; the first has all of its headers.
    #[cold]
    pub fn show<'b>(&self, seen: &Seen, pieces: impl Iterator<Item = &'b [u8]> + Clone) {
        self.show_either(seen, None, pieces);
    }

    /// Shows a frame that touches two endpoints of this node: to each capture once, by preference as it leaves the first.
    #[cold]
    pub fn show_either<'b>(&self, first: &Seen, second: Option<&Seen>, pieces: impl Iterator<Item = &'b [u8]> + Clone) {
        let head = pieces.clone().next().unwrap_or_default();
        let len = pieces.clone().map(<[u8]>::len).sum();
        for capture in self.captures {
            let wanted = |seen: &&Seen| capture.selection.wants(seen, head, len);
            if let Some(seen) = [Some(first), second].into_iter().flatten().find(wanted) {
                capture.rings[self.worker].offer(seen, self.now_ns, capture.selection.snap_len, len, pieces.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
