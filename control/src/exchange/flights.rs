//! What is on its way to one neighbour and not acknowledged: it bounds what is sent ahead, and says what was lost.
//!
//! Thousands of parts fly at once while a node joins a large cluster, and each acknowledgement and each position of a
//! vector asks about one origin: nothing here looks at all of them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::id::{NodeId, Origin};

/// A part of a log.
struct Flight {
    incarnation: u64,
    to: u64,
    bytes: usize,
    since: Duration,
}

/// All parts that fly.
#[derive(Default)]
pub(super) struct Flights {
    by_origin: HashMap<NodeId, VecDeque<Flight>>,
    /// When each was sent, oldest first. Those that have landed stay until they would have been lost.
    sent: VecDeque<(Duration, NodeId)>,
    bytes: usize,
}

impl Flights {
    /// A part was sent.
    pub(super) fn start(&mut self, now: Duration, origin: Origin, to: u64, bytes: usize) {
        let flight = Flight { incarnation: origin.incarnation, to, bytes, since: now };
        self.by_origin.entry(origin.node).or_default().push_back(flight);
        self.sent.push_back((now, origin.node));
        self.bytes += bytes;
    }

    /// The neighbour has an origin's log up to there; what flies of another life is of no use any more.
    pub(super) fn land(&mut self, origin: Origin, applied: u64) {
        self.keep(origin.node, |flight| flight.incarnation == origin.incarnation && flight.to > applied);
    }

    /// Forgets what was lost: what flies for so long.
    pub(super) fn expire(&mut self, now: Duration, patience: Duration) {
        let is_old = |since: Duration| now.saturating_sub(since) >= patience;
        while let Some((since, node)) = self.sent.front().copied().filter(|(since, _)| is_old(*since)) {
            self.sent.pop_front();
            self.keep(node, |flight| flight.since > since);
        }
    }

    /// True if something of this origin's flies, in whichever life.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.by_origin.contains_key(&node)
    }

    /// True if something of this origin's flies, in this life.
    pub(super) fn has_of(&self, origin: Origin) -> bool {
        let flights = self.by_origin.get(&origin.node);
        flights.is_some_and(|flights| flights.iter().any(|flight| flight.incarnation == origin.incarnation))
    }

    /// The size of all that flies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, node: NodeId, keep: impl Fn(&Flight) -> bool) {
        let Some(flights) = self.by_origin.get_mut(&node) else { return };
        let bytes = &mut self.bytes;
        flights.retain(|flight| {
            let stays = keep(flight);
            *bytes -= if stays { 0 } else { flight.bytes };
            stays
        });
        if flights.is_empty() {
            self.by_origin.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lands_and_what_is_lost_makes_room() {
        let (a, b) = (Origin { node: NodeId(1), incarnation: 1 }, Origin { node: NodeId(2), incarnation: 1 });
        let second = Duration::from_secs;
        let mut flights = Flights::default();
        flights.start(second(0), a, 10, 100);
        flights.start(second(1), a, 20, 100);
        flights.start(second(1), b, 5, 1000);
        flights.land(a, 15);
        assert_eq!((flights.bytes(), flights.has_of(a)), (1100, true));
        // Its second life: what flies of the first helps nobody, but it flies.
        let again = Origin { incarnation: 2, ..a };
        assert!(!flights.has_of(again) && flights.has(a.node));
        flights.land(again, 0);
        assert_eq!((flights.bytes(), flights.has(a.node)), (1000, false));
        flights.start(second(2), a, 30, 10);
        flights.expire(second(2), second(2));
        assert_eq!(flights.bytes(), 1010);
        flights.expire(second(3), second(2));
        assert_eq!((flights.bytes(), flights.has(b.node), flights.has(a.node)), (10, false, true));
        flights.expire(second(4), second(2));
        assert_eq!((flights.bytes(), flights.sent.len(), flights.by_origin.len()), (0, 0, 0));
    }
}
