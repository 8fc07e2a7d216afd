//! What follows from all logs together: who has which station, who is on which flood list.
//!
//! The one place that writes records, since each write is a question to the view before and after it. Of several
//! claims on a MAC address the one with the highest mobility sequence wins, then that of the lowest VTEP (RFC 7432
//! section 15); an address of IP has no sequence, so of several that of the lowest VTEP wins, and the others are reported.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use weft_vtep::addr::{Mac, Vni};

use super::digest;
use super::entry::{Change, Key, NodeRecord, Value};
use super::log::{Source, Standing};
use super::mobility::Contest;
use super::store::{Op, Record};
use super::{ME, Table};
use crate::id::{NodeId, Origin};

/// What the view says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Whose station it is, by index.
    Mac(Option<u32>),
    Ip(Option<(Mac, u32)>),
    Member(bool),
    Block(bool),
    Node(Option<Box<NodeRecord>>),
    Name(Vec<IpAddr>),
    Nothing,
}

impl Table {
    /// Writes an origin's latest operation of a key, and tells what the view makes of it.
    pub(super) fn write(&mut self, now: Duration, at: u32, seq: u64, key: Key, op: Op) {
        let head = self.store.head(&key, at);
        // A node whose VTEP's address changes may win or lose stations by it.
        let moved = match (&key, &op) {
            (Key::Node, Op::Live(Value::Node(record))) => self.at(at).address != Some(record.address),
            _ => false,
        };
        let affected = if moved { self.looks(at, |table, slot| table.store.is_shared(slot)) } else { Vec::new() };
        let before = self.look(&key, head, at);
        let claim = self.store.claim(head, at);
        let claimed = match &op {
            Op::Live(Value::Mac(mobility)) => Some((*mobility, self.holder(head).map(|best| best.op.sequence()))),
            _ => None,
        };
        let live = op.value().is_some();
        let print = op.value().map(|value| digest::record(seq, &key, value));
        if let (Key::Node, Some(Value::Node(record))) = (&key, op.value()) {
            self.source_mut(at).address = Some(record.address);
        }
        let slot = match claim {
            Some(slot) => {
                self.unlink(at, slot);
                let record = self.store.get_mut(slot);
                // What a tombstone on the wire does not say: where the next claim goes on from.
                let sequence = record.op.sequence();
                record.op = if let Op::Dead { .. } = op { Op::Dead { sequence } } else { op };
                record.seq = seq;
                slot
            }
            None => self.store.insert(key.clone(), op, seq, at),
        };
        self.source_mut(at).log.link(now, seq, slot, print);
        self.list(&key, at, live);
        self.settle(now, &key, at, before);
        if let (Key::Mac(vni, mac), Some((mobility, Some(former)))) = (&key, claimed) {
            let wins = self.owner_index(*vni, *mac) == Some(at);
            if wins && !mobility.orderly && mobility.sequence > former {
                self.count_move(now, *vni, *mac, at);
            }
        }
        self.settle_all(now, at, affected);
    }

    /// Takes a record out for good, tombstone and all.
    pub(super) fn erase(&mut self, now: Duration, at: u32, slot: u32) {
        let key = self.store.get(slot).key.clone();
        let before = self.look(&key, self.store.head(&key, at), at);
        self.unlink(at, slot);
        self.store.remove(slot);
        self.list(&key, at, false);
        self.settle(now, &key, at, before);
    }

    /// Takes out what a complete log has not named.
    pub(super) fn sweep(&mut self, now: Duration, at: u32) {
        for slot in std::mem::take(&mut self.source_mut(at).log.old) {
            self.erase(now, at, slot);
        }
    }

    /// What the view says of those keys of an origin that `which` picks.
    pub(super) fn looks(&self, at: u32, which: impl Fn(&Table, u32) -> bool) -> Vec<(u32, Look)> {
        let log = &self.at(at).log;
        let slots = log.order.values().chain(&log.old).copied().filter(|slot| which(self, *slot));
        slots
            .map(|slot| {
                let key = &self.store.get(slot).key;
                (slot, self.look(key, self.store.head(key, at), at))
            })
            .collect()
    }

    /// Tells how the view has changed since `before`.
    pub(super) fn settle_all(&mut self, now: Duration, at: u32, before: Vec<(u32, Look)>) {
        for (slot, look) in before {
            let key = self.store.get(slot).key.clone();
            self.settle(now, &key, at, look);
        }
    }

    fn settle(&mut self, now: Duration, key: &Key, at: u32, before: Look) {
        let head = self.store.head(key, at);
        self.contest(now, key, head);
        let after = self.look(key, head, at);
        if before != after {
            let change = self.change(key, at, after);
            self.changes.push_back(change);
        }
    }

    fn unlink(&mut self, at: u32, slot: u32) {
        let record = self.store.get(slot);
        let seq = record.seq;
        let print = record.op.value().map(|value| digest::record(seq, &record.key, value));
        self.source_mut(at).log.unlink(seq, slot, print);
    }

