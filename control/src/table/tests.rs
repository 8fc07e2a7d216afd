//! The table's rules, one by one. What follows from all of them under loss is in `exchange_tests`.

use std::net::IpAddr;
use std::time::Duration;

use weft_proto::v1;
use weft_vtep::addr::{Mac, Vni};

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn vni() -> Vni {
    Vni::new(4096).expect("a VNI")
}

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::new([2, 0, a, b, c, d])
}

fn ip(number: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, number])
}

fn station(number: u32) -> Key {
    Key::Mac(vni(), mac(number))
}

const CLAIM: Value = Value::Mac(Mobility { sequence: 0, orderly: false });

fn origin(node: u64, incarnation: u64) -> Origin {
    Origin { node: NodeId(node), incarnation }
}

/// A node that has presented itself, at 192.0.2.`node`.
fn node(node: u64, incarnation: u64) -> Table {
    let mut table = Table::new(origin(node, incarnation), Limits::default());
    let record = NodeRecord {
        name: format!("n{node}"),
        address: IpAddr::from([192, 0, 2, node as u8]),
        control_port: 7956,
        version: "0".into(),
        signer: false,
    };
    table.put(at(0), Key::Node, Value::Node(Box::new(record))).expect("a node record");
    table.complete();
    table
}

fn changes(table: &mut Table) -> Vec<Change> {
    std::iter::from_fn(|| table.poll_change()).collect()
}

/// Brings what `from` has of `of` to `to`, in small parts.
fn carry(now: Duration, from: &Table, of: Origin, to: &mut Table) {
    loop {
        let (after, snapshot) = to.wanted(of.node);
        let after = if to.position(of.node).is_some_and(|at| at.incarnation == of.incarnation) { after } else { 0 };
        let part = if snapshot { from.snapshot(of, after, 100) } else { from.delta(of, after, 100) };
        let Some(part) = part else { return };
        assert_eq!(to.apply(now, part), Ok(Outcome::Applied));
    }
}

#[test]
fn a_station_is_seen_by_others_until_it_is_taken_back() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), Key::Member(vni()), Value::Member).unwrap();
    a.put(at(0), station(1), CLAIM).unwrap();
    a.put(at(0), Key::Ip(vni(), ip(1)), Value::Ip(mac(1))).unwrap();
    a.put(at(0), Key::Name(vni(), "web".into()), Value::Name(vec![ip(1)])).unwrap();
    a.put(at(0), Key::Block(vni(), "10.77.0.0/28".parse().unwrap()), Value::Block).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    assert_eq!(b.owner(vni(), mac(1)), Some(NodeId(1)));
    assert_eq!(b.station(vni(), ip(1)), Some((mac(1), NodeId(1))));
    assert_eq!(b.members(vni()).collect::<Vec<_>>(), [NodeId(1)]);
    assert_eq!(b.blocks(vni()).collect::<Vec<_>>(), [("10.77.0.0/28".parse().unwrap(), NodeId(1))]);
    assert_eq!(b.resolve(vni(), "web"), [ip(1)]);
    assert_eq!(b.node(NodeId(1)).map(|node| node.name.as_str()), Some("n1"));
    assert_eq!(b.stations().count(), 1);
    assert_eq!(changes(&mut b).len(), 2 + 5, "its own record and the six of the other");
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));

    for key in [station(1), Key::Ip(vni(), ip(1)), Key::Member(vni()), Key::Name(vni(), "web".into())] {
        a.remove(at(1), &key);
    }
    carry(at(1), &a, a.me(), &mut b);
    assert_eq!((b.owner(vni(), mac(1)), b.station(vni(), ip(1)), b.members(vni()).count()), (None, None, 0));
    assert_eq!(changes(&mut b).len(), 4);
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));
}

