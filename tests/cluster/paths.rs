//! What nodes say about the paths between them.

use std::process::Command;
use std::time::Duration;

use weft::lab::kernel::INSIDE;
use weft::lab::{LabSpec, Underlay};
use weft::sandbox::devices;

use crate::harness::{eventually, needs, privileged};
use crate::{BLUE, Cluster, text};

/// A switch on the way begins to drop large packets without a word: a new key's probe finds that, and the node names it.
#[test]
fn a_black_hole_is_shown_and_told() {
    privileged!();
    needs!("ethtool");
    let cluster = Cluster::shared(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(3) }, &[]);
    let session = |peer: usize| {
        let status = cluster.json(0, "status");
        let sessions = status["sessions"].as_array().unwrap();
        let address = cluster.host(peer).address.to_string();
        sessions.iter().find(|session| session["address"] == address.as_str()).unwrap().clone()
    };
    eventually("the paths are known", || {
        (1..3).all(|n| session(n)["path_mtu"].is_u64() && session(n)["rtt_us"].is_u64())
    });
    for n in 1..3 {
        let session = session(n);
        assert_eq!((&session["path_mtu"], &session["path_mtu_needed"]), (&1500.into(), &1500.into()));
        assert!(session["rtt_min_us"].as_u64() <= session["rtt_p99_us"].as_u64(), "{session}");
        assert_eq!(session["path_silent"], false);
    }
    devices::mtu(cluster.lab.switch.as_ref().unwrap(), "p2", 1400).unwrap();
    assert_eq!(cluster.json(0, "rekey"), serde_json::json!({"peers": 2}));
    eventually("it is measured", || session(1)["path_mtu"] == 1400);
    let told = || {
        let events = cluster.json(0, "events");
        let narrow = |event: &&serde_json::Value| event["kind"] == "path_narrow";
        events.as_array().unwrap().iter().filter(narrow).map(|event| event["text"].to_string()).collect::<Vec<_>>()
    };
    eventually("it is told", || !told().is_empty());
    let told = told();
    assert!(told.len() == 1 && told[0].contains("node2") && told[0].contains("1400"), "{told:?}");
    let text = cluster.daemon(0).weft(cluster.host(0), &["status"]).unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("1400, needed 1500"), "{text}");
}

/// A firewall cuts the control plane and leaves the tunnels alone: the node is dead to the others, and what it has stays
/// where it is for as long as its data path answers, without a frame of any container.
#[test]
fn what_a_dead_node_has_stays_while_its_data_path_lives() {
    privileged!();
    needs!("nft");
    let cluster = Cluster::shared(LabSpec::new(3), &[]);
    let station = text(&cluster.json(2, &format!("network inspect {BLUE}"))["endpoints"][0]["mac"]);
    let there = cluster.place(0, &station);
    assert!(there.is_some());
    let rules =
        "table inet cut { chain in { type filter hook input priority 0; iifname eth0 meta l4proto tcp drop; }; }";
    let cut = cluster.host(2).output(Command::new("nft").arg(rules)).unwrap();
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    for container in cluster.lab.containers() {
        // Nothing of its kernel's own crosses, either.
        devices::down(&container.netns, INSIDE).unwrap();
    }
    eventually("it is dead", || cluster.state(0, 2) == "dead");
    // The stations of a node that is silent too leave after 30 s.
    std::thread::sleep(Duration::from_secs(36));
    assert_eq!((cluster.state(0, 2), cluster.place(0, &station)), ("dead".to_owned(), there));
    assert!(!cluster.events(0).contains(&"path_silent".to_owned()));
}
