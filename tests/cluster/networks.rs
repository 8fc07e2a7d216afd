//! Networks are the cluster's: made and removed on any node, the same on all.

use weft::lab::LabSpec;

use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text};

/// A network as it is shown, without what is only this node's.
fn shown(cluster: &Cluster, n: usize) -> Vec<serde_json::Value> {
    let mut networks = cluster.json(n, "network ls").as_array().unwrap().clone();
    for network in &mut networks {
        network.as_object_mut().unwrap().remove("endpoints");
    }
    networks
}

#[test]
fn a_network_is_seen_everywhere_and_removed_from_anywhere() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    let made = cluster.json(1, "network create blue --subnet 10.1.0.0/16 --subnet fd00:1::/64 -o vlan=keep");
    cluster.json(1, "network create green --plain --vni 7777 --internal");
    assert_eq!((&made["mode"], &made["mtu"]), (&"sealed".into(), &(1500 - 82 - 4).into()));
    for n in [0, 1, 2] {
        eventually("all nodes have both", || shown(&cluster, n).len() == 2);
        assert_eq!(shown(&cluster, n), shown(&cluster, 1));
        assert_eq!(cluster.json(n, "network inspect green")["vni"], 7777);
        let said = cluster.refused(n, "network create blue");
        assert!(said.contains("blue"), "{said}");
    }
    cluster.attach(2, "blue", "");
    eventually("the others know", || cluster.json(0, "neigh").as_array().is_some_and(|rows| rows.len() == 2));
    let said = cluster.refused(0, "network rm blue");
    assert!(said.contains("node3") && said.contains("detach"), "{said}");
    let said = cluster.refused(2, "network rm blue");
    assert!(said.contains(&cluster.endpoint(2)), "{said}");
    cluster.json(2, &format!("detach {}", cluster.endpoint(2)));
    eventually("it is free", || cluster.run(0, "network rm blue").status.success());
    for n in [0, 1, 2] {
        eventually("it is gone", || shown(&cluster, n).len() == 1);
        assert!(cluster.refused(n, "attach blue --netns /proc/self/ns/net").contains("no network"));
    }
    // The name is free, and what is made anew is another network.
    let again = cluster.json(2, "network create blue");
    assert_ne!(again["id"], made["id"]);
}

/// A node that is dead has containers all the same, and they come back with it.
#[test]
fn a_network_that_a_dead_node_uses_is_kept_for_it() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    for n in [0, 1] {
        cluster.json(n, &format!("detach {}", cluster.endpoint(n)));
    }
    cluster.crash(2);
    eventually("the killed node is dead", || cluster.state(0, 2) == "dead" && cluster.state(1, 2) == "dead");
    let said = cluster.refused(0, "network rm blue");
    assert!(said.contains("node3") && said.contains("members rm"), "{said}");
    cluster.start(2);
    eventually("it is back", || cluster.state(0, 2) == "alive");
    assert_eq!(cluster.json(2, "network inspect blue")["endpoints"].as_array().unwrap().len(), 1);
    cluster.crash(2);
    eventually("the killed node is dead", || cluster.state(0, 2) == "dead");
    cluster.json(0, "members rm node3");
    eventually("nobody uses it", || cluster.run(0, "network rm blue").status.success());
}

/// A range of eight addresses is shared by three nodes to the last one, and nothing outside it is given out unasked.
#[test]
fn a_range_bounds_what_is_given_out_but_not_what_is_asked_for() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    cluster.json(0, "network create blue --subnet 10.1.0.0/16 --ip-range 10.1.7.8/29");
    let subnets = |n: usize| cluster.json(n, "network inspect blue")["subnets"].clone();
    for n in [0, 1, 2] {
        eventually("all have it", || shown(&cluster, n).len() == 1);
        assert_eq!(subnets(n)[0]["ip_range"], "10.1.7.8/29");
    }
    let mut holders = Vec::new();
    let mut given = std::collections::BTreeSet::new();
    for n in [0, 1, 2, 0, 1, 2, 0, 1] {
        let netns = weft::sandbox::Netns::anonymous().unwrap();
        let attached = cluster.json(n, &format!("attach blue --netns {}", netns.path().display()));
        holders.push(netns);
        assert!(given.insert(text(&attached["ips"][0])), "{attached} was given twice: {given:?}");
    }
    let all: std::collections::BTreeSet<_> = (8..16).map(|last| format!("10.1.7.{last}/16")).collect();
    assert_eq!(given, all);
    let netns = weft::sandbox::Netns::anonymous().unwrap();
    let said = cluster.refused(2, &format!("attach blue --netns {}", netns.path().display()));
    assert!(said.contains("10.1.7.8/29") || said.contains("address"), "{said}");
    let asked = cluster.json(2, &format!("attach blue --netns {} --ip 10.1.200.1", netns.path().display()));
    assert_eq!(asked["ips"][0], "10.1.200.1/16");
}

/// Two nodes that could not hear of each other's network in time: one keeps the name, the other is kept too.
#[test]
fn a_name_that_two_nodes_give_at_once_is_given_to_one_and_nothing_is_lost() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    let lines = [(0, "network create blue --vni 5001"), (1, "network create blue --vni 5002")];
    // Which one hears of the other first is chance: until both were made at once.
    for round in 0.. {
        assert!(round < 30, "two commands at once never were");
        let made: Vec<bool> = std::thread::scope(|scope| {
            let cluster = &cluster;
            let run = |(n, line): (usize, &'static str)| scope.spawn(move || cluster.run(n, line).status.success());
            lines.map(run).map(|thread| thread.join().unwrap()).to_vec()
        });
        assert!(made.contains(&true), "nobody may make a network");
        if made == [true, true] {
            break;
        }
        for n in [0, 1, 2] {
            eventually("all have it", || shown(&cluster, n).len() == 1);
        }
        cluster.json(0, "network rm blue");
        for n in [0, 1, 2] {
            eventually("it is gone", || shown(&cluster, n).is_empty());
        }
    }
    let names = |n: usize| -> Vec<String> { shown(&cluster, n).iter().map(|network| text(&network["name"])).collect() };
    for n in [0, 1, 2] {
        eventually("all have both", || {
            let names = names(n);
            names.len() == 2 && names.iter().any(|name| name.starts_with("blue~"))
        });
    }
    cluster.converge();
    for n in [1, 2] {
        eventually("all agree who has the name", || shown(&cluster, n) == shown(&cluster, 0));
    }
    let vnis: Vec<_> = shown(&cluster, 0).iter().map(|network| network["vni"].as_u64().unwrap()).collect();
    assert!(vnis.contains(&5001) && vnis.contains(&5002), "{vnis:?}");
    assert!([0, 1].iter().any(|n| cluster.events(*n).contains(&"network_renamed".to_owned())), "nobody was told");
    // Both can be used by their names.
    for (name, ifname) in names(2).iter().zip(["eth0", "eth1"]) {
        cluster.attach(2, name, &format!("--ifname {ifname}"));
    }
}

#[test]
fn what_no_cluster_can_have_is_refused() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(2));
    cluster.network(0, BLUE, "");
    for (line, expected) in [
        ("red --remote 198.51.100.1", &["--remote", "--plain"][..]),
        ("red --mtu 1419", &["1419", "1418", "1500"]),
        ("red --plain --mtu 1451", &["1451", "1450"]),
    ] {
        let said = cluster.refused(1, &format!("network create {line}"));
        assert!(expected.iter().all(|word| said.contains(word)), "{line}: {said}");
    }
    assert_eq!(shown(&cluster, 1).len(), 1);
}