#[test]
fn a_claim_elsewhere_carries_the_next_sequence_and_wins() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), station(1), CLAIM).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    b.put(at(1), station(1), CLAIM).unwrap();
    assert_eq!(b.mine(&station(1)), Some(&Value::Mac(Mobility { sequence: 1, orderly: false })));
    carry(at(1), &b, b.me(), &mut a);
    assert_eq!((a.owner(vni(), mac(1)), b.owner(vni(), mac(1))), (Some(NodeId(2)), Some(NodeId(2))));
    // It has it, so it says nothing new.
    let end = b.position(NodeId(2)).unwrap().applied;
    b.put(at(2), station(1), CLAIM).unwrap();
    assert_eq!(b.position(NodeId(2)).unwrap().applied, end);
    // The first one lets go: nothing moves.
    changes(&mut a);
    a.remove(at(2), &station(1));
    assert_eq!(changes(&mut a), []);
    // And takes it back in good order once the second one has let go, tombstone or not.
    b.remove(at(3), &station(1));
    carry(at(3), &b, b.me(), &mut a);
    a.put(at(3), station(1), CLAIM).unwrap();
    assert_eq!(a.mine(&station(1)), Some(&Value::Mac(Mobility { sequence: 2, orderly: true })));
}

#[test]
fn of_equal_claims_the_lowest_vtep_wins_and_the_order_of_arrival_does_not_matter() {
    // 192.0.2.2 and 192.0.2.3, whose ids stand the other way round.
    let (mut low, mut high) = (node(2, 1), node(3, 1));
    let record = |address: u8| {
        let address = IpAddr::from([192, 0, 2, address]);
        let text = || "x".to_owned();
        let record = NodeRecord { name: text(), address, control_port: 1, version: text(), signer: false };
        Value::Node(Box::new(record))
    };
    low.put(at(0), Key::Node, record(9)).unwrap();
    for table in [&mut low, &mut high] {
        table.put(at(0), station(1), CLAIM).unwrap();
        table.put(at(0), Key::Ip(vni(), ip(1)), Value::Ip(mac(1))).unwrap();
    }
    let mut third = node(4, 1);
    carry(at(0), &low, low.me(), &mut third);
    carry(at(0), &high, high.me(), &mut third);
    carry(at(0), &low, low.me(), &mut high);
    carry(at(0), &high, high.me(), &mut low);
    for table in [&low, &high, &third] {
        assert_eq!(table.owner(vni(), mac(1)), Some(NodeId(3)), "192.0.2.3 is lower than 192.0.2.9");
    }
    // A VTEP that gets a lower address gets the station.
    changes(&mut third);
    low.put(at(1), Key::Node, record(1)).unwrap();
    carry(at(1), &low, low.me(), &mut third);
    assert_eq!(third.owner(vni(), mac(1)), Some(NodeId(2)));
    let moved = Change::Mac { vni: vni(), mac: mac(1), owner: Some(NodeId(2)) };
    assert!(changes(&mut third).contains(&moved));
}

/// Two nodes claim one station in turn, and each hears of the other's claim. Returns how many were made.
fn flap(a: &mut Table, b: &mut Table, from: u64, times: u64, detach: bool) -> usize {
    let mut claims = 0;
    for turn in 0..times {
        let (here, there) = if turn % 2 == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        let now = at(from + turn);
        if detach {
            there.remove(now, &station(1));
            carry(now, there, there.me(), here);
        }
        let before = here.version();
        let allowed = here.put(now, station(1), CLAIM).is_ok();
        claims += usize::from(allowed && here.version() > before);
        carry(now, here, here.me(), there);
    }
    claims
}

