//! A worker's own memory of the forwarding tables, so that a known flow touches nothing shared.
//!
//! Enters: the question that the worker would ask the [`Fdb`]. Leaves: the very answer that the table would give: a
//! remembered one counts only while the table's generation is the one it was read under. A hit costs a few
//! nanoseconds where the shared map costs sixty with two readers.

use super::Place;
use super::fdb::{Fdb, Learn};
use crate::addr::{Mac, PortId};

/// Slots of a cache: direct-mapped, so two hot stations in one slot cost the slow path and nothing worse.
pub const SLOTS: usize = 4_096;

/// The cache of one worker, for all networks: about 200 KB, allocated once.
#[derive(Debug)]
pub struct Cache {
    slots: Box<[Slot; SLOTS]>,
    secret: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The station as [`key`] gives it; [`NOBODY`] in an empty slot.
    mac: u64,
    fdb: u32,
    /// The second in which this worker last told the table that the station was seen.
    told_s: Option<u32>,
    generation: u64,
    place: Place,
}

/// No station: those have 48 bits.
const NOBODY: u64 = u64::MAX;

impl Cache {
    /// An empty cache. `secret` is random and new at each start: it spreads the stations over the slots.
    pub fn new(secret: u64) -> Self {
        let empty = Slot { mac: NOBODY, fdb: 0, told_s: None, generation: 0, place: Place::Local(PortId(0)) };
        let slots = vec![empty; SLOTS].into_boxed_slice();
        let Ok(slots) = slots.try_into() else { unreachable!("the slice was made with this length") };
        Cache { slots, secret }
    }

    /// As [`Fdb::lookup`].
    #[inline]
    pub fn lookup(&mut self, fdb: &Fdb, mac: Mac) -> Option<Place> {
        // Before the table is read: an answer that a change overtakes is stored as out of date already.
        let generation = fdb.generation();
        let slot = self.slot(fdb, mac);
        if slot.answers(fdb, mac, generation) {
            return Some(slot.place);
        }
        // Absences are not kept: a scan for stations that are not there shall not push out those that are.
        let place = fdb.lookup(mac)?;
        *slot = Slot { mac: key(mac), fdb: fdb.id(), told_s: None, generation, place };
        Some(place)
    }

    /// As [`Fdb::learn`], which it calls at most once a second for a station that stays where it is.
    #[inline]
    pub fn learn(&mut self, fdb: &Fdb, mac: Mac, place: Place, now_s: u32) -> Learn {
        let generation = fdb.generation();
        let slot = self.slot(fdb, mac);
        if slot.answers(fdb, mac, generation) && slot.place == place && slot.told_s == Some(now_s) {
            return Learn::Known;
        }
        let answer = fdb.learn(mac, place, now_s);
        // What is new or moved has raised the generation; the next frame will find it known.
        if answer == Learn::Known {
            *slot = Slot { mac: key(mac), fdb: fdb.id(), told_s: Some(now_s), generation, place };
        }
        answer
    }

    /// The one slot that may hold `mac`.
    // A multiplication is enough: who finds stations that collide gains that both take the slow path.
    #[inline]
    fn slot(&mut self, fdb: &Fdb, mac: Mac) -> &mut Slot {
        let key = key(mac) ^ u64::from(fdb.id()).rotate_right(16) ^ self.secret;
        &mut self.slots[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize]
    }
}

