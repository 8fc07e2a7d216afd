//! Where each MAC of one network lives.
//!
//! Enters: what the control plane fixes, and the source addresses that the workers see. Leaves: copies of [`Place`];
//! no guard outlives a call. The table is shared by all workers; each keeps a [`cache`](super::cache) before it,
//! valid as long as [`Fdb::generation`] stands still. RFC 7348 section 4.2 asks for learning, IEEE 802.1Q section
//! 8.8 for ageing; the cap, and that a fixed entry is never learned over, answer a MAC flood and a MAC thief.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;

use super::hash::KeyedHash;
use super::{FdbRow, Place};
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
    /// The address is a local endpoint's, or fixed, and not there: nothing changed, the frame is a loop or a lie.
    RefusedLocal,
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
    learned: bool,
    /// The second of the last frame; only read for learned entries.
    seen_s: AtomicU32,
}

impl Entry {
    fn fixed(place: Place) -> Self {
        Entry { place, learned: false, seen_s: AtomicU32::new(0) }
    }

    fn learned(place: Place, now_s: u32) -> Self {
        Entry { place, learned: true, seen_s: AtomicU32::new(now_s) }
    }

    /// Answers for a frame from `place` if that takes no change of the place.
    fn refresh(&self, place: Place, now_s: u32) -> Option<Learn> {
        if self.place != place {
            return (!self.learned).then_some(Learn::RefusedLocal);
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

    /// Fixes `mac` behind a local port, whatever was known of it.
    pub fn set_local(&self, mac: Mac, port: PortId) {
        self.fix(mac, Place::Local(port));
    }

    /// Fixes `mac` behind a VTEP, whatever was known of it: for the control plane and the user.
    pub fn set_static(&self, mac: Mac, vtep: IpAddr) {
        self.fix(mac, Place::Vtep(vtep));
    }

    fn fix(&self, mac: Mac, place: Place) {
        let old = self.map.insert(mac.to_bits(), Entry::fixed(place));
        if old.is_some_and(|old| old.learned) {
            self.learned.fetch_sub(1, Ordering::Relaxed);
        }
        // Also where the place stays: a cache that knew it as learned must not go on refreshing it.
        self.bump();
    }

    /// Forgets `mac`, fixed or learned, and says where it lived.
    pub fn remove(&self, mac: Mac) -> Option<Place> {
        let (_, entry) = self.map.remove(&mac.to_bits())?;
        if entry.learned {
            self.learned.fetch_sub(1, Ordering::Relaxed);
        }
        self.bump();
        Some(entry.place)
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

    /// Forgets the learned addresses that were not seen for `ageing_s` seconds, and says how many those were.
    pub fn age(&self, now_s: u32, ageing_s: u32) -> usize {
        self.retain(|entry| {
            // A worker whose clock reading is newer than the caller's has just seen the address.
            let idle_s = now_s.saturating_sub(entry.seen_s.load(Ordering::Relaxed));
            !entry.learned || idle_s < ageing_s
        })
    }

    /// Forgets every address behind a local port that is going away, and says how many those were.
    pub fn remove_port(&self, port: PortId) -> usize {
        self.retain(|entry| entry.place != Place::Local(port))
    }

    /// How many addresses are learned; never more than the cap.
    pub fn learned(&self) -> usize {
        self.learned.load(Ordering::Relaxed)
    }

    /// A copy of the table, ordered by MAC. Changes made meanwhile may or may not be in it.
    pub fn rows(&self) -> Vec<FdbRow> {
        let row = |key: u64, entry: &Entry| {
            let [_, _, octets @ ..] = key.to_be_bytes();
            FdbRow { vni: self.vni, mac: Mac::new(octets), place: entry.place, learned: entry.learned }
        };
        let mut rows: Vec<_> = self.map.iter().map(|item| row(*item.key(), item.value())).collect();
        rows.sort_unstable_by_key(|row| row.mac);
        rows
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool) -> usize {
        let mut gone = 0;
        self.map.retain(|_, entry| {
            let keep = keep(entry);
            if !keep {
                gone += 1;
                if entry.learned {
                    self.learned.fetch_sub(1, Ordering::Relaxed);
                }
            }
            keep
        });
        if gone > 0 {
            self.bump();
        }
        gone
    }

    fn bump(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const A: Mac = Mac::new([2, 1, 0, 0, 0, 0xa]);
    const B: Mac = Mac::new([2, 1, 0, 0, 0, 0xb]);
    const HERE: Place = Place::Local(PortId(1));

    fn fdb(cap: usize) -> Fdb {
        Fdb::new(Vni::new(100).unwrap(), cap, 0x0123_4567_89ab_cdef)
    }

    fn vtep(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac::new([2, 0, a, b, c, d])
    }

    #[test]
    fn a_station_is_learned_seen_again_and_moves() {
        let fdb = fdb(10);
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(1)), 7), Learn::New);
        let generation = fdb.generation();
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(1)), 8), Learn::Known);
        assert_eq!(fdb.generation(), generation, "a refresh must not empty the caches");
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(2)), 9), Learn::Moved);
        assert_ne!(fdb.generation(), generation);
        assert_eq!(fdb.lookup(A), Some(Place::Vtep(vtep(2))));
        assert_eq!(fdb.learned(), 1);
    }

    #[test]
    fn nobody_learns_over_a_fixed_entry() {
        let fdb = fdb(10);
        fdb.set_local(A, PortId(1));
        fdb.set_static(B, vtep(1));
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(9)), 0), Learn::RefusedLocal);
        assert_eq!(fdb.learn(A, Place::Local(PortId(2)), 0), Learn::RefusedLocal);
        assert_eq!(fdb.learn(B, Place::Vtep(vtep(9)), 0), Learn::RefusedLocal);
        assert_eq!(fdb.learn(A, HERE, 0), Learn::Known);
        assert_eq!((fdb.lookup(A), fdb.lookup(B)), (Some(HERE), Some(Place::Vtep(vtep(1)))));
        assert_eq!(fdb.age(u32::MAX, 1), 0, "fixed entries do not age");
    }

    #[test]
    fn fixing_a_learned_address_gives_its_room_back() {
        let fdb = fdb(1);
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(1)), 0), Learn::New);
        assert_eq!(fdb.learn(B, Place::Vtep(vtep(1)), 0), Learn::Full);
        fdb.set_static(A, vtep(1));
        assert_eq!(fdb.learn(B, Place::Vtep(vtep(1)), 0), Learn::New);
        assert_eq!(fdb.remove(B), Some(Place::Vtep(vtep(1))));
        assert_eq!((fdb.learned(), fdb.remove(B)), (0, None));
    }

    #[test]
    fn addresses_age_by_their_last_frame() {
        let fdb = fdb(10);
        fdb.learn(A, Place::Vtep(vtep(1)), 100);
        fdb.learn(B, Place::Vtep(vtep(1)), 100);
        fdb.learn(B, Place::Vtep(vtep(1)), 250);
        assert_eq!(fdb.age(399, 300), 0);
        assert_eq!(fdb.age(400, 300), 1);
        assert_eq!((fdb.lookup(A), fdb.learned()), (None, 1));
        assert_eq!(fdb.age(200, 1), 0, "a reading older than the last frame ages nothing");
    }

    #[test]
    fn a_port_takes_its_addresses_along() {
        let fdb = fdb(10);
        fdb.set_local(A, PortId(1));
        fdb.learn(B, HERE, 0);
        fdb.set_local(mac(1), PortId(2));
        assert_eq!(fdb.remove_port(PortId(1)), 2);
        assert_eq!(fdb.learned(), 0);
        let left = FdbRow { vni: fdb.vni(), mac: mac(1), place: Place::Local(PortId(2)), learned: false };
        assert_eq!(fdb.rows(), [left]);
    }

    #[test]
    fn a_flood_stops_at_the_cap_and_the_known_go_on() {
        let fdb = fdb(1_000);
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(1)), 0), Learn::New);
        let full = (0..20_000).filter(|n| fdb.learn(mac(*n), Place::Vtep(vtep(2)), 1) == Learn::Full).count();
        assert_eq!((full, fdb.learned(), fdb.rows().len()), (19_001, 1_000, 1_000));
        assert_eq!(fdb.learn(A, Place::Vtep(vtep(3)), 2), Learn::Moved, "a move needs no room");
        let generation = fdb.generation();
        assert_eq!(fdb.learn(mac(30_000), Place::Vtep(vtep(2)), 3), Learn::Full);
        assert_eq!(fdb.generation(), generation, "a refused address must not empty the caches");
    }

    #[test]
    fn the_cap_is_exact_with_many_threads() {
        let fdb = fdb(500);
        let new: isize = std::thread::scope(|scope| {
            let learn = |t: u8| {
                let fdb = &fdb;
                scope.spawn(move || {
                    // Every thread offers the same addresses from another end and takes some away again.
                    let step = |n: u32| mac((n * 7 + u32::from(t) * 911) % 3_000);
                    let new = (0..3_000).filter(|n| fdb.learn(step(*n), HERE, 1) == Learn::New).count();
                    let gone = (0..300).filter(|n| fdb.remove(step(*n)).is_some()).count();
                    new as isize - gone as isize
                })
            };
            let threads: Vec<_> = (0..4).map(learn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(fdb.learned() as isize, new);
        assert_eq!(fdb.rows().len() as isize, new);
        assert!(new <= 500);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Learn(u8, u8, u32),
        Local(u8, u8),
        Static(u8, u8),
        Remove(u8),
        Port(u8),
        Age(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..12_u8, 0..6_u8, 0..60_u32).prop_map(|(m, p, t)| Step::Learn(m, p, t)),
            1 => (0..12_u8, 0..3_u8).prop_map(|(m, p)| Step::Local(m, p)),
            1 => (0..12_u8, 0..3_u8).prop_map(|(m, p)| Step::Static(m, p)),
            2 => (0..12_u8).prop_map(Step::Remove),
            1 => (0..3_u8).prop_map(Step::Port),
            1 => (0..60_u32, 1..40_u32).prop_map(|(t, a)| Step::Age(t, a)),
        ]
    }

    fn place(p: u8) -> Place {
        if p < 3 { Place::Local(PortId(p.into())) } else { Place::Vtep(vtep(p)) }
    }

    proptest! {
        /// The table against a plain map with the rules written out.
        #[test]
        fn the_table_equals_a_plain_map(steps in prop::collection::vec(step(), 0..200)) {
            const CAP: usize = 6;
            let fdb = fdb(CAP);
            let mut model: BTreeMap<Mac, (Place, bool, u32)> = BTreeMap::new();
            for step in steps {
                let (before, generation) = (fdb.rows(), fdb.generation());
                match step {
                    Step::Learn(m, p, now) => {
                        let (m, p, learned) = (mac(m.into()), place(p), model.values().filter(|e| e.1).count());
                        let want = match model.get_mut(&m) {
                            Some(e) if e.0 == p => {
                                e.2 = e.2.max(now);
                                Learn::Known
                            }
                            Some((_, false, _)) => Learn::RefusedLocal,
                            Some(e) => {
                                *e = (p, true, now);
                                Learn::Moved
                            }
                            None if learned == CAP => Learn::Full,
                            None => {
                                model.insert(m, (p, true, now));
                                Learn::New
                            }
                        };
                        prop_assert_eq!(fdb.learn(m, p, now), want);
                    }
                    Step::Local(m, p) => {
                        fdb.set_local(mac(m.into()), PortId(p.into()));
                        model.insert(mac(m.into()), (place(p), false, 0));
                    }
                    Step::Static(m, p) => {
                        fdb.set_static(mac(m.into()), vtep(p + 3));
                        model.insert(mac(m.into()), (place(p + 3), false, 0));
                    }
                    Step::Remove(m) => {
                        prop_assert_eq!(fdb.remove(mac(m.into())), model.remove(&mac(m.into())).map(|e| e.0));
                    }
                    Step::Port(p) => {
                        fdb.remove_port(PortId(p.into()));
                        model.retain(|_, e| e.0 != place(p));
                    }
                    Step::Age(now, ageing) => {
                        fdb.age(now, ageing);
                        model.retain(|_, e| !e.1 || now.saturating_sub(e.2) < ageing);
                    }
                }
                let rows: Vec<_> = model.iter().map(|(mac, e)| (*mac, e.0, e.1)).collect();
                let after = fdb.rows();
                prop_assert_eq!(after.iter().map(|r| (r.mac, r.place, r.learned)).collect::<Vec<_>>(), rows);
                prop_assert!(after == before || fdb.generation() != generation, "a change that no cache sees");
            }
        }
    }
}
