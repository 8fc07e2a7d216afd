//! Where an endpoint's address can come from: a block of this node, a block to be claimed, or another node's.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::request::{Request, Way};
use super::{AddressError, Blocks, Grid, View};
use crate::id::NodeId;
use crate::ipam::{PoolError, from_bits, to_bits};
use crate::space::AssignError;
use crate::spread::spread;

/// How often to wait for what other nodes are doing before the request is refused.
const PAUSES: u32 = 20;
/// How many single addresses are asked for before a network counts as full.
const QUESTIONS: usize = 64;

impl Blocks {
    /// How `request` gets this very address.
    pub(super) fn way_to(
        &self,
        now: Duration,
        view: &impl View,
        request: &mut Request,
        asked: IpNet,
    ) -> Result<Way, AddressError> {
        let address = asked.addr();
        if let Some(holder) = self.held.get(&address) {
            return Err(AssignError::from(PoolError::Held { address, holder: holder.clone() }).into());
        }
        if let Some(node) = self.other_holder(view, address) {
            return Err(AddressError::HeldOn { address, node: view.name(node) });
        }
        if let Some(node) = self.promised(now, address) {
            return Err(AddressError::BeingTaken { address, node: view.name(node) });
        }
        let block = self.block_of(address).unwrap_or_else(|| address.into());
        if self.own.contains_key(&block) {
            return Ok(Way::Given(asked));
        }
        if request.pauses >= PAUSES {
            return Err(AddressError::Busy(block));
        }
        let denied = request.refused.remove(&address) | request.lost.remove(&block);
        if denied || self.claims.contains_key(&block) || self.taking.contains_key(&address) {
            return Ok(Way::Pause);
        }
        match self.owner(view, block) {
            Some(owner) if view.reachable().any(|node| node == owner) && !request.silent.contains(&owner) => {
                Ok(Way::Take { owner, address })
            }
            Some(owner) => Err(AddressError::Unreachable { address, block, node: view.name(owner) }),
            None if self.agreed_with(now, block).is_some() => Ok(Way::Pause),
            None => Ok(Way::Claim(block)),
        }
    }

    /// How `request` gets any address of a family: from a block of this node's, from a new one, or from another's.
    pub(super) fn way_to_any(
        &mut self,
        now: Duration,
        view: &impl View,
        request: &mut Request,
        v4: bool,
    ) -> Result<Way, AddressError> {
        let grids: Vec<_> = self.grids.iter().filter(|grid| grid.subnet().addr().is_ipv4() == v4).cloned().collect();
        if let Some(address) = grids.iter().find_map(|grid| self.next_of_mine(now, view, grid)) {
            return Ok(Way::Given(address));
        }
        let taken = Taken::new(view, self.me);
        if let Some(block) = grids.iter().find_map(|grid| self.free_block(now, request, &taken, grid)) {
            return Ok(Way::Claim(block));
        }
        let mut unreachable = BTreeSet::new();
        if request.refused.len() < QUESTIONS {
            let take = |grid| self.single(now, view, request, &taken, grid, &mut unreachable);
            if let Some((owner, address)) = grids.iter().find_map(take) {
                return Ok(Way::Take { owner, address });
            }
        }
        let range = grids.first().map_or_else(IpNet::default, Grid::range);
        let contested =
            !request.lost.is_empty() || !self.claims.is_empty() || self.agreed.values().any(|p| now < p.until);
        match contested {
            true if request.pauses < PAUSES => {
                request.lost.clear();
                Ok(Way::Pause)
            }
            true => Err(AddressError::Busy(range)),
            false => {
                let unreachable = unreachable.into_iter().map(|node| view.name(node)).collect();
                Err(AddressError::Exhausted { range, unreachable })
            }
        }
    }

    /// The next free address of this node's blocks in a subnet.
    fn next_of_mine(&mut self, now: Duration, view: &impl View, grid: &Grid) -> Option<IpNet> {
        let mine = self.own.iter().filter(|(block, _)| grid.has(block));
        let free = mine.filter_map(|(block, own)| {
            let free = grid.addresses(*block, own.next).find(|address| self.is_free(now, view, *address));
            free.map(|address| (*block, address))
        });
        let (block, address) = free.min_by_key(|(block, _)| *block)?;
        let after = from_bits(&block, to_bits(address).wrapping_add(1));
        if let Some(own) = self.own.get_mut(&block) {
            own.next = Some(after).filter(|after| block.contains(after));
        }
        IpNet::new(address, grid.subnet().prefix_len()).ok()
    }

    /// The next block in this node's order that nobody has or wants.
    fn free_block(&self, now: Duration, request: &Request, taken: &Taken, grid: &Grid) -> Option<IpNet> {
        let wanted = |block: &IpNet| {
            request.lost.contains(block)
                || self.claims.contains_key(block)
                || self.own.contains_key(block)
                || self.agreed_with(now, *block).is_some()
        };
        let free = |block: &IpNet| {
            !taken.known.contains(block) && !wanted(block) && grid.addresses(*block, None).next().is_some()
        };
        grid.order(self.me).find(free)
    }

    /// An address of another node's block that seems to be free, and the owner.
    fn single(
        &self,
        now: Duration,
        view: &impl View,
        request: &Request,
        taken: &Taken,
        grid: &Grid,
        unreachable: &mut BTreeSet<NodeId>,
    ) -> Option<(NodeId, IpAddr)> {
        let reachable: HashSet<_> = view.reachable().filter(|node| !request.silent.contains(node)).collect();
        let blocks: Vec<_> = taken.blocks.iter().filter(|(block, _)| grid.has(block)).collect();
        let start = usize::try_from(spread("take", &self.me.0.to_be_bytes())).unwrap_or(0) % blocks.len().max(1);
        let around = blocks[start..].iter().chain(&blocks[..start]);
        for (block, owner) in around {
            if !reachable.contains(owner) {
                unreachable.insert(*owner);
                continue;
            }
            // From the end: the owner gives out from the beginning.
            let free = |a: &IpAddr| !request.refused.contains(a) && self.is_free(now, view, *a);
            if let Some(address) = grid.addresses(*block, None).rev().find(free) {
                return Some((*owner, address));
            }
        }
        None
    }
}

/// The blocks of other nodes.
struct Taken {
    /// In order; of several owners the lowest.
    blocks: Vec<(IpNet, NodeId)>,
    known: HashSet<IpNet>,
}

impl Taken {
    fn new(view: &impl View, me: NodeId) -> Taken {
        let all: BTreeSet<_> = view.blocks().filter(|(_, node)| *node != me).collect();
        let mut blocks: Vec<_> = all.into_iter().collect();
        blocks.dedup_by_key(|(block, _)| *block);
        let known = blocks.iter().map(|(block, _)| *block).collect();
        Taken { blocks, known }
    }
}
