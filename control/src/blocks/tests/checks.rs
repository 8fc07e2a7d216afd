//! What must hold in a [`World`].

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::TestCaseError;

use super::super::*;
use super::world::World;

impl World {
    fn holders(&self) -> BTreeMap<IpAddr, Vec<usize>> {
        let mut holders: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (node, n) in self.nodes.iter().enumerate() {
            for address in n.endpoints.iter().flat_map(|(_, ips)| ips) {
                holders.entry(*address).or_default().push(node);
            }
        }
        holders
    }

    pub(super) fn check_unique(&self) -> Result<(), TestCaseError> {
        let twice: Vec<_> = self.holders().into_iter().filter(|(_, nodes)| nodes.len() > 1).collect();
        let conflicts = self.nodes.iter().map(|n| n.reported.len()).sum::<usize>();
        if twice.is_empty()
            && conflicts == 0
            && self.claimed_twice.is_empty()
            && self.finished.values().any(|done| *done)
        {
            return Ok(());
        }
        self.fail(format!("held twice: {twice:?}, claimed twice: {:?}, {conflicts} conflicts", self.claimed_twice))
    }

    pub(super) fn check_reported(&self) -> Result<(), TestCaseError> {
        for (address, nodes) in self.holders() {
            if nodes.len() > 1 && !nodes.iter().all(|node| self.nodes[*node].reported.contains(&address)) {
                return self.fail(format!("{address} is held on {nodes:?}, not reported by all"));
            }
        }
        let mut owned = BTreeSet::new();
        for block in self.nodes.iter().flat_map(|n| n.blocks.owned()) {
            if !owned.insert(block) {
                return self.fail(format!("{block} is owned twice"));
            }
        }
        Ok(())
    }

    pub(super) fn check_nothing_left(&self) -> Result<(), TestCaseError> {
        for n in &self.nodes {
            let left = (n.blocks.held().count(), n.blocks.owned().count(), n.requests.len());
            let logs = n.replica.logs.values().any(|log| !log.ips.is_empty() || !log.blocks.is_empty());
            if left != (0, 0, 0) || logs || !n.blocks.is_idle() {
                return self.fail(format!("{} has something left: {left:?} {:?}", n.id, n.blocks));
            }
        }
        Ok(())
    }

    fn fail(&self, why: String) -> Result<(), TestCaseError> {
        Err(TestCaseError::fail(format!("{why}\n{}", self.trace.borrow().join("\n"))))
    }
}
