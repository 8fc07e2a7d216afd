//! With whom a node keeps a stream.
//!
//! Up to [`FULL_MESH`] nodes everybody has one with everybody. Above, nodes stand on [`RINGS`] rings, on each in the
//! order of another hash of their ids, and a node's neighbours are those beside it: at most 2 × [`RINGS`]. Everybody
//! computes the same from the same members, so being neighbours is mutual; one ring alone already holds all together,
//! and several random ones keep ways short (1,000 nodes: five steps).

use std::collections::BTreeSet;

use super::random::mix;
use crate::id::NodeId;

/// The most nodes of which each has a stream with each other.
pub const FULL_MESH: usize = 16;
/// The number of hash rings above that.
pub const RINGS: u64 = 4;

/// All nodes, each in its place on each ring. In a large cluster somebody comes or goes all the time, so that one more
/// costs a few steps, and not a look at everybody.
pub struct Rings {
    me: NodeId,
    others: BTreeSet<NodeId>,
    rings: Vec<BTreeSet<(u64, NodeId)>>,
}

impl Rings {
    /// `me`, and nobody else.
    pub fn new(me: NodeId) -> Rings {
        Rings { me, others: BTreeSet::new(), rings: vec![BTreeSet::new(); RINGS as usize] }
    }

    /// Another node is there, or is there no more. True if that is news.
    pub fn set(&mut self, node: NodeId, present: bool) -> bool {
        if node == self.me || self.others.contains(&node) == present {
            return false;
        }
        if present {
            self.others.insert(node)
        } else {
            self.others.remove(&node)
        };
        for (ring, nodes) in self.rings.iter_mut().enumerate() {
            let place = place(ring, node);
            if present {
                nodes.insert(place)
            } else {
                nodes.remove(&place)
            };
        }
        true
    }

    /// True if there are so many that not everybody is everybody's neighbour.
    pub fn is_sparse(&self) -> bool {
        self.others.len() >= FULL_MESH
    }

    /// The neighbours of this node.
    pub fn neighbours(&self) -> BTreeSet<NodeId> {
        if !self.is_sparse() {
            return self.others.clone();
        }
        let mut chosen = BTreeSet::new();
        for (ring, nodes) in self.rings.iter().enumerate() {
            let mine = place(ring, self.me);
            let next = nodes.range(mine..).next().or(nodes.first());
            let before = nodes.range(..mine).next_back().or(nodes.last());
            chosen.extend([next, before].into_iter().flatten().map(|(_, node)| *node));
        }
        chosen
    }
}

fn place(ring: usize, node: NodeId) -> (u64, NodeId) {
    (mix(node.0 ^ mix(ring as u64 + 1)), node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(|n| NodeId(n.wrapping_mul(0x1234_5678_9abc_def1))).collect()
    }

    fn graph(all: &[NodeId]) -> Vec<BTreeSet<NodeId>> {
        let neighbours = |me: NodeId| {
            let mut rings = Rings::new(me);
            all.iter().for_each(|node| assert_eq!(rings.set(*node, true), *node != me));
            rings.neighbours()
        };
        all.iter().map(|me| neighbours(*me)).collect()
    }

    /// The obvious way: of all others, those at the least distance forwards and backwards.
    fn slow(me: NodeId, others: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        if others.len() < FULL_MESH {
            return others.clone();
        }
        let mut chosen = BTreeSet::new();
        for ring in 0..RINGS as usize {
            let ahead = |node: &&NodeId| (place(ring, **node) < place(ring, me), place(ring, **node));
            chosen.extend(others.iter().min_by_key(ahead));
            chosen.extend(others.iter().max_by_key(ahead));
        }
        chosen
    }

    #[test]
    fn who_comes_and_goes_leaves_the_same_neighbours_as_a_look_at_everybody() {
        let all = nodes(60);
        let (mut rings, mut there) = (Rings::new(all[0]), BTreeSet::new());
        for step in 0..2000_u64 {
            let (node, present) = (all[mix(step) as usize % 60], !mix(step ^ 77).is_multiple_of(3));
            let news = node != all[0] && if present { there.insert(node) } else { there.remove(&node) };
            assert_eq!(rings.set(node, present), news);
            assert_eq!(rings.neighbours(), slow(all[0], &there));
        }
        assert!(rings.is_sparse());
    }

    #[test]
    fn up_to_sixteen_everybody_is_a_neighbour() {
        for count in 1..=16 {
            assert!(graph(&nodes(count)).iter().all(|n| n.len() as u64 == count - 1));
        }
    }

    #[test]
    fn being_neighbours_is_mutual_and_few() {
        for count in [17, 50, 333] {
            let all = nodes(count);
            let graph = graph(&all);
            for (me, neighbours) in all.iter().zip(&graph) {
                assert!((2..=8).contains(&neighbours.len()), "{count}: {}", neighbours.len());
                for neighbour in neighbours {
                    let index = all.iter().position(|n| n == neighbour).unwrap();
                    assert!(graph[index].contains(me));
                }
            }
        }
    }

    #[test]
    fn a_thousand_nodes_are_five_steps_apart() {
        let all = nodes(1000);
        let graph = graph(&all);
        let mut reached = BTreeSet::from([all[0]]);
        for _ in 0..5 {
            let next = all.iter().zip(&graph).filter(|(n, _)| reached.contains(n));
            let next: Vec<_> = next.flat_map(|(_, neighbours)| neighbours.iter().copied()).collect();
            reached.extend(next);
        }
        assert_eq!(reached.len(), 1000);
    }
}
