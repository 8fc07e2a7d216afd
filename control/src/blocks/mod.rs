//! The addresses of a cluster's network: which node gives out which.
//!
//! A subnet is divided into blocks ([`Grid`]). A node that wants addresses claims a block: it asks every node that
//! it can reach, and commits by a record of its own when all have agreed. Inside its blocks it then gives out
//! addresses without asking anyone. When no block is left it asks an owner for a single address; so it does for an
//! address that the user asks for in another node's block.
//!
//! What enters: what an endpoint asks for ([`Blocks::request`]), the answers of other nodes ([`Blocks::claimed`],
//! [`Blocks::taken`]), their questions ([`Blocks::judge_claim`], [`Blocks::judge_take`]), and what the replicated
//! table says at the moment of each call ([`View`]). What leaves: the next thing to do ([`Step`]), verdicts, and block
//! records to put into the table ([`Blocks::poll_record`]). The records of addresses are the node's to put: they
//! name the station, which is not known here.
//!
//! Why no address is given twice while all nodes see each other: of two nodes that claim one block, each asks the
//! other. A node that is claiming denies those with a higher id and gives way to those with a lower; one that has
//! committed denies all; one that has agreed makes no claim of its own, and agrees with no node of a higher id, for
//! [`PROMISE`], within which the other has committed and its record has come. Across a partition nobody can be
//! asked: what was given twice is found afterwards and reported ([`Blocks::tick`]).

mod conflict;
mod error;
mod grid;
mod judge;
mod request;
mod search;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

pub use conflict::Conflict;
pub use error::AddressError;
pub use grid::Grid;
pub use judge::{ClaimVerdict, TakeVerdict};
pub use request::{ClaimAnswer, Request, Step, TakeAnswer};

use crate::id::NodeId;
use crate::ipam::PoolError;
use crate::network::Network;

/// How long a claim may take from its first question until all have agreed. Longer than it takes to declare a node
/// dead, so that a node that has just failed delays a claim and does not refuse it.
pub const CLAIM_TIME: Duration = Duration::from_secs(6);
/// How long a node keeps to its agreement to a claim: a claim's whole time, and as long again for the record to come.
pub const PROMISE: Duration = Duration::from_secs(15);
/// How long an address that was handed over waits for its record. The caller makes an interface meanwhile.
pub const HAND_OVER: Duration = Duration::from_secs(60);
/// How long an address of another's block may be without a record before its owner is asked for it again, and how often it
/// is from then on: a few calls may fail before the promise is over.
const RECORD_COMES: Duration = Duration::from_secs(3);
const RENEW: Duration = Duration::from_secs(15);
/// After this long what a node put into the table before it asked for something has come.
pub const SETTLE: Duration = PROMISE;
/// How long a block without addresses is kept: the next endpoint is likely to come soon.
pub const KEEP_EMPTY: Duration = Duration::from_secs(300);

/// What the replicated table and the membership say now of one network's addresses.
///
/// Records of a node that is dead count: it may be alive beyond a partition. Those of a node that was removed for
/// good are no longer in the table, which is how its blocks become free.
pub trait View {
    /// All block records of the network, this node's included. After a partition one block may have several.
    fn blocks(&self) -> impl Iterator<Item = (IpNet, NodeId)>;
    /// The nodes that have a record of this address, this one included.
    fn ip_owners(&self, address: IpAddr) -> impl Iterator<Item = NodeId>;
    /// The other nodes that are not known to be dead or to have left.
    fn reachable(&self) -> impl Iterator<Item = NodeId>;
    /// What a user calls the node.
    fn name(&self, node: NodeId) -> String {
        node.to_string()
    }
}

/// A block record of this node, to be put into the table or removed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The block is this node's.
    Put(IpNet),
    /// It is no longer.
    Remove(IpNet),
}

/// This node's share of a network's addresses.
#[derive(Debug, Clone)]
pub struct Blocks {
    me: NodeId,
    /// In the order of the network's subnets; none in a network without subnets, where each address is a block.
    grids: Vec<Grid>,
    own: BTreeMap<IpNet, Own>,
    /// The addresses of this node's endpoints, in its own blocks and in others'.
    held: BTreeMap<IpAddr, String>,
    claims: BTreeMap<IpNet, Claim>,
    /// Addresses that this node is asking other owners for, and until when an answer counts.
    taking: BTreeMap<IpAddr, Duration>,
    agreed: BTreeMap<IpNet, Promise>,
    handed_over: BTreeMap<IpAddr, HandOver>,
    /// When the owner of an address that has no record here is asked for it again.
    renewals: BTreeMap<IpAddr, Duration>,
    records: VecDeque<Record>,
    reported: BTreeSet<conflict::Subject>,
}

/// A block of this node.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// Where the search goes on: an address just released is not at once another station's.
    next: Option<IpAddr>,
    empty_since: Option<Duration>,
}

/// A claim of this node that is not decided.
#[derive(Debug, Clone, Default)]
struct Claim {
    since: Duration,
    granted: BTreeSet<NodeId>,
    lost: bool,
    /// Somebody did not answer: ask again in a moment.
    unanswered: bool,
}

/// What another node was told that it can have.
#[derive(Debug, Clone, Copy)]
struct Promise {
    to: NodeId,
    until: Duration,
}

