//! All sessions of a node, and each worker's share of them.
//!
//! Enters: keys made by [`handshake`](super::handshake), and the moment. Leaves: a picture that the workers take with
//! their [`View`](crate::switch::view::View), rows for the user, and the peers whose session should be replaced. A lane
//! is taken out of the picture once, by the worker that owns it: a second taker finds nothing.
//!
//! A new receive session stands beside the old one. Once its peer has spoken under it, the old one lives for
//! [`GRACE`]; so a request whose answer is lost costs nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::PeerId;
use super::handshake::SessionKeys;
use super::session::{REJECTS, ReceiveLane, SendLane, Tally, Totals};
use super::suite::Suite;
use crate::drops::DropReason;
use crate::sync::Mutex;

/// How long a receive key lives once a newer one is in use: longer than anything stays in an underlay.
pub const GRACE: Duration = Duration::from_secs(30);
/// The age at which a session should be replaced.
pub const REKEY_AGE: Duration = Duration::from_secs(3600);
/// The age at which it ends, replaced or not.
pub const MAX_AGE: Duration = Duration::from_secs(2 * 3600);
/// Receive sessions of one peer: more than these are answers that never arrived, and the oldest unused goes.
const MOST_OF_A_PEER: usize = 4;

/// The direction of a session, seen from this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// This node seals.
    Send,
    /// This node opens.
    Receive,
}

/// One session and the lanes that no worker has taken yet.
#[derive(Debug)]
pub struct Session<L> {
    /// The node at the other end.
    pub peer: PeerId,
    /// That node's VTEP.
    pub address: IpAddr,
    /// The receiver's name for it.
    pub index: u32,
    /// The AEAD.
    pub suite: Suite,
    /// Which of the peer's sessions in this direction, from 1 on.
    pub epoch: u32,
    /// The lanes of the sender.
    pub lanes: u16,
    since: Duration,
    shares: Vec<Mutex<Vec<L>>>,
    tallies: Vec<Arc<Tally>>,
}

impl<L> Session<L> {
    /// The lanes of a worker, the first time; afterwards none.
    pub fn take(&self, worker: usize) -> Vec<L> {
        let Some(share) = self.shares.get(worker) else { return Vec::new() };
        std::mem::take(&mut share.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a worker counts.
    pub fn tally(&self, worker: usize) -> Arc<Tally> {
        self.tallies[worker].clone()
    }

    fn totals(&self) -> Totals {
        Totals::of(&self.tallies)
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    fn row(&self, direction: Direction, now: Duration) -> SessionRow {
        let Totals { done, rejected, last_ns, .. } = self.totals();
        let last = Duration::from_nanos(last_ns);
        let heard = (last_ns > 0).then(|| now.saturating_sub(last));
        let Session { peer, address, suite, epoch, .. } = *self;
        SessionRow {
            peer,
            address,
            direction,
            suite,
            epoch,
            age: self.age(now),
            datagrams: done,
            idle: heard,
            rejected,
        }
    }
}

/// A session as the user sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// The node at the other end.
    pub peer: PeerId,
    /// Its VTEP.
    pub address: IpAddr,
    /// Who seals.
    pub direction: Direction,
    /// The AEAD.
    pub suite: Suite,
    /// Which of the peer's sessions in this direction, from 1 on.
    pub epoch: u32,
    /// Since it was installed.
    pub age: Duration,
    /// Sealed or opened.
    pub datagrams: u64,
    /// Since the last of them; `None` before the first.
    pub idle: Option<Duration>,
    rejected: [u64; REJECTS.len()],
}

impl SessionRow {
    /// How many datagrams were refused, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (DropReason, u64)> {
        REJECTS.into_iter().zip(self.rejected)
    }
}

/// Why a session was not installed. All is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InstallError {
    /// The keys were made for another number of lanes than this node sends on.
    #[error("the session was agreed on for {0} lanes, and this node sends on {1}")]
    Lanes(u16, u16),
    /// The index is a session's already.
    #[error("the receiver index is in use")]
    IndexInUse,
    /// A worker has not answered in time; it will still take the session.
    #[error("a worker has not taken the session in time")]
    Slow,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The address is not of the family of the tunnel address.
    #[error("the VTEP {0} is not of the same address family as this node's tunnel address")]
    WrongFamily(IpAddr),
}

#[derive(Clone, Debug)]
struct Received {
    session: Arc<Session<ReceiveLane>>,
    /// When a newer one was first seen in use.
    outdated: Option<Duration>,
}

/// All sessions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    send: HashMap<PeerId, Arc<Session<SendLane>>>,
    receive: HashMap<u32, Received>,
    /// Send sessions that are older are due, whatever their age.
    outdated: Duration,
}

impl Sessions {
    /// Installs what this node seals with: it replaces the peer's last session. `shares` are the TX lanes of each
    /// worker.
    ///
    /// # Errors
    /// [`InstallError::Lanes`].
    pub fn install_send(
        &mut self,
        now: Duration,
        address: IpAddr,
        keys: &SessionKeys,
        index: u32,
        shares: &[Range<u16>],
    ) -> Result<(), InstallError> {
        let terms = *keys.terms();
        let lanes = shares.iter().map(|share| share.len() as u16).sum();
        if terms.lanes != lanes {
            return Err(InstallError::Lanes(terms.lanes, lanes));
        }
        let peer = terms.receiver;
        // A VTEP is one node's: who has its address now is another life of it, or took its place.
        self.send.retain(|other, session| *other == peer || session.address != address);
        let epoch = self.send.get(&peer).map_or(0, |session| session.epoch) + 1;
        let of = |share: &Range<u16>| share.clone().map(|lane| SendLane::new(keys, lane, index)).collect();
        let shares: Vec<_> = shares.iter().map(of).map(Mutex::new).collect();
        let session = Session::new(now, peer, address, index, epoch, keys, shares);
        self.send.insert(peer, Arc::new(session));
        Ok(())
    }

