//! Who is there: joins, deaths, pauses, partitions, restarts, farewells.

use std::time::Duration;

use weft_control::cluster::{Event, Input};
use weft_control::membership::State;
use weft_control::objects::Kind;

use crate::check::{deaths, false_deaths, members, percentile, state, within};
use crate::seeds;
use crate::spread::station;
use crate::world::World;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn nodes_that_join_one_after_the_other_all_see_each_other() {
    seeds::each(3, |seed| {
        let mut world = World::new(20, seed);
        world.start(0);
        for node in 1..20 {
            world.run(Duration::from_millis(100));
            world.join(node, node / 2);
        }
        let took = within(&mut world, secs(5), members);
        assert!(took <= secs(3), "{took:?}");
        // Everybody is told of the others by name, once.
        for (node, it) in world.nodes.iter().enumerate() {
            let joined = it.events.iter().filter_map(|(_, event)| match event {
                Event::Joined(who) => Some(who.name.clone().unwrap_or_else(|| who.to_string())),
                _ => None,
            });
            let mut joined: Vec<_> = joined.collect();
            let mut others: Vec<_> = (0..20).filter(|other| *other != node).map(|other| format!("n{other}")).collect();
            joined.sort();
            others.sort();
            assert_eq!(joined, others, "node {node}");
        }
    });
}

/// kill -9 on any node is noticed by 99 of 100 others within 5 s, also if its machine fails and nothing closes its streams.
fn deaths_of(count: usize, machine: bool, kills: u64) {
    let mut times = Vec::new();
    seeds::each(kills, |seed| {
        let mut world = World::cluster(count, seed, secs(5));
        within(&mut world, secs(5), members);
        let begin = world.now;
        world.kill(0, machine);
        within(&mut world, secs(15), members);
        assert_eq!(false_deaths(&world, |node| node != 0), [""; 0]);
        let died = deaths(&world, 0, begin);
        assert_eq!(died.len(), count - 1);
        times.extend(died);
    });
    let p99 = percentile(&mut times, 99);
    assert!(p99 <= secs(5), "{count} nodes, machine {machine}: {p99:?}");
    println!("{count} nodes, machine {machine}: p50 {:?}, p99 {p99:?}", percentile(&mut times, 50));
}

#[test]
fn a_killed_process_is_dead_within_five_seconds() {
    deaths_of(3, false, 5);
    deaths_of(10, false, 3);
    deaths_of(30, false, 2);
}

#[test]
fn a_failed_machine_is_dead_within_five_seconds() {
    deaths_of(3, true, 5);
    deaths_of(10, true, 3);
}

#[test]
fn a_node_that_pauses_declares_nobody_dead_and_is_not_away_for_long() {
    seeds::each(2, |seed| {
        let mut world = World::cluster(10, seed, secs(5));
        for pause in [1, 4, 30, 120] {
            world.stall(3, secs(pause));
            world.run(secs(pause));
            within(&mut world, secs(10), members);
        }
        assert_eq!(false_deaths(&world, |node| node != 3), [""; 0]);
        let paused = |(_, event): &(Duration, Event)| matches!(event, Event::Paused(_));
        assert!(world.nodes[3].events.iter().any(paused));
    });
}

#[test]
fn a_clock_that_jumps_harms_nobody() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(20, seed, secs(5));
        world.nodes[3].mono_ahead = secs(3600);
        world.nodes[4].wall_ahead_ms = -1_000_000_000;
        world.nodes[5].wall_ahead_ms = 1_000_000_000;
        world.run(secs(30));
        members(&world).unwrap();
        assert_eq!(false_deaths(&world, |_| true), [""; 0]);
        // Both hear it from their neighbours, and these tell of nobody else.
        let told = |world: &World, node: usize| {
            let clocks = world.nodes[node].events.iter().filter_map(|(_, event)| match event {
                Event::Clock { who, ahead_ms } => Some((who.as_ref().map(|who| who.node), ahead_ms.map(i64::signum))),
                _ => None,
            });
            clocks.collect::<Vec<_>>()
        };
        let wrong = [(4, -1), (5, 1)];
        for (node, way) in wrong {
            assert!(told(&world, node).contains(&(None, Some(way))), "{node}: {:?}", told(&world, node));
        }
        let others: Vec<_> =
            (0..20).filter(|node| ![4, 5].contains(node)).flat_map(|node| told(&world, node)).collect();
        assert!(!others.is_empty());
        for told in others {
            assert!(wrong.iter().any(|(node, way)| told == (Some(world.nodes[*node].id), Some(*way))), "{told:?}");
        }
        // Right again.
        world.nodes[4].wall_ahead_ms = 0;
        world.run(secs(5));
        assert!(told(&world, 4).ends_with(&[(None, None)]), "{:?}", told(&world, 4));
    });
}

