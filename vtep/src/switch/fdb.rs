//! Where each MAC of one network lives.
//!
//! Enters: what the control plane fixes, and the source addresses that the workers see. Leaves: copies of [`Place`];
//! no guard outlives a call. The table is shared by all workers; each keeps a [`cache`](super::cache) before it,
//! valid as long as [`Fdb::generation`] stands still. RFC 7348 section 4.2 asks for learning, IEEE 802.1Q section
//! 8.8 for ageing; the cap, and that a fixed entry is never learned over, answer a MAC flood and a MAC thief. What the
//! control plane says of an address counts for more than a local port that has it too: with every node thinking so,
//! all agree about an address that is there twice.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;

use super::hash::KeyedHash;
use super::{FdbKind, FdbRow, Place};
use crate::addr::{Mac, PortId, Vni};

/// Shards of the map; a power of two, as `DashMap` demands. Far more than workers, so that two seldom meet.
const SHARDS: usize = 16;

/// What came of learning a source address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learn {
    /// The address was known there; its age starts anew.
    Known,
    /// The address was not known and is now.
    New,
    /// The address was learned elsewhere before and has moved.
    Moved,
    /// The address is a local endpoint's, or the control plane's, and not there: nothing changed, the frame is a loop or
    /// a lie.
    Refused,
    /// The table has no room for another learned address: nothing changed, the frame may go on.
    Full,
}

/// The forwarding table of one network.
#[derive(Debug)]
pub struct Fdb {
    vni: Vni,
    id: u32,
    cap: usize,
    learned: AtomicUsize,
    generation: AtomicU64,
    map: DashMap<u64, Entry, KeyedHash>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    kind: FdbKind,
    /// The second of the last frame; only read for learned entries.
    seen_s: AtomicU32,
}

impl Entry {
    fn fixed(place: Place) -> Self {
        let kind = if matches!(place, Place::Local(_)) { FdbKind::Local } else { FdbKind::Remote };
        Entry { place, kind, seen_s: AtomicU32::new(0) }
    }

    fn learned(place: Place, now_s: u32) -> Self {
        Entry { place, kind: FdbKind::Learned, seen_s: AtomicU32::new(now_s) }
    }

    fn is_learned(&self) -> bool {
        self.kind == FdbKind::Learned
    }

    /// Answers for a frame from `place` if that takes no change of the place.
    fn refresh(&self, place: Place, now_s: u32) -> Option<Learn> {
        if self.place != place {
            return (!self.is_learned()).then_some(Learn::Refused);
        }
        // Not a blind store: the line stays shared between the workers' caches within a second.
        if self.seen_s.load(Ordering::Relaxed) < now_s {
            self.seen_s.store(now_s, Ordering::Relaxed);
        }
        Some(Learn::Known)
    }
}

impl Fdb {
    /// An empty table that learns at most `cap` addresses (about 100 bytes each).
    ///
    /// `secret` is random and new at each start: it keys the hash, so that nobody can choose MACs that collide.
    pub fn new(vni: Vni, cap: usize, secret: u64) -> Self {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        Fdb {
            vni,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            cap,
            learned: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            map: DashMap::with_hasher_and_shard_amount(KeyedHash::new(secret), SHARDS),
        }
    }

    /// The network's VNI.
    pub fn vni(&self) -> Vni {
        self.vni
    }

    /// A number that no other table of this process ever has, so that a cache cannot take a network that was
    /// removed and made again under its VNI for the old one.
    #[inline]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Moves each time an address appears, moves or goes, and not when it is merely seen again.
    ///
    /// It moves after the table did: who reads it first and the table second holds an answer that is right for as
    /// long as the generation is the one read.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Where `mac` lives.
    pub fn lookup(&self, mac: Mac) -> Option<Place> {
        self.map.get(&mac.to_bits()).map(|entry| entry.place)
    }

    /// Fixes `mac` behind a local port, over what was learned. False if the control plane says that it lives behind a
    /// VTEP: that stays until [`Fdb::remove_remote`].
    pub fn set_local(&self, mac: Mac, port: PortId) -> bool {
        self.fix(mac, Place::Local(port), |old| old.kind != FdbKind::Remote)
    }

    /// Fixes `mac` behind a VTEP, whatever was known of it: for the control plane. The cap does not count it.
    pub fn set_remote(&self, mac: Mac, vtep: IpAddr) {
        let place = Place::Vtep(vtep);
        self.fix(mac, place, |old| old.kind != FdbKind::Remote || old.place != place);
    }

    /// Fixes it unless what is there already may not, or need not, be `replaced`; says whether it did.
    fn fix(&self, mac: Mac, place: Place, replaced: impl Fn(&Entry) -> bool) -> bool {
        match self.map.entry(mac.to_bits()) {
            Slot::Occupied(slot) if !replaced(slot.get()) => return false,
            Slot::Occupied(mut slot) => self.release(&slot.insert(Entry::fixed(place))),
            Slot::Vacant(slot) => drop(slot.insert(Entry::fixed(place))),
        }
        // Also where the place stays: a cache that knew it as learned must not go on refreshing it.
        self.bump();
        true
    }