    /// Installs what this node opens with, beside what it has of that peer. Lane `n` goes to worker `n` modulo
    /// `workers`.
    ///
    /// # Errors
    /// [`InstallError::IndexInUse`].
    pub fn install_receive(
        &mut self,
        now: Duration,
        address: IpAddr,
        keys: &SessionKeys,
        index: u32,
        workers: usize,
    ) -> Result<(), InstallError> {
        if self.receive.contains_key(&index) {
            return Err(InstallError::IndexInUse);
        }
        let peer = keys.terms().sender;
        let mut mine: Vec<_> = self.receive.values().filter(|received| received.session.peer == peer).collect();
        mine.sort_by_key(|received| (received.session.totals().done > 0, received.session.epoch));
        let epoch = mine.iter().map(|received| received.session.epoch).max().unwrap_or(0) + 1;
        let surplus = mine.first().filter(|_| mine.len() >= MOST_OF_A_PEER).map(|received| received.session.index);
        if let Some(surplus) = surplus {
            self.receive.remove(&surplus);
        }
        let of = |worker| (worker..usize::from(keys.terms().lanes)).step_by(workers);
        let lanes = |worker| of(worker).map(|lane| ReceiveLane::new(keys, lane as u16)).collect();
        let shares = (0..workers).map(lanes).map(Mutex::new).collect();
        let session = Session::new(now, peer, address, index, epoch, keys, shares);
        self.receive.insert(index, Received { session: Arc::new(session), outdated: None });
        Ok(())
    }

    /// Forgets what this node seals with for a peer. False if there was nothing.
    pub fn drop_send(&mut self, peer: PeerId) -> bool {
        self.send.remove(&peer).is_some()
    }

    /// Forgets all sessions with a peer, both ways. False if there were none.
    pub fn drop_peer(&mut self, peer: PeerId) -> bool {
        let before = self.receive.len();
        self.receive.retain(|_, received| received.session.peer != peer);
        self.drop_send(peer) || self.receive.len() < before
    }

    /// Ends what is too old or was replaced long enough ago. True if anything changed.
    pub fn tick(&mut self, now: Duration) -> bool {
        let before = (self.send.len(), self.receive.len());
        let mut outdated = false;
        let mut in_use: HashMap<PeerId, u32> = HashMap::new();
        for Received { session, .. } in self.receive.values().filter(|received| received.session.totals().done > 0) {
            let newest = in_use.entry(session.peer).or_default();
            *newest = session.epoch.max(*newest);
        }
        for received in self.receive.values_mut().filter(|received| received.outdated.is_none()) {
            let newer = in_use.get(&received.session.peer).is_some_and(|newest| *newest > received.session.epoch);
            received.outdated = newer.then_some(now);
            outdated |= newer;
        }
        self.receive.retain(|_, Received { session, outdated }| {
            let replaced = outdated.is_some_and(|since| now.saturating_sub(since) >= GRACE);
            !replaced && session.age(now) < MAX_AGE + GRACE
        });
        self.send.retain(|_, session| session.age(now) < MAX_AGE);
        outdated || before != (self.send.len(), self.receive.len())
    }

    /// Makes every send session due.
    pub fn outdate(&mut self, now: Duration) {
        self.outdated = now;
    }

    /// The peers whose send session is old or worn, with their VTEPs. Old is up to a twelfth before [`REKEY_AGE`]: sessions
    /// that began together are not all due together.
    pub fn due(&self, now: Duration) -> impl Iterator<Item = (PeerId, IpAddr)> {
        let outdated = self.outdated;
        let due = move |session: &Session<SendLane>| {
            // The receiver chose the index at random.
            let early = Duration::from_secs(u64::from(session.index) % (REKEY_AGE.as_secs() / 12));
            let old = session.age(now) >= REKEY_AGE - early;
            old || session.since < outdated || session.totals().is_worn(session.suite)
        };
        self.send.values().filter(move |session| due(session)).map(|session| (session.peer, session.address))
    }

    /// What a worker seals with.
    pub fn sending(&self) -> impl Iterator<Item = &Arc<Session<SendLane>>> {
        self.send.values()
    }

    /// What a worker opens with.
    pub fn receiving(&self) -> impl Iterator<Item = &Arc<Session<ReceiveLane>>> {
        self.receive.values().map(|received| &received.session)
    }

    /// All sessions for the user, by peer, direction and epoch.
    pub fn rows(&self, now: Duration) -> Vec<SessionRow> {
        let send = self.send.values().map(|session| session.row(Direction::Send, now));
        let receive = self.receiving().map(|session| session.row(Direction::Receive, now));
        let mut rows: Vec<_> = send.chain(receive).collect();
        rows.sort_by_key(|row| (row.peer, row.direction, row.epoch));
        rows
    }
}

impl<L> Session<L> {
    fn new(
        now: Duration,
        peer: PeerId,
        address: IpAddr,
        index: u32,
        epoch: u32,
        keys: &SessionKeys,
        shares: Vec<Mutex<Vec<L>>>,
    ) -> Session<L> {
        let tallies = shares.iter().map(|_| Arc::default()).collect();
        let (suite, lanes) = (keys.terms().suite, keys.terms().lanes);
        Session { peer, address, index, suite, epoch, lanes, since: now, shares, tallies }
    }
}

#[cfg(test)]
mod tests;
