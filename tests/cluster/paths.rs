//! What nodes say about the paths between them.

use weft::lab::{LabSpec, Underlay};
use weft::sandbox::devices;

use crate::Cluster;
use crate::harness::{eventually, needs, privileged};

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
