//! What is refused, of others and of one's own.

use super::*;

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
        (v1::Delta { incarnation: 1 << 50, ..good.clone() }, Refused::Sequence),
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

/// One lying vector brought a node to a life that all others refused: its records were stale until all had restarted.
#[test]
fn whatever_a_node_is_told_of_its_lives_the_one_that_it_takes_is_taken_by_others() {
    let (mut table, mut other) = (node(1, 7), node(2, 1));
    let seen = 1 << 48;
    changes(&mut table);
    for claimed in [u64::MAX, (1 << 56) - 1, seen + (1 << 40), seen + 1] {
        assert!(!table.hear_of_me(claimed, 9, 0), "{claimed}");
    }
    assert_eq!(changes(&mut table), []);
    // As high as it may be, and then again and again in the life that it is in.
    for claimed in [seen, seen + 1, seen + 2, seen + 3] {
        assert!(table.hear_of_me(claimed, 1 << 20, 0));
        assert_eq!(changes(&mut table), [Change::Usurped { incarnation: claimed }]);
        table.reincarnate(at(0), claimed + 1);
        let part = table.snapshot(table.me(), 0, usize::MAX).expect("a log");
        assert_eq!(other.apply(at(0), part), Ok(Outcome::Applied));
    }
}
