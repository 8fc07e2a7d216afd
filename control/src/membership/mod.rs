//! Who is in the cluster, and who of them lives.
//!
//! [`Membership`] wraps foca's SWIM. In come the roster at a join, datagrams, the time, and what else is known of others
//! (a stream that broke, a frame that came). Out come datagrams and [`Action`]s: a member joined, is suspected, is
//! dead, has left. No socket, no clock: `mono` comes in, and all randomness is the seed's.
//!
//! * `identity`: a node in one of its lives, `codec`: datagrams as bytes, `swim`: foca's settings.
//! * `heard`: what foca need not be told again. `rounds`: what a node does by itself, `stall`: a clock that stops when it
//!   does, `suspicion`: what stands before a verdict.
//! * [`neighbours`]: with whom a node keeps a stream. [`random`]: numbers from a seed.

mod action;
mod codec;
mod heard;
mod identity;
pub mod neighbours;
pub mod random;
mod rounds;
mod stall;
mod suspicion;
mod swim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use foca::{Codec as _, Incarnation, Member, Timer, TimerToken};

pub use action::{Action, Refused, State};
pub use identity::Identity;

use crate::id::{NodeId, SEEN_LIVES};
use codec::{NOTICE, Notice, SWIM, Wire};
use heard::Heard;
use random::SplitMix;
use stall::Steady;
use suspicion::Suspicions;
use swim::{Sink, Swim};

/// How often the dead are called on, so that a partition that heals is found without a person.
const CALL_DEAD_EVERY: Duration = Duration::from_secs(2);
/// How many members a newcomer says hello to by itself; gossip does the rest.
const GREETED: usize = 4;

/// A node that was given up comes back by a renewal. One that comes back again and again for so long, never resting for
/// [`REST`], was given up under a higher rank than a renewal reaches.
const IN_VAIN: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(1500);

/// How many members are told goodbye in person.
const TOLD_GOODBYE: usize = 64;

#[derive(Clone, Debug)]
enum Due {
    Swim(Timer<Identity>),
    Tell(NodeId, Incarnation),
    CallDead,
    Look,
}

/// The members as this node knows them. Every method that takes `mono` may leave [`Action`]s to [`poll`](Self::poll).
pub struct Membership {
    swim: Swim,
    sink: Sink,
    clock: Steady,
    due: BTreeMap<(Duration, u64), Due>,
    timers_made: u64,
    /// foca drops timers that bear an older token than its newest.
    token: TimerToken,
    /// No pause since the last round of probing.
    in_time: bool,
    random: SplitMix,
    known: BTreeMap<NodeId, (Identity, State)>,
    suspects: BTreeSet<NodeId>,
    evicted: BTreeSet<NodeId>,
    suspicions: Suspicions,
    heard: Heard,
    sized_for: usize,
    /// Since when this node has come back again and again, and when it last did.
    returns: Option<(Duration, Duration)>,
    left: bool,
    actions: VecDeque<Action>,
}

impl Membership {
    /// A node that knows nobody yet.
    pub fn new(me: Identity, mono: Duration, seed: u64) -> Membership {
        let mut random = SplitMix::new(seed);
        let mut membership = Membership {
            swim: swim::swim(me, random.number()),
            sink: Sink::default(),
            clock: Steady::default(),
            due: BTreeMap::new(),
            timers_made: 0,
            token: 0,
            in_time: true,
            random,
            known: BTreeMap::new(),
            suspects: BTreeSet::new(),
            evicted: BTreeSet::new(),
            suspicions: Suspicions::default(),
            heard: Heard::default(),
            sized_for: 1,
            returns: None,
            left: false,
            actions: VecDeque::new(),
        };
        membership.read(mono);
        let first = Duration::from_millis(membership.random.below(500) as u64);
        membership.schedule(first, Due::Look);
        membership.schedule(first + CALL_DEAD_EVERY, Due::CallDead);
        membership
    }

    /// This node as others know it.
    pub fn me(&self) -> &Identity {
        self.swim.identity()
    }

    /// Every other node that is known, with its state.
    pub fn members(&self) -> impl Iterator<Item = (&Identity, State)> {
        self.known.values().map(|(identity, state)| (identity, *state))
    }