    fn list(&mut self, key: &Key, at: u32, live: bool) {
        match (key, live) {
            (Key::Member(vni), true) => drop(self.members.insert((*vni, at))),
            (Key::Member(vni), false) => drop(self.members.remove(&(*vni, at))),
            (Key::Block(vni, block), true) => drop(self.blocks.insert((*vni, *block, at))),
            (Key::Block(vni, block), false) => drop(self.blocks.remove(&(*vni, *block, at))),
            _ => {}
        }
    }

    fn look(&self, key: &Key, head: Option<u32>, at: u32) -> Look {
        let own = || self.store.claims(head).find(|(_, record)| record.source == at && self.counts(record));
        match key {
            Key::Mac(..) => Look::Mac(self.holder(head).map(|record| record.source)),
            Key::Ip(..) => Look::Ip(self.holder(head).and_then(station)),
            Key::Member(_) => Look::Member(own().is_some()),
            Key::Block(..) => Look::Block(own().is_some()),
            Key::Node => Look::Node(own().and_then(|(_, record)| match record.op.value() {
                Some(Value::Node(node)) => Some(node.clone()),
                _ => None,
            })),
            Key::Name(..) => Look::Name(self.addresses(head)),
            Key::Other(_) => Look::Nothing,
        }
    }

    fn change(&self, key: &Key, at: u32, look: Look) -> Change {
        let node = self.at(at).node;
        let name = |at: u32| self.at(at).node;
        match (key, look) {
            (Key::Mac(vni, mac), Look::Mac(owner)) => Change::Mac { vni: *vni, mac: *mac, owner: owner.map(name) },
            (Key::Ip(vni, ip), Look::Ip(holder)) => {
                Change::Ip { vni: *vni, ip: *ip, holder: holder.map(|(mac, at)| (mac, name(at))) }
            }
            (Key::Member(vni), Look::Member(present)) => Change::Member { vni: *vni, node, present },
            (Key::Block(vni, block), Look::Block(present)) => Change::Block { vni: *vni, block: *block, node, present },
            (Key::Name(vni, name), Look::Name(addresses)) => Change::Name { vni: *vni, name: name.clone(), addresses },
            (_, Look::Node(record)) => Change::Node { node, record },
            (_, _) => unreachable!("a look is made of its key"),
        }
    }

    /// Live, and of a node that counts for this kind of key.
    pub(super) fn counts(&self, record: &Record) -> bool {
        let standing = self.at(record.source).standing;
        let stands = match (standing, &record.key) {
            (Standing::Alive, _) | (_, Key::Node | Key::Block(..)) => true,
            (Standing::Silent { .. }, key) => !matches!(key, Key::Member(_)),
            (Standing::Hidden { .. }, _) => false,
        };
        stands && record.op.value().is_some()
    }

    /// The claim that wins.
    fn holder(&self, head: Option<u32>) -> Option<&Record> {
        let claims = self.store.claims(head).map(|(_, record)| record).filter(|record| self.counts(record));
        claims.max_by_key(|record| self.rank(record))
    }

    /// By sequence, then the lowest VTEP; two nodes that say to have the same one, by their ids.
    pub(super) fn rank(&self, record: &Record) -> impl Ord + use<> {
        let source = self.at(record.source);
        (record.op.sequence(), Reverse((source.address.is_none(), source.address, source.node)))
    }

    /// The live claims on a MAC or IP address, the one that wins first.
    pub(super) fn rivals(&self, head: Option<u32>) -> Vec<&Record> {
        let mut rivals: Vec<_> =
            self.store.claims(head).map(|(_, record)| record).filter(|record| self.counts(record)).collect();
        rivals.sort_by_key(|record| Reverse(self.rank(record)));
        rivals
    }

    fn addresses(&self, head: Option<u32>) -> Vec<IpAddr> {
        let claims = self.store.claims(head).filter(|(_, record)| self.counts(record));
        let mut addresses: Vec<_> = claims
            .flat_map(|(_, record)| match record.op.value() {
                Some(Value::Name(addresses)) => addresses.as_slice(),
                _ => &[],
            })
            .copied()
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    fn contest(&mut self, now: Duration, key: &Key, head: Option<u32>) {
        if !matches!(key, Key::Mac(..) | Key::Ip(..)) {
            return;
        }
        let shared = self.store.claims(head).nth(1).is_some();
        if !shared && self.contests.is_empty() {
            return;
        }
        let rivals = if shared { self.rivals(head) } else { Vec::new() };
        let first = rivals.first().and_then(|record| station(record)).map(|(mac, _)| mac);
        let differ = |record: &&Record| station(record).map(|(mac, _)| mac) != first;
        let contested = match key {
            Key::Mac(..) => rivals.len() > 1,
            _ => rivals.iter().any(differ),
        };
        if contested {
            self.contests.entry(key.clone()).or_insert(Contest { since: now, told: false });
        } else {
            self.contests.remove(key);
        }
    }

    pub(super) fn owner_index(&self, vni: Vni, mac: Mac) -> Option<u32> {
        self.holder(self.store.head(&Key::Mac(vni, mac), ME)).map(|record| record.source)
    }
}

/// The station that a record of an IP address names, and its origin.
fn station(record: &Record) -> Option<(Mac, u32)> {
    match record.op.value() {
        Some(Value::Ip(mac)) => Some((*mac, record.source)),
        _ => None,
    }
}

/// Look-ups. A dead node's records are left out as [`Standing`] says.
impl Table {
    /// The node that has a station.
    pub fn owner(&self, vni: Vni, mac: Mac) -> Option<NodeId> {
        self.owner_index(vni, mac).map(|at| self.at(at).node)
    }

