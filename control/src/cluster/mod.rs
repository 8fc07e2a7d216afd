//! The façade: a node's whole view of its cluster, as one state machine.
//!
//! [`Input`]s come in (a frame from a neighbour, a record of this node's, a timer), with the time; [`Output`]s come out
//! (frames to send, streams to open, what changed for the data plane and the user). Behind it, `membership` says who is there,
//! `table` who has what, `exchange` keeps neighbours' tables equal, `objects` holds what belongs to no node. Nothing here
//! has a socket or a clock, and all randomness comes from a seed, so that a thousand of them run in one test under virtual
//! time (`tests/sim`).
//!
//! * [`io`](Input): what enters and leaves. [`Event`]: what a person should hear of.
//! * `clocks`: whose clock is wrong.
//! * `links`: with whom there should be a stream, and who dials. `news`: what a change in membership means.

mod clocks;
mod event;
mod io;
mod links;
mod news;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use weft_proto::v1;

pub use event::{Event, Who};
pub use io::{Config, Input, Me, Member, Now, Output, Saved};

use crate::exchange::{Exchange, FrameRefused};
use crate::id::{NodeId, Origin};
use crate::membership::neighbours::Rings;
use crate::membership::random::SplitMix;
use crate::membership::{self, Identity, Membership, State};
use crate::objects::Objects;
use crate::table::{self, Key, NodeRecord, Table, Value, wire};
use clocks::Clocks;
use links::{Links, Step};

/// The versions of the protocol that this node speaks.
pub const PROTOCOL: RangeInclusive<u32> = 1..=1;

/// How often the table looks for what time alone takes out of it.
const TICK: Duration = Duration::from_secs(1);
/// From the removal of a leaving node's records to its goodbye: they go out in between.
const GOODBYE_AFTER: Duration = Duration::from_millis(100);
/// How often it is told what one node was refused for.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);

/// A node's view of its cluster.
pub struct Cluster {
    me: Me,
    protocol: RangeInclusive<u32>,
    membership: Membership,
    links: Links,
    table: Table,
    objects: Objects,
    exchange: Exchange,
    random: SplitMix,
    /// What nodes were said to be before their own records came.
    presented: BTreeMap<NodeId, NodeRecord>,
    refusals: BTreeMap<NodeId, Duration>,
    /// New nodes whose joining is told as soon as they have a name, or then.
    unnamed: BTreeMap<NodeId, Duration>,
    clocks: Clocks,
    rings: Rings,
    neighbours_stale: bool,
    roster_changed: bool,
    next_tick: Duration,
    goodbye_at: Option<Duration>,
    left: bool,
    outputs: VecDeque<Output>,
}

impl Cluster {
    /// A node that starts. Its own [`Key::Node`] record is put; all others are the caller's to put, and then
    /// [`Input::Complete`].
    pub fn new(config: Config, me: Me, saved: Saved, now: Now, seed: u64) -> Cluster {
        let mut random = SplitMix::new(seed);
        let identity = Identity::new(me.origin, SocketAddr::new(me.record.address, me.record.control_port));
        let mut cluster = Cluster {
            membership: Membership::new(identity, now.mono, random.number()),
            links: Links::new(me.origin.node),
            table: Table::new(me.origin, config.table),
            objects: Objects::new(me.origin.node, config.objects),
            exchange: Exchange::new(me.origin.node, config.exchange),
            random,
            presented: BTreeMap::new(),
            refusals: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            clocks: Clocks::new(me.origin.node),
            rings: Rings::new(me.origin.node),
            neighbours_stale: false,
            roster_changed: false,
            next_tick: now.mono + TICK,
            goodbye_at: None,
            left: false,
            outputs: VecDeque::new(),
            protocol: config.protocol,
            me,
        };
        let record = Value::Node(Box::new(cluster.me.record.clone()));
        cluster.put(now.mono, Key::Node, record);
        for object in saved.objects {
            // What this program wrote, or a signer that it trusts; one that it cannot keep is told by those that can.
            let _ = cluster.objects.restore(now.wall_ms, object);
        }
        cluster.handle(now, Input::Roster(saved.roster));
        cluster
    }