    /// A node other than this one.
    pub fn get(&self, node: NodeId) -> Option<(&Identity, State)> {
        self.known.get(&node).map(|(identity, state)| (identity, *state))
    }

    /// Members that the cluster is known to have, from a join or from before a restart. Each is held for alive until it fails to
    /// answer; a few are told that this node is here.
    pub fn roster(&mut self, mono: Duration, roster: impl IntoIterator<Item = Identity>) {
        self.read(mono);
        let me = self.me().node;
        let members: Vec<_> =
            roster.into_iter().filter(|id| id.node != me && !self.evicted.contains(&id.node) && !id.leaving).collect();
        let updates = members.iter().map(|id| Member::alive(*id));
        let _ = self.swim.apply_many(updates, false, &mut self.sink);
        for greeted in self.random.some(&members, GREETED) {
            let _ = self.swim.announce(greeted, &mut self.sink);
        }
        self.settle();
    }

    /// A datagram from `from`, whose certificate says so.
    pub fn datagram(&mut self, mono: Duration, from: NodeId, datagram: &[u8]) -> Result<(), Refused> {
        self.read(mono);
        if self.evicted.contains(&from) {
            return Err(Refused::Evicted);
        }
        if self.left {
            return Ok(());
        }
        let result = match datagram.split_first() {
            Some((&SWIM, rest)) => self.swim_datagram(from, rest),
            Some((&NOTICE, rest)) => self.notice(from, rest),
            _ => Err(Refused::Malformed),
        };
        if result.is_ok() {
            self.suspicions.heard(self.clock.now(), from);
        }
        self.settle();
        result
    }

    /// A frame came from `node`: it lives.
    pub fn heard(&mut self, mono: Duration, node: NodeId) {
        self.read(mono);
        self.suspicions.heard(self.clock.now(), node);
    }

    /// A stream with `node` is new: greets it, so that it knows this node as it is now.
    pub fn greet(&mut self, mono: Duration, node: NodeId) {
        self.read(mono);
        self.suspicions.heard(self.clock.now(), node);
        if let Some((identity, _)) = self.known.get(&node) {
            let _ = self.swim.announce(*identity, &mut self.sink);
        }
        self.settle();
    }

    /// The stream with `node` broke. If it was alive it is suspected now, instead of when a probe next happens to meet it.
    pub fn doubt(&mut self, mono: Duration, node: NodeId) {
        self.read(mono);
        self.suspicions.not_deaf(self.clock.now());
        let alive = |m: &&Member<Identity>| m.id().node == node && m.state() == foca::State::Alive;
        let found = self.swim.iter_members().find(alive).map(|m| (*m.id(), m.incarnation()));
        if let Some((member_id, incarnation)) = found {
            let suspect = Member::new(member_id, incarnation, foca::State::Suspect);
            let _ = self.swim.apply_many([suspect].into_iter(), true, &mut self.sink);
            let verdict = Timer::ChangeSuspectToDown { member_id, incarnation, token: self.token };
            self.sink.timers.push((verdict, swim::suspicion(self.sized_for)));
        }
        self.settle();
    }

    /// This node begins another life.
    pub fn reincarnate(&mut self, mono: Duration, incarnation: u64) {
        self.read(mono);
        let me = Identity { incarnation, renewal: 0, ..*self.me() };
        let _ = self.swim.change_identity(me, &mut self.sink);
        self.settle();
    }

    /// Says goodbye, to `tell` and to many others in person; they pass it on. Nothing comes out of this node after that.
    pub fn leave(&mut self, mono: Duration, tell: impl IntoIterator<Item = NodeId>) {
        self.read(mono);
        let goodbye = self.me().goodbye();
        let farewell = Notice { from: goodbye, about: vec![Member::down(goodbye)] }.encode();
        let active: Vec<_> = self.known.values().filter(|(_, s)| s.is_active()).map(|(id, _)| id.node).collect();
        let mut told: BTreeSet<_> = self.random.some(&active, TOLD_GOODBYE).into_iter().collect();
        told.extend(tell);
        for (identity, _) in told.into_iter().filter_map(|node| self.known.get(&node)) {
            let (to, address) = (identity.node, identity.address);
            self.actions.push_back(Action::Send { to, address, datagram: farewell.clone() });
        }
        self.left = true;
        self.due.clear();
    }

