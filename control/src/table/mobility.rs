//! MAC addresses that move too often, and addresses that are there twice (RFC 7432 section 15).
//!
//! The RFC lets each node stop listening to claims on an address that flaps. Nodes would then stop at different claims
//! and disagree on where the station is. Here the *claiming* stops: each node counts the moves that it sees, and none
//! claims an address that it counts as frozen, so the last claim stands, the same one everywhere.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_vtep::addr::{Mac, Vni};

use super::entry::{Change, Key, Mobility, PutError};
use super::log::Standing;
use super::wire::MAX_MOVES;
use super::{ME, Table};
use crate::id::NodeId;

/// Moves within [`WINDOW`] that freeze an address: RFC 7432 section 15.1 has 5 as default.
pub const MOVES: usize = 5;
/// How long a move counts, and how long an address has to be quiet for a freeze to end.
pub const WINDOW: Duration = Duration::from_secs(180);
/// How long two claims may stand side by side before they are reported: a move takes far less.
pub const GRACE: Duration = Duration::from_secs(3);
/// Addresses whose moves are counted. Each costs some 150 bytes; beyond that, moves of further ones are not counted.
const TRACKED: usize = 1 << 16;
/// Duplicates reported in one tick; the others follow in the next ones.
const REPORTS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The last [`MOVES`] of them.
    times: VecDeque<Duration>,
    frozen: bool,
}

impl Recent {
    fn is_quiet(&self, now: Duration) -> bool {
        self.times.back().is_none_or(|last| now.saturating_sub(*last) >= WINDOW)
    }
}

/// Moves that count, by address.
pub(super) type Moves = BTreeMap<(Vni, Mac), Recent>;

/// An address that several nodes claim.
#[derive(Debug)]
pub(super) struct Contest {
    pub(super) since: Duration,
    pub(super) told: bool,
}

/// Contests, by key.
pub(super) type Contests = BTreeMap<Key, Contest>;

impl Table {
    /// The mobility of this node's claim on a station; `None` if it has it already.
    pub(super) fn next_claim(
        &self,
        now: Duration,
        vni: Vni,
        mac: Mac,
        head: Option<u32>,
    ) -> Result<Option<Mobility>, PutError> {
        let mine = self.store.claim(head, ME).map(|slot| self.store.get(slot));
        let best = self.owner_index(vni, mac);
        if best == Some(ME) {
            return Ok(None);
        }
        let others = || self.store.claims(head).map(|(_, record)| record).filter(|record| record.source != ME);
        // A claim of a dead node is no reason to think of flapping.
        let held = others().find(|record| self.counts(record) && self.at(record.source).standing == Standing::Alive);
        if let Some(owner) = best.filter(|_| held.is_some() && self.is_frozen(now, vni, mac)) {
            return Err(PutError::Frozen { vni, mac, owner: self.at(owner).node, quiet: WINDOW });
        }
        let above = others().map(|record| record.op.sequence().saturating_add(1)).max();
        let sequence = above.max(mine.map(|record| record.op.sequence())).unwrap_or(0).min(MAX_MOVES);
        Ok(Some(Mobility { sequence, orderly: held.is_none() }))
    }

    /// True while nobody may claim the address.
    pub fn is_frozen(&self, now: Duration, vni: Vni, mac: Mac) -> bool {
        self.moves.get(&(vni, mac)).is_some_and(|recent| recent.frozen && !recent.is_quiet(now))
    }

    /// The MAC addresses that nobody may claim.
    pub fn frozen(&self, now: Duration) -> impl Iterator<Item = (Vni, Mac)> {
        self.moves.iter().filter(move |(_, recent)| recent.frozen && !recent.is_quiet(now)).map(|(key, _)| *key)
    }

    /// The addresses that have been there several times for longer than a move takes, and who has them: frames go to the
    /// first.
    pub fn contested(&self, now: Duration) -> Vec<(Key, Vec<NodeId>)> {
        let stands = |contest: &Contest| now.saturating_sub(contest.since) >= GRACE;
        let keys = self.contests.iter().filter(|(_, contest)| stands(contest)).map(|(key, _)| key);
        keys.map(|key| {
            let rivals = self.rivals(self.store.head(key, ME));
            (key.clone(), rivals.iter().map(|record| self.at(record.source).node).collect())
        })
        .collect()
    }

    pub(super) fn count_move(&mut self, now: Duration, vni: Vni, mac: Mac, to: u32) {
        if self.moves.len() >= TRACKED && !self.moves.contains_key(&(vni, mac)) {
            return;
        }
        let recent = self.moves.entry((vni, mac)).or_default();
        if recent.is_quiet(now) {
            *recent = Recent::default();
        }
        recent.times.push_back(now);
        while recent.times.len() > MOVES {
            recent.times.pop_front();
        }
        let crowded = recent.times.len() == MOVES && now.saturating_sub(recent.times[0]) < WINDOW;
        if crowded && !recent.frozen {
            recent.frozen = true;
            let owner = self.at(to).node;
            self.changes.push_back(Change::MacFrozen { vni, mac, owner });
        }
    }

    pub(super) fn reap_moves(&mut self, now: Duration) {
        let changes = &mut self.changes;
        self.moves.retain(|(vni, mac), recent| {
            let quiet = recent.is_quiet(now);
            if quiet && recent.frozen {
                changes.push_back(Change::MacThawed { vni: *vni, mac: *mac });
            }
            !quiet
        });
    }

    pub(super) fn report_contests(&mut self, now: Duration) {
        let due = |contest: &Contest| !contest.told && now.saturating_sub(contest.since) >= GRACE;
        let keys: Vec<Key> = self
            .contests
            .iter()
            .filter(|(_, contest)| due(contest))
            .map(|(key, _)| key.clone())
            .take(REPORTS)
            .collect();
        for key in keys {
            if let Some(contest) = self.contests.get_mut(&key) {
                contest.told = true;
            }
            let rivals = self.rivals(self.store.head(&key, ME));
            let change = match key {
                Key::Mac(vni, mac) => {
                    let nodes = rivals.iter().map(|record| self.at(record.source).node).collect();
                    Change::DuplicateMac { vni, mac, nodes }
                }
                Key::Ip(vni, ip) => {
                    let holders = rivals.iter().filter_map(|record| match record.op.value() {
                        Some(super::entry::Value::Ip(mac)) => Some((*mac, self.at(record.source).node)),
                        _ => None,
                    });
                    Change::DuplicateIp { vni, ip, holders: holders.collect() }
                }
                _ => continue,
            };
            self.changes.push_back(change);
        }
    }
}
