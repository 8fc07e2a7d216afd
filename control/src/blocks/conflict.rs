//! What time brings: promises run out, empty blocks go back, and what was given twice comes to light.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Blocks, CLAIM_TIME, HandOver, KEEP_EMPTY, RECORD_COMES, RENEW, View};
use crate::id::NodeId;

/// Something that two nodes have that did not see each other. Reported once, for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Both had claimed a block. The one with the lower id keeps it, and gives out from it; the other's endpoints keep
    /// their addresses.
    Block {
        /// The block.
        block: IpNet,
        /// Who keeps it.
        kept: NodeId,
        /// Who gives it up.
        gave_up: NodeId,
    },
    /// Endpoints on both have an address. Nothing is taken from either: which of them is to go is for people to say.
    Address {
        /// The address.
        address: IpAddr,
        /// This node's endpoint.
        endpoint: String,
        /// The other nodes, lowest first.
        others: Vec<NodeId>,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::Block { block, kept, gave_up } => write!(
                f,
                "the nodes {kept} and {gave_up} both claimed the addresses {block} while they did not see each other: \
                 {kept} keeps them, endpoints that have one keep it"
            ),
            Conflict::Address { address, endpoint, others } => {
                let others: Vec<_> = others.iter().map(NodeId::to_string).collect();
                write!(
                    f,
                    "the address {address} is held twice, by the endpoint {endpoint} here and on {}: detach one of them",
                    others.join(", ")
                )
            }
        }
    }
}

/// What a conflict is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Block(IpNet, NodeId),
    Address(IpAddr, Vec<NodeId>),
}

impl Blocks {
    /// Lets time pass, and looks at what the table says of what this node has. To be called each second, and at once
    /// when another node's block comes to be known.
    pub fn tick(&mut self, now: Duration, view: &impl View) -> Vec<Conflict> {
        self.run_out(now, view);
        let conflicts = self.conflicts(view);
        self.release_empty(now, view);
        conflicts
    }

    /// The addresses for which their owners are to be asked again: those that this node has of another's block and no
    /// record of, as a gateway's, which the owner would give to another when its promise is over. To be called each second.
    pub fn renewals(&mut self, now: Duration, view: &impl View) -> Vec<(NodeId, IpAddr)> {
        let before = std::mem::take(&mut self.renewals);
        let mut asked = Vec::new();
        // Where each address is a block, nobody else gives it.
        for address in self.held.keys().filter(|_| !self.grids.is_empty()) {
            let Some(block) = self.block_of(*address).filter(|block| !self.own.contains_key(block)) else { continue };
            if view.ip_owners(*address).any(|node| node == self.me) {
                continue;
            }
            // Most get their record within a moment.
            let mut next = before.get(address).copied().unwrap_or(now + RECORD_COMES);
            if next <= now {
                next = now + RENEW;
                let owner = self.owner(view, block).filter(|owner| view.reachable().any(|node| node == *owner));
                asked.extend(owner.map(|owner| (owner, *address)));
            }
            self.renewals.insert(*address, next);
        }
        asked
    }

    /// A promise is kept when its record has come, and so is over.
    fn run_out(&mut self, now: Duration, view: &impl View) {
        self.claims.retain(|_, claim| now < claim.since + CLAIM_TIME);
        self.taking.retain(|_, until| now < *until);
        self.handed_over.retain(|address, HandOver { promise, kept_from }| {
            let recorded = || view.ip_owners(*address).any(|node| node == promise.to);
            now < promise.until && (now < *kept_from || !recorded())
        });
        if !self.agreed.is_empty() {
            let recorded: BTreeSet<_> = view.blocks().collect();
            self.agreed.retain(|block, promise| now < promise.until && !recorded.contains(&(*block, promise.to)));
        }
    }

    /// The record of another node's address has come at `now`: what was promised to that node is kept, and so is over.
    /// To be said at once, since the record may be gone again before the next [`Blocks::tick`].
    pub fn recorded(&mut self, now: Duration, address: IpAddr, node: NodeId) {
        if self.handed_over.get(&address).is_some_and(|given| given.promise.to == node && now >= given.kept_from) {
            self.handed_over.remove(&address);
        }
    }

    fn conflicts(&mut self, view: &impl View) -> Vec<Conflict> {
        let mut found = Vec::new();
        let rivals: Vec<_> = view.blocks().filter(|(b, node)| *node != self.me && self.own.contains_key(b)).collect();
        for (block, other) in rivals {
            let (kept, gave_up) = if other < self.me { (other, self.me) } else { (self.me, other) };
            found.push((Subject::Block(block, other), Conflict::Block { block, kept, gave_up }));
            if gave_up == self.me && self.own.contains_key(&block) {
                self.give_up(block);
            }
        }
        for (address, holder) in &self.held {
            let mut others: Vec<_> = view.ip_owners(*address).filter(|node| *node != self.me).collect();
            others.sort_unstable();
            if !others.is_empty() {
                let subject = Subject::Address(*address, others.clone());
                let (address, endpoint) = (*address, holder.clone());
                found.push((subject, Conflict::Address { address, endpoint, others }));
            }
        }
        let before = std::mem::take(&mut self.reported);
        self.reported = found.iter().map(|(subject, _)| subject.clone()).collect();
        found.into_iter().filter(|(subject, _)| !before.contains(subject)).map(|(_, conflict)| conflict).collect()
    }

    fn release_empty(&mut self, now: Duration, view: &impl View) {
        // Where each address is a block, it goes with its endpoint.
        if self.grids.is_empty() {
            return;
        }
        let mut idle = Vec::new();
        for (block, own) in &mut self.own {
            let (first, last) = (block.network(), block.broadcast());
            let here =
                self.held.range(first..=last).next().is_some() || self.handed_over.range(first..=last).next().is_some();
            if here {
                own.empty_since = None;
            } else if now >= *own.empty_since.get_or_insert(now) + KEEP_EMPTY {
                idle.push(*block);
            }
        }
        for block in idle {
            // Addresses that others have of it return to it when they are detached, so it is not empty.
            let lent = |address: IpAddr| self.other_holder(view, address).is_some();
            if !self.grid_of(block.addr()).is_some_and(|grid| grid.addresses(block, None).any(lent)) {
                self.give_up(block);
            }
        }
    }
}