    /// The first frame of each of this node's streams.
    pub fn hello(&self) -> v1::Hello {
        v1::Hello {
            protocol_min: *self.protocol.start(),
            protocol_max: *self.protocol.end(),
            incarnation: self.me.origin.incarnation,
            name: self.me.record.name.clone(),
            version: self.me.record.version.clone(),
        }
    }

    /// Takes an input. What follows from it waits for [`poll`](Self::poll).
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.left {
            return;
        }
        let mono = now.mono;
        match input {
            Input::Timer => {}
            Input::Roster(roster) => self.roster_came(mono, roster),
            Input::Connected { peer, hello } => self.connected(mono, peer, &hello),
            Input::Disconnected { peer } => {
                self.stream_ended(peer);
                if self.links.disconnected(mono, peer, &mut self.random) {
                    self.membership.doubt(mono, peer);
                }
            }
            Input::Frame { peer, frame } => self.frame(now, peer, frame),
            Input::Swim { peer, datagram } => self.datagram(mono, peer, &datagram),
            Input::Heard { peer } => self.table.heard(mono, peer),
            Input::Put(key, value) => self.put(mono, key, value),
            Input::Remove(key) => self.table.remove(mono, &key),
            Input::Complete => self.table.complete(),
            Input::PutObject { kind, id, value } => {
                if let Err(error) = self.objects.put(now.wall_ms, kind, &id, value) {
                    self.outputs.push_back(Output::ObjectNotPut { kind, id, error });
                }
            }
            Input::RemoveObject { kind, id } => drop(self.objects.remove(now.wall_ms, kind, &id)),
            Input::Leave => self.leave(mono),
            Input::Evict(node) => self.evict(mono, node),
        }
        self.run(now);
    }

    /// What is to be done, in order. To be drained after each input.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timer`] is wanted, if nothing else comes before.
    pub fn deadline(&self) -> Option<Duration> {
        if self.left {
            return None;
        }
        let parts = [self.membership.deadline(), self.links.deadline(), self.exchange.deadline(), self.goodbye_at];
        parts.into_iter().flatten().chain([self.next_tick]).min()
    }

    /// Who has what.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What belongs to no node.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// All that are known, this node included, by id.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        let state = if self.left { State::Left } else { State::Alive };
        let others = self.membership.members().map(|(identity, state)| self.member(identity, state));
        std::iter::once(self.member(self.membership.me(), state)).chain(others)
    }

    /// True if every neighbour has all that this node has said so far.
    pub fn is_told(&self) -> bool {
        self.exchange.is_told(&self.table)
    }

    /// How many neighbours last had the same tables and objects as this node has now.
    pub fn agreeing(&self) -> usize {
        self.exchange.agreeing(&self.table, &self.objects)
    }

    /// The neighbours that last had other tables or objects than this node has now.
    pub fn differing(&self) -> Vec<NodeId> {
        self.exchange.differing(&self.table, &self.objects).collect()
    }

    /// By how many milliseconds this node's clock is ahead of most of its neighbours'. `None` before they have said the time.
    pub fn clock_ahead_ms(&self) -> Option<i64> {
        self.clocks.mine()
    }

    /// The nodes with which there is a stream.
    pub fn neighbours(&self) -> impl Iterator<Item = NodeId> {
        self.links.up()
    }

    /// The members for a node that joins, and for this one's next start.
    pub fn roster(&self) -> Vec<v1::RosterEntry> {
        let entry = |identity: &Identity| {
            let record = self.record(identity.node)?;
            Some(v1::RosterEntry {
                node: identity.node.0,
                incarnation: identity.incarnation,
                renewal: identity.renewal,
                record: Some(wire::node_record_out(record)),
            })
        };
        let others = self.membership.members().filter(|(_, state)| *state != State::Left).map(|(identity, _)| identity);
        std::iter::once(self.membership.me()).chain(others).filter_map(entry).collect()
    }

    fn roster_came(&mut self, mono: Duration, roster: Vec<v1::RosterEntry>) {
        let mut identities = Vec::new();
        for entry in roster {
            let origin = Origin { node: NodeId(entry.node), incarnation: entry.incarnation };
            let Some(Ok(record)) = entry.record.map(|r| wire::node_record(r, self.table.limits())) else { continue };
            let address = SocketAddr::new(record.address, record.control_port);
            identities.push(Identity { renewal: entry.renewal, ..Identity::new(origin, address) });
            self.presented.insert(origin.node, record);
        }
        self.membership.roster(mono, identities);
    }

    fn connected(&mut self, mono: Duration, peer: NodeId, hello: &v1::Hello) {
        let (theirs, ours) = ((hello.protocol_min, hello.protocol_max), (*self.protocol.start(), *self.protocol.end()));
        if theirs.0 > ours.1 || theirs.1 < ours.0 {
            let who = self.who(peer);
            self.disconnect(mono, peer);
            return self.tell(mono, peer, Event::Incompatible { who, theirs, ours });
        }
        if self.table.is_gone(peer) && self.membership.get(peer).is_none() {
            return self.disconnect(mono, peer);
        }
        self.links.connected(mono, peer);
        self.membership.greet(mono, peer);
        self.exchange.connect(mono, peer, &self.table, &self.objects);
    }

    /// There is no stream with a neighbour any more: nothing that it said on it counts.
    fn stream_ended(&mut self, peer: NodeId) {
        self.exchange.disconnect(peer);
        self.clocks.lost(peer);
    }

    fn disconnect(&mut self, mono: Duration, peer: NodeId) {
        self.stream_ended(peer);
        self.links.disconnected(mono, peer, &mut self.random);
        self.outputs.push_back(Output::Disconnect { peer });
    }

    fn frame(&mut self, now: Now, peer: NodeId, frame: v1::Frame) {
        let mono = now.mono;
        self.membership.heard(mono, peer);
        // Of none is one of a later version.
        let Some(kind) = frame.kind else { return };
        if let v1::frame::Kind::Swim(datagram) = kind {
            return self.datagram(mono, peer, &datagram);
        }
        if let v1::frame::Kind::Digest(digest) = &kind {
            self.clocks.heard(peer, digest.unix_ms, now.wall_ms);
        }
        let (table, objects) = (&mut self.table, &mut self.objects);
        match self.exchange.handle(mono, now.wall_ms, peer, kind, table, objects) {
            // The neighbour does not know yet what this node does: that the origin left, or was evicted.
            Ok(()) | Err(FrameRefused::Record(table::Refused::Gone)) => {}
            Err(refused) => self.refused(mono, peer, &refused),
        }
    }

    fn datagram(&mut self, mono: Duration, peer: NodeId, datagram: &[u8]) {
        match self.membership.datagram(mono, peer, datagram) {
            // It goes on until it hears of it, and that was told.
            Ok(()) | Err(membership::Refused::Evicted) => {}
            Err(refused) => self.refused(mono, peer, &refused),
        }
    }

    fn put(&mut self, mono: Duration, key: Key, value: Value) {
        if let Err(error) = self.table.put(mono, key.clone(), value) {
            self.outputs.push_back(Output::NotPut { key, error });
        }
    }

    fn leave(&mut self, mono: Duration) {
        // Who it was the others forget when it has left: until then it has a name.
        let mine = self.table.records(self.me.origin.node).map(|(_, key, _)| key.clone());
        let mine: Vec<_> = mine.filter(|key| *key != Key::Node).collect();
        mine.iter().for_each(|key| self.table.remove(mono, key));
        self.goodbye_at.get_or_insert(mono + GOODBYE_AFTER);
    }

    fn say_goodbye(&mut self, mono: Duration) {
        let neighbours: Vec<_> = self.links.up().collect();
        self.membership.leave(mono, neighbours);
        while let Some(action) = self.membership.poll() {
            self.act(mono, action);
        }
        self.left = true;
        self.outputs.push_back(Output::Left);
    }

    fn evict(&mut self, mono: Duration, node: NodeId) {
        if node == self.me.origin.node {
            return self.outputs.push_back(Output::Event(Event::EvictedHere));
        }
        let event = Event::Evicted(self.who(node));
        if !self.membership.evict(mono, node) {
            return;
        }
        self.table.forget(mono, node);
        self.links.part(mono, node);
        self.neighbours_stale |= self.rings.set(node, false);
        self.outputs.push_back(Output::Event(event));
    }

    /// Does what is due, and passes on what the parts have to say.
    fn run(&mut self, now: Now) {
        let mono = now.mono;
        while let Some(change) = self.objects.poll_change() {
            self.object_changed(change);
        }
        self.membership.run(mono);
        while let Some(action) = self.membership.poll() {
            self.act(mono, action);
        }
        if std::mem::take(&mut self.neighbours_stale) {
            self.links.want(mono, self.rings.neighbours());
            self.exchange.set_relay(self.rings.is_sparse());
        }
        for step in self.links.run(mono, &mut self.random) {
            match step {
                Step::Disconnect(peer) => {
                    self.stream_ended(peer);
                    self.outputs.push_back(Output::Disconnect { peer });
                }
                Step::Connect(peer) => {
                    if let Some((identity, _)) = self.membership.get(peer) {
                        self.outputs.push_back(Output::Connect { peer, address: identity.address });
                    }
                }
            }
        }
        if mono >= self.next_tick {
            self.next_tick = mono + TICK;
            self.table.tick(mono);
            self.objects.tick(now.wall_ms);
            self.tell_unnamed(mono);
            for (node, ahead_ms) in self.clocks.tick() {
                let who = (node != self.me.origin.node).then(|| self.who(node));
                self.outputs.push_back(Output::Event(Event::Clock { who, ahead_ms }));
            }
            if std::mem::take(&mut self.roster_changed) {
                self.outputs.push_back(Output::SaveRoster);
            }
        }
        while let Some(change) = self.table.poll_change() {
            self.changed(mono, change);
        }
        self.exchange.tick(mono, &self.table, &self.objects);
        while let Some((peer, mut frame)) = self.exchange.poll() {
            if let Some(v1::frame::Kind::Digest(digest)) = &mut frame.kind {
                digest.unix_ms = now.wall_ms;
            }
            self.outputs.push_back(Output::Send { peer, frame });
        }
        if self.goodbye_at.is_some_and(|at| at <= mono) {
            self.say_goodbye(mono);
        }
    }

    fn send(&mut self, to: NodeId, address: SocketAddr, datagram: Vec<u8>) {
        self.outputs.push_back(if self.links.is_up(to) {
            let kind = Some(v1::frame::Kind::Swim(datagram));
            Output::Send { peer: to, frame: v1::Frame { kind } }
        } else {
            Output::SendSwim { peer: to, address, datagram }
        });
    }

    fn refused(&mut self, mono: Duration, peer: NodeId, reason: &dyn std::error::Error) {
        let event = Event::Refused { who: self.who(peer), reason: reason.to_string() };
        self.tell(mono, peer, event);
    }

    /// Tells of what a peer may do all the time.
    fn tell(&mut self, mono: Duration, peer: NodeId, event: Event) {
        let quiet = self.refusals.get(&peer).is_none_or(|last| mono >= *last + REFUSALS_EVERY);
        if quiet {
            self.refusals.insert(peer, mono);
            self.outputs.push_back(Output::Event(event));
        }
    }
}
