//! What a million stations cost in one node's table, and how long it takes to hear of them.

use std::time::{Duration, Instant};

use weft_control::id::{NodeId, Origin};
use weft_control::table::{Limits, Outcome, Table};
use weft_proto::v1;

const NODES: u64 = 10;
const STATIONS: u64 = 100_000;
/// Records of one part: about 128 KB on the wire.
const PART: u64 = 4000;

/// A part of a node's log in which each record is a station.
fn part(node: u64, after: u64) -> v1::Delta {
    let to = (after + PART).min(STATIONS);
    let records = (after + 1..=to).map(|seq| {
        let octets = (0x0200_0000_0000 | node << 32 | seq).to_be_bytes();
        let key = v1::Key { vni: 4096, of: Some(v1::key::Of::Mac(octets[2..].to_vec())) };
        let value = v1::Value { of: Some(v1::value::Of::Mac(v1::Mobility { sequence: 0, orderly: false })) };
        v1::Record { seq, key: Some(key), value: Some(value) }
    });
    v1::Delta {
        node,
        incarnation: 1,
        after,
        to,
        records: records.collect(),
        snapshot: true,
        complete: to == STATIONS,
        floor: 0,
        head: STATIONS,
    }
}

fn hear(table: &mut Table, node: u64) {
    let mut after = 0;
    while after < STATIONS {
        let part = part(node, after);
        after = part.to;
        assert_eq!(table.apply(Duration::ZERO, part), Ok(Outcome::Applied));
        while table.poll_change().is_some() {}
    }
}

fn table() -> Table {
    Table::new(Origin { node: NodeId(1000), incarnation: 1 }, Limits::default())
}

#[test]
fn a_station_costs_at_most_120_bytes_among_a_million() {
    let (mut kept, mut peak) = (None, 0);
    let cost = allocation_counter::measure(|| {
        let mut table = table();
        let inner = allocation_counter::measure(|| (1..=NODES).for_each(|node| hear(&mut table, node)));
        peak = inner.bytes_max;
        kept = Some(table);
    });
    let table = kept.expect("measured");
    let stations = (1..=NODES).map(|node| table.records(NodeId(node)).count() as u64).sum::<u64>();
    assert_eq!(stations, NODES * STATIONS);
    let each = cost.bytes_current as f64 / stations as f64;
    println!("{each:.1} bytes of heap for each of {stations} stations, {} MB at most", peak >> 20);
    assert!(each <= 120.0, "{each} bytes");
}

#[test]
fn a_hundred_thousand_stations_are_heard_of_in_well_under_a_second() {
    let parts: Vec<_> = (0..STATIONS).step_by(PART as usize).map(|after| part(1, after)).collect();
    let mut table = table();
    let start = Instant::now();
    for part in parts {
        assert_eq!(table.apply(Duration::ZERO, part), Ok(Outcome::Applied));
        while table.poll_change().is_some() {}
    }
    let took = start.elapsed();
    println!("{STATIONS} stations in {} ms", took.as_millis());
    // Without optimisation it says nothing.
    assert!(cfg!(debug_assertions) || took < Duration::from_millis(500), "{took:?}");
}
