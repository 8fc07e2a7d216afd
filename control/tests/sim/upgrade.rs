//! A cluster that is upgraded one node after another: versions N and N+1 side by side, and what no version of both can
//! understand.

use std::time::Duration;

use prost::Message as _;
use weft_control::cluster::{Event, Input};
use weft_control::objects::Kind;
use weft_control::table::{Key, OtherKey, Value};
use weft_proto::v1;

use crate::check::{false_deaths, members, objects, tables, within};
use crate::seeds;
use crate::spread::station;
use crate::world::World;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A record of a kind that only the later version knows.
fn later(node: usize) -> (Key, Value) {
    let data = format!("a port mapping of {node}").into_bytes().into();
    (Key::Other(Box::new(OtherKey { vni: 4096, kind: 9, data })), Value::Other(Box::new([1, 2, node as u8])))
}

/// What a later version sends in place of a frame, as it is read: a kind and a field that this one does not know.
pub(crate) fn sent_later(frame: &v1::Frame) -> Vec<v1::Frame> {
    let read = |bytes: &[u8]| v1::Frame::decode(bytes).expect("unknown fields can be read over");
    // Field 20, three octets long; field 99, a number.
    vec![read(&[0xa2, 1, 3, 7, 7, 7]), read(&[&frame.encode_to_vec()[..], &[0x98, 6, 1]].concat())]
}

fn restart(world: &mut World, node: usize, protocol: std::ops::RangeInclusive<u32>) {
    world.kill(node, false);
    world.nodes[node].protocol = protocol;
    world.run(Duration::from_millis(300));
    world.start(node);
}

fn equal(world: &World) -> Result<(), String> {
    members(world).and_then(|()| tables(world)).and_then(|()| objects(world))
}

/// Above 16 nodes records reach some nodes by others alone, which may be of the version that does not know them.
fn one_after_another(count: usize, seed: u64) {
    let mut world = World::cluster(count, seed, secs(5));
    (0..count).for_each(|node| {
        let (key, value) = station(node as u64);
        world.put(node, key, value);
    });
    for node in 0..count {
        let (key, value) = later(node);
        world.nodes[node].records.insert(key, value);
        restart(&mut world, node, 1..=2);
        if node == count / 2 {
            let value = b"{\"of\":\"a later version\"}".to_vec();
            world.input(node, Input::PutObject { kind: Kind::Other(77), id: "new".to_owned(), value });
            within(&mut world, secs(20), equal);
        }
    }
    within(&mut world, secs(20), equal);
    // The version after that speaks the first no more.
    for node in 0..count {
        restart(&mut world, node, 2..=2);
        if node == count / 2 {
            within(&mut world, secs(20), equal);
        }
    }
    within(&mut world, secs(20), equal);
    assert_eq!(false_deaths(&world, |_| true), [""; 0]);
    for it in &world.nodes {
        let wrong =
            |(_, event): &&(Duration, Event)| matches!(event, Event::Refused { .. } | Event::Incompatible { .. });
        assert_eq!(it.events.iter().find(wrong), None);
    }
}

#[test]
fn versions_stand_beside_each_other_and_keep_what_only_one_of_them_knows() {
    seeds::each(2, |seed| {
        one_after_another(5, seed);
        one_after_another(24, seed);
    });
}

#[test]
fn who_was_not_upgraded_in_time_is_told_and_so_are_the_others() {
    seeds::each(2, |seed| {
        let mut world = World::cluster(6, seed, secs(5));
        for protocol in [1..=2, 2..=2] {
            (1..6).for_each(|node| restart(&mut world, node, protocol.clone()));
            world.run(secs(5));
        }
        let (key, value) = station(1);
        world.put(1, key.clone(), value);
        world.run(secs(10));
        let told = |world: &World, node: usize, of: usize, theirs, ours| {
            let of = world.nodes[of].id;
            world.nodes[node].events.iter().any(|(_, event)| match event {
                Event::Incompatible { who, theirs: t, ours: o } => who.node == of && (*t, *o) == (theirs, ours),
                _ => false,
            })
        };
        for other in 1..6 {
            assert!(told(&world, 0, other, (2, 2), (1, 1)), "{other} is not told of: {:?}", world.nodes[0].events);
            assert!(told(&world, other, 0, (1, 1), (2, 2)), "{other} is not told");
        }
        // Nobody gives it what it would misread, and the others do not mind.
        let has = |world: &World, node: usize| {
            let (_, cluster) = world.up().nth(node).expect("all are up");
            cluster.table().records(world.nodes[1].id).any(|(_, it, _)| *it == key)
        };
        assert_eq!([0, 2, 3, 4, 5].map(|node| has(&world, node)), [false, true, true, true, true]);
        restart(&mut world, 0, 1..=2);
        within(&mut world, secs(20), equal);
    });
}
