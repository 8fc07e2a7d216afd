//! How neighbours keep their tables and objects equal: what to send to whom, and when.
//!
//! Three ways, from quick to thorough. *Push*: a change goes out within one batch, to each neighbour from its watermark
//! on; a watermark is all that a slow neighbour costs. *Digest*: each second a number; if it differs, both send their
//! vectors of positions and each asks for what it lacks; while no log turns out to differ, more and more rarely.
//! *Audit*: every 10 s the vectors themselves, with hashes, unless the last digests were equal: whoever has the same
//! position but other records takes that log anew.
//!
//! Among few nodes each is everybody's neighbour, and a log is taken from its own node alone, so that no other can write
//! in its name. Among many, changes are relayed ([`Exchange::set_relay`]); what is forged there is found by the audit,
//! and the forged node begins a new life.
//!
//! In come frames, changes of the table (noticed by its version) and the time; out come frames ([`Exchange::poll`]).
//! Streams may break at any frame; nothing here depends on one arriving.

mod flights;
mod peer;
mod repair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weft_proto::v1;
use weft_proto::v1::frame::Kind;

use crate::id::{NodeId, Origin};
use crate::objects::{ObjectRefused, Objects};
use crate::table::digest::Fingerprint;
use crate::table::{Outcome, Refused, Table};
use peer::Peer;

/// When and how much. The defaults are for a cluster in one site.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a change waits for others to go with it.
    pub batch: Duration,
    /// How often digests are told.
    pub digest: Duration,
    /// How often vectors are told, whatever the digests say.
    pub audit: Duration,
    /// How long an answer is waited for before another neighbour is asked, and after which a part counts as lost.
    pub patience: Duration,
    /// About the size of a part of a log, in bytes. Well below gRPC's limit of 4 MiB for a message.
    pub part_bytes: usize,
    /// About the most that is on its way to one neighbour and not acknowledged, in bytes.
    pub window_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            batch: Duration::from_millis(5),
            digest: Duration::from_secs(1),
            audit: Duration::from_secs(10),
            patience: Duration::from_secs(2),
            part_bytes: 128 << 10,
            window_bytes: 1 << 20,
        }
    }
}