    /// Gives `node` up for good: what it says is refused, and no news of it is believed. False if it was already, or is
    /// this one.
    pub fn evict(&mut self, mono: Duration, node: NodeId) -> bool {
        self.read(mono);
        if node == self.me().node || !self.evicted.insert(node) {
            return false;
        }
        let address = self.known.get(&node).map_or(SocketAddr::from(([0; 4], 0)), |(id, _)| id.address);
        let last = Member::down(Identity::last(node, address));
        let _ = self.swim.apply_many([last].into_iter(), false, &mut self.sink);
        self.suspicions.drop(node);
        self.settle();
        self.forget(node);
        true
    }

    /// Does what is due at `mono`. To be called after each batch of input: an answer that waited comes before the timer
    /// that gives up on it.
    pub fn run(&mut self, mono: Duration) {
        self.read(mono);
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.clock.now() {
                break;
            }
            match entry.remove() {
                Due::Swim(timer) => self.timer(timer),
                Due::Tell(node, incarnation) => self.tell(node, incarnation),
                Due::CallDead => self.call_dead(),
                Due::Look => self.look(),
            }
            self.settle();
        }
    }

    /// When [`run`](Self::run) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((due, _), _)| self.clock.mono(*due))
    }

    /// What is to be done.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn read(&mut self, mono: Duration) {
        let due = self.due.first_key_value().map(|((due, _), _)| *due);
        if let Some(pause) = self.clock.read(mono, due) {
            self.in_time = false;
            self.actions.push_back(Action::Paused(pause));
        }
    }

    fn schedule(&mut self, after: Duration, due: Due) {
        self.timers_made += 1;
        self.due.insert((self.clock.now() + after, self.timers_made), due);
    }

    fn swim_datagram(&mut self, from: NodeId, datagram: &[u8]) -> Result<(), Refused> {
        let mut rest = datagram;
        let header = Wire.decode_header(&mut rest).map_err(|_| Refused::Malformed)?;
        if header.src.node != from {
            return Err(Refused::Forged);
        }
        // A life that none comes to is believed of its own node alone: who is down in the last one does not come back.
        let honest = |id: &Identity| {
            let known = self.known.get(&id.node).map_or(0, |(known, _)| known.incarnation);
            id.node == from || id.incarnation <= known.max(SEEN_LIVES)
        };
        let honest = Heard::only_honest(datagram, rest, honest);
        let rest_len = rest.len();
        let (datagram, rest) = match &honest {
            Some(less) => (&less[..], &less[datagram.len() - rest_len..]),
            None => (datagram, rest),
        };
        // foca takes no news from one that it holds for dead, nor what is for a former life of this node.
        let active =
            self.known.get(&from).is_some_and(|(identity, state)| *identity == header.src && state.is_active());
        let taken = active && header.dst == *self.me();
        let shorter = if taken { self.heard.without_old(&header, datagram, rest) } else { None };
        let result = self.swim.handle_data(shorter.as_deref().unwrap_or(datagram), &mut self.sink);
        if result.is_err() {
            self.heard.forget_all();
        }
        match result {
            Err(foca::Error::Decode(_) | foca::Error::DataTooBig | foca::Error::MalformedPacket) => {
                Err(Refused::Malformed)
            }
            // The others are about foca's own rounds, and it has recovered from them.
            _ => Ok(()),
        }
    }

    fn notice(&mut self, from: NodeId, notice: &[u8]) -> Result<(), Refused> {
        let notice = Notice::decode(notice).map_err(|_| Refused::Malformed)?;
        let me = *self.me();
        if notice.from.node != from || notice.about.iter().any(|m| m.id().node != from && m.id().node != me.node) {
            return Err(Refused::Forged);
        }
        for member in notice.about {
            if *member.id() == me && member.state() == foca::State::Suspect {
                let _ = self.swim.apply_many([member].into_iter(), false, &mut self.sink);
            } else if member.id().node == from && member.id().leaving {
                let _ = self.swim.apply_many([member].into_iter(), true, &mut self.sink);
                continue;
            }
            // Whatever it believed of this node, this tells it better.
            let _ = self.swim.announce(notice.from, &mut self.sink);
        }
        Ok(())
    }
}
