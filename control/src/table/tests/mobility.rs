//! Stations that several nodes claim (RFC 7432 section 15).

use super::*;

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
