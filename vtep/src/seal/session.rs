//! One lane of a session: the sending side numbers and seals, the receiving side judges and opens.
//!
//! A lane belongs to one worker on each side, by value and without a copy, so a counter rises in one place: no nonce is
//! ever used twice, and a replay meets the one window there is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::handshake::SessionKeys;
use super::replay::Window;
use super::suite::{Cipher, Suite};
use crate::drops::DropReason;
use crate::sync::AtomicU64;
use crate::wire::sealed::{Header, Kind, LEN, OVERHEAD, TAG};

/// Failed tags after which a lane opens nothing more (draft-irtf-cfrg-aead-limits: the integrity limit).
pub const FAILED_OPENS: u64 = 1 << 36;

/// The sending side of a lane.
#[derive(Debug)]
pub struct SendLane {
    cipher: Cipher,
    lane: u16,
    index: u32,
    /// The counter of the next datagram.
    next: u64,
    limit: u64,
}

impl SendLane {
    /// A lane that has sealed nothing yet. `index` is the receiver's name for the session.
    pub fn new(keys: &SessionKeys, lane: u16, index: u32) -> SendLane {
        let suite = keys.terms().suite;
        SendLane { cipher: Cipher::new(suite, &keys.lane(lane)), lane, index, next: 0, limit: suite.hard_limit() }
    }

    /// Seals a datagram in place: `datagram` has room for the header, then the text, then room for the tag.
    ///
    /// # Errors
    /// [`DropReason::KeyExhausted`] beyond the hard limit; [`DropReason::OuterTruncated`] without room. Nothing was
    /// sealed.
    #[inline]
    pub fn seal(&mut self, kind: Kind, datagram: &mut [u8]) -> Result<(), DropReason> {
        if self.next >= self.limit {
            return Err(DropReason::KeyExhausted);
        }
        if datagram.len() < OVERHEAD {
            return Err(DropReason::OuterTruncated);
        }
        let header = Header { kind, lane: self.lane, index: self.index, counter: self.next };
        // Before anything can fail: a counter that was looked at is used up.
        self.next += 1;
        let (head, rest) = datagram.split_at_mut(LEN);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG);
        let bytes = header.write();
        head.copy_from_slice(&bytes);
        tag.copy_from_slice(&self.cipher.seal(header.nonce(), &bytes, text));
        Ok(())
    }

    /// How many datagrams were sealed.
    pub fn sealed(&self) -> u64 {
        self.next
    }
}

/// The receiving side of a lane.
#[derive(Debug)]
pub struct ReceiveLane {
    cipher: Cipher,
    window: Window,
    limit: u64,
    failed: u64,
}

impl ReceiveLane {
    /// A lane that has opened nothing yet.
    pub fn new(keys: &SessionKeys, lane: u16) -> ReceiveLane {
        let suite = keys.terms().suite;
        let cipher = Cipher::new(suite, &keys.lane(lane));
        ReceiveLane { cipher, window: Window::default(), limit: suite.hard_limit(), failed: 0 }
    }

    /// Opens a datagram of this lane in place: the text is what stands between header and tag then.
    ///
    /// # Errors
    /// [`DropReason::Replay`], [`DropReason::BadTag`], [`DropReason::KeyExhausted`]. Nothing was opened, and no forged
    /// counter moved the window.
    #[inline]
    pub fn open(&mut self, header: &Header, datagram: &mut [u8]) -> Result<(), DropReason> {
        if self.failed >= FAILED_OPENS || header.counter >= self.limit {
            return Err(DropReason::KeyExhausted);
        }
        self.window.check(header.counter).map_err(|_| DropReason::Replay)?;
        let Some((head, sealed)) = datagram.split_first_chunk_mut::<LEN>() else {
            return Err(DropReason::OuterTruncated);
        };
        if self.cipher.open(header.nonce(), head, sealed).is_err() {
            self.failed += 1;
            return Err(DropReason::BadTag);
        }
        self.window.commit(header.counter).map_err(|_| DropReason::Replay)
    }
}

/// What one worker did under one session; written by it alone, read by whoever asks.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    done: AtomicU64,
    highest: AtomicU64,
    rejected: [AtomicU64; REJECTS.len()],
    /// Nanoseconds of the last datagram, 0 for never.
    last_ns: AtomicU64,
}

/// The reasons for which a session refuses, in the order of [`Totals::rejected`].
pub const REJECTS: [DropReason; 5] =
    [DropReason::WrongLane, DropReason::Replay, DropReason::BadTag, DropReason::KeyExhausted, DropReason::NotMember];

impl Tally {
    /// Counts a datagram that was sealed or opened; `of_lane` is how many its lane has seen.
    #[inline]
    pub fn done(&self, of_lane: u64, now_ns: u64) {
        // One writer: a load and a store, as in [`Counters`](crate::stats::Counters).
        self.done.store(self.done.load(Relaxed) + 1, Relaxed);
        if of_lane > self.highest.load(Relaxed) {
            self.highest.store(of_lane, Relaxed);
        }
        self.last_ns.store(now_ns, Relaxed);
    }

    /// Counts a datagram that was refused. A reason that is not one of [`REJECTS`] is not the session's.
    #[inline]
    pub fn rejected(&self, reason: DropReason) {
        if let Some(at) = REJECTS.iter().position(|other| *other == reason) {
            self.rejected[at].store(self.rejected[at].load(Relaxed) + 1, Relaxed);
        }
    }
}

/// The tallies of all workers together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Datagrams sealed or opened.
    pub done: u64,
    /// Of the lane that has the most.
    pub highest: u64,
    /// Refused, by [`REJECTS`].
    pub rejected: [u64; REJECTS.len()],
    /// When the last one was sealed or opened, in the node's nanoseconds; 0 for never.
    pub last_ns: u64,
}

impl Totals {
    /// Adds up.
    pub fn of(tallies: &[Arc<Tally>]) -> Totals {
        let mut totals = Totals::default();
        for tally in tallies {
            totals.done += tally.done.load(Relaxed);
            totals.highest = totals.highest.max(tally.highest.load(Relaxed));
            totals.last_ns = totals.last_ns.max(tally.last_ns.load(Relaxed));
            for (sum, count) in totals.rejected.iter_mut().zip(&tally.rejected) {
                *sum += count.load(Relaxed);
            }
        }
        totals
    }

    /// True when the session has sealed enough to be replaced.
    pub fn is_worn(&self, suite: Suite) -> bool {
        self.highest >= suite.soft_limit()
    }
}

#[cfg(test)]
mod tests;
