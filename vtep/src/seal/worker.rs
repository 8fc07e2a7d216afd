//! One worker's sessions: the lanes that it owns, found by VTEP to seal and by receiver index to open.
//!
//! Enters: the picture of all sessions ([`Sessions`]), then datagrams. Leaves: sealed or opened bytes, in place. Nothing
//! here is shared with another worker but the tallies, which only this one writes.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use super::PeerId;
use super::session::{ReceiveLane, SendLane, Tally};
use super::table::{Session, Sessions};
use crate::drops::DropReason;
use crate::switch::hash::KeyedHash;
use crate::wire::sealed::{Header, Kind};

/// A worker's lanes of all sessions.
#[derive(Debug)]
pub struct Seals {
    worker: usize,
    workers: usize,
    send: Lanes<ByAddress, SendLane>,
    receive: Lanes<ByIndex, ReceiveLane>,
}

/// A worker's lanes of one session.
#[derive(Debug)]
struct Held<L> {
    session: Arc<Session<L>>,
    lanes: Vec<L>,
    tally: Arc<Tally>,
}

/// A worker's lanes of all sessions of one direction. Datagrams come in runs, so what was asked for last is looked at first.
#[derive(Debug)]
struct Lanes<K, L> {
    held: Vec<(K, Held<L>)>,
    places: HashMap<K, usize, KeyedHash>,
    last: usize,
}

impl<K: Copy + Eq + Hash, L> Lanes<K, L> {
    fn new(hash: KeyedHash) -> Lanes<K, L> {
        Lanes { held: Vec::new(), places: HashMap::with_hasher(hash), last: 0 }
    }

    /// Takes the worker's lanes of what is new, lets go of (and so wipes) what is gone.
    fn adopt<'a>(&mut self, worker: usize, sessions: impl Iterator<Item = (K, &'a Arc<Session<L>>)>)
    where
        L: 'a,
    {
        let mut before: HashMap<K, Held<L>, KeyedHash> = HashMap::with_hasher(*self.places.hasher());
        before.extend(self.held.drain(..));
        self.places.clear();
        for (key, session) in sessions {
            let held = before.remove(&key).filter(|held| Arc::ptr_eq(&held.session, session));
            let held = held.unwrap_or_else(|| Held {
                session: session.clone(),
                lanes: session.take(worker),
                tally: session.tally(worker),
            });
            self.places.insert(key, self.held.len());
            self.held.push((key, held));
        }
    }

    #[inline]
    fn get_mut(&mut self, key: K) -> Option<&mut Held<L>> {
        if self.held.get(self.last).is_none_or(|(other, _)| *other != key) {
            self.last = *self.places.get(&key)?;
        }
        self.held.get_mut(self.last).map(|(_, held)| held)
    }
}

/// An address that hashes itself as integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ByAddress(IpAddr);

impl Hash for ByAddress {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpAddr::V4(v4) => state.write_u64(u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                state.write_u64((v6.to_bits() >> 64) as u64);
                state.write_u64(v6.to_bits() as u64);
            }
        }
    }
}

/// An index that hashes itself as an integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ByIndex(u32);

impl Hash for ByIndex {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0));
    }
}

/// A datagram that was opened in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// What it carries.
    pub kind: Kind,
    /// Who sealed it.
    pub peer: PeerId,
    /// That node's VTEP, whatever the outer source address was.
    pub address: IpAddr,
    index: u32,
}

impl Seals {
    /// No sessions, for worker `worker` of `workers`; `secret` is random and new at each start.
    pub fn new(worker: usize, workers: usize, secret: u64) -> Seals {
        let hash = KeyedHash::new(secret);
        Seals { worker, workers, send: Lanes::new(hash), receive: Lanes::new(hash) }
    }

    /// Follows the picture of all sessions.
    pub fn adopt(&mut self, sessions: &Sessions) {
        self.send.adopt(self.worker, sessions.sending().map(|session| (ByAddress(session.address), session)));
        self.receive.adopt(self.worker, sessions.receiving().map(|session| (ByIndex(session.index), session)));
    }

    /// What seals datagrams to a VTEP; `None` without a session.
    #[inline]
    pub fn sealer(&mut self, vtep: IpAddr) -> Option<Sealer<'_>> {
        self.send.get_mut(ByAddress(vtep)).map(Sealer)
    }

    /// Opens a datagram in place: what it carries stands between header and tag then.
    ///
    /// # Errors
    /// In this order: no header, unknown index, not this worker's lane, replay, bad tag.
    #[inline]
    pub fn open(&mut self, datagram: &mut [u8], now_ns: u64) -> Result<Opened, DropReason> {
        let header = Header::parse(datagram)?;
        let incoming = self.receive.get_mut(ByIndex(header.index)).ok_or(DropReason::UnknownIndex)?;
        let lane = usize::from(header.lane);
        let mine = lane % self.workers == self.worker;
        let opened = match incoming.lanes.get_mut(lane / self.workers).filter(|_| mine) {
            Some(lane) => lane.open(&header, datagram).map(|()| header.counter + 1),
            None => Err(DropReason::WrongLane),
        };
        match opened {
            Ok(of_lane) => incoming.tally.done(of_lane, now_ns),
            Err(reason) => {
                incoming.tally.rejected(reason);
                return Err(reason);
            }
        }
        let Session { peer, address, index, .. } = *incoming.session;
        Ok(Opened { kind: header.kind, peer, address, index })
    }

    /// Counts in its session that an opened datagram was refused all the same.
    pub fn refused(&mut self, opened: &Opened, reason: DropReason) {
        if let Some(incoming) = self.receive.get_mut(ByIndex(opened.index)) {
            incoming.tally.rejected(reason);
        }
    }
}

/// A send session's lanes of one worker.
#[derive(Debug)]
pub struct Sealer<'a>(&'a mut Held<SendLane>);

impl Sealer<'_> {
    /// Seals a datagram in place on the worker's lane number `lane`: room for the header, the text, room for the tag.
    ///
    /// # Errors
    /// As [`SendLane::seal`]; [`DropReason::WrongLane`] for a lane that the worker does not have.
    #[inline]
    pub fn seal(&mut self, lane: usize, kind: Kind, datagram: &mut [u8], now_ns: u64) -> Result<(), DropReason> {
        let Some(lane) = self.0.lanes.get_mut(lane) else { return Err(DropReason::WrongLane) };
        let sealed = lane.seal(kind, datagram);
        match sealed {
            Ok(()) => self.0.tally.done(lane.sealed(), now_ns),
            Err(reason) => self.0.tally.rejected(reason),
        }
        sealed
    }
}
