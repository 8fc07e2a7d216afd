//! Who has what: how records reach all tables.

use std::time::Duration;

use weft_control::table::{Change, Key, Mobility, Value};
use weft_vtep::addr::{Mac, Vni};

use crate::check::{members, percentile, tables, within};
use crate::seeds;
use crate::world::{Watch, World};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A station's record.
pub(crate) fn station(number: u64) -> (Key, Value) {
    let [_, _, _, a, b, c, d, e] = number.to_be_bytes();
    (Key::Mac(vni(), Mac::new([2, a, b, c, d, e])), Value::Mac(Mobility::default()))
}

fn vni() -> Vni {
    Vni::new(4096).expect("a VNI")
}

/// How long single updates take from a random node to each other one.
fn spread(count: usize, loss: f64, updates: u64, seed: u64) -> Vec<Duration> {
    let mut world = World::cluster(count, seed, secs(5));
    within(&mut world, secs(30), members);
    within(&mut world, secs(30), tables);
    world.net.loss = loss;
    world.run(secs(5));
    let mut times = Vec::new();
    for number in 0..updates {
        let node = world.random.below(count);
        let (key, value) = station(number);
        let Key::Mac(vni, mac) = key else { unreachable!("a station") };
        let change = Change::Mac { vni, mac, owner: Some(world.nodes[node].id) };
        world.watch = Some(Watch { change, seen: vec![None; count] });
        let begin = world.now;
        world.put(node, key, value);
        world.run(secs(3));
        let seen = world.watch.take().expect("it was set").seen;
        times.extend(seen.iter().map(|at| at.map_or(Duration::MAX, |at| at - begin)));
    }
    world.net.loss = 0.0;
    within(&mut world, secs(30), tables);
    times
}

#[test]
fn an_update_reaches_all() {
    for (loss, limit) in [(0.0, Duration::from_millis(250)), (0.05, secs(1))] {
        let mut times = Vec::new();
        seeds::each(2, |seed| times.extend(spread(60, loss, 5, seed)));
        let p99 = percentile(&mut times, 99);
        println!("60 nodes, loss {loss}: p50 {:?}, p99 {p99:?}", percentile(&mut times, 50));
        assert!(p99 <= limit, "loss {loss}: {p99:?}");
    }
}

#[test]
#[ignore = "the promise's count: for a release build"]
fn an_update_reaches_a_thousand() {
    for (loss, limit) in [(0.0, Duration::from_millis(250)), (0.05, secs(1))] {
        let mut times = Vec::new();
        seeds::each(1, |seed| times.extend(spread(seeds::many(), loss, 20, seed)));
        let p99 = percentile(&mut times, 99);
        println!("{} nodes, loss {loss}: p50 {:?}, p99 {p99:?}", seeds::many(), percentile(&mut times, 50));
        assert!(p99 <= limit, "loss {loss}: {p99:?}");
    }
}

#[test]
fn tables_are_equal_after_joins_changes_and_restarts() {
    seeds::each(3, |seed| {
        let mut world = World::new(24, seed);
        world.start(0);
        for node in 1..24 {
            world.join(node, node / 2);
            let (key, value) = station(node as u64);
            world.put(node, key, value);
            world.run(Duration::from_millis(200));
        }
        world.remove(7, station(7).0);
        world.kill(5, false);
        world.run(secs(1));
        world.nodes[5].records.insert(Key::Member(vni()), Value::Member);
        world.start(5);
        let took = within(&mut world, secs(30), tables);
        println!("equal after {took:?}");
    });
}
