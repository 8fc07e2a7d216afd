//! The replicated table: which node says what, and what follows from it.
//!
//! Each node writes a log of its own records and nobody else's; all logs reach all nodes ([`crate::exchange`]). In
//! come this node's own records ([`Table::put`]), parts of logs ([`Table::apply`]), the verdicts of membership
//! ([`Table::suspend`] and its like) and the time; out come parts of logs for others ([`Table::delta`]) and what
//! has changed in the merged view ([`Table::poll_change`]): which VTEP a station is behind, who is on a flood list.
//! The view is a function of the logs and of who is alive: equal logs, equal views, in whatever order they came.
//!
//! * [`entry`]: keys, values, changes. [`wire`]: how they come from a peer. `store`: where they lie, `log`: in which
//!   order.
//! * `apply` and `delta`: parts of logs in and out. `digest`: are two tables equal?
//! * [`view`]: who has a MAC address that several claim (RFC 7432 section 15), and all look-ups. [`mobility`]: who
//!   moves too often, who is there twice.
//! * [`reap`]: dead nodes and forgotten tombstones.

mod apply;
mod delta;
pub(crate) mod digest;
pub mod entry;
mod log;
pub mod mobility;
pub mod reap;
mod store;
pub mod view;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use ipnet::IpNet;
use weft_vtep::addr::Vni;

pub use apply::Outcome;
pub use entry::{Change, Key, Limits, Mobility, NodeRecord, OtherKey, PutError, Value};
pub use log::Standing;
pub use wire::Refused;

use crate::id::{NodeId, Origin};
use log::{Log, Source};
use mobility::{Contests, Moves};
use store::{Op, Store};

/// This node's own log.
const ME: u32 = 0;

/// All origins' logs, this node's included, and the merged view.
pub struct Table {
    limits: Limits,
    store: Store,
    /// By the index that records have. An origin that is gone leaves a gap, which the next one fills.
    sources: Vec<Option<Source>>,
    /// Asked for each position of each vector.
    indices: HashMap<NodeId, u32>,
    /// Networks and who wants their flooded frames, hidden nodes included.
    members: BTreeSet<(Vni, u32)>,
    /// Blocks and who says to have them.
    blocks: BTreeSet<(Vni, IpNet, u32)>,
    moves: Moves,
    contests: Contests,
    /// Removed from the cluster for good.
    gone: BTreeSet<NodeId>,
    /// Dead for so long that their logs were dropped, and when.
    expired: BTreeMap<NodeId, Duration>,
    changes: VecDeque<Change>,
    /// Rises with every change of a log.
    version: u64,
    /// The sum of all logs' shares.
    digest: u64,
    /// Origins, by the version at which their logs changed last.
    recent: BTreeMap<u64, u32>,
}

impl Table {
    /// An empty table of a node that starts. Its log is not complete, so that others keep what they have of its former
    /// life, until [`Table::complete`] says so.
    pub fn new(me: Origin, limits: Limits) -> Table {
        let mut table = Table {
            limits,
            store: Store::new(),
            sources: Vec::new(),
            indices: HashMap::new(),
            members: BTreeSet::new(),
            blocks: BTreeSet::new(),
            moves: Moves::default(),
            contests: Contests::default(),
            gone: BTreeSet::new(),
            expired: BTreeMap::new(),
            changes: VecDeque::new(),
            version: 0,
            digest: 0,
            recent: BTreeMap::new(),
        };
        table.add_source(me.node);
        table.source_mut(ME).log.incarnation = me.incarnation;
        table.reckon(ME);
        table
    }

    /// Who this node is.
    pub fn me(&self) -> Origin {
        let source = self.at(ME);
        Origin { node: source.node, incarnation: source.log.incarnation }
    }

    /// What the table takes.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Writes a record of this node's own. The mobility of a MAC address is chosen here, whatever `value` says: this
    /// node has the station from now on, unless its address is frozen elsewhere.
    pub fn put(&mut self, now: Duration, key: Key, value: Value) -> Result<(), PutError> {
        wire::check(&key, &value, &self.limits)?;
        let head = self.store.head(&key, ME);
        let mine = self.store.claim(head, ME);
        let value = match (&key, value) {
            (Key::Mac(vni, mac), _) => match self.next_claim(now, *vni, *mac, head)? {
                Some(mobility) => Value::Mac(mobility),
                None => return Ok(()),
            },
            (_, value) if mine.is_some_and(|slot| self.store.get(slot).op.value() == Some(&value)) => return Ok(()),
            (_, value) => value,
        };
        let keys = self.at(ME).log.keys();
        if mine.is_none() && (keys >= self.limits.keys_per_origin || self.store.len() >= self.limits.keys) {
            return Err(PutError::Full(keys));
        }
        self.write_mine(now, key, Op::Live(value));
        Ok(())
    }

