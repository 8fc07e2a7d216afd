//! Whom this node suspects, and when that is enough to declare a member dead.
//!
//! A member that answers no probe, neither to this node nor to others on its behalf, is suspected; foca declares it dead
//! when its time to answer is over. Three rules stand before that, so that nobody is declared dead who only
//! seems so:
//!
//! * it is told at once that it is suspected, and again until it is cleared: its answer needs one round trip, not a
//!   rumour's way through the cluster;
//! * who was heard in that time, by whatever way, is not dead;
//! * who hears nobody at all is deaf, and accuses nobody for [`DEAF`]: by then the others have found out about it.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::{Incarnation, Timer};

use super::identity::Identity;
use crate::id::NodeId;

/// How often a suspect is told so.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(300);
/// How long a node that hears nobody holds itself for the one at fault.
const DEAF: Duration = Duration::from_secs(10);

/// A suspicion that is running.
#[derive(Clone, Debug)]
pub(super) struct Accusation {
    pub(super) accused: Identity,
    pub(super) incarnation: Incarnation,
    /// foca's, to be given back to it if nothing stands against it.
    pub(super) verdict: Timer<Identity>,
    since: Duration,
    heard: bool,
}

/// What to do at the end of a suspect's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// foca may decide.
    Decide,
    /// The suspect gets the same time again.
    Extend,
}

/// The suspicions that are running.
#[derive(Debug, Default)]
pub(super) struct Suspicions {
    running: BTreeMap<NodeId, Accusation>,
    /// When anything at all came in from anybody.
    heard_anybody: Duration,
}

impl Suspicions {
    /// A new suspicion, unless the same is running already: a second probe that fails does not shorten its time.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        accused: Identity,
        incarnation: Incarnation,
        verdict: Timer<Identity>,
    ) -> bool {
        let same = |a: &Accusation| a.accused == accused && a.incarnation == incarnation && a.verdict == verdict;
        if self.running.get(&accused.node).is_some_and(same) {
            return false;
        }
        let accusation = Accusation { accused, incarnation, verdict, since: now, heard: false };
        self.running.insert(accused.node, accusation);
        true
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Accusation> {
        self.running.get(&node)
    }

    /// The suspicion has no object any more.
    pub(super) fn drop(&mut self, node: NodeId) {
        self.running.remove(&node);
    }

    /// Something came in from `node`.
    pub(super) fn heard(&mut self, now: Duration, node: NodeId) {
        self.heard_anybody = now;
        if let Some(accusation) = self.running.get_mut(&node) {
            accusation.heard = true;
        }
    }

    /// Something happened that only the network can cause, although nobody spoke: a stream was closed from outside.
    pub(super) fn not_deaf(&mut self, now: Duration) {
        self.heard_anybody = now;
    }

    /// The time of `verdict`'s suspect is over. `others` live beside it and this node.
    pub(super) fn judge(&mut self, now: Duration, verdict: &Timer<Identity>, node: NodeId, others: bool) -> Outcome {
        let Some(accusation) = self.running.get_mut(&node).filter(|a| a.verdict == *verdict) else {
            return Outcome::Decide;
        };
        let deaf = others && self.heard_anybody < accusation.since && now < accusation.since + DEAF;
        if std::mem::take(&mut accusation.heard) || deaf {
            return Outcome::Extend;
        }
        self.running.remove(&node);
        Outcome::Decide
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Origin;

    fn case() -> (Suspicions, Timer<Identity>) {
        let accused = Identity::new(Origin { node: NodeId(7), incarnation: 1 }, "192.0.2.7:7956".parse().unwrap());
        let verdict = Timer::ChangeSuspectToDown { member_id: accused, incarnation: 3, token: 0 };
        let mut suspicions = Suspicions::default();
        assert!(suspicions.begin(Duration::from_secs(100), accused, 3, verdict.clone()));
        assert!(!suspicions.begin(Duration::from_secs(101), accused, 3, verdict.clone()), "it is running");
        (suspicions, verdict)
    }

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_silent_member_is_given_up_when_others_are_heard() {
        let (mut suspicions, verdict) = case();
        suspicions.heard(at(101), NodeId(8));
        assert_eq!(suspicions.judge(at(102), &verdict, NodeId(7), true), Outcome::Decide);
        assert!(suspicions.get(NodeId(7)).is_none());
    }

    #[test]
    fn one_that_was_heard_gets_the_same_time_again() {
        let (mut suspicions, verdict) = case();
        suspicions.heard(at(101), NodeId(7));
        assert_eq!(suspicions.judge(at(102), &verdict, NodeId(7), true), Outcome::Extend);
        assert_eq!(suspicions.judge(at(104), &verdict, NodeId(7), true), Outcome::Decide);
    }

    #[test]
    fn who_hears_nobody_waits_unless_there_is_nobody_else() {
        let (mut suspicions, verdict) = case();
        assert_eq!(suspicions.judge(at(102), &verdict, NodeId(7), true), Outcome::Extend);
        assert_eq!(suspicions.judge(at(110), &verdict, NodeId(7), true), Outcome::Decide);
        let (mut suspicions, verdict) = case();
        assert_eq!(suspicions.judge(at(102), &verdict, NodeId(7), false), Outcome::Decide, "a cluster of two");
    }
}
