//! What a node does by itself: foca's timers, telling suspects, calling on the dead, and looking at what came of it all.

use std::collections::BTreeSet;
use std::time::Duration;

use foca::{Incarnation, Member, OwnedNotification, Timer};

use super::codec::{Notice, SWIM};
use super::suspicion::{Outcome, TELL_EVERY};
use super::swim::{self, PROBE_PERIOD};
use super::{Action, CALL_DEAD_EVERY, Due, IN_VAIN, Identity, Membership, REST, State};
use crate::id::{NodeId, SEEN_LIVES};

/// Of so many dead, one is called on at a time.
const DEAD_PER_CALL: usize = 64;

impl Membership {
    pub(super) fn timer(&mut self, timer: Timer<Identity>) {
        match &timer {
            Timer::ProbeRandomMember(_) => self.probed(),
            Timer::ChangeSuspectToDown { member_id, .. } => {
                let others = self.swim.num_members() > 1;
                if self.suspicions.judge(self.clock.now(), &timer, member_id.node, others) == Outcome::Extend {
                    let again = self.clock.stretch(swim::suspicion(self.sized_for));
                    return self.schedule(again, Due::Swim(timer));
                }
            }
            Timer::RemoveDown(down) => self.removed(down),
            _ => {}
        }
        let _ = self.swim.handle_timer(timer, &mut self.sink);
    }

    fn probed(&mut self) {
        if std::mem::replace(&mut self.in_time, true) {
            self.clock.kept_up();
        }
    }

    /// foca forgets one that was down for a day.
    fn removed(&mut self, down: &Identity) {
        self.heard.forget(down.node);
        if self.known.get(&down.node).is_some_and(|(id, state)| id == down && !state.is_active()) {
            self.forget(down.node);
        }
    }

    /// Tells a suspect that it is one, as long as it is.
    pub(super) fn tell(&mut self, node: NodeId, incarnation: Incarnation) {
        let Some(accusation) = self.suspicions.get(node).filter(|a| a.incarnation == incarnation) else { return };
        let accused = accusation.accused;
        let still = |m: &&Member<Identity>| {
            *m.id() == accused && m.state() == foca::State::Suspect && m.incarnation() == incarnation
        };
        if self.swim.iter_members().find(still).is_none() {
            return self.suspicions.drop(node);
        }
        let about = vec![Member::new(accused, incarnation, foca::State::Suspect)];
        let datagram = Notice { from: *self.me(), about }.encode();
        self.actions.push_back(Action::Send { to: node, address: accused.address, datagram });
        self.schedule(TELL_EVERY, Due::Tell(node, incarnation));
    }

    pub(super) fn call_dead(&mut self) {
        let dead: Vec<_> = self.known.values().filter(|(_, s)| *s == State::Dead).map(|(id, _)| *id).collect();
        for called in self.random.some(&dead, 1 + dead.len() / DEAD_PER_CALL) {
            let _ = self.swim.announce(called, &mut self.sink);
        }
        self.schedule(CALL_DEAD_EVERY, Due::CallDead);
    }

    /// foca does not say who becomes a suspect or is cleared: looks, and fits its settings to the size of the cluster.
    pub(super) fn look(&mut self) {
        let suspect = |m: &&Member<Identity>| m.state() == foca::State::Suspect;
        let suspects: BTreeSet<_> = self.swim.iter_members().filter(suspect).map(|m| m.id().node).collect();
        for node in self.suspects.symmetric_difference(&suspects).copied().collect::<Vec<_>>() {
            let state = if suspects.contains(&node) { State::Suspect } else { State::Alive };
            if let Some((identity, before)) = self.known.get(&node).copied().filter(|(_, s)| s.is_active()) {
                self.set(identity, state, Some((identity, before)));
            }
        }
        self.suspects = suspects;
        let members = self.swim.num_members() + 1;
        if members.abs_diff(self.sized_for) * 4 > self.sized_for {
            self.sized_for = members;
            let _ = self.swim.set_config(swim::settings(members));
        }
        self.schedule(PROBE_PERIOD, Due::Look);
    }

    fn set(&mut self, now: Identity, state: State, before: Option<(Identity, State)>) {
        if before == Some((now, state)) {
            return;
        }
        self.known.insert(now.node, (now, state));
        self.actions.push_back(Action::Changed { now, state, before });
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        if self.known.remove(&node).is_some() {
            self.actions.push_back(Action::Forgotten(node));
        }
    }

    /// Takes what foca left in the sink.
    pub(super) fn settle(&mut self) {
        for news in std::mem::take(&mut self.sink.news) {
            let (identity, down) = match news {
                OwnedNotification::MemberUp(identity) => (identity, false),
                OwnedNotification::MemberDown(identity) => (identity, true),
                // Of one that was down, what matters follows as news of its own, unless it stays down for good.
                OwnedNotification::Rename(_, identity) => match self.known.get(&identity.node) {
                    Some((_, state)) if state.is_active() || identity.leaving => (identity, false),
                    _ => continue,
                },
                OwnedNotification::Rejoin(_) => {
                    self.actions.push_back(Action::Returned);
                    let now = self.clock.now();
                    let since = self.returns.filter(|(_, last)| now < *last + REST).map_or(now, |(since, _)| since);
                    self.returns = Some((since, now));
                    if now >= since + IN_VAIN {
                        self.returns = None;
                        let seen = self.me().incarnation.max(SEEN_LIVES);
                        self.actions.push_back(Action::Outranked { seen });
                    }
                    continue;
                }
                _ => continue,
            };
            let before = self.known.get(&identity.node).copied();
            let suspect = before.is_some_and(|(id, state)| id == identity && state == State::Suspect);
            let state = match (identity.leaving, down) {
                (true, _) => State::Left,
                (false, true) => State::Dead,
                (false, false) if suspect => State::Suspect,
                (false, false) => State::Alive,
            };
            if !self.evicted.contains(&identity.node) {
                self.set(identity, state, before);
            }
        }
        for (timer, after) in std::mem::take(&mut self.sink.timers) {
            self.timer_wanted(timer, after);
        }
        for (to, datagram) in std::mem::take(&mut self.sink.sent) {
            if !self.evicted.contains(&to.node) {
                let datagram = [&[SWIM], &datagram[..]].concat();
                self.actions.push_back(Action::Send { to: to.node, address: to.address, datagram });
            }
        }
    }

    fn timer_wanted(&mut self, timer: Timer<Identity>, after: Duration) {
        let after = match &timer {
            Timer::ProbeRandomMember(token) => {
                self.token = *token;
                self.clock.stretch(after)
            }
            Timer::SendIndirectProbe { .. } => self.clock.stretch(after),
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                if !self.suspicions.begin(self.clock.now(), *member_id, *incarnation, timer.clone()) {
                    return;
                }
                self.schedule(Duration::ZERO, Due::Tell(member_id.node, *incarnation));
                self.clock.stretch(after)
            }
            _ => after,
        };
        self.schedule(after, Due::Swim(timer));
    }
}