    /// Takes back a record of this node's own. Nothing happens if there is none.
    pub fn remove(&mut self, now: Duration, key: &Key) {
        let mine = self.store.claim(self.store.head(key, ME), ME);
        let Some(op) = mine.map(|slot| &self.store.get(slot).op) else { return };
        if let Op::Live(_) = op {
            let sequence = op.sequence();
            self.write_mine(now, key.clone(), Op::Dead { sequence });
        }
    }

    /// This node's value of a key.
    pub fn mine(&self, key: &Key) -> Option<&Value> {
        let slot = self.store.claim(self.store.head(key, ME), ME)?;
        self.store.get(slot).op.value()
    }

    /// After a start: all that this node has to say has been put. Only now do others sweep what it had said in its
    /// former life.
    pub fn complete(&mut self) {
        self.source_mut(ME).log.complete = true;
        self.touch(ME);
    }

    /// Begins another life with the same records, since others have records of this node that it did not write
    /// ([`Change::Usurped`]). Nothing happens unless `incarnation` is higher than the present one.
    pub fn reincarnate(&mut self, now: Duration, incarnation: u64) {
        let log = &mut self.source_mut(ME).log;
        if incarnation <= log.incarnation {
            return;
        }
        let complete = log.complete;
        let order = std::mem::take(&mut log.order);
        *log = Log { incarnation, complete, ..Log::default() };
        for slot in order.into_values() {
            let record = self.store.get(slot);
            if record.op.value().is_none() {
                // A new life has nothing to take back.
                self.store.remove(slot);
                continue;
            }
            let log = &mut self.source_mut(ME).log;
            log.applied += 1;
            log.head = log.applied;
            let seq = log.applied;
            let record = self.store.get_mut(slot);
            record.seq = seq;
            let print = record.op.value().map(|value| digest::record(seq, &record.key, value));
            self.source_mut(ME).log.link(now, seq, slot, print);
        }
        self.touch(ME);
    }

    /// What has changed in the merged view, oldest first. To be drained after every call that takes `&mut self`.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// A number that rises with every change of a log, and of the digest.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The origins whose logs have changed since the table had this version.
    pub fn changed_since(&self, version: u64) -> impl Iterator<Item = Origin> {
        self.recent.range(version + 1..).map(|(_, at)| {
            let source = self.at(*at);
            Origin { node: source.node, incarnation: source.log.incarnation }
        })
    }

    fn write_mine(&mut self, now: Duration, key: Key, op: Op) {
        let log = &mut self.source_mut(ME).log;
        log.applied += 1;
        log.head = log.applied;
        let seq = log.applied;
        self.write(now, ME, seq, key, op);
        self.touch(ME);
    }

    /// The origin at an index that a record or a set names: those exist as long as their origin does.
    fn at(&self, at: u32) -> &Source {
        self.sources[at as usize].as_ref().expect("records go before their origin does")
    }

    fn source_mut(&mut self, at: u32) -> &mut Source {
        self.sources[at as usize].as_mut().expect("records go before their origin does")
    }

    fn source(&self, node: NodeId) -> Option<&Source> {
        self.indices.get(&node).map(|at| self.at(*at))
    }

    fn add_source(&mut self, node: NodeId) -> u32 {
        // Without a gap there are as many as there are indices.
        let full = self.indices.len() == self.sources.len();
        let gap = if full { None } else { self.sources.iter().position(Option::is_none) };
        let gap = gap.unwrap_or(self.sources.len());
        if gap == self.sources.len() {
            self.sources.push(None);
        }
        let (standing, log) = (Standing::Alive, Log::default());
        self.sources[gap] = Some(Source { node, address: None, standing, log, version: 0, share: 0 });
        // `Limits::origins` is far below 2^32.
        self.indices.insert(node, gap as u32);
        gap as u32
    }

    fn touch(&mut self, at: u32) {
        self.version += 1;
        let version = self.version;
        let before = std::mem::replace(&mut self.source_mut(at).version, version);
        self.recent.remove(&before);
        self.recent.insert(version, at);
        self.reckon(at);
    }
}

#[cfg(test)]
mod tests;
