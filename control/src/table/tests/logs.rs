//! Logs that begin anew.

use super::*;

#[test]
fn a_new_life_leaves_no_hole_and_sweeps_when_it_is_complete() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    for number in 1..=50 {
        a.put(at(0), station(number), CLAIM).unwrap();
    }
    carry(at(0), &a, a.me(), &mut b);
    changes(&mut b);
    // It starts again with half of them.
    let mut a = node(1, 2);
    a.source_mut(ME).log.complete = false;
    for number in 1..=25 {
        a.put(at(1), station(number), CLAIM).unwrap();
    }
    carry(at(1), &a, a.me(), &mut b);
    assert_eq!((changes(&mut b), b.stations().count()), (vec![], 50));
    assert_eq!(b.position(NodeId(1)).map(|at| at.hash), Some(0), "nothing to compare yet");
    a.complete();
    b.apply(at(2), a.marker(a.me()).unwrap()).unwrap();
    assert_eq!((changes(&mut b).len(), b.stations().count()), (25, 25));
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));
    // What is left of the former life in the network is not taken.
    let late = v1::Delta { node: 1, incarnation: 1, after: 0, to: 1, head: 1, ..v1::Delta::default() };
    assert_eq!(b.apply(at(3), late), Ok(Outcome::OldLife));
}

#[test]
fn who_missed_forgotten_tombstones_takes_a_snapshot_without_a_hole() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    for number in 1..=20 {
        a.put(at(0), station(number), CLAIM).unwrap();
    }
    carry(at(0), &a, a.me(), &mut b);
    for number in 1..=10 {
        a.remove(at(1), &station(number));
    }
    a.put(at(1), station(21), CLAIM).unwrap();
    a.tick(at(600));
    assert_eq!(a.position(NodeId(1)).unwrap().floor, 0);
    a.tick(at(601));
    let floor = a.position(NodeId(1)).unwrap().floor;
    assert_eq!((floor, a.store.len()), (32, 12));
    changes(&mut b);
    let mut after = b.wanted(NodeId(1)).0;
    let mut first = a.delta(a.me(), after, 100).unwrap();
    assert!(first.snapshot && first.after == 0 && first.to < first.head);
    // A part in the middle, without what was before, is not taken for good.
    let middle = v1::Delta { after: first.to, to: first.to + 1, records: vec![], ..first.clone() };
    assert_eq!(b.apply(at(601), middle), Ok(Outcome::Behind));
    loop {
        after = first.to;
        assert_eq!(b.apply(at(601), first), Ok(Outcome::Applied));
        assert!(b.stations().count() >= 20 || b.position(NodeId(1)) == a.position(NodeId(1)));
        let Some(next) = a.snapshot(a.me(), after, 100) else { break };
        first = next;
    }
    assert_eq!(b.stations().count(), 11);
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));
    assert_eq!(changes(&mut b).len(), 11);
}

#[test]
fn parts_cut_from_logs_of_different_length_sweep_nothing_too_early() {
    // Two neighbours have the log of 1 in its new life, one of them longer, where station 1 moved to the end.
    let mut a = node(1, 2);
    for number in 1..=4 {
        a.put(at(0), Key::Ip(vni(), ip(number)), Value::Ip(mac(1))).unwrap();
    }
    let short = a.snapshot(a.me(), 0, 1 << 20).unwrap();
    a.put(at(0), Key::Ip(vni(), ip(1)), Value::Ip(mac(2))).unwrap();
    let long = a.snapshot(a.me(), 0, 50).unwrap();
    assert!(short.complete && !long.complete && long.to < short.to && long.head > short.head);
    let (mut old, mut b) = (node(1, 1), node(2, 1));
    old.put(at(0), Key::Ip(vni(), ip(1)), Value::Ip(mac(1))).unwrap();
    carry(at(0), &old, old.me(), &mut b);
    // The beginning from the long one, the rest from the short one.
    assert_eq!(b.apply(at(1), long), Ok(Outcome::Applied));
    assert_eq!(b.apply(at(1), short), Ok(Outcome::Applied));
    assert!(b.station(vni(), ip(1)).is_some(), "an address that its node has all the time");
    let (after, snapshot) = b.wanted(NodeId(1));
    assert!(snapshot);
    b.apply(at(1), a.snapshot(a.me(), after, 1 << 20).unwrap()).unwrap();
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));
    assert_eq!(b.station(vni(), ip(1)).map(|(mac, _)| mac), Some(mac(2)));
}

#[test]
fn a_new_life_of_ones_own_has_the_same_records() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    (1..=9).for_each(|number| a.put(at(0), station(number), CLAIM).unwrap());
    a.remove(at(0), &station(1));
    carry(at(0), &a, a.me(), &mut b);
    changes(&mut b);
    a.reincarnate(at(1), 5);
    carry(at(1), &a, a.me(), &mut b);
    assert_eq!(changes(&mut b), []);
    assert_eq!((a.position(NodeId(1)), a.digest_of(1)), (b.position(NodeId(1)), b.digest_of(1)));
    assert_eq!(b.stations().count(), 8);
}

impl Table {
    /// The hash of a node's records, made anew.
    fn digest_of(&self, node: u64) -> u64 {
        let prints = self.records(NodeId(node)).map(|(seq, key, value)| digest::record(seq, key, value));
        prints.fold(0, u64::wrapping_add)
    }
}