#[test]
fn one_way_trouble_between_two_nodes_makes_nobody_flap() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(10, seed, secs(5));
        world.net.block(2, 7);
        world.net.block(8, 3);
        world.run(secs(120));
        assert_eq!(false_deaths(&world, |_| true), [""; 0]);
        world.net.heal();
        within(&mut world, secs(10), members);
    });
}

#[test]
fn a_node_that_hears_nobody_is_the_one_that_dies() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(20, seed, secs(5));
        (0..20).filter(|other| *other != 3).for_each(|other| world.net.block(other, 3));
        let from_the_others = |world: &World| {
            let deaths = false_deaths(world, |node| node != 3);
            deaths.into_iter().filter(|death| !death.contains("node 3 declared")).collect::<Vec<_>>()
        };
        world.run(secs(60));
        assert_eq!(from_the_others(&world), [""; 0]);
        assert!(!deaths(&world, 3, Duration::ZERO).is_empty());
        world.net.heal();
        within(&mut world, secs(20), members);
    });
}

#[test]
fn halves_of_a_partition_find_each_other_again() {
    seeds::each(3, |seed| {
        for (count, away) in [(2, 60), (3, 60), (30, 60)] {
            let mut world = World::cluster(count, seed, secs(5));
            world.net.partition(|node| u8::from(node >= count / 2));
            world.run(secs(away));
            for (node, cluster) in world.up() {
                for (other, it) in world.nodes.iter().enumerate() {
                    let together = (node >= count / 2) == (other >= count / 2);
                    let expected = if together { State::Alive } else { State::Dead };
                    assert_eq!(state(cluster, it.id), Some(expected), "{node} about {other} of {count}");
                }
            }
            world.net.heal();
            let took = within(&mut world, secs(30), members);
            println!("{count} nodes are together again {took:?} after a partition of {away} s");
        }
    });
}

#[test]
fn a_restart_is_seen_as_one_by_all() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(20, seed, secs(5));
        for away in [Duration::from_millis(300), secs(20)] {
            world.kill(3, false);
            world.run(away);
            world.start(3);
            within(&mut world, secs(10), members);
        }
        let restarted =
            |(_, event): &(Duration, Event)| matches!(event, Event::Restarted(who) if who.node == world.nodes[3].id);
        for node in (0..20).filter(|node| *node != 3) {
            assert!(world.nodes[node].events.iter().any(restarted), "node {node}: {:?}", world.nodes[node].events);
        }
    });
}

#[test]
fn a_whole_cluster_that_restarts_finds_itself_from_what_it_saved() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(10, seed, secs(5));
        (0..10).for_each(|node| world.kill(node, true));
        world.run(secs(600));
        for node in 0..10 {
            world.start(node);
            world.run(secs(3));
        }
        within(&mut world, secs(20), members);
    });
}

#[test]
fn who_leaves_has_left_and_is_not_dead() {
    seeds::each(3, |seed| {
        let mut world = World::cluster(30, seed, secs(5));
        world.net.loss = 0.05;
        world.input(3, Input::Leave);
        world.run(secs(10));
        assert!(!world.is_up(3));
        let left = world.nodes[3].id;
        for (node, cluster) in world.up() {
            assert_eq!(state(cluster, left), Some(State::Left), "node {node}");
            let name = cluster.members().find(|member| member.node == left).unwrap().name;
            assert!(name.is_some(), "node {node} has forgotten who it was");
        }
        assert!(deaths(&world, 3, Duration::ZERO).is_empty());
        members(&world).unwrap();
    });
}

