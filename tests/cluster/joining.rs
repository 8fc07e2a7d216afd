//! Nodes that come: all reach all, and what is attached on one is reached from the others at the first try.

use weft::lab::{Family, LabSpec, Underlay};

use crate::harness::privileged;
use crate::{BLUE, Cluster};

fn all_pairs(hosts: u8, more: &[&str]) {
    let cluster = Cluster::shared(LabSpec::new(hosts), more);
    cluster.ping_all(&cluster.up());
    for n in cluster.up() {
        assert_eq!(cluster.json(n, "members").as_array().unwrap().len(), usize::from(hosts));
        // Every container is a station on every node.
        assert_eq!(cluster.json(n, "fdb").as_array().unwrap().len(), usize::from(hosts));
    }
}

#[test]
fn three_nodes_reach_each_other_sealed() {
    privileged!();
    all_pairs(3, &[]);
}

#[test]
fn three_nodes_reach_each_other_plain() {
    privileged!();
    all_pairs(3, &["--plain"]);
}

#[test]
fn ten_nodes_reach_each_other_sealed() {
    privileged!();
    all_pairs(10, &[]);
}

#[test]
fn ten_nodes_reach_each_other_plain() {
    privileged!();
    all_pairs(10, &["--plain"]);
}

/// Above 16 nodes not everybody is everybody's neighbour: what one says goes on by others.
#[test]
#[ignore = "takes minutes: it is among the full counts"]
fn thirty_nodes_reach_each_other_sealed() {
    privileged!();
    all_pairs(30, &[]);
}

#[test]
fn nodes_reach_each_other_over_an_ipv6_underlay_without_offloads() {
    privileged!();
    crate::harness::needs!("ethtool");
    let spec = LabSpec { family: Family::V6, underlay: Underlay::Wire, ..LabSpec::new(3) };
    let cluster = Cluster::shared(spec, &[]);
    cluster.ping_all(&cluster.up());
    assert_eq!(cluster.json(0, &format!("network inspect {BLUE}"))["mtu"], 1500 - 102);
}

/// Neither the network nor the endpoint is waited for on the others.
fn first_ping(family: usize) {
    for plain in ["", "--plain"] {
        let cluster = Cluster::bare(LabSpec::new(3));
        cluster.network(2, BLUE, plain);
        for n in [0, 1] {
            cluster.attach(n, BLUE, "");
        }
        let attached = cluster.attach(2, BLUE, "");
        let address = attached["ips"][family].as_str().unwrap().split('/').next().unwrap();
        for n in [0, 1] {
            cluster.ping(n, address.parse().unwrap());
        }
    }
}

#[test]
fn what_is_attached_is_reached_at_the_first_ping() {
    privileged!();
    first_ping(0);
}

#[test]
fn what_is_attached_is_reached_at_the_first_ping_over_ipv6() {
    privileged!();
    first_ping(1);
}