/// One integer per station. Unlike [`Mac::to_bits`] in the order of memory, which is two loads and no byte swap.
#[inline]
fn key(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.octets();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

impl Slot {
    #[inline]
    fn answers(&self, fdb: &Fdb, mac: Mac, generation: u64) -> bool {
        self.mac == key(mac) && self.generation == generation && self.fdb == fdb.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Vni;
    use proptest::prelude::*;
    use std::net::IpAddr;

    const SECRET: u64 = 0xfeed_5eed_1234_5678;

    fn fdb(cap: usize) -> Fdb {
        Fdb::new(Vni::new(100).unwrap(), cap, SECRET)
    }

    fn vtep(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac::new([2, 0, a, b, c, d])
    }

    #[test]
    fn a_slot_is_smaller_than_a_cache_line() {
        assert!(size_of::<Slot>() <= 48);
    }

    #[test]
    fn a_hit_asks_the_table_for_nothing() {
        let (fdb, mut cache) = (fdb(10), Cache::new(SECRET));
        fdb.learn(mac(1), Place::Vtep(vtep(1)), 5);
        assert_eq!(cache.lookup(&fdb, mac(1)), Some(Place::Vtep(vtep(1))));
        cache.slot(&fdb, mac(1)).place = Place::Vtep(vtep(77));
        assert_eq!(cache.lookup(&fdb, mac(1)), Some(Place::Vtep(vtep(77))), "answered from the slot");
        fdb.set_local(mac(2), PortId(1));
        assert_eq!(cache.lookup(&fdb, mac(1)), Some(Place::Vtep(vtep(1))), "a change of the table empties it");
    }

    #[test]
    fn the_table_hears_of_a_station_once_a_second() {
        let (fdb, mut cache) = (fdb(10), Cache::new(SECRET));
        let here = Place::Vtep(vtep(1));
        assert_eq!(cache.learn(&fdb, mac(1), here, 5), Learn::New);
        assert_eq!(cache.learn(&fdb, mac(1), here, 5), Learn::Known);
        assert_eq!(cache.learn(&fdb, mac(1), here, 5), Learn::Known);
        assert_eq!(cache.learn(&fdb, mac(1), here, 6), Learn::Known);
        assert_eq!(fdb.age(15, 10, drop), 0, "the frame of second 6 was told");
        assert_eq!(fdb.age(16, 10, drop), 1);
        assert_eq!(cache.learn(&fdb, mac(1), here, 6), Learn::New, "an aged address is learned again");
    }

    #[test]
    fn a_network_made_again_under_its_vni_is_another_one() {
        let mut cache = Cache::new(SECRET);
        let old = fdb(10);
        old.set_local(mac(1), PortId(1));
        assert_eq!(cache.lookup(&old, mac(1)), Some(Place::Local(PortId(1))));
        // Until one shares the slot: only the identity of the table can tell them apart then.
        let slot = std::ptr::from_mut(cache.slot(&old, mac(1)));
        let made_again = |_| Some(fdb(10)).filter(|new| std::ptr::from_mut(cache.slot(new, mac(1))) == slot);
        let new = (0..100_000).find_map(made_again).unwrap();
        new.set_local(mac(2), PortId(2));
        assert_eq!((old.generation(), old.vni()), (new.generation(), new.vni()));
        assert_eq!(cache.lookup(&new, mac(1)), None);
    }

    /// A thread changes one address all the time, another looks it up: an answer is never older than the last
    /// change that had returned before the question.
    #[test]
    fn an_answer_is_never_older_than_a_change_that_returned() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (fdb, done) = (fdb(10), AtomicU32::new(0));
        fdb.set_local(mac(1), PortId(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=50_000 {
                    fdb.set_local(mac(1), PortId(n));
                    done.store(n, Ordering::Release);
                }
            });
            let mut cache = Cache::new(SECRET);
            loop {
                let floor = done.load(Ordering::Acquire);
                let Some(Place::Local(PortId(n))) = cache.lookup(&fdb, mac(1)) else { panic!("it was never removed") };
                assert!(n >= floor, "answered {n} after {floor} was set");
                if floor == 50_000 {
                    break;
                }
            }
        });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lookup(usize),
        Learn(usize, u8),
        Local(usize, u8),
        Remote(usize, u8),
        NoRemote(usize),
        Unlearn(usize),
        Port(u8),
        Age(u32),
        Second,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            9 => (0..MACS).prop_map(Step::Lookup),
            9 => (0..MACS, 0..4_u8).prop_map(|(m, p)| Step::Learn(m, p)),
            1 => (0..MACS, 0..4_u8).prop_map(|(m, p)| Step::Local(m, p)),
            1 => (0..MACS, 0..4_u8).prop_map(|(m, p)| Step::Remote(m, p)),
            1 => (0..MACS).prop_map(Step::NoRemote),
            1 => (0..MACS).prop_map(Step::Unlearn),
            1 => (0..4_u8).prop_map(Step::Port),
            1 => (1..5_u32).prop_map(Step::Age),
            2 => Just(Step::Second),
        ]
    }

    const MACS: usize = 8;

    /// Addresses of which every four share a slot.
    fn colliding(cache: &mut Cache, fdb: &Fdb) -> Vec<Mac> {
        let mut slot = |m: Mac| std::ptr::from_mut(cache.slot(fdb, m));
        let mut found = Vec::new();
        for like in [mac(0), mac(1)] {
            let shared = slot(like);
            found.extend((0..).map(mac).filter(|m| slot(*m) == shared).take(MACS / 2));
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Two tables get the same changes; one is asked through the caches of two workers, the other directly.
        #[test]
        fn cache_and_table_equal_the_table_alone(steps in prop::collection::vec((step(), any::<bool>()), 0..300)) {
            let (cached, alone) = (fdb(5), fdb(5));
            let mut caches = [Cache::new(SECRET), Cache::new(SECRET)];
            let macs = colliding(&mut caches[0], &cached);
            let place = |p: u8| if p < 2 { Place::Local(PortId(p.into())) } else { Place::Vtep(vtep(p)) };
            let mut now_s = 1_000;
            for (step, worker) in steps {
                let cache = &mut caches[usize::from(worker)];
                match step {
                    Step::Lookup(m) => prop_assert_eq!(cache.lookup(&cached, macs[m]), alone.lookup(macs[m])),
                    Step::Learn(m, p) => {
                        let foreseen = alone.foresee(macs[m], place(p));
                        prop_assert_eq!(cache.learn(&cached, macs[m], place(p), now_s), foreseen);
                        prop_assert_eq!(alone.learn(macs[m], place(p), now_s), foreseen);
                    }
                    Step::Local(m, p) => {
                        let port = PortId(p.into());
                        prop_assert_eq!(cached.set_local(macs[m], port), alone.set_local(macs[m], port));
                    }
                    Step::Remote(m, p) => [&cached, &alone].map(|fdb| fdb.set_remote(macs[m], vtep(p))).into_iter().collect(),
                    Step::NoRemote(m) => prop_assert_eq!(cached.remove_remote(macs[m]), alone.remove_remote(macs[m])),
                    Step::Unlearn(m) => prop_assert_eq!(cached.unlearn(macs[m]), alone.unlearn(macs[m])),
                    Step::Port(p) => prop_assert_eq!(cached.remove_port(PortId(p.into()), drop), alone.remove_port(PortId(p.into()), drop)),
                    Step::Age(ageing_s) => prop_assert_eq!(cached.age(now_s, ageing_s, drop), alone.age(now_s, ageing_s, drop)),
                    Step::Second => now_s += 1,
                }
                prop_assert_eq!(cached.rows(), alone.rows());
            }
        }
    }
}