    /// Forgets what the control plane said of `mac`. False if that was nothing.
    pub fn remove_remote(&self, mac: Mac) -> bool {
        self.remove(mac, FdbKind::Remote)
    }

    /// Forgets `mac` if it was learned. False if it was not.
    pub fn unlearn(&self, mac: Mac) -> bool {
        self.remove(mac, FdbKind::Learned)
    }

    fn remove(&self, mac: Mac, kind: FdbKind) -> bool {
        let Some((_, entry)) = self.map.remove_if(&mac.to_bits(), |_, entry| entry.kind == kind) else { return false };
        self.release(&entry);
        self.bump();
        true
    }

    /// Gives the room of an entry back that left the table.
    fn release(&self, entry: &Entry) {
        if entry.is_learned() {
            self.learned.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes note that a frame with the source `mac` came from `place` in the second `now_s`.
    ///
    /// The caller has made sure that `mac` is a station's ([`Mac::is_station`]). Known addresses are refreshed under
    /// a read lock; a full table refuses new ones without taking a write lock, so that a flood does not slow the
    /// known flows.
    pub fn learn(&self, mac: Mac, place: Place, now_s: u32) -> Learn {
        let key = mac.to_bits();
        match self.map.get(&key).map(|entry| entry.refresh(place, now_s)) {
            Some(Some(answer)) => return answer,
            Some(None) => {}
            None if self.learned() >= self.cap => return Learn::Full,
            None => {}
        }
        let answer = match self.map.entry(key) {
            Slot::Occupied(mut slot) => match slot.get().refresh(place, now_s) {
                Some(answer) => return answer,
                None => {
                    slot.insert(Entry::learned(place, now_s));
                    Learn::Moved
                }
            },
            Slot::Vacant(slot) => {
                // Reserved under the shard's lock, given back by whoever takes the entry out: the cap is exact.
                let reserve = |learned| (learned < self.cap).then_some(learned + 1);
                if self.learned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_err() {
                    return Learn::Full;
                }
                slot.insert(Entry::learned(place, now_s));
                Learn::New
            }
        };
        self.bump();
        answer
    }

    /// What [`Fdb::learn`] would say now; nothing changes.
    pub fn foresee(&self, mac: Mac, place: Place) -> Learn {
        match self.map.get(&mac.to_bits()) {
            Some(entry) if entry.place == place => Learn::Known,
            Some(entry) if !entry.is_learned() => Learn::Refused,
            Some(_) => Learn::Moved,
            None if self.learned() >= self.cap => Learn::Full,
            None => Learn::New,
        }
    }

    /// The row of `mac`.
    pub fn entry(&self, mac: Mac) -> Option<FdbRow> {
        self.map.get(&mac.to_bits()).map(|entry| self.row(*entry.key(), entry.value()))
    }

    /// Forgets the learned addresses that were not seen for `ageing_s` seconds, tells `gone` of each, and says how many
    /// those were.
    pub fn age(&self, now_s: u32, ageing_s: u32, gone: impl FnMut(FdbRow)) -> usize {
        let keep = |entry: &Entry| {
            // A worker whose clock reading is newer than the caller's has just seen the address.
            let idle_s = now_s.saturating_sub(entry.seen_s.load(Ordering::Relaxed));
            !entry.is_learned() || idle_s < ageing_s
        };
        self.retain(keep, gone)
    }

    /// Forgets every address behind a local port that is going away, tells `gone` of each, and says how many those were.
    pub fn remove_port(&self, port: PortId, gone: impl FnMut(FdbRow)) -> usize {
        self.retain(|entry| entry.place != Place::Local(port), gone)
    }

    /// How many addresses are learned; never more than the cap.
    pub fn learned(&self) -> usize {
        self.learned.load(Ordering::Relaxed)
    }

    /// A copy of the table, ordered by MAC. Changes made meanwhile may or may not be in it.
    pub fn rows(&self) -> Vec<FdbRow> {
        let mut rows: Vec<_> = self.map.iter().map(|item| self.row(*item.key(), item.value())).collect();
        rows.sort_unstable_by_key(|row| row.mac);
        rows
    }

    fn row(&self, key: u64, entry: &Entry) -> FdbRow {
        let [_, _, octets @ ..] = key.to_be_bytes();
        FdbRow { vni: self.vni, mac: Mac::new(octets), place: entry.place, kind: entry.kind }
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool, mut gone: impl FnMut(FdbRow)) -> usize {
        let mut count = 0;
        self.map.retain(|key, entry| {
            let keep = keep(entry);
            if !keep {
                count += 1;
                self.release(entry);
                gone(self.row(*key, entry));
            }
            keep
        });
        if count > 0 {
            self.bump();
        }
        count
    }

    fn bump(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
