//! The streams that this node has with its neighbours, and those that it should have.
//!
//! Of two neighbours the one with the lower id dials; the other does so only if nothing came in [`PATIENCE`], so that
//! one-way trouble does not keep them apart, and two dials do not replace each other. A stream that nobody of this
//! node's neighbours needs any more lingers, since the other may not yet know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::NodeId;
use crate::membership::random::SplitMix;

/// How long the node with the higher id waits for the other's dial.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(10);
/// How long a stream is kept that is no neighbour's.
const LINGER: Duration = Duration::from_secs(10);
/// How long a stream is kept with one that was evicted: it is told so.
const PARTING: Duration = Duration::from_millis(200);
/// The pause after a first dial that failed; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is to be done about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect(NodeId),
    Disconnect(NodeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// No stream. A dial at that time.
    Down { dial_at: Duration, failures: u32 },
    /// No stream yet. Given up at that time.
    Dialing { until: Duration, failures: u32 },
    /// A stream. Ended at that time, if it is no neighbour's.
    Up { until: Option<Duration> },
}

/// All streams.
#[derive(Debug)]
pub(super) struct Links {
    me: NodeId,
    wanted: BTreeSet<NodeId>,
    links: BTreeMap<NodeId, Link>,
}

impl Links {
    pub(super) fn new(me: NodeId) -> Links {
        Links { me, wanted: BTreeSet::new(), links: BTreeMap::new() }
    }

    /// The neighbours are these now.
    pub(super) fn want(&mut self, now: Duration, wanted: BTreeSet<NodeId>) {
        for peer in wanted.difference(&self.wanted) {
            let dial_at = now + self.patience(*peer);
            let link = self.links.entry(*peer).or_insert(Link::Down { dial_at, failures: 0 });
            if let Link::Up { until } = link {
                *until = None;
            }
        }
        for peer in self.wanted.difference(&wanted) {
            match self.links.get_mut(peer) {
                Some(Link::Up { until }) => *until = Some(now + LINGER),
                _ => drop(self.links.remove(peer)),
            }
        }
        self.wanted = wanted;
    }

    /// There is a stream with `peer`.
    pub(super) fn connected(&mut self, now: Duration, peer: NodeId) {
        let until = (!self.wanted.contains(&peer)).then_some(now + LINGER);
        self.links.insert(peer, Link::Up { until });
    }

    /// There is no stream with `peer`, or none could be made. True if there was one.
    pub(super) fn disconnected(&mut self, now: Duration, peer: NodeId, random: &mut SplitMix) -> bool {
        let (was_up, failures) = match self.links.remove(&peer) {
            Some(Link::Up { .. }) => (true, 0),
            Some(Link::Down { failures, .. } | Link::Dialing { failures, .. }) => (false, failures),
            None => (false, 0),
        };
        if self.wanted.contains(&peer) {
            let pause = LONGEST_PAUSE.min(FIRST_PAUSE * (1 << failures.min(8)));
            // Between half and all of it, so that many do not dial one that comes back in step.
            let pause = pause / 2 + (pause / 2).mul_f64(random.below(1024) as f64 / 1024.0);
            let dial_at = now + pause + self.patience(peer);
            self.links.insert(peer, Link::Down { dial_at, failures: failures + 1 });
        }
        was_up
    }

    /// Whatever there is with `peer` ends, once it has been told why.
    pub(super) fn part(&mut self, now: Duration, peer: NodeId) {
        self.wanted.remove(&peer);
        match self.links.get_mut(&peer) {
            Some(Link::Up { until }) => *until = Some(now + PARTING),
            _ => drop(self.links.remove(&peer)),
        }
    }

    /// Does what is due.
    pub(super) fn run(&mut self, now: Duration, random: &mut SplitMix) -> Vec<Step> {
        let mut steps = Vec::new();
        let late: Vec<_> = self.links.iter().filter(|(_, l)| l.due().is_some_and(|due| due <= now)).collect();
        for (peer, link) in late.into_iter().map(|(peer, link)| (*peer, *link)).collect::<Vec<_>>() {
            match link {
                Link::Down { failures, .. } => {
                    self.links.insert(peer, Link::Dialing { until: now + DIAL, failures });
                    steps.push(Step::Connect(peer));
                }
                Link::Dialing { .. } => drop(self.disconnected(now, peer, random)),
                Link::Up { .. } => {
                    self.links.remove(&peer);
                    steps.push(Step::Disconnect(peer));
                }
            }
        }
        steps
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.links.values().filter_map(Link::due).min()
    }

