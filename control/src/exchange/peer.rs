//! What one neighbour has, wants, and is being sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use weft_proto::v1;
use weft_proto::v1::frame::Kind;

use super::flights::Flights;
use super::repair::VECTORS;
use super::{Config, frame};
use crate::id::{NodeId, Origin};
use crate::objects::Objects;
use crate::table::Table;

/// How long an origin's parts from a neighbour are left unread after one of them was refused.
const BARRED: Duration = Duration::from_secs(10);
/// Origins that are remembered as refused, for one neighbour.
const MOST_BARRED: usize = 64;
/// How long a stream has to be up before a log of its node is taken from that node alone: what others were asked for before
/// then may still come.
const SETTLED: Duration = Duration::from_secs(10);
/// The longest log, in sequence numbers, that is pushed to a neighbour that has nothing of it. A longer one is asked for, by
/// which only one neighbour sends it.
const SHORT: u64 = 256;

/// How far a neighbour has come with one origin's log, as far as is known here.
#[derive(Default, PartialEq)]
struct Mark {
    incarnation: u64,
    /// What it has or was sent.
    sent: u64,
    /// It takes the log from zero on.
    snapshot: bool,
    /// It knows that the log is complete.
    complete: bool,
}

/// A neighbour.
pub(super) struct Peer {
    marks: HashMap<NodeId, Mark>,
    flights: Flights,
    /// Origins with something to send.
    backlog: BTreeSet<NodeId>,
    barred: BTreeMap<NodeId, Duration>,
    since: Duration,
    /// Versions up to which changes have been looked at.
    table: u64,
    objects: u64,
    /// It has told what it has.
    is_known: bool,
    pub(super) objects_wanted: Option<u64>,
    pub(super) acks: BTreeSet<NodeId>,
    pub(super) digest: Option<u64>,
    pub(super) next_digest: Duration,
    pub(super) next_audit: Duration,
    pub(super) vector_sent: Option<Duration>,
    /// How far vectors to it are apart at least.
    pub(super) vectors_every: Duration,
}

impl Peer {
    pub(super) fn new(now: Duration, me: NodeId, peer: NodeId, config: &Config, table: u64, objects: u64) -> Self {
        // Not all neighbours in the same moment.
        let phase = config.digest.mul_f64((me.0 ^ peer.0.rotate_left(17)) as u8 as f64 / 256.0);
        Peer {
            marks: HashMap::new(),
            flights: Flights::default(),
            backlog: BTreeSet::new(),
            barred: BTreeMap::new(),
            since: now,
            table,
            objects,
            is_known: false,
            objects_wanted: None,
            acks: BTreeSet::new(),
            digest: None,
            next_digest: now + phase,
            next_audit: now + config.audit + phase,
            vector_sent: None,
            vectors_every: VECTORS,
        }
    }

    pub(super) fn is_settled(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= SETTLED
    }

    /// True if an origin's parts from this neighbour were refused of late.
    pub(super) fn is_barred(&mut self, now: Duration, origin: NodeId) -> bool {
        self.barred.retain(|_, until| *until > now);
        self.barred.contains_key(&origin)
    }

    pub(super) fn bar(&mut self, now: Duration, origin: NodeId) {
        if self.barred.len() < MOST_BARRED {
            self.barred.insert(origin, now + BARRED);
        }
    }

    /// It sent this itself, so it need not be sent to it.
    pub(super) fn has(&mut self, origin: Origin, to: u64, complete: bool) {
        let mark = self.mark(origin);
        mark.sent = mark.sent.max(to);
        mark.complete |= complete;
    }

    /// It said in its vector where it stands with a log. True if what it lacks is on its way to it.
    pub(super) fn stands(&mut self, now: Duration, patience: Duration, origin: Origin, at: &v1::Position) -> bool {
        let same = at.incarnation == origin.incarnation;
        let settled = same && at.hash != 0;
        let sent = if same { at.applied } else { 0 };
        let here = Mark { incarnation: origin.incarnation, sent, snapshot: !settled, complete: settled };
        // Most logs are where they are held to be.
        if *self.mark(origin) == here {
            return false;
        }
        // What is on its way has not arrived yet: a log that goes well does not go back.
        self.flights.expire(now, patience);
        let flies = self.flights.has_of(origin);
        let mark = self.mark(origin);
        if flies && mark.sent > at.applied {
            return true;
        }
        *mark = here;
        false
    }

    /// True if something is on its way to it.
    pub(super) fn is_sent_to(&mut self, now: Duration, patience: Duration) -> bool {
        self.flights.expire(now, patience);
        self.flights.bytes() > 0
    }

