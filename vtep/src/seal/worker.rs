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
    send: HashMap<ByAddress, Outgoing, KeyedHash>,
    receive: HashMap<ByIndex, Incoming, KeyedHash>,
}

#[derive(Debug)]
struct Outgoing {
    session: Arc<Session<SendLane>>,
    lanes: Vec<SendLane>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Incoming {
    session: Arc<Session<ReceiveLane>>,
    lanes: Vec<ReceiveLane>,
    tally: Arc<Tally>,
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
        Seals { worker, workers, send: HashMap::with_hasher(hash), receive: HashMap::with_hasher(hash) }
    }

    /// Follows the picture: takes this worker's lanes of what is new, lets go of (and so wipes) what is gone.
    pub fn adopt(&mut self, sessions: &Sessions) {
        let (worker, hash) = (self.worker, *self.send.hasher());
        let mut before = std::mem::replace(&mut self.send, HashMap::with_hasher(hash));
        for session in sessions.sending() {
            let key = ByAddress(session.address);
            let held = before.remove(&key).filter(|outgoing| Arc::ptr_eq(&outgoing.session, session));
            let outgoing = held.unwrap_or_else(|| Outgoing {
                session: session.clone(),
                lanes: session.take(worker),
                tally: session.tally(worker),
            });
            self.send.insert(key, outgoing);
        }
        self.receive.retain(|index, _| sessions.receives(index.0));
        for session in sessions.receiving() {
            self.receive.entry(ByIndex(session.index)).or_insert_with(|| Incoming {
                session: session.clone(),
                lanes: session.take(worker),
                tally: session.tally(worker),
            });
        }
    }

    /// What seals datagrams to a VTEP; `None` without a session.
    #[inline]
    pub fn sealer(&mut self, vtep: IpAddr) -> Option<Sealer<'_>> {
        self.send.get_mut(&ByAddress(vtep)).map(Sealer)
    }

    /// Opens a datagram in place: what it carries stands between header and tag then.
    ///
    /// # Errors
    /// In this order: no header, unknown index, not this worker's lane, replay, bad tag.
    #[inline]
    pub fn open(&mut self, datagram: &mut [u8], now_ns: u64) -> Result<Opened, DropReason> {
        let header = Header::parse(datagram)?;
        let incoming = self.receive.get_mut(&ByIndex(header.index)).ok_or(DropReason::UnknownIndex)?;
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
    pub fn refused(&self, opened: &Opened, reason: DropReason) {
        if let Some(incoming) = self.receive.get(&ByIndex(opened.index)) {
            incoming.tally.rejected(reason);
        }
    }
}

/// A send session's lanes of one worker.
#[derive(Debug)]
pub struct Sealer<'a>(&'a mut Outgoing);

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
