//! Parts of logs from others.
//!
//! A part comes from any neighbour, late, twice or not at all. It is looked at whole before anything of it is taken,
//! and a log is only ever continued where it ends. A log that begins anew, because its origin did or because this node
//! missed removals that others have forgotten, leaves the old records in force until it is complete.

use std::time::Duration;

use weft_proto::v1;

use super::entry::{Change, Key};
use super::store::Op;
use super::wire::{self, MAX_JUMP, MAX_SEQUENCE, Refused};
use super::{ME, Table};
use crate::id::NodeId;

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log is longer now.
    Applied,
    /// It says nothing that is not known.
    Known,
    /// It begins later than the log ends here: the part that [`Table::wanted`] names has to come first.
    Behind,
    /// The sender has the log of a former life: it needs what is here.
    OldLife,
}

impl Table {
    /// Takes a part of an origin's log from a neighbour, or refuses it and is as before.
    pub fn apply(&mut self, now: Duration, delta: v1::Delta) -> Result<Outcome, Refused> {
        let node = NodeId(delta.node);
        check_range(&delta)?;
        if node == self.me().node {
            self.hear_of_me(delta.incarnation, delta.to, 0);
            return Ok(if delta.incarnation < self.me().incarnation { Outcome::OldLife } else { Outcome::Known });
        }
        if self.gone.contains(&node) {
            return Err(Refused::Gone);
        }
        if self.is_over(node) {
            // Another node that will drop this log within moments.
            return Ok(Outcome::Known);
        }
        let (incarnation, applied, base) = match self.source(node) {
            Some(source) => {
                let log = &source.log;
                (log.incarnation, log.applied, if log.is_settled() { log.applied } else { log.base })
            }
            None if self.indices.len() >= self.limits.origins => return Err(Refused::Quota),
            None => (0, 0, 0),
        };
        if !wire::is_plausible(delta.incarnation) {
            return Err(Refused::Sequence);
        }
        if delta.incarnation < incarnation {
            return Ok(Outcome::OldLife);
        }
        let newer = delta.incarnation > incarnation;
        let missed = delta.floor > base.saturating_add(1);
        let renew = self.source(node).is_some_and(|source| source.log.renew);
        let begin = delta.after == 0 && (newer || missed || renew);
        if !begin && (newer || missed || delta.after > applied) {
            if missed && !newer {
                self.renew(node);
            }
            return Ok(Outcome::Behind);
        }
        let ends = delta.complete && delta.to >= delta.head;
        if !begin && delta.to <= applied && !self.completes(node, ends, delta.to, delta.head) {
            return Ok(Outcome::Known);
        }
        let records = self.decode(delta.records, delta.after, delta.to)?;
        self.check_quota(node, &records, begin)?;

        let at = self.indices.get(&node).copied().unwrap_or_else(|| self.add_source(node));
        let log = &mut self.source_mut(at).log;
        if begin {
            log.begin(delta.incarnation);
        } else if log.is_settled() {
            log.base = log.applied;
        }
        log.base = log.base.min(delta.head);
        if !log.complete {
            log.floor = log.floor.max(delta.floor);
        }
        let applied = log.applied;
        for (seq, key, op) in records {
            if seq > applied {
                self.write(now, at, seq, key, op);
            }
        }
        let log = &mut self.source_mut(at).log;
        log.applied = log.applied.max(delta.to);
        log.head = log.head.max(delta.head);
        log.complete |= delta.complete && delta.to >= log.head;
        if log.is_settled() {
            self.sweep(now, at);
        }
        self.touch(at);
        Ok(Outcome::Applied)
    }

    /// Where this node has come in an origin's log, and whether it is taking all of it: what to ask others for.
    pub fn wanted(&self, node: NodeId) -> (u64, bool) {
        match self.source(node).map(|source| &source.log) {
            None => (0, true),
            Some(log) if log.renew => (0, true),
            Some(log) => (log.applied, !log.complete),
        }
    }

    /// Takes the next log of this origin that begins at zero for a new one: what is here is known to be wrong.
    pub fn renew(&mut self, node: NodeId) {
        if let Some(at) = self.indices.get(&node).copied().filter(|at| *at != ME) {
            self.source_mut(at).log.renew = true;
        }
    }

    /// Hears how far others have come with this node's own log, and their hash of it (0: unknown). Nobody but this node
    /// writes it, so if they have more, or something else, they have it from somebody else, or this node has forgotten
    /// a life: either way its next one has to be higher, and true is returned.
    pub fn hear_of_me(&mut self, incarnation: u64, applied: u64, hash: u64) -> bool {
        let Some(mine) = self.position(self.me().node) else { return false };
        let same = incarnation == mine.incarnation;
        let more = incarnation > mine.incarnation || (same && applied > mine.applied);
        let other = same && applied == mine.applied && hash != 0 && mine.hash != 0 && hash != mine.hash;
        let usurped = (more || other) && wire::is_plausible_of_me(incarnation, mine.incarnation);
        if usurped {
            self.changes.push_back(Change::Usurped { incarnation });
        }
        usurped
    }

    /// True if a part without news says that the log as it is here is all.
    fn completes(&self, node: NodeId, ends: bool, to: u64, head: u64) -> bool {
        self.source(node).is_some_and(|source| {
            let log = &source.log;
            ends && !log.complete && to == log.applied && head >= log.head
        })
    }

    fn decode(&self, records: Vec<v1::Record>, after: u64, to: u64) -> Result<Vec<(u64, Key, Op)>, Refused> {
        if records.len() > self.limits.records_per_delta {
            return Err(Refused::Quota);
        }
        let mut last = after;
        let mut decoded = Vec::with_capacity(records.len());
        for record in records {
            if record.seq <= last || record.seq > to {
                return Err(Refused::Sequence);
            }
            last = record.seq;
            let key = wire::key(record.key.ok_or(Refused::Missing)?, &self.limits)?;
            let op = match record.value {
                Some(value) => Op::Live(wire::value(&key, value, &self.limits)?),
                None => Op::Dead { sequence: 0 },
            };
            decoded.push((record.seq, key, op));
        }
        Ok(decoded)
    }

    /// Old records that a new log has not named yet count once more, so that a new life always has room.
    fn check_quota(&self, node: NodeId, records: &[(u64, Key, Op)], begin: bool) -> Result<(), Refused> {
        let limits = &self.limits;
        let at = self.indices.get(&node).copied();
        let log = at.map(|at| &self.at(at).log);
        let (order, all) = log.map_or((0, 0), |log| (if begin { 0 } else { log.order.len() }, log.keys()));
        let most = records.len();
        if order + most <= limits.keys_per_origin && self.store.len() + most <= limits.keys {
            return Ok(());
        }
        let is_new = |key: &Key| at.is_none_or(|at| self.store.claim(self.store.head(key, at), at).is_none());
        let new = records.iter().filter(|(_, key, _)| is_new(key)).count();
        let fits = order + new <= limits.keys_per_origin
            && all + new <= 2 * limits.keys_per_origin
            && self.store.len() + new <= limits.keys;
        if fits { Ok(()) } else { Err(Refused::Quota) }
    }
}

fn check_range(delta: &v1::Delta) -> Result<(), Refused> {
    let rises = delta.after <= delta.to && delta.to <= delta.head && delta.to - delta.after <= MAX_JUMP;
    if rises && delta.head <= MAX_SEQUENCE && delta.floor <= delta.head + 1 { Ok(()) } else { Err(Refused::Sequence) }
}
