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

/// The neighbours of `me` among `others`, which does not hold it.
pub fn neighbours(me: NodeId, others: &[NodeId]) -> BTreeSet<NodeId> {
    if others.len() < FULL_MESH {
        return others.iter().copied().collect();
    }
    let mut chosen = BTreeSet::new();
    for ring in 0..RINGS {
        let place = |node: NodeId| (mix(node.0 ^ mix(ring + 1)), node);
        let mine = place(me);
        // The distance forwards along the ring; backwards it is what is missing to a full turn.
        let ahead = |node: &NodeId| {
            let theirs = place(*node);
            (theirs < mine, theirs)
        };
        chosen.extend(others.iter().min_by_key(|node| ahead(node)));
        chosen.extend(others.iter().max_by_key(|node| ahead(node)));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(|n| NodeId(n.wrapping_mul(0x1234_5678_9abc_def1))).collect()
    }

    fn graph(all: &[NodeId]) -> Vec<BTreeSet<NodeId>> {
        let others = |me: NodeId| all.iter().copied().filter(|n| *n != me).collect::<Vec<_>>();
        all.iter().map(|me| neighbours(*me, &others(*me))).collect()
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
