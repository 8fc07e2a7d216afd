//! What was lost, or is wrong: digests that differ, and vectors that tell where.
//!
//! All repair is asked for by the one who lacks something, from one neighbour at a time, so that nobody is sent the
//! same log by all its neighbours.

use std::cmp::Ordering;
use std::time::Duration;

use weft_proto::v1;
use weft_proto::v1::frame::Kind;

use super::{Exchange, Pull, frame};
use crate::id::{NodeId, Origin};
use crate::objects::Objects;
use crate::table::digest::Fingerprint;
use crate::table::{Refused, Table};

/// Vectors to one neighbour are at least so far apart.
pub(super) const VECTORS: Duration = Duration::from_millis(500);
/// This node takes a new life at most so often because others have a false copy of its log.
const USURPED: Duration = Duration::from_secs(10);

impl Exchange {
    pub(super) fn send_vector(&mut self, now: Duration, to: NodeId, table: &Table, objects: &Objects) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if peer.vector_sent.is_some_and(|sent| now.saturating_sub(sent) < peer.vectors_every) {
            return;
        }
        peer.vector_sent = Some(now);
        peer.next_audit = now + self.config.audit;
        let vector = v1::Vector { positions: table.vector(), objects: objects.digest() };
        self.out.push_back((to, frame(Kind::Vector(vector))));
    }

    pub(super) fn on_digest(&mut self, now: Duration, from: NodeId, hash: u64, table: &Table, objects: &Objects) {
        let mine = super::digest(table, objects);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.digest = Some(hash);
        // A change that is about to be sent is no loss, and neither is one that is on its way, unless there always is one.
        let patience = self.config.patience;
        let wait = if peer.is_sent_to(now, patience) { patience } else { Duration::ZERO };
        let waited = peer.vector_sent.is_none_or(|sent| now.saturating_sub(sent) >= wait);
        if hash != mine && self.flush.is_none() && waited {
            self.send_vector(now, from, table, objects);
        }
    }

    pub(super) fn on_vector(
        &mut self,
        now: Duration,
        from: NodeId,
        vector: v1::Vector,
        table: &mut Table,
        objects: &Objects,
    ) -> Result<(), Refused> {
        if vector.positions.len() > table.limits().origins {
            return Err(Refused::Quota);
        }
        let mut told: Vec<_> = vector.positions.iter().map(|at| NodeId(at.node)).collect();
        told.sort_unstable();
        if told.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refused::Sequence);
        }
        let is_told = |node: NodeId| told.binary_search(&node).is_ok();
        // There is something to be sent or asked for; here, it is the neighbour's to ask.
        let (mut differs, mut is_behind) = (false, false);
        for theirs in vector.positions {
            let node = NodeId(theirs.node);
            if node == self.me {
                self.on_my_position(now, &theirs, table);
            }
            let Some(mine) = table.position(node) else {
                differs |= self.lacks(now, from, &theirs, table);
                continue;
            };
            let origin = Origin { node, incarnation: mine.incarnation };
            let peer = self.peers.get_mut(&from).expect("looked up by the caller");
            let flies = peer.stands(now, self.config.patience, origin, &theirs);
            match place(&theirs).cmp(&place(&mine)) {
                Ordering::Less if node == self.me => {
                    peer.enqueue(node);
                    differs = true;
                }
                Ordering::Less => is_behind |= !flies,
                Ordering::Equal if node == self.me => {
                    if theirs.hash == 0 {
                        peer.enqueue(node);
                        differs = true;
                    }
                }
                Ordering::Equal => {
                    differs |= theirs.hash != mine.hash;
                    self.audit(now, from, &theirs, &mine, table);
                }
                Ordering::Greater if node == self.me => differs = true,
                Ordering::Greater => differs |= self.lacks(now, from, &theirs, table),
            }
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            let lacks = |node| !is_told(node) && !peer.gets(node);
            is_behind |= table.nodes().any(|(origin, _)| origin.incarnation != 0 && lacks(origin.node));
            peer.knows_only(&told);
            if !is_told(self.me) {
                peer.enqueue(self.me);
            }
        }
        if vector.objects != objects.digest() {
            is_behind = true;
            if self.objects_asked.is_none_or(|asked| now.saturating_sub(asked) >= self.config.patience) {
                self.ask_objects(now, from, 0);
            }
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            // The digests differ, but no log does: one of the two holds a node for dead and the other does not, which
            // membership will settle. Among a thousand of whom some die all the time, vectors that tell nothing would cost
            // more than all else; so each is waited for twice as long as the one before.
            let rarer = (peer.vectors_every * 2).min(self.config.audit / 2);
            peer.vectors_every = if differs || is_behind { VECTORS } else { rarer };
        }
        if is_behind {
            self.send_vector(now, from, table, objects);
        }
        self.arm(now);
        Ok(())
    }

    pub(super) fn on_my_position(&mut self, now: Duration, theirs: &v1::Position, table: &mut Table) {
        // Whoever lies about it can cost this node one life in 10 s, and no more.
        if self.usurped.is_some_and(|at| now.saturating_sub(at) < USURPED) {
            return;
        }
        if table.hear_of_me(theirs.incarnation, theirs.applied, theirs.hash) {
            self.usurped = Some(now);
        }
    }

    /// Same position: are the records the same?
    fn audit(&mut self, now: Duration, from: NodeId, theirs: &v1::Position, mine: &v1::Position, table: &mut Table) {
        let node = NodeId(theirs.node);
        let is_its_own = from == node;
        if theirs.hash == mine.hash || theirs.hash == 0 {
            return;
        }
        if mine.hash == 0 {
            // All that is missing is to know that this is all; or somebody said that there is more, and its node that
            // there is not.
            if is_its_own && !table.wanted(node).1 {
                table.renew(node);
            }
            self.lacks(now, from, theirs, table);
            return;
        }
        // One of the two is wrong. The origin is right about itself; of two others, who asks whom is left to chance,
        // and each time one asks that is not the origin's neighbour, the truth comes nearer.
        let coin = Fingerprint::new(5).number(now.as_micros() as u64).number(self.me.0).end() & 1 == 1;
        let adjacent = self.peers.contains_key(&node);
        if is_its_own || (!adjacent && coin) {
            table.renew(node);
            self.lacks(now, from, theirs, table);
        }
    }

    /// A neighbour has what this node has not: asks for it, unless somebody was asked already. False if this node does not
    /// want it of that neighbour.
    fn lacks(&mut self, now: Duration, from: NodeId, theirs: &v1::Position, table: &Table) -> bool {
        let node = NodeId(theirs.node);
        if table.is_over(node) || !self.may_tell(from, node) {
            return false;
        }
        let peer = self.peers.get_mut(&from);
        if peer.is_some_and(|peer| !peer.is_barred(now, node)) {
            self.ask(now, from, Origin { node, incarnation: theirs.incarnation }, table);
        }
        true
    }

    /// Asks a neighbour for an origin's log from where it ends here.
    pub(super) fn ask(&mut self, now: Duration, from: NodeId, origin: Origin, table: &Table) {
        let fresh = |pull: &Pull| now.saturating_sub(pull.since) < self.config.patience;
        if self.pulls.get(&origin.node).is_some_and(fresh) {
            return;
        }
        self.pulls.insert(origin.node, Pull { from, since: now });
        let same = table.position(origin.node).is_some_and(|at| at.incarnation == origin.incarnation);
        let (after, snapshot) = if same { table.wanted(origin.node) } else { (0, true) };
        let Origin { node, incarnation } = origin;
        let request = v1::Request { node: node.0, incarnation, after, snapshot, objects: false };
        self.out.push_back((from, frame(Kind::Request(request))));
    }

    pub(super) fn ask_objects(&mut self, now: Duration, from: NodeId, after: u64) {
        self.objects_asked = Some(now);
        let request = v1::Request { after, objects: true, ..v1::Request::default() };
        self.out.push_back((from, frame(Kind::Request(request))));
    }
}

/// How far a log has come.
fn place(at: &v1::Position) -> (u64, u64) {
    (at.incarnation, at.applied)
}
