//! Whose clock is wrong: neighbours say the time with each digest, and it is compared with this node's.
//!
//! Nothing in a cluster waits for a wall clock, and no clock moves another: an object's stamp rises above the wall clock
//! of its writer only where somebody stamped that same object later ([`objects`](crate::objects)). But certificates begin
//! and end by the clock, and of two writers the later one wins; so people should hear of it.

use std::collections::BTreeMap;

use crate::id::NodeId;

/// From here on a clock is wrong and not merely imprecise, in milliseconds. Frames are far younger than that, unless
/// this node or their sender was stopped.
const WRONG_MS: u64 = 60_000;
/// At so many seconds in a row a clock has to be wrong: by then what was said before a pause has been read over.
const SECONDS: u8 = 3;

/// A change worth telling: of which clock, this node's own included, and by how many milliseconds it is ahead of the
/// others; nothing once it is right.
pub(super) type News = (NodeId, Option<i64>);

pub(super) struct Clocks {
    me: NodeId,
    /// By how many milliseconds each neighbour's clock was last ahead of this node's.
    ahead: BTreeMap<NodeId, i64>,
    /// For how many seconds each clock has been wrong; no more than it takes to be told.
    wrong: BTreeMap<NodeId, u8>,
}

impl Clocks {
    pub(super) fn new(me: NodeId) -> Clocks {
        Clocks { me, ahead: BTreeMap::new(), wrong: BTreeMap::new() }
    }

    /// A neighbour said the time. One of an earlier version says 0.
    pub(super) fn heard(&mut self, peer: NodeId, theirs_ms: u64, wall_ms: u64) {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        if theirs_ms != 0 {
            self.ahead.insert(peer, signed(theirs_ms).saturating_sub(signed(wall_ms)));
        }
    }

    /// A neighbour is none any more.
    pub(super) fn lost(&mut self, peer: NodeId) {
        self.ahead.remove(&peer);
        self.wrong.remove(&peer);
    }

    /// By how many milliseconds this node's clock is ahead of what most say. `None`: nobody has said anything.
    pub(super) fn mine(&self) -> Option<i64> {
        (!self.ahead.is_empty()).then(|| -self.right())
    }

    /// Looks at all of them, once a second.
    pub(super) fn tick(&mut self) -> Vec<News> {
        let right = self.right();
        let all =
            self.ahead.iter().map(|(node, ahead)| (*node, ahead.saturating_sub(right))).chain([(self.me, -right)]);
        let mut news = Vec::new();
        for (node, ahead) in all {
            if ahead.unsigned_abs() >= WRONG_MS {
                let seconds = self.wrong.entry(node).or_default();
                if *seconds < SECONDS {
                    *seconds += 1;
                    if *seconds == SECONDS {
                        news.push((node, Some(ahead)));
                    }
                }
            } else if self.wrong.remove(&node) == Some(SECONDS) {
                news.push((node, None));
            }
        }
        news
    }

    /// The median of all, this node's own included: one wrong clock of three does not move it. Of two, this node's is
    /// taken for right.
    fn right(&self) -> i64 {
        let mut all: Vec<_> = self.ahead.values().copied().chain([0]).collect();
        all.sort_unstable();
        let middle = [all[(all.len() - 1) / 2], all[all.len() / 2]];
        middle.into_iter().min_by_key(|ahead| ahead.unsigned_abs()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn hear(clocks: &mut Clocks, ahead: &[i64]) -> Vec<News> {
        for (number, ahead) in ahead.iter().enumerate() {
            clocks.heard(NodeId(1 + number as u64), NOW.saturating_add_signed(*ahead), NOW);
        }
        clocks.tick()
    }

    #[test]
    fn the_one_that_most_disagree_with_is_wrong_and_told_of_once() {
        let mut clocks = Clocks::new(NodeId(9));
        assert_eq!((clocks.mine(), clocks.tick()), (None, vec![]));
        // One who is an hour fast, and one of an earlier version.
        clocks.heard(NodeId(7), 0, NOW);
        for told in [vec![], vec![], vec![(NodeId(2), Some(HOUR))], vec![]] {
            assert_eq!(hear(&mut clocks, &[0, HOUR]), told);
        }
        assert_eq!(clocks.mine(), Some(0));
        assert_eq!(hear(&mut clocks, &[0, 900]), [(NodeId(2), None)]);
        // All others are an hour behind: this node is fast.
        for told in [vec![], vec![], vec![(NodeId(9), Some(HOUR))], vec![]] {
            assert_eq!(hear(&mut clocks, &[-HOUR, -HOUR]), told);
        }
        assert_eq!(clocks.mine(), Some(HOUR));
        // What was said before a pause is read late and is no wrong clock.
        assert_eq!(hear(&mut clocks, &[0, 0]), [(NodeId(9), None)]);
        assert_eq!([hear(&mut clocks, &[-90_000, -90_000]), hear(&mut clocks, &[0, 0])], [vec![], vec![]]);
        // Who is gone is not counted, and of two nobody knows who is right.
        clocks.lost(NodeId(1));
        clocks.heard(NodeId(2), u64::MAX, NOW);
        assert_eq!([clocks.tick(), clocks.tick()], [vec![], vec![]]);
        assert_eq!((clocks.tick().len(), clocks.mine()), (1, Some(0)));
    }
}
