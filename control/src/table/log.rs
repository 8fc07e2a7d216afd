//! One origin's log: which records there are, in the order of their sequence numbers.
//!
//! Only the latest operation of each key is kept, so a log is as long as it has keys. A *new* log of the same origin
//! (it began another life, or was behind forgotten tombstones) is built while the *old* records stay in force; each
//! moves over when the new log names it, and those that it never named are swept when it is complete.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::id::NodeId;

/// How much a node's records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of them.
    Alive,
    /// Membership says that the node is dead since then, and its data path was last heard at `heard`: it is off the
    /// flood lists, its stations are still where they were.
    Silent {
        /// When it was declared dead.
        since: Duration,
        /// When a datagram of its was last opened, `since` at least.
        heard: Duration,
    },
    /// Only its name and its blocks.
    Hidden {
        /// When it was declared dead.
        since: Duration,
    },
}

/// An origin and its log.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) node: NodeId,
    /// Its VTEP, as its node record says.
    pub(super) address: Option<IpAddr>,
    pub(super) standing: Standing,
    pub(super) log: Log,
    /// Where it stands in the order of changes.
    pub(super) version: u64,
    /// What it adds to the table's digest.
    pub(super) share: u64,
}

/// Which records there are, by their sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) incarnation: u64,
    /// All operations up to this one have been seen.
    pub(super) applied: u64,
    /// How far the log went that the farthest part was cut from.
    pub(super) head: u64,
    /// No removal up to this number has been missed.
    pub(super) base: u64,
    /// Tombstones below this number are forgotten.
    pub(super) floor: u64,
    /// The origin's whole set has been seen, at some number.
    pub(super) complete: bool,
    /// The next log from zero begins anew, even though nothing says that this one is wrong.
    pub(super) renew: bool,
    /// The sum of the live records' fingerprints.
    pub(super) hash: u64,
    /// Slots of the records.
    pub(super) order: BTreeMap<u64, u32>,
    /// Slots of the records that the log being built has not named.
    pub(super) old: BTreeSet<u32>,
    /// Tombstones and when they were written, oldest first.
    pub(super) graves: VecDeque<(Duration, u64)>,
}

impl Log {
    /// True if the records are exactly those that the origin had at `applied`.
    pub(super) fn is_settled(&self) -> bool {
        self.complete && self.applied >= self.head
    }

    /// How many keys the origin occupies.
    pub(super) fn keys(&self) -> usize {
        self.order.len() + self.old.len()
    }

    /// Adds a record. `print` is the fingerprint of a live one; a tombstone has none.
    pub(super) fn link(&mut self, now: Duration, seq: u64, slot: u32, print: Option<u64>) {
        self.order.insert(seq, slot);
        match print {
            Some(print) => self.hash = self.hash.wrapping_add(print),
            None => self.graves.push_back((now, seq)),
        }
    }

    /// Takes a record out, be it of this log or of the old one.
    pub(super) fn unlink(&mut self, seq: u64, slot: u32, print: Option<u64>) {
        if self.order.get(&seq) == Some(&slot) {
            self.order.remove(&seq);
            self.hash = self.hash.wrapping_sub(print.unwrap_or(0));
        } else {
            self.old.remove(&slot);
        }
    }

    /// Begins a new log; what this one has becomes old.
    pub(super) fn begin(&mut self, incarnation: u64) {
        let mut rest = std::mem::take(self);
        rest.old.extend(rest.order.into_values());
        *self = Log { incarnation, base: u64::MAX, old: rest.old, ..Log::default() };
    }
}