#[test]
fn five_moves_in_180_seconds_freeze_an_address_until_it_was_quiet() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    b.put(at(0), station(1), CLAIM).unwrap();
    carry(at(0), &b, b.me(), &mut a);
    assert_eq!(flap(&mut a, &mut b, 1, 20, false), 5);
    let owner = NodeId(1);
    assert_eq!((a.owner(vni(), mac(1)), b.owner(vni(), mac(1))), (Some(owner), Some(owner)));
    let frozen = Change::MacFrozen { vni: vni(), mac: mac(1), owner };
    for table in [&mut a, &mut b] {
        assert_eq!(changes(table).iter().filter(|change| **change == frozen).count(), 1);
    }
    let error = b.put(at(30), station(1), CLAIM).unwrap_err();
    assert!(matches!(error, PutError::Frozen { .. }) && error.to_string().contains("frozen at node"), "{error}");
    // A container that is really moved, after a detach, is let go.
    let mut c = node(3, 1);
    carry(at(30), &a, a.me(), &mut c);
    assert!(b.put(at(184), station(1), CLAIM).is_err(), "the last move was at 5");
    a.tick(at(186));
    b.tick(at(186));
    assert!(changes(&mut b).contains(&Change::MacThawed { vni: vni(), mac: mac(1) }));
    b.put(at(186), station(1), CLAIM).unwrap();
    carry(at(186), &b, b.me(), &mut a);
    assert_eq!(a.owner(vni(), mac(1)), Some(NodeId(2)));
}

#[test]
fn moves_after_a_detach_are_not_counted() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    assert_eq!(flap(&mut a, &mut b, 1, 20, true), 20);
    let moved = changes(&mut a).into_iter().filter(|change| matches!(change, Change::MacFrozen { .. })).count();
    assert_eq!((moved, a.is_frozen(at(21), vni(), mac(1))), (0, false));
}

#[test]
fn an_address_that_two_have_is_reported_once_and_only_if_it_lasts() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    for (table, station) in [(&mut a, 1), (&mut b, 2)] {
        table.put(at(0), Key::Mac(vni(), mac(7)), CLAIM).unwrap();
        table.put(at(0), Key::Ip(vni(), ip(7)), Value::Ip(mac(station))).unwrap();
    }
    carry(at(10), &a, a.me(), &mut b);
    b.tick(at(12));
    assert!(!changes(&mut b).iter().any(|change| matches!(change, Change::DuplicateMac { .. })), "a move");
    b.tick(at(13));
    b.tick(at(14));
    let reports: Vec<_> = changes(&mut b);
    let nodes = vec![NodeId(1), NodeId(2)];
    let holders = vec![(mac(1), NodeId(1)), (mac(2), NodeId(2))];
    assert_eq!(
        reports,
        [
            Change::DuplicateMac { vni: vni(), mac: mac(7), nodes },
            Change::DuplicateIp { vni: vni(), ip: ip(7), holders },
        ]
    );
    // The same station at two nodes is one duplicate, not two.
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    for table in [&mut a, &mut b] {
        table.put(at(0), Key::Ip(vni(), ip(7)), Value::Ip(mac(1))).unwrap();
    }
    carry(at(0), &a, a.me(), &mut b);
    changes(&mut b);
    b.tick(at(9));
    assert_eq!(changes(&mut b), []);
}