#[test]
fn who_is_evicted_is_gone_for_good_however_it_tries() {
    seeds::each(2, |seed| {
        let mut world = World::cluster(20, seed, secs(5));
        let (key, value) = station(3);
        world.put(3, key, value);
        world.run(secs(1));
        let evicted = world.nodes[3].id;
        world.input(9, Input::PutObject { kind: Kind::Denied, id: evicted.to_string(), value: b"{}".to_vec() });
        let gone = |world: &World| {
            for (node, cluster) in world.up().filter(|(node, _)| *node != 3) {
                if state(cluster, evicted).is_some() || cluster.table().records(evicted).next().is_some() {
                    let denied = cluster.objects().iter(Kind::Denied).count();
                    return Err(format!(
                        "node {node} still knows it as {:?}, with {denied} denied",
                        state(cluster, evicted)
                    ));
                }
            }
            Ok(())
        };
        within(&mut world, secs(2), gone);
        // It goes on, restarts, and is still refused; so is it by a node that restarts.
        world.run(secs(30));
        world.kill(3, false);
        world.start(3);
        world.kill(12, false);
        world.start(12);
        world.run(secs(30));
        gone(&world).unwrap();
        assert!(world.nodes[3].events.iter().any(|(_, event)| matches!(event, Event::EvictedHere)));
        assert_eq!(
            false_deaths(&world, |node| node != 3 && node != 12).iter().filter(|d| !d.contains("node 3 ")).count(),
            0
        );
    });
}

/// What a member that was broken into says of another, in a datagram as `membership::codec` has it.
fn slander(world: &World, from: usize, to: usize, of: usize, incarnation: u64) -> Vec<u8> {
    let identity = |node: usize, incarnation: u64, renewal: u32, leaving: bool| {
        let of = world.up().find(|(up, _)| *up == node).unwrap().1;
        let me = of.members().next().unwrap();
        let std::net::IpAddr::V4(ip) = me.address.ip() else { panic!("an address of the test's") };
        let incarnation = if incarnation == 0 { me.incarnation } else { incarnation };
        let mut out = [me.node.0.to_be_bytes(), incarnation.to_be_bytes()].concat();
        out.extend(renewal.to_be_bytes());
        out.push(if leaving { 2 } else { 0 });
        out.extend(ip.octets());
        out.extend(me.address.port().to_be_bytes());
        out
    };
    let mut out = vec![1];
    out.extend(identity(from, 0, 0, false));
    out.extend([0, 0]);
    out.extend(identity(to, 0, 0, false));
    out.extend([9, 0, 0, 1]);
    out.extend(identity(of, incarnation, u32::MAX, true));
    out.extend([0, 0, 2]);
    out
}

#[test]
fn who_is_slandered_is_back_within_seconds() {
    seeds::each(2, |seed| {
        for incarnation in [u64::MAX - 1, (1 << 48) + 1, 1 << 48, 0] {
            let mut world = World::cluster(20, seed, secs(5));
            let (from, of) = (world.nodes[7].id, world.nodes[3].id);
            for to in [0, 9, 15] {
                let datagram = slander(&world, 7, to, 3, incarnation);
                world.input(to, Input::Swim { peer: from, datagram: datagram.into() });
            }
            world.run(secs(1));
            let believed = world.up().filter(|(_, cluster)| state(cluster, of) == Some(State::Left)).count();
            assert_eq!(believed > 0, incarnation <= 1 << 48, "{believed} believed {incarnation}");
            within(&mut world, secs(30), members);
            // The same once more, of the life that it is in now.
            world.run(secs(20));
            for to in [0, 9, 15] {
                let datagram = slander(&world, 7, to, 3, 0);
                world.input(to, Input::Swim { peer: from, datagram: datagram.into() });
            }
            world.run(secs(1));
            assert!(world.up().any(|(_, cluster)| state(cluster, of) == Some(State::Left)));
            within(&mut world, secs(30), members);
        }
    });
}
