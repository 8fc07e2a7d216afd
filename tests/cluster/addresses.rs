//! Addresses are given out once in the whole cluster, also when several nodes give them out at once.

use std::collections::BTreeMap;

use weft::lab::LabSpec;
use weft::sandbox::Netns;

use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text};

#[test]
fn an_address_that_is_asked_for_is_given_or_its_holder_is_named() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    cluster.json(0, "network create blue --subnet 10.1.0.0/24");
    cluster.converge();
    assert_eq!(cluster.json(1, "network inspect blue")["subnets"][0]["gateway"], "10.1.0.1", "kept for a router");
    // The node's own, next to it in the same block on another node, and far away from both.
    let held = cluster.attach(0, BLUE, "--ip 10.1.0.50/24");
    assert_eq!(held["ips"][0], "10.1.0.50/24");
    assert_eq!(cluster.attach(1, BLUE, "--ip 10.1.0.51")["ips"][0], "10.1.0.51/24");
    for n in [1, 2] {
        let netns = Netns::anonymous().unwrap();
        let line = format!("attach {BLUE} --netns {} --ip 10.1.0.50", netns.path().display());
        let said = cluster.refused(n, &line);
        assert!(said.contains("10.1.0.50") && said.contains("node1"), "{said}");
        let said = cluster.refused(n, &line.replace("10.1.0.50", "10.1.0.1"));
        assert!(said.contains("10.1.0.1") && said.contains("--gateway"), "{said}");
        let said = cluster.refused(n, &line.replace("10.1.0.50", "10.2.0.1"));
        assert!(said.contains("outside"), "{said}");
    }
    // Free again, it is handed over.
    cluster.json(0, &format!("detach {}", text(&held["endpoint"])));
    assert_eq!(cluster.attach(2, BLUE, "--ip 10.1.0.50")["ips"][0], "10.1.0.50/24");
    cluster.ping(1, "10.1.0.50".parse().unwrap());
}

/// The network is small: the nodes come into each other's way, and the last addresses are handed over one by one.
#[test]
fn no_address_is_given_twice_by_nodes_that_attach_at_once() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    // 62 addresses, of which one is the gateway's.
    cluster.json(0, "network create blue --plain --subnet 10.1.0.0/26 --subnet fd00:1::/64");
    cluster.converge();
    const EACH: usize = 20;
    let attach_all = |n: usize| {
        let netns = Netns::anonymous().unwrap();
        let mut given = Vec::new();
        for k in 0..EACH {
            let line = format!("attach {BLUE} --netns {} --ifname ov{k}", netns.path().display());
            // Where the others are in the way, a node says so.
            let output = cluster.run(n, &(line + " --json"));
            match output.status.success() {
                true => given.push(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()),
                false => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(said.contains("again"), "{said}");
                }
            }
        }
        (netns, given)
    };
    let all: Vec<(Netns, Vec<serde_json::Value>)> = std::thread::scope(|scope| {
        let attach_all = &attach_all;
        let threads = [0, 1, 2].map(|n| scope.spawn(move || attach_all(n)));
        threads.map(|thread| thread.join().unwrap()).into_iter().collect()
    });
    let endpoints = || all.iter().flat_map(|(_, given)| given);
    assert!(endpoints().count() >= 3 * EACH - 6, "{} of {} were attached", endpoints().count(), 3 * EACH);
    let mut holders: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in endpoints() {
        assert_eq!(endpoint["ips"].as_array().unwrap().len(), 2);
        for ip in endpoint["ips"].as_array().unwrap() {
            *holders.entry(text(ip)).or_default() += 1;
        }
        *holders.entry(text(&endpoint["mac"])).or_default() += 1;
    }
    let doubled: Vec<_> = holders.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    assert!(!holders.contains_key("10.1.0.1/26"), "the gateway was given away");
    let count = endpoints().count();
    for n in [0, 1, 2] {
        eventually("all know all", || cluster.json(n, "neigh").as_array().unwrap().len() == 2 * count);
        let events = cluster.events(n);
        assert!(!events.iter().any(|kind| kind.contains("duplicate") || kind.contains("conflict")), "{events:?}");
    }
}

/// What is given back is had again: the same few addresses serve any number of endpoints, on whichever node.
#[test]
fn addresses_go_round() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(2));
    // Five addresses beside the gateway's.
    cluster.json(0, "network create blue --subnet 10.1.0.0/29 --gateway 10.1.0.1");
    cluster.converge();
    let netns = [Netns::anonymous().unwrap(), Netns::anonymous().unwrap()];
    let attach =
        |n: usize, k: usize| format!("attach {BLUE} --netns {} --ifname ov{k} --json", netns[n].path().display());
    for _round in 0..3 {
        for n in [0, 1] {
            let mut endpoints = Vec::new();
            for k in 0..5 {
                // What the other node let go of is free as soon as that is heard here.
                eventually("there is an address", || {
                    let output = cluster.run(n, &attach(n, k));
                    let done = output.status.success();
                    if done {
                        endpoints.push(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap());
                    }
                    done
                });
            }
            let said = cluster.refused(n, &attach(n, 9));
            assert!(said.contains("no address is left"), "{said}");
            for endpoint in endpoints {
                cluster.json(n, &format!("detach {}", text(&endpoint["endpoint"])));
            }
        }
    }
}
