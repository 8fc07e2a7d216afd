//! One node's copy of the table in [`world`](super::world), and what travels between nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// What one origin has in the table.
#[derive(Clone, Default)]
pub(super) struct Log {
    pub(super) version: u64,
    pub(super) blocks: BTreeSet<IpNet>,
    pub(super) ips: BTreeSet<IpAddr>,
}

/// What one node sees.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) logs: BTreeMap<NodeId, Log>,
    pub(super) dead: BTreeSet<NodeId>,
    pub(super) me: Option<NodeId>,
    pub(super) all: Vec<NodeId>,
}

impl View for Replica {
    fn blocks(&self) -> impl Iterator<Item = (IpNet, NodeId)> {
        self.logs.iter().flat_map(|(node, log)| log.blocks.iter().map(|block| (*block, *node)))
    }

    fn ip_owners(&self, address: IpAddr) -> impl Iterator<Item = NodeId> {
        self.logs.iter().filter(move |(_, log)| log.ips.contains(&address)).map(|(node, _)| *node)
    }

    fn reachable(&self) -> impl Iterator<Item = NodeId> {
        self.all.iter().copied().filter(|node| Some(*node) != self.me && !self.dead.contains(node))
    }
}

/// What happens at some time.
pub(super) enum Event {
    Tick(usize),
    Step(usize, u64),
    Table { to: usize, origin: NodeId, log: Log },
    AskClaim { to: usize, from: usize, request: u64, round: u64, block: IpNet },
    AnswerClaim { to: usize, from: NodeId, request: u64, round: u64, answer: ClaimAnswer },
    AskTake { to: usize, from: usize, request: u64, round: u64, address: IpAddr },
    AnswerTake { to: usize, request: u64, round: u64, answer: TakeAnswer },
    Announce { node: usize, address: IpAddr },
    Died { at: usize, node: NodeId, epoch: u64 },
    Risen { at: usize, node: NodeId, epoch: u64 },
    Life,
    Attach { node: usize, wanted: u8 },
}

/// The answers to a claim that have come.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) open: BTreeSet<NodeId>,
    pub(super) answers: Vec<(NodeId, ClaimAnswer)>,
    pub(super) round: u64,
}

impl Blocks {
    /// Nothing is promised, asked for, or to be said.
    pub(super) fn is_idle(&self) -> bool {
        self.claims.is_empty()
            && self.taking.is_empty()
            && self.agreed.is_empty()
            && self.handed_over.is_empty()
            && self.records.is_empty()
    }
}
