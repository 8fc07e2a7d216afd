//! A node that stands alone, with a static remote that is none; and no node at all.

use super::*;
use crate::harness::privileged;

#[test]
fn a_wrong_remote_is_named_and_a_right_one_is_not() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let [a, b] = &lab.hosts[..] else { unreachable!() };
    let daemons = [a, b].map(|host| Daemon::start(weft(), host, &[]).unwrap());
    let remotes = ["--remote", "192.0.2.2", "--remote", "192.0.2.99"];
    let create = ["network", "create", "blue", "--plain", "--vni", "77", "--subnet", "10.77.0.0/16"];
    daemons[0].json(a, &[&create[..], &remotes].concat()).unwrap();
    daemons[1].json(b, &[&create[..], &["--remote", "192.0.2.1"]].concat()).unwrap();
    for (daemon, host) in daemons.iter().zip([a, b]) {
        let container = &host.containers[0];
        daemon.attach(host, "blue", container, &[container.v4.to_string()]).unwrap();
    }
    // Both are heard: the first asks, the other answers.
    let reached = || {
        let to = b.containers[0].ip();
        weft::traffic::ping::once(&a.containers[0].netns, to, std::time::Duration::from_secs(1)).unwrap().is_some()
    };
    eventually("a ping through the network", reached);

    let diagnosis = Diagnosis::of(a, &daemons[0]);
    diagnosis.must_name("reachable", &["192.0.2.99", "nobody on the link"]);
    diagnosis.must_name("remotes", &["192.0.2.99", "VNI 77", "4789"]);
    assert!(!diagnosis.names("reachable", &["192.0.2.2\""]) && !diagnosis.names("remotes", &["192.0.2.2\""]));
    assert!(!diagnosis.well);
    let other = Diagnosis::of(b, &daemons[1]);
    assert!(other.well && other.complaints().is_empty(), "{:#?}", other.complaints());
}

#[test]
fn without_a_daemon_the_host_is_looked_at() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let mut command = Command::new(weft());
    command.args(["doctor", "--json", "--socket", "/run/nobody"]);
    let output = lab.hosts[0].output(&mut command).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let state = |check: &str| findings.iter().find(|f| f["check"] == check).map(|f| f["state"].clone());
    assert_eq!(state("daemon"), Some("fail".into()));
    assert_eq!(state("tun"), Some("ok".into()));
    assert_eq!(state("members"), None);
}