#[test]
fn a_dead_node_leaves_the_flood_list_at_once_and_its_stations_after_silence() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), Key::Member(vni()), Value::Member).unwrap();
    a.put(at(0), station(1), CLAIM).unwrap();
    a.put(at(0), Key::Block(vni(), "10.77.0.0/28".parse().unwrap()), Value::Block).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    let seen = b.position(NodeId(1));
    changes(&mut b);
    let gone = Change::Member { vni: vni(), node: NodeId(1), present: false };
    b.suspend(at(10), NodeId(1));
    assert_eq!((changes(&mut b), b.members(vni()).count()), (vec![gone], 0));
    b.tick(at(39));
    b.heard(at(39), NodeId(1));
    b.tick(at(68));
    assert_eq!((changes(&mut b), b.owner(vni(), mac(1))), (vec![], Some(NodeId(1))));
    b.tick(at(69));
    let silent = Change::Mac { vni: vni(), mac: mac(1), owner: None };
    assert_eq!((changes(&mut b), b.owner(vni(), mac(1)), b.blocks(vni()).count()), (vec![silent], None, 1));
    // Back in the same life: nothing is sent, all is there.
    b.unsuspend(at(3600), NodeId(1));
    assert_eq!((b.owner(vni(), mac(1)), b.position(NodeId(1)), changes(&mut b).len()), (Some(NodeId(1)), seen, 2));

    // Dead for a day: gone, and no neighbour's copy is taken until it lives again.
    b.suspend(at(4000), NodeId(1));
    b.tick(at(4030));
    b.tick(at(4000 + 86_400));
    assert_eq!((b.position(NodeId(1)), b.blocks(vni()).count(), b.node(NodeId(1))), (None, 0, None));
    let copy = a.snapshot(a.me(), 0, 1 << 20).unwrap();
    assert_eq!(b.apply(at(90_500), copy.clone()), Ok(Outcome::Known));
    b.unsuspend(at(90_600), NodeId(1));
    assert_eq!(b.apply(at(90_600), copy.clone()), Ok(Outcome::Applied));
    // Removed by a person: never again.
    b.forget(at(90_700), NodeId(1));
    assert_eq!((b.owner(vni(), mac(1)), b.apply(at(90_700), copy)), (None, Err(Refused::Gone)));
}