    /// True if something of this origin's is on its way to it, or about to be.
    pub(super) fn gets(&self, origin: NodeId) -> bool {
        self.backlog.contains(&origin) || self.flights.has(origin)
    }

    /// It has told of all logs that it has.
    pub(super) fn knows_only(&mut self, sorted: &[NodeId]) {
        self.marks.retain(|node, _| sorted.binary_search(node).is_ok());
        self.is_known = true;
    }

    /// It asked for a log from here on.
    pub(super) fn wants(&mut self, origin: Origin, after: u64, snapshot: bool) {
        let incarnation = origin.incarnation;
        self.marks.insert(origin.node, Mark { incarnation, sent: after, snapshot, complete: false });
        self.backlog.insert(origin.node);
    }

    /// There is something of this origin's that may be new to it.
    pub(super) fn enqueue(&mut self, origin: NodeId) {
        self.backlog.insert(origin);
    }

    pub(super) fn on_ack(&mut self, origin: Origin, applied: u64) {
        self.flights.land(origin, applied);
    }

    /// True if it has said that it has all of this origin's log that there is now.
    pub(super) fn is_told(&self, origin: NodeId, table: &Table) -> bool {
        self.table == table.version() && !self.backlog.contains(&origin) && !self.flights.has(origin)
    }

    /// True if something waits for the window or for the next batch.
    pub(super) fn is_held(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Looks at what has changed since it last did.
    pub(super) fn notice(&mut self, me: NodeId, name: NodeId, relay: bool, table: &Table) {
        let since = std::mem::replace(&mut self.table, table.version());
        if !self.is_known {
            return;
        }
        for origin in table.changed_since(since) {
            if origin.node == me {
                self.backlog.insert(me);
            } else if relay && origin.node != name {
                let mark = self.mark(origin);
                let end = table.position(origin.node).map_or(0, |at| at.applied);
                if mark.sent > 0 || end <= SHORT {
                    self.backlog.insert(origin.node);
                }
            }
        }
    }

    /// Sends what there is to send, as far as the window lets it.
    pub(super) fn pump(
        &mut self,
        now: Duration,
        name: NodeId,
        config: &Config,
        table: &Table,
        objects: &Objects,
        out: &mut VecDeque<(NodeId, v1::Frame)>,
    ) {
        for node in std::mem::take(&mut self.acks) {
            if let Some(at) = table.position(node) {
                let ack = v1::Ack { node: at.node, incarnation: at.incarnation, applied: at.applied };
                out.push_back((name, frame(Kind::Ack(ack))));
            }
        }
        let (some, to) = objects.changed_since(self.objects, config.part_bytes);
        self.objects = to;
        if !some.is_empty() {
            out.push_back((name, frame(Kind::Objects(v1::Objects { objects: some, next: 0 }))));
        }
        if let Some(after) = self.objects_wanted.take() {
            let (some, to) = objects.changed_since(after, config.part_bytes);
            let next = if to < objects.version() { to } else { 0 };
            out.push_back((name, frame(Kind::Objects(v1::Objects { objects: some, next }))));
        }
        self.flights.expire(now, config.patience);
        let mut room = config.window_bytes.saturating_sub(self.flights.bytes());
        while let Some(node) = self.backlog.first().copied() {
            if room == 0 {
                return;
            }
            let Some(at) = table.position(node) else {
                self.backlog.remove(&node);
                continue;
            };
            let origin = Origin { node, incarnation: at.incarnation };
            let mark = self.mark(origin);
            let part = if mark.snapshot {
                table.snapshot(origin, mark.sent, config.part_bytes)
            } else {
                table.delta(origin, mark.sent, config.part_bytes)
            };
            let part = part.or_else(|| table.marker(origin).filter(|_| !mark.complete));
            let Some(part) = part else {
                self.backlog.remove(&node);
                continue;
            };
            mark.snapshot |= part.snapshot;
            mark.sent = part.to;
            if part.complete {
                mark.snapshot = false;
                mark.complete = true;
            }
            let bytes = prost::Message::encoded_len(&part);
            room = room.saturating_sub(bytes);
            self.flights.start(now, origin, part.to, bytes);
            out.push_back((name, frame(Kind::Delta(part))));
        }
    }

    fn mark(&mut self, origin: Origin) -> &mut Mark {
        let mark = self.marks.entry(origin.node).or_default();
        if mark.incarnation != origin.incarnation {
            *mark = Mark { incarnation: origin.incarnation, snapshot: true, ..Mark::default() };
        }
        mark
    }
}