    /// The station that has an address, and the node that says so.
    pub fn station(&self, vni: Vni, ip: IpAddr) -> Option<(Mac, NodeId)> {
        let (mac, at) = station(self.holder(self.store.head(&Key::Ip(vni, ip), ME))?)?;
        Some((mac, self.at(at).node))
    }

    /// The nodes that have a record of a key, this one and dead ones included.
    pub fn claimants(&self, key: &Key) -> impl Iterator<Item = NodeId> {
        let claims = self.store.claims(self.store.head(key, ME));
        claims.filter(|(_, record)| record.op.value().is_some()).map(|(_, record)| self.at(record.source).node)
    }

    /// The nodes on a network's flood list, this one included if it is.
    pub fn members(&self, vni: Vni) -> impl Iterator<Item = NodeId> {
        let all = self.members.range((vni, 0)..=(vni, u32::MAX)).map(|(_, at)| self.at(*at));
        all.filter(|source| source.standing == Standing::Alive).map(|source| source.node)
    }

    /// The nodes that have endpoints on a network as far as is known, dead ones included, as long as their logs are kept.
    pub fn users(&self, vni: Vni) -> impl Iterator<Item = NodeId> {
        self.members.range((vni, 0)..=(vni, u32::MAX)).map(|(_, at)| self.at(*at).node)
    }

    /// Blocks of a network's addresses and who says to have them, dead nodes included.
    pub fn blocks(&self, vni: Vni) -> impl Iterator<Item = (IpNet, NodeId)> {
        let from = self.blocks.range((vni, IpNet::V4(Ipv4Net::default()), 0)..);
        from.take_while(move |(of, ..)| *of == vni).map(|(_, block, at)| (*block, self.at(*at).node))
    }

    /// The addresses of a name, those of all nodes, sorted.
    pub fn resolve(&self, vni: Vni, name: &str) -> Vec<IpAddr> {
        self.addresses(self.store.head(&Key::Name(vni, name.into()), ME))
    }

    /// What a node says of itself.
    pub fn node(&self, node: NodeId) -> Option<&NodeRecord> {
        let at = *self.indices.get(&node)?;
        let slot = self.store.head(&Key::Node, at)?;
        match self.store.get(slot).op.value() {
            Some(Value::Node(record)) => Some(record),
            _ => None,
        }
    }

    /// All nodes whose logs are here, this one first.
    pub fn nodes(&self) -> impl Iterator<Item = (Origin, Standing)> {
        self.sources
            .iter()
            .flatten()
            .map(|source: &Source| (Origin { node: source.node, incarnation: source.log.incarnation }, source.standing))
    }

    /// All stations and who has them, in no order. Runs over the whole table.
    pub fn stations(&self) -> impl Iterator<Item = (Vni, Mac, NodeId)> {
        self.winners().filter_map(|record| match record.key {
            Key::Mac(vni, mac) => Some((vni, mac, self.at(record.source).node)),
            _ => None,
        })
    }

    /// All addresses, whose they are and who says so, in no order. Runs over the whole table.
    pub fn neighbors(&self) -> impl Iterator<Item = (Vni, IpAddr, Mac, NodeId)> {
        self.winners().filter_map(|record| match (&record.key, record.op.value()) {
            (Key::Ip(vni, ip), Some(Value::Ip(mac))) => Some((*vni, *ip, *mac, self.at(record.source).node)),
            _ => None,
        })
    }

    /// All live records of one node, by their sequence numbers.
    pub fn records(&self, node: NodeId) -> impl Iterator<Item = (u64, &Key, &Value)> {
        let order = self.source(node).into_iter().flat_map(|source| &source.log.order);
        order.filter_map(|(seq, slot)| {
            let record = self.store.get(*slot);
            Some((*seq, &record.key, record.op.value()?))
        })
    }

    fn winners(&self) -> impl Iterator<Item = &Record> {
        self.store
            .iter()
            .filter(|(slot, record)| {
                self.counts(record)
                    && (!self.store.is_shared(*slot)
                        || self
                            .holder(self.store.head(&record.key, record.source))
                            .is_some_and(|best| best.source == record.source))
            })
            .map(|(_, record)| record)
    }
}