/// An address of this node's that another was given.
#[derive(Debug, Clone, Copy)]
struct HandOver {
    promise: Promise,
    /// From when a record of the address by that node is the one that was promised for. Before, it may be the trace of
    /// an earlier use.
    kept_from: Duration,
}

impl Blocks {
    /// A node's share of `network`: nothing yet.
    pub fn new(me: NodeId, network: &Network) -> Blocks {
        Blocks {
            me,
            grids: network.subnets.iter().map(Grid::new).collect(),
            own: BTreeMap::new(),
            held: BTreeMap::new(),
            claims: BTreeMap::new(),
            taking: BTreeMap::new(),
            agreed: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            renewals: BTreeMap::new(),
            records: VecDeque::new(),
            reported: BTreeSet::new(),
        }
    }

    /// Gives back a block that this node had before a restart. One that the network does not have is passed over.
    pub fn restore_block(&mut self, block: IpNet) {
        if self.is_block(&block) && !self.own.contains_key(&block) {
            self.take_in(block);
        }
    }

    /// Gives back to an endpoint an address that it had before a restart.
    pub fn restore_address(&mut self, address: IpAddr, holder: &str) -> Result<(), PoolError> {
        if let Some(other) = self.held.get(&address).filter(|other| *other != holder) {
            return Err(PoolError::Held { address, holder: other.clone() });
        }
        self.held.insert(address, holder.to_owned());
        Ok(())
    }

    /// This node's blocks.
    pub fn owned(&self) -> impl Iterator<Item = IpNet> {
        self.own.keys().copied()
    }

    /// The addresses of this node's endpoints, each with its holder.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.held.iter().map(|(address, holder)| (*address, holder.as_str()))
    }

    /// Makes `to` the holder of an address that `from` has. False if `from` does not have it.
    pub fn hand_on(&mut self, address: IpAddr, from: &str, to: &str) -> bool {
        let holder = self.held.get_mut(&address).filter(|holder| *holder == from);
        holder.map(|holder| to.clone_into(holder)).is_some()
    }

    /// Takes back all that `holder` has. The caller removes the records of those addresses, by which an address
    /// that was handed over returns to its block.
    pub fn release(&mut self, holder: &str) {
        self.held.retain(|_, h| h != holder);
        if self.grids.is_empty() {
            self.give_up_loose();
        }
    }

    /// The next record to be put into the table or to be removed from it.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// Yields all block records again: the network has moved to another VNI, and the old ones are there.
    pub fn republish(&mut self) {
        self.records = self.own.keys().copied().map(Record::Put).collect();
    }

    fn take_in(&mut self, block: IpNet) {
        self.own.insert(block, Own::default());
        self.records.push_back(Record::Put(block));
    }

    fn give_up(&mut self, block: IpNet) {
        self.own.remove(&block);
        self.records.push_back(Record::Remove(block));
    }

    /// A block of one address is nothing to keep.
    fn give_up_loose(&mut self) {
        let empty = |block: &&IpNet| !self.held.contains_key(&block.addr());
        let empty: Vec<_> = self.own.keys().filter(empty).copied().collect();
        empty.into_iter().for_each(|block| self.give_up(block));
    }

    fn grid_of(&self, address: IpAddr) -> Option<&Grid> {
        self.grids.iter().find(|grid| grid.subnet().contains(&address))
    }

    /// The block that an address is in: in a network without subnets the address alone.
    fn block_of(&self, address: IpAddr) -> Option<IpNet> {
        if self.grids.is_empty() { Some(address.into()) } else { self.grid_of(address)?.block_of(address) }
    }

    fn is_block(&self, block: &IpNet) -> bool {
        if self.grids.is_empty() {
            block.prefix_len() == block.max_prefix_len()
        } else {
            self.grids.iter().any(|grid| grid.has(block))
        }
    }

    /// The other nodes' lowest that has recorded this block.
    fn owner(&self, view: &impl View, block: IpNet) -> Option<NodeId> {
        view.blocks().filter(|(b, node)| *b == block && *node != self.me).map(|(_, node)| node).min()
    }

    /// Another node that has a record of this address.
    fn other_holder(&self, view: &impl View, address: IpAddr) -> Option<NodeId> {
        view.ip_owners(address).filter(|node| *node != self.me).min()
    }

    /// Another node that was told that it can have this address of this node's.
    fn promised(&self, now: Duration, address: IpAddr) -> Option<NodeId> {
        self.handed_over.get(&address).map(|given| given.promise).filter(|promise| now < promise.until).map(|p| p.to)
    }

    /// Another node that this one has agreed with about this block.
    fn agreed_with(&self, now: Duration, block: IpNet) -> Option<NodeId> {
        self.agreed.get(&block).filter(|promise| now < promise.until).map(|promise| promise.to)
    }

    /// True if no endpoint has the address and none can get it without this node.
    fn is_free(&self, now: Duration, view: &impl View, address: IpAddr) -> bool {
        !self.held.contains_key(&address)
            && !self.taking.contains_key(&address)
            && self.promised(now, address).is_none()
            && self.other_holder(view, address).is_none()
    }
}

#[cfg(test)]
mod tests;
