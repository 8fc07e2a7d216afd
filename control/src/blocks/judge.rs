//! What this node answers when others want addresses.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Blocks, HAND_OVER, HandOver, PROMISE, Promise, SETTLE, View};
use crate::id::NodeId;

/// What this node says to another's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// It does not mind.
    Granted,
    /// The network has no such block.
    NoBlock,
    /// This node has it, or claims it with a better right, or has agreed to somebody's.
    Denied {
        /// Whose it is, or may become.
        holder: NodeId,
    },
}

/// What this node says when it is asked for one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeVerdict {
    /// The asker has it.
    Granted,
    /// The address is in no block of this node.
    NotMine,
    /// It is in use, or promised to another.
    Denied {
        /// Who has it, for the user.
        holder: String,
    },
}

impl Blocks {
    /// Judges another node's claim of a block.
    ///
    /// Agreeing is a promise: until it has run out or the other's record has come this node makes no claim of its
    /// own, and agrees only with a node of a lower id, which the first one has then given way to as well.
    pub fn judge_claim(&mut self, now: Duration, view: &impl View, from: NodeId, block: IpNet) -> ClaimVerdict {
        if !self.is_block(&block) {
            return ClaimVerdict::NoBlock;
        }
        let denied = |holder| ClaimVerdict::Denied { holder };
        // An address that this node has of an earlier owner, or is about to have, and whose record is not out yet:
        // the claimant could not know of it.
        let unannounced =
            |address: &IpAddr| block.contains(address) && !view.ip_owners(*address).any(|node| node == self.me);
        if self.own.contains_key(&block)
            || self.held.range(range(&block)).any(|(address, _)| unannounced(address))
            || self.taking.iter().any(|(address, until)| block.contains(address) && now < *until)
        {
            return denied(self.me);
        }
        let owners = || view.blocks().filter(|(b, node)| *b == block && *node != self.me).map(|(_, node)| node);
        if owners().any(|node| node == from) {
            return ClaimVerdict::Granted;
        }
        if let Some(owner) = owners().min() {
            return denied(owner);
        }
        if let Some(other) = self.agreed_with(now, block).filter(|other| *other < from) {
            return denied(other);
        }
        if let Some(claim) = self.claims.get_mut(&block).filter(|claim| !claim.lost) {
            if self.me < from {
                return denied(self.me);
            }
            claim.lost = true;
        }
        self.agreed.insert(block, Promise { to: from, until: now + PROMISE });
        ClaimVerdict::Granted
    }

    /// Judges another node's wish to have an address of a block of this node.
    pub fn judge_take(&mut self, now: Duration, view: &impl View, from: NodeId, address: IpAddr) -> TakeVerdict {
        if !self.block_of(address).is_some_and(|block| self.own.contains_key(&block)) {
            return TakeVerdict::NotMine;
        }
        if let Some(holder) = self.held.get(&address) {
            return TakeVerdict::Denied { holder: format!("the endpoint {holder}") };
        }
        let (holder, promised) = (self.other_holder(view, address), self.promised(now, address));
        if let Some(node) = holder.filter(|node| *node != from) {
            return TakeVerdict::Denied { holder: format!("an endpoint on the node {}", view.name(node)) };
        }
        if let Some(node) = promised.filter(|node| *node != from) {
            return TakeVerdict::Denied { holder: format!("the node {}, which is just attaching", view.name(node)) };
        }
        // The asker had it a moment ago: the record of that time may be here, or still be on its way.
        let kept_from = if holder.or(promised).is_some() { now + SETTLE } else { now };
        let promise = Promise { to: from, until: now + HAND_OVER };
        self.handed_over.insert(address, HandOver { promise, kept_from });
        TakeVerdict::Granted
    }
}

fn range(block: &IpNet) -> std::ops::RangeInclusive<IpAddr> {
    block.network()..=block.broadcast()
}