#[test]
fn a_dead_nodes_stations_can_be_claimed_in_good_order() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), station(1), CLAIM).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    b.suspend(at(1), NodeId(1));
    b.put(at(2), station(1), CLAIM).unwrap();
    assert_eq!(b.mine(&station(1)), Some(&Value::Mac(Mobility { sequence: 1, orderly: true })));
}

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
fn what_a_broken_or_hostile_member_sends_changes_nothing() {
    use v1::key::Of;
    let limits = Limits { origins: 3, keys_per_origin: 4, keys: 100, name_bytes: 8, ..Limits::default() };
    let mut table = Table::new(origin(9, 1), limits);
    let record = |seq, of| v1::Record { seq, key: Some(v1::Key { vni: 4096, of: Some(of) }), value: None };
    let member = |seq| record(seq, Of::Member(true));
    let station = |seq, last| record(seq, Of::Mac(vec![2, 0, 0, 0, 0, last]));
    let good = v1::Delta { node: 1, incarnation: 1, after: 0, to: 5, head: 5, ..v1::Delta::default() };
    let with = |records: Vec<v1::Record>| v1::Delta { records, ..good.clone() };
    let value = |of| Some(v1::Value { of: Some(of) });
    let text = |text: &str| record(1, Of::Name(text.into()));
    let block = |address: &[u8], bits| record(1, Of::Block(v1::Prefix { address: address.to_vec(), bits }));
    let many = (1..=5).map(|seq| station(seq, seq as u8)).collect();
    let sequence = v1::Mobility { sequence: wire::MAX_MOVES + 1, orderly: true };
    let refused = [
        (v1::Delta { incarnation: 0, ..good.clone() }, Refused::Sequence),
        (v1::Delta { incarnation: u64::MAX, ..good.clone() }, Refused::Sequence),
        (v1::Delta { head: u64::MAX, ..good.clone() }, Refused::Sequence),
        (v1::Delta { to: wire::MAX_JUMP + 1, head: wire::MAX_SEQUENCE, ..good.clone() }, Refused::Sequence),
        (v1::Delta { after: 6, ..good.clone() }, Refused::Sequence),
        (v1::Delta { head: 4, ..good.clone() }, Refused::Sequence),
        (v1::Delta { floor: 7, ..good.clone() }, Refused::Sequence),
        (with(vec![member(6)]), Refused::Sequence),
        (with(vec![member(0)]), Refused::Sequence),
        (with(vec![member(2), member(2)]), Refused::Sequence),
        (with(vec![v1::Record { key: None, ..member(1) }]), Refused::Missing),
        (with(vec![v1::Record { key: Some(v1::Key { vni: 4096, of: None }), ..member(1) }]), Refused::Missing),
        (
            with(vec![v1::Record { key: Some(v1::Key { vni: 0, of: Some(Of::Member(true)) }), ..member(1) }]),
            Refused::Vni,
        ),
        (
            with(vec![v1::Record { key: Some(v1::Key { vni: 1 << 24, of: Some(Of::Member(true)) }), ..member(1) }]),
            Refused::Vni,
        ),
        (with(vec![record(1, Of::Node(true))]), Refused::Vni),
        (with(vec![record(1, Of::Mac(vec![2; 5]))]), Refused::Address),
        (with(vec![record(1, Of::Mac(vec![3; 6]))]), Refused::Address),
        (with(vec![record(1, Of::Mac(vec![0; 6]))]), Refused::Address),
        (with(vec![record(1, Of::Ip(vec![10; 5]))]), Refused::Address),
        (with(vec![record(1, Of::Ip(vec![224, 0, 0, 1]))]), Refused::Address),
        (with(vec![block(&[10, 0, 0, 1], 28)]), Refused::Prefix),
        (with(vec![block(&[10, 0, 0, 0], 33)]), Refused::Prefix),
        (with(vec![text("too long!")]), Refused::Text),
        (with(vec![text("")]), Refused::Text),
        (with(vec![text("a\u{1b}b")]), Refused::Text),
        (with(vec![v1::Record { value: value(v1::value::Of::Ip(vec![2; 6])), ..station(1, 1) }]), Refused::Kind),
        (with(vec![v1::Record { value: value(v1::value::Of::Mac(sequence)), ..station(1, 1) }]), Refused::Sequence),
        (with(many), Refused::Quota),
    ];
    for (delta, why) in refused {
        assert_eq!(table.apply(at(0), delta.clone()), Err(why), "{delta:?}");
    }
    assert_eq!((table.store.len(), table.sources.len(), table.version()), (0, 1, 0));

    // The last one that fits, and origins without end.
    assert_eq!(table.apply(at(0), with((1..=4).map(|seq| station(seq, seq as u8)).collect())), Ok(Outcome::Applied));
    let fifth = v1::Delta { after: 5, to: 6, head: 6, records: vec![station(6, 9)], ..good.clone() };
    assert_eq!(table.apply(at(0), fifth), Err(Refused::Quota));
    assert_eq!(table.apply(at(0), v1::Delta { node: 2, ..good.clone() }), Ok(Outcome::Applied));
    assert_eq!(table.apply(at(0), v1::Delta { node: 3, ..good.clone() }), Err(Refused::Quota));
    // This node's own log is written by nobody else.
    let mine = v1::Delta { node: 9, records: vec![station(1, 1)], ..good };
    assert_eq!(table.apply(at(0), mine), Ok(Outcome::Known));
    assert_eq!(changes(&mut table), [Change::Usurped { incarnation: 1 }]);
    table.reincarnate(at(0), 7);
    assert_eq!(table.me().incarnation, 7);
}

#[test]
fn a_node_cannot_put_what_others_would_refuse() {
    let mut table = Table::new(origin(1, 1), Limits { keys_per_origin: 1, ..Limits::default() });
    let group = Key::Mac(vni(), Mac::new([3, 0, 0, 0, 0, 1]));
    assert_eq!(table.put(at(0), group, CLAIM), Err(PutError::Unfit(Refused::Address)));
    assert_eq!(table.put(at(0), station(1), Value::Member), Err(PutError::Unfit(Refused::Missing)));
    table.put(at(0), station(1), CLAIM).unwrap();
    assert_eq!(table.put(at(0), station(2), CLAIM), Err(PutError::Full(1)));
    assert_eq!(table.position(NodeId(1)).unwrap().applied, 1);
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
