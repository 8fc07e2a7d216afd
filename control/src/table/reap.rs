//! Nodes that died, and what time alone takes out of the table.

use std::time::Duration;

use super::entry::Key;
use super::log::Standing;
use super::{ME, Table};
use crate::id::NodeId;

/// How long a tombstone is kept, so that neighbours that were away for less need no snapshot.
pub const TOMBSTONES: Duration = Duration::from_secs(600);
/// How long the stations of a dead node stay where they are after its data path was last heard.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long a dead node's log is kept: until then it comes back without sending anything.
pub const DEAD: Duration = Duration::from_secs(24 * 3600);

impl Table {
    /// Membership says that a node is dead: it leaves all flood lists now, and its stations are gone once its data
    /// path has been silent for [`SILENCE`].
    pub fn suspend(&mut self, now: Duration, node: NodeId) {
        // Its log may still arrive from another.
        if !self.indices.contains_key(&node) && self.indices.len() < self.limits.origins && !self.is_over(node) {
            self.add_source(node);
        }
        if let Some(at) = self.other(node)
            && self.at(at).standing == Standing::Alive
        {
            self.stand(now, at, Standing::Silent { since: now, heard: now });
        }
    }

    /// A datagram of this node's was opened, or answered: its stations are still there.
    pub fn heard(&mut self, now: Duration, node: NodeId) {
        if let Some(at) = self.other(node) {
            match self.at(at).standing {
                Standing::Silent { since, .. } => {
                    self.source_mut(at).standing = Standing::Silent { since, heard: now };
                }
                Standing::Hidden { since } => self.stand(now, at, Standing::Silent { since, heard: now }),
                Standing::Alive => {}
            }
        }
    }

    /// Membership says that a node is alive (again): all that it had counts as before.
    pub fn unsuspend(&mut self, now: Duration, node: NodeId) {
        self.expired.remove(&node);
        if let Some(at) = self.other(node) {
            self.stand(now, at, Standing::Alive);
        }
    }

    /// The node is removed from the cluster: its log goes, and nobody's copy of it is taken again.
    pub fn forget(&mut self, now: Duration, node: NodeId) {
        if node == self.me().node {
            return;
        }
        if let Some(at) = self.other(node) {
            self.drop_source(now, at);
        }
        self.expired.remove(&node);
        self.gone.insert(node);
    }

    /// True if copies of the node's log are not taken: it was removed, or was dead for so long that its log was dropped.
    pub(crate) fn is_over(&self, node: NodeId) -> bool {
        self.gone.contains(&node) || self.expired.contains_key(&node)
    }

    /// A node that was forgotten is a member again: its log is taken from now on.
    pub fn readmit(&mut self, node: NodeId) {
        self.gone.remove(&node);
    }

    /// True if the node was removed for good.
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }

    /// Takes out what is over. To be called about once a second.
    pub fn tick(&mut self, now: Duration) {
        for at in 0..self.sources.len() as u32 {
            let Some(source) = &self.sources[at as usize] else { continue };
            match source.standing {
                Standing::Silent { since, heard } if now.saturating_sub(heard) >= SILENCE => {
                    self.stand(now, at, Standing::Hidden { since });
                }
                Standing::Hidden { since } if now.saturating_sub(since) >= DEAD => {
                    self.expired.insert(source.node, now);
                    self.drop_source(now, at);
                    continue;
                }
                _ => {}
            }
            self.reap_tombstones(now, at);
        }
        // By then nobody else has its log either.
        self.expired.retain(|_, since| now.saturating_sub(*since) < DEAD);
        self.reap_moves(now);
        self.report_contests(now);
    }

    fn other(&self, node: NodeId) -> Option<u32> {
        self.indices.get(&node).copied().filter(|at| *at != ME)
    }

    fn stand(&mut self, now: Duration, at: u32, standing: Standing) {
        let before = self.at(at).standing;
        if before == standing {
            return;
        }
        let looks = self.looks(at, |table, slot| {
            let key = &table.store.get(slot).key;
            !matches!(key, Key::Node | Key::Block(..))
        });
        self.source_mut(at).standing = standing;
        // The digest is another, although no log changed.
        self.version += 1;
        self.reckon(at);
        self.settle_all(now, at, looks);
    }

    fn drop_source(&mut self, now: Duration, at: u32) {
        let log = &self.at(at).log;
        let slots: Vec<u32> = log.order.values().chain(&log.old).copied().collect();
        for slot in slots {
            self.erase(now, at, slot);
        }
        if let Some(source) = self.sources[at as usize].take() {
            self.indices.remove(&source.node);
            self.recent.remove(&source.version);
            self.digest = self.digest.wrapping_sub(source.share);
            self.version += 1;
        }
    }

    /// Forgets old tombstones, and the oldest ones of an origin that fills half of its quota with them.
    fn reap_tombstones(&mut self, now: Duration, at: u32) {
        let most = self.limits.keys_per_origin / 2;
        loop {
            let log = &mut self.source_mut(at).log;
            let Some((buried, seq)) = log.graves.front().copied() else { return };
            let slot = log.order.get(&seq).copied();
            let dead = slot.filter(|slot| self.store.get(*slot).op.value().is_none());
            let log = &mut self.source_mut(at).log;
            if dead.is_some() && now.saturating_sub(buried) < TOMBSTONES && log.graves.len() <= most {
                return;
            }
            log.graves.pop_front();
            if let Some(slot) = dead {
                log.floor = log.floor.max(seq + 1);
                self.erase(now, at, slot);
            }
        }
    }
}