    /// Who has a stream with this node.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        self.links.iter().filter(|(_, link)| matches!(link, Link::Up { .. })).map(|(peer, _)| *peer)
    }

    pub(super) fn is_up(&self, peer: NodeId) -> bool {
        matches!(self.links.get(&peer), Some(Link::Up { .. }))
    }

    fn patience(&self, peer: NodeId) -> Duration {
        if self.me < peer { Duration::ZERO } else { PATIENCE }
    }
}

impl Link {
    fn due(&self) -> Option<Duration> {
        match *self {
            Link::Down { dial_at, .. } => Some(dial_at),
            Link::Dialing { until, .. } => Some(until),
            Link::Up { until } => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_lower_id_dials_and_the_higher_waits_for_it() {
        let mut random = SplitMix::new(1);
        let mut links = Links::new(NodeId(5));
        links.want(at(0), BTreeSet::from([NodeId(3), NodeId(9)]));
        assert_eq!(links.run(at(0), &mut random), [Step::Connect(NodeId(9))]);
        assert_eq!(links.deadline(), Some(at(2000)));
        links.connected(at(50), NodeId(3));
        assert_eq!(links.run(at(2000), &mut random), []);
        assert!(links.is_up(NodeId(3)));
    }

    #[test]
    fn pauses_between_dials_grow_to_a_bound() {
        let mut random = SplitMix::new(1);
        let mut links = Links::new(NodeId(1));
        links.want(at(0), BTreeSet::from([NodeId(2)]));
        let (mut now, mut pauses) = (at(0), Vec::new());
        for _ in 0..9 {
            assert_eq!(links.run(now, &mut random), [Step::Connect(NodeId(2))]);
            assert!(!links.disconnected(now, NodeId(2), &mut random));
            let next = links.deadline().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] <= FIRST_PAUSE && pauses[8] <= LONGEST_PAUSE && pauses[8] >= LONGEST_PAUSE / 2, "{pauses:?}");
    }

    #[test]
    fn a_dial_without_an_answer_is_given_up() {
        let mut random = SplitMix::new(1);
        let mut links = Links::new(NodeId(1));
        links.want(at(0), BTreeSet::from([NodeId(2)]));
        links.run(at(0), &mut random);
        assert_eq!(links.run(at(10_000), &mut random), []);
        assert!(links.deadline().unwrap() <= at(10_500));
    }

    #[test]
    fn one_that_was_evicted_is_told_and_then_cut() {
        let mut random = SplitMix::new(1);
        let mut links = Links::new(NodeId(1));
        links.want(at(0), BTreeSet::from([NodeId(2), NodeId(3)]));
        links.connected(at(0), NodeId(2));
        links.part(at(0), NodeId(2));
        links.part(at(0), NodeId(3));
        links.want(at(0), BTreeSet::new());
        assert_eq!(links.run(at(200), &mut random), [Step::Disconnect(NodeId(2))]);
        assert_eq!(links.deadline(), None);
    }

    #[test]
    fn a_stream_that_is_no_neighbours_lingers_and_ends() {
        let mut random = SplitMix::new(1);
        let mut links = Links::new(NodeId(1));
        links.want(at(0), BTreeSet::from([NodeId(2)]));
        links.connected(at(0), NodeId(2));
        links.connected(at(0), NodeId(7));
        links.want(at(1000), BTreeSet::new());
        assert_eq!(links.run(at(10_000), &mut random), [Step::Disconnect(NodeId(7))]);
        assert_eq!(links.run(at(11_000), &mut random), [Step::Disconnect(NodeId(2))]);
        assert!(!links.disconnected(at(11_000), NodeId(2), &mut random), "it was cut from this side");
        assert_eq!(links.deadline(), None);
    }
}
