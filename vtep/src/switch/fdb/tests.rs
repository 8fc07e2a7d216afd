//! The rules of the table, one by one and against a plain map.

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
    fdb.set_remote(B, vtep(1));
    assert_eq!(fdb.learn(A, Place::Vtep(vtep(9)), 0), Learn::Refused);
    assert_eq!(fdb.learn(A, Place::Local(PortId(2)), 0), Learn::Refused);
    assert_eq!(fdb.learn(B, Place::Vtep(vtep(9)), 0), Learn::Refused);
    assert_eq!(fdb.learn(A, HERE, 0), Learn::Known);
    assert_eq!((fdb.lookup(A), fdb.lookup(B)), (Some(HERE), Some(Place::Vtep(vtep(1)))));
    assert_eq!(fdb.age(u32::MAX, 1, drop), 0, "fixed entries do not age");
}

#[test]
fn fixing_a_learned_address_gives_its_room_back() {
    let fdb = fdb(1);
    assert_eq!(fdb.learn(A, Place::Vtep(vtep(1)), 0), Learn::New);
    assert_eq!(fdb.learn(B, Place::Vtep(vtep(1)), 0), Learn::Full);
    fdb.set_remote(A, vtep(1));
    assert_eq!(fdb.learn(B, Place::Vtep(vtep(1)), 0), Learn::New);
    assert!(fdb.unlearn(B) && !fdb.unlearn(B) && !fdb.unlearn(A));
    assert_eq!((fdb.learned(), fdb.rows().len()), (0, 1));
}

/// Whichever of them comes first: all nodes shall say the same of an address that is there twice.
#[test]
fn the_control_plane_counts_for_more_than_a_port() {
    let fdb = fdb(1);
    assert!(fdb.set_local(A, PortId(1)));
    fdb.set_remote(A, vtep(1));
    assert_eq!(fdb.lookup(A), Some(Place::Vtep(vtep(1))));
    assert!(!fdb.set_local(A, PortId(1)));
    assert_eq!(fdb.lookup(A), Some(Place::Vtep(vtep(1))));
    assert_eq!(fdb.remove_port(PortId(1), drop), 0);
    assert!(fdb.remove_remote(A) && !fdb.remove_remote(A));
    assert!(fdb.set_local(A, PortId(1)) && !fdb.remove_remote(A), "a port's address is not the control plane's");
}

#[test]
fn what_is_said_again_does_not_empty_the_caches() {
    let fdb = fdb(1);
    fdb.set_remote(A, vtep(1));
    let generation = fdb.generation();
    fdb.set_remote(A, vtep(1));
    assert_eq!(fdb.generation(), generation);
    fdb.set_remote(A, vtep(2));
    assert_ne!(fdb.generation(), generation);
}

#[test]
fn the_cap_is_for_what_is_learned_alone() {
    let fdb = fdb(1);
    for n in 0..10_000 {
        fdb.set_remote(mac(n), vtep(1));
    }
    assert_eq!(fdb.learn(A, Place::Vtep(vtep(9)), 0), Learn::New);
    assert_eq!((fdb.rows().len(), fdb.learned()), (10_001, 1));
}

#[test]
fn addresses_age_by_their_last_frame() {
    let fdb = fdb(10);
    fdb.learn(A, Place::Vtep(vtep(1)), 100);
    fdb.learn(B, Place::Vtep(vtep(1)), 100);
    fdb.learn(B, Place::Vtep(vtep(1)), 250);
    assert_eq!(fdb.age(399, 300, drop), 0);
    assert_eq!(fdb.age(400, 300, drop), 1);
    assert_eq!((fdb.lookup(A), fdb.learned()), (None, 1));
    assert_eq!(fdb.age(200, 1, drop), 0, "a reading older than the last frame ages nothing");
}