/// Why a frame, or a part of it, was not taken. The rest of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefused {
    /// For its records or positions.
    #[error(transparent)]
    Record(#[from] Refused),
    /// For one of its objects.
    #[error(transparent)]
    Object(#[from] ObjectRefused),
    /// It is not for the exchange, or of no kind that this node knows.
    #[error("a frame of an unknown kind")]
    Kind,
}

/// An origin's log that was asked for.
struct Pull {
    from: NodeId,
    /// When it was asked for, or last came nearer.
    since: Duration,
}

/// One node's side of all its streams.
pub struct Exchange {
    me: NodeId,
    config: Config,
    relay: bool,
    peers: BTreeMap<NodeId, Peer>,
    pulls: BTreeMap<NodeId, Pull>,
    objects_asked: Option<Duration>,
    /// When others last had something of this node's that it did not write.
    usurped: Option<Duration>,
    flush: Option<Duration>,
    /// No neighbour's digest or audit is due before. Thousands of frames a second come in between.
    round: Duration,
    /// What the next flush is armed for.
    seen: (u64, u64),
    out: VecDeque<(NodeId, v1::Frame)>,
}

impl Exchange {
    /// Without neighbours.
    pub fn new(me: NodeId, config: Config) -> Self {
        Exchange {
            me,
            config,
            relay: false,
            peers: BTreeMap::new(),
            pulls: BTreeMap::new(),
            objects_asked: None,
            usurped: None,
            flush: None,
            round: Duration::MAX,
            seen: (0, 0),
            out: VecDeque::new(),
        }
    }

    /// Whether changes of other nodes are passed on: where not everybody is everybody's neighbour.
    pub fn set_relay(&mut self, relay: bool) {
        self.relay = relay;
        self.drop_detours();
    }

    /// A stream with a neighbour is up, in place of any former one.
    pub fn connect(&mut self, now: Duration, peer: NodeId, table: &Table, objects: &Objects) {
        self.disconnect(peer);
        let new = Peer::new(now, self.me, peer, &self.config, table.version(), objects.version());
        self.round = self.round.min(new.next_digest);
        self.peers.insert(peer, new);
        self.drop_detours();
        self.send_vector(now, peer, table, objects);
    }

    /// True if a neighbour may be asked for a log: its own, or that of a node that cannot be asked itself.
    fn may_tell(&self, from: NodeId, node: NodeId) -> bool {
        self.relay || from == node || !self.peers.contains_key(&node)
    }

    /// Who was asked for the log of a node that can be asked itself now has no more to say of it than others.
    fn drop_detours(&mut self) {
        let mut pulls = std::mem::take(&mut self.pulls);
        pulls.retain(|node, pull| self.may_tell(pull.from, *node));
        self.pulls = pulls;
    }

    /// The stream with a neighbour is gone.
    pub fn disconnect(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
        self.pulls.retain(|_, pull| pull.from != peer);
        self.out.retain(|(to, _)| *to != peer);
    }

    /// Takes a frame from a neighbour. An error is for a person to know of, and no reason to end the stream: a neighbour of
    /// another version, or one that does not know yet that somebody left, errs in good faith.
    pub fn handle(
        &mut self,
        now: Duration,
        wall_ms: u64,
        peer: NodeId,
        frame: Kind,
        table: &mut Table,
        objects: &mut Objects,
    ) -> Result<(), FrameRefused> {
        if !self.peers.contains_key(&peer) {
            return Ok(());
        }
        match frame {
            Kind::Delta(delta) => self.on_delta(now, peer, delta, table)?,
            Kind::Digest(v1::Digest { hash, .. }) => self.on_digest(now, peer, hash, table, objects),
            Kind::Vector(vector) => self.on_vector(now, peer, vector, table, objects)?,
            Kind::Request(request) => self.on_request(now, peer, &request, table),
            Kind::Ack(ack) => self.on_ack(now, peer, &ack),
            Kind::Objects(some) => self.on_objects(now, wall_ms, peer, some, objects)?,
            Kind::Hello(_) | Kind::Swim(_) => return Err(FrameRefused::Kind),
        }
        Ok(())
    }

    /// Does what is due, and notices what has changed. To be called after each change of the table or the objects, after
    /// [`Exchange::handle`], and at the [`Exchange::deadline`].
    pub fn tick(&mut self, now: Duration, table: &Table, objects: &Objects) {
        let versions = (table.version(), objects.version());
        if versions != self.seen {
            self.seen = versions;
            self.arm(now);
        }
        if self.flush.is_some_and(|at| at <= now) {
            self.flush = None;
            for (name, peer) in &mut self.peers {
                peer.notice(self.me, *name, self.relay, table);
                peer.pump(now, *name, &self.config, table, objects, &mut self.out);
                if peer.is_held() {
                    // What the window holds back goes on with an acknowledgement, or when that counts as lost.
                    let at = now + self.config.patience;
                    self.flush = Some(self.flush.map_or(at, |flush| flush.min(at)));
                }
            }
        }
        if self.round > now {
            return;
        }
        let patience = self.config.patience;
        self.pulls.retain(|_, pull| now.saturating_sub(pull.since) < 4 * patience);
        self.round = now + self.config.digest;
        let mut audits = Vec::new();
        for (name, peer) in &mut self.peers {
            if peer.next_digest <= now {
                peer.next_digest = now + self.config.digest;
                let hash = digest(table, objects);
                self.out.push_back((*name, frame(Kind::Digest(v1::Digest { hash, unix_ms: 0 }))));
            }
            if peer.next_audit <= now {
                peer.next_audit = now + self.config.audit;
                // Equal digests are equal positions and hashes.
                if peer.digest != Some(digest(table, objects)) {
                    audits.push(*name);
                }
            }
            self.round = self.round.min(peer.next_digest).min(peer.next_audit);
        }
        for peer in audits {
            self.send_vector(now, peer, table, objects);
        }
    }

    /// When [`Exchange::tick`] has something to do. `None` without neighbours.
    pub fn deadline(&self) -> Option<Duration> {
        let round = (!self.peers.is_empty()).then_some(self.round);
        round.into_iter().chain(self.flush).min()
    }

    /// The next frame to send, and to whom.
    pub fn poll(&mut self) -> Option<(NodeId, v1::Frame)> {
        self.out.pop_front()
    }

    /// True if every neighbour has all that this node has said so far.
    pub fn is_told(&self, table: &Table) -> bool {
        self.peers.values().all(|peer| peer.is_told(self.me, table))
    }

    /// How many neighbours last had the same tables and objects as this node has now.
    pub fn agreeing(&self, table: &Table, objects: &Objects) -> usize {
        let mine = Some(digest(table, objects));
        self.peers.values().filter(|peer| peer.digest == mine).count()
    }

    /// The neighbours that last had other tables or objects than this node has now.
    pub fn differing(&self, table: &Table, objects: &Objects) -> impl Iterator<Item = NodeId> {
        let mine = Some(digest(table, objects));
        self.peers.iter().filter(move |(_, peer)| peer.digest != mine).map(|(node, _)| *node)
    }

    fn arm(&mut self, now: Duration) {
        let at = now + self.config.batch;
        self.flush = Some(self.flush.map_or(at, |flush| flush.min(at)));
    }

    fn on_delta(&mut self, now: Duration, from: NodeId, delta: v1::Delta, table: &mut Table) -> Result<(), Refused> {
        let node = NodeId(delta.node);
        if node == self.me {
            let at = v1::Position {
                node: delta.node,
                incarnation: delta.incarnation,
                applied: delta.to,
                ..v1::Position::default()
            };
            self.on_my_position(now, &at, table);
            return Ok(());
        }
        let asked = self.pulls.get(&node).is_some_and(|pull| pull.from == from);
        if !self.relay && !asked && node != from && self.peers.get(&node).is_some_and(|peer| peer.is_settled(now)) {
            return Err(Refused::NotTheirs);
        }
        let peer = self.peers.get_mut(&from).expect("looked up by the caller");
        if peer.is_barred(now, node) {
            return Ok(());
        }
        let origin = Origin { node, incarnation: delta.incarnation };
        let (to, complete) = (delta.to, delta.complete);
        let outcome = match table.apply(now, delta) {
            Ok(outcome) => outcome,
            Err(why) => {
                peer.bar(now, node);
                self.pulls.remove(&node);
                return Err(why);
            }
        };
        match outcome {
            Outcome::Applied | Outcome::Known => {
                peer.has(origin, to, complete);
                peer.acks.insert(node);
                if let Some(pull) = self.pulls.get_mut(&node).filter(|pull| pull.from == from) {
                    pull.since = now;
                    if complete {
                        self.pulls.remove(&node);
                    }
                }
                self.arm(now);
            }
            Outcome::Behind if self.may_tell(from, node) => self.ask(now, from, origin, table),
            Outcome::Behind | Outcome::OldLife => {}
        }
        Ok(())
    }

    fn on_request(&mut self, now: Duration, from: NodeId, request: &v1::Request, table: &Table) {
        let peer = self.peers.get_mut(&from).expect("looked up by the caller");
        if request.objects {
            peer.objects_wanted = Some(request.after);
        } else if let Some(at) = table.position(NodeId(request.node)) {
            let same = at.incarnation == request.incarnation;
            let after = if same { request.after.min(at.applied) } else { 0 };
            let origin = Origin { node: NodeId(at.node), incarnation: at.incarnation };
            peer.wants(origin, after, request.snapshot || !same);
        }
        self.arm(now);
    }

    fn on_ack(&mut self, now: Duration, from: NodeId, ack: &v1::Ack) {
        let peer = self.peers.get_mut(&from).expect("looked up by the caller");
        peer.on_ack(Origin { node: NodeId(ack.node), incarnation: ack.incarnation }, ack.applied);
        if peer.is_held() {
            self.flush = Some(now);
        }
    }

    fn on_objects(
        &mut self,
        now: Duration,
        wall_ms: u64,
        from: NodeId,
        some: v1::Objects,
        objects: &mut Objects,
    ) -> Result<(), ObjectRefused> {
        let mut refused = Ok(());
        for object in some.objects {
            if let Err(why) = objects.apply(wall_ms, object) {
                refused = Err(why);
            }
        }
        if some.next != 0 {
            self.ask_objects(now, from, some.next);
        }
        refused
    }
}

/// Table and objects in one number.
fn digest(table: &Table, objects: &Objects) -> u64 {
    Fingerprint::new(4).number(table.digest()).number(objects.digest()).end()
}

fn frame(kind: Kind) -> v1::Frame {
    v1::Frame { kind: Some(kind) }
}
