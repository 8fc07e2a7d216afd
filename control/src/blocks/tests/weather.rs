//! What befalls the nodes of a [`World`]: partitions, their end, and the end of a node.

use std::time::Duration;

use rand::Rng;

use super::replica::Event;
use super::world::World;

/// After this long without contact a node counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fair,
    Partitions,
}

impl World {
    pub(super) fn partition(&mut self) {
        let sides = if self.side.iter().any(|side| *side > 0) { 1 } else { 2 };
        for side in &mut self.side {
            *side = self.rng.borrow_mut().random_range(0..sides);
        }
        self.epoch += 1;
        for at in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != at) {
                let (node, epoch) = (self.nodes[other].id, self.epoch);
                let jitter = self.some_ms(1500);
                if self.connected(at, other) {
                    self.after(jitter, Event::Risen { at, node, epoch });
                } else {
                    self.after(DEAD_AFTER + jitter, Event::Died { at, node, epoch });
                }
            }
        }
    }

    pub(super) fn heal_and_settle(&mut self) {
        if self.side.iter().any(|side| *side > 0) {
            self.partition();
        }
        let end = self.now + Duration::from_secs(30);
        self.until(end);
    }

    pub(super) fn evict(&mut self, node: usize) {
        let id = self.nodes[node].id;
        self.nodes[node].evicted = true;
        for n in &mut self.nodes {
            n.replica.logs.remove(&id);
            n.replica.all.retain(|other| *other != id);
        }
    }
}