#[test]
fn a_port_takes_its_addresses_along() {
    let fdb = fdb(10);
    fdb.set_local(A, PortId(1));
    fdb.learn(B, HERE, 0);
    fdb.set_local(mac(1), PortId(2));
    assert_eq!(fdb.remove_port(PortId(1), drop), 2);
    assert_eq!(fdb.learned(), 0);
    let left = FdbRow { vni: fdb.vni(), mac: mac(1), place: Place::Local(PortId(2)), kind: FdbKind::Local };
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
                let gone = (0..300).filter(|n| fdb.unlearn(step(*n))).count();
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
    Remote(u8, u8),
    NoRemote(u8),
    Unlearn(u8),
    Port(u8),
    Age(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u8, 0..6_u8, 0..60_u32).prop_map(|(m, p, t)| Step::Learn(m, p, t)),
        1 => (0..12_u8, 0..3_u8).prop_map(|(m, p)| Step::Local(m, p)),
        1 => (0..12_u8, 0..3_u8).prop_map(|(m, p)| Step::Remote(m, p)),
        1 => (0..12_u8).prop_map(Step::NoRemote),
        1 => (0..12_u8).prop_map(Step::Unlearn),
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
        let mut model: BTreeMap<Mac, (Place, FdbKind, u32)> = BTreeMap::new();
        for step in steps {
            let (before, generation) = (fdb.rows(), fdb.generation());
            match step {
                Step::Learn(m, p, now) => {
                    let (m, p, learned) = (mac(m.into()), place(p), model.values().filter(|e| e.1 == FdbKind::Learned).count());
                    let want = match model.get_mut(&m) {
                        Some(e) if e.0 == p => {
                            e.2 = e.2.max(now);
                            Learn::Known
                        }
                        Some((_, FdbKind::Local | FdbKind::Remote, _)) => Learn::Refused,
                        Some(e) => {
                            *e = (p, FdbKind::Learned, now);
                            Learn::Moved
                        }
                        None if learned == CAP => Learn::Full,
                        None => {
                            model.insert(m, (p, FdbKind::Learned, now));
                            Learn::New
                        }
                    };
                    prop_assert_eq!(fdb.learn(m, p, now), want);
                }
                Step::Local(m, p) => {
                    let told = model.get(&mac(m.into())).is_some_and(|e| e.1 == FdbKind::Remote);
                    prop_assert_eq!(fdb.set_local(mac(m.into()), PortId(p.into())), !told);
                    if !told {
                        model.insert(mac(m.into()), (place(p), FdbKind::Local, 0));
                    }
                }
                Step::Remote(m, p) => {
                    fdb.set_remote(mac(m.into()), vtep(p + 3));
                    model.insert(mac(m.into()), (place(p + 3), FdbKind::Remote, 0));
                }
                Step::NoRemote(m) => {
                    let gone = model.extract_if(.., |mac_, e| *mac_ == mac(m.into()) && e.1 == FdbKind::Remote).count();
                    prop_assert_eq!(fdb.remove_remote(mac(m.into())), gone == 1);
                }
                Step::Unlearn(m) => {
                    let gone = model.extract_if(.., |mac_, e| *mac_ == mac(m.into()) && e.1 == FdbKind::Learned).count();
                    prop_assert_eq!(fdb.unlearn(mac(m.into())), gone == 1);
                }
                Step::Port(p) => {
                    fdb.remove_port(PortId(p.into()), drop);
                    model.retain(|_, e| e.0 != place(p));
                }
                Step::Age(now, ageing) => {
                    fdb.age(now, ageing, drop);
                    model.retain(|_, e| e.1 != FdbKind::Learned || now.saturating_sub(e.2) < ageing);
                }
            }
            let rows: Vec<_> = model.iter().map(|(mac, e)| (*mac, e.0, e.1)).collect();
            let after = fdb.rows();
            prop_assert_eq!(after.iter().map(|r| (r.mac, r.place, r.kind)).collect::<Vec<_>>(), rows);
            prop_assert!(after == before || fdb.generation() != generation, "a change that no cache sees");
        }
    }
}
