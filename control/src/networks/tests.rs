//! What a node sees of networks that were made where nodes did not see each other.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::network::tests::sample;

const ME: NodeId = NodeId(1);

fn changes(registry: &mut Registry) -> Vec<Change> {
    std::iter::from_fn(|| registry.poll()).collect()
}

fn names(registry: &Registry) -> Vec<(&str, u32)> {
    registry.iter().map(|n| (n.name.as_str(), n.vni.get())).collect()
}

#[test]
fn a_network_comes_and_goes() {
    let mut registry = Registry::new();
    let blue = sample("blue", "aa", 7);
    registry.set(1, ME, blue.clone());
    assert_eq!(changes(&mut registry), [Change::Placed(blue.clone())]);
    registry.set(1, ME, blue.clone());
    assert_eq!(changes(&mut registry), []);
    registry.remove("aa");
    let vacated = Change::Vacated { id: "aa".into(), vni: blue.vni };
    assert_eq!(changes(&mut registry), [vacated, Change::Removed(blue)]);
}

#[test]
fn the_older_network_keeps_the_name_and_the_other_gets_it_back() {
    let mut registry = Registry::new();
    registry.set(9, ME, sample("blue", "aa", 7));
    changes(&mut registry);
    registry.set(5, ME, sample("blue", "bb", 8));
    let renamed = Change::Renamed { id: "aa".into(), from: "blue".into(), to: "blue~aa".into() };
    assert_eq!(changes(&mut registry), [renamed, Change::Placed(sample("blue", "bb", 8))]);
    assert_eq!(names(&registry), [("blue~aa", 7), ("blue", 8)]);
    registry.remove("bb");
    let all = changes(&mut registry);
    let back = Change::Renamed { id: "aa".into(), from: "blue~aa".into(), to: "blue".into() };
    assert_eq!(all.last(), Some(&back), "{all:?}");
    assert_eq!(back.to_string(), "the network `blue~aa` is called `blue` now");
}

#[test]
fn the_older_network_keeps_the_vni_and_the_other_moves_before_it_comes() {
    let mut registry = Registry::new();
    registry.set(9, ME, sample("red", "aa", 7));
    changes(&mut registry);
    registry.set(5, ME, sample("blue", "bb", 7));
    let elsewhere = vni::candidates("aa").next().unwrap();
    let seven = Vni::new(7).unwrap();
    let red = Network { vni: elsewhere, ..sample("red", "aa", 7) };
    assert_eq!(
        changes(&mut registry),
        [
            Change::Vacated { id: "aa".into(), vni: seven },
            Change::Renumbered { id: "aa".into(), name: "red".into(), from: seven, to: elsewhere },
            Change::Placed(red),
            Change::Placed(sample("blue", "bb", 7)),
        ]
    );
}

#[test]
fn of_two_as_old_as_each_other_the_lower_id_keeps() {
    let mut registry = Registry::new();
    registry.set(5, NodeId(2), sample("blue", "bb", 8));
    registry.set(5, NodeId(1), sample("blue", "aa", 7));
    changes(&mut registry);
    assert_eq!(names(&registry), [("blue", 7), ("blue~bb", 8)]);
}

#[test]
fn a_displaced_network_takes_no_innocent_ones_vni() {
    let mut registry = Registry::new();
    let wanted = vni::candidates("cc").next().unwrap().get();
    registry.set(1, ME, sample("a", "aa", 7));
    registry.set(2, ME, sample("c", "cc", 7));
    registry.set(3, ME, sample("b", "bb", wanted));
    changes(&mut registry);
    let second = vni::candidates("cc").nth(1).unwrap().get();
    assert_eq!(names(&registry), [("a", 7), ("b", wanted), ("c", second)]);
}

#[test]
fn a_renamed_networks_name_can_be_named_in_a_request() {
    let long = "n".repeat(64);
    let mut registry = Registry::new();
    registry.set(1, ME, sample(&long, "0123456789abcdef", 7));
    registry.set(2, ME, sample(&long, "0123456789abcdee", 8));
    registry.set(3, ME, sample(&long, "0123456789abcded", 9));
    changes(&mut registry);
    let seen: HashSet<_> = registry.iter().map(|n| n.name.clone()).collect();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().filter(|n| n.contains('~')).any(|n| n.len() == 64), "{seen:?}");
}

/// One step of a history: a network is written, or removed.
fn step() -> impl Strategy<Value = (u8, Option<(u64, u8, u32)>)> {
    (0u8..6, prop::option::weighted(0.8, (0u64..4, 0u8..3, 4096u32..4099)))
}

proptest! {
    #[test]
    fn every_order_ends_in_one_view_and_no_vni_ever_has_two(steps in prop::collection::vec(step(), 1..40)) {
        let mut registry = Registry::new();
        let mut objects = HashMap::new();
        // A data plane and a name table that do as they are told.
        let (mut placed, mut called) = (HashMap::new(), HashMap::new());
        for (id, written) in steps {
            let id = format!("{id:02x}");
            match written {
                Some((clock, name, vni)) => {
                    let network = sample(&format!("n{name}"), &id, vni);
                    registry.set(clock, ME, network.clone());
                    objects.insert(id, (clock, network));
                }
                None => {
                    registry.remove(&id);
                    objects.remove(&id);
                }
            }
            while let Some(change) = registry.poll() {
                match change {
                    Change::Vacated { id, vni } => prop_assert_eq!(placed.remove(&vni), Some(id)),
                    Change::Removed(network) => {
                        called.remove(&network.id);
                    }
                    Change::Renamed { id, from, to } => {
                        let before = called.insert(id, to);
                        prop_assert!(before.is_none_or(|before| before == from));
                    }
                    Change::Renumbered { .. } => {}
                    Change::Placed(network) => {
                        let before = called.insert(network.id.clone(), network.name.clone());
                        prop_assert!(before.is_none_or(|before| before == network.name));
                        prop_assert_eq!(placed.insert(network.vni, network.id), None);
                    }
                }
                let different: HashSet<_> = called.values().collect();
                prop_assert!(different.len() + 1 >= called.len());
            }
            let seen: HashMap<_, _> = registry.iter().map(|n| (n.vni, n.id.clone())).collect();
            prop_assert_eq!(&seen, &placed);
            let seen: HashMap<_, _> = registry.iter().map(|n| (n.id.clone(), n.name.clone())).collect();
            prop_assert_eq!(&seen, &called);
            prop_assert_eq!(called.values().collect::<HashSet<_>>().len(), called.len());
        }
        // Another node that hears only of what is left sees the same.
        let mut other = Registry::new();
        for (clock, network) in objects.into_values() {
            other.set(clock, ME, network);
        }
        changes(&mut other);
        prop_assert_eq!(other.iter().collect::<Vec<_>>(), registry.iter().collect::<Vec<_>>());
    }
}
