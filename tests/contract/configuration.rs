//! The configuration file: what it says holds, a wrong one is told with its line, and SIGHUP has it read again.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::Signal;
use weft::lab::{Daemon, Host, Lab, LabSpec};

use crate::harness::{eventually, privileged, weft};

/// Whether somebody serves this port on the host's loopback interface.
fn is_served(host: &Host, port: u16) -> bool {
    host.run(|| TcpStream::connect(("127.0.0.1", port)).is_ok()).unwrap()
}

/// Whether there is an event of this kind that says all these words.
fn told(host: &Host, daemon: &Daemon, kind: &str, words: &[&str]) -> bool {
    let events = daemon.json(host, &["events"]).unwrap();
    let says = |event: &serde_json::Value| words.iter().all(|word| event["text"].as_str().unwrap().contains(word));
    events.as_array().unwrap().iter().any(|event| event["kind"] == kind && says(event))
}

#[test]
fn a_file_holds_and_is_read_again_at_sighup() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weft.toml");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write("standalone = true\nvxlan-port = 4790\nmetrics = 9469\nname = \"not-this-one\"\nlog-format = \"json\"\n");
    let daemon = Daemon::up(weft(), host, &["--config", path.to_str().unwrap()]).unwrap();
    let status = daemon.json(host, &["status"]).unwrap();
    assert_eq!((&status["node"], &status["vxlan_port"]), (&"node1".into(), &4790.into()), "the command line wins");
    assert!(is_served(host, 9469));

    write("standalone = true\nvxlan-port = 4791\nmetrics = 9470\n");
    daemon.signal(Signal::SIGHUP).unwrap();
    let words = ["127.0.0.1:9470", "vxlan-port, log-format takes a restart"];
    eventually("the file is read again", || told(host, &daemon, "reloaded", &words));
    assert!(is_served(host, 9470) && !is_served(host, 9469));
    // The log is one object to a line, as it says.
    let log = daemon.log();
    let lines: Vec<serde_json::Value> =
        log.lines().filter(|line| *line != "ready").map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["event"] == "reloaded" && line["level"] == "INFO"), "{log}");

    // A wrong file changes nothing.
    write("standalone = true\n\nmetrics = 70000\n");
    daemon.signal(Signal::SIGHUP).unwrap();
    eventually("the file is refused", || told(host, &daemon, "reload_refused", &["weft.toml:3: ", "70000"]));
    assert!(is_served(host, 9470));

    write("metrics = \"off\"\n");
    daemon.signal(Signal::SIGHUP).unwrap();
    eventually("metrics end", || !is_served(host, 9470));
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn a_wrong_file_is_told_with_its_line_and_nothing_starts() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weft.toml");
    let start = |path: &Path| {
        let error = Daemon::up(weft(), &lab.hosts[0], &["--config", path.to_str().unwrap()]).unwrap_err();
        format!("{error:#}")
    };
    fs::write(&path, "standalone = true\nvxlan-prot = 4790\n").unwrap();
    let error = start(&path);
    assert!(error.contains("weft.toml:2: `vxlan-prot` is no flag"), "{error}");
    assert!(start(&dir.path().join("missing")).contains("cannot read the configuration"));
}
