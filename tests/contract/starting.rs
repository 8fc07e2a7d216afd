//! Starting a daemon beside another, on what another left behind, or with what it cannot use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use weft::lab::{Daemon, Host, Lab, LabSpec};

use crate::harness::{privileged, weft};
use crate::{Node, refusal, words};

/// Tries to start a daemon that must be refused.
fn up_refused(host: &Host, flags: &str) -> String {
    let line = format!("up {flags}");
    let mut command = Command::new("timeout");
    command.arg("20").arg(weft()).args(words(&line)).stdin(Stdio::null());
    let output: Output = host.output(&mut command).unwrap();
    refusal(&line, &output)
}

/// Starts a daemon that must become ready, and ends it by its leash.
fn up_and_down(host: &Host, flags: &str) {
    let mut command = Command::new(weft());
    command.arg("up").args(words(flags)).arg("--until-stdin-closes");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = host.spawn(&mut command).unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    assert_eq!(child.try_wait().unwrap(), None, "it ended before its leash did");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// A cluster that nobody has a token of is none.
#[test]
fn a_token_file_that_cannot_be_written_is_refused_before_there_is_a_cluster() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let flags = "--bootstrap --advertise 192.0.2.1 --state-dir /run/new --socket /run/new.sock --token-out";
    let said = up_refused(host, &format!("{flags} /run/nowhere/token"));
    assert!(said.contains("/run/nowhere") && said.contains("--token-out") && !said.contains(".weft-token"), "{said}");
    let left = || fs::exists("/run/new/state.json").unwrap() || fs::exists("/run/new/keys/node.pem").unwrap();
    assert!(!host.run(left).unwrap(), "it had become a member");
    up_and_down(host, &format!("{flags} /run/token"));
}

const ELSEWHERE: &str = "--standalone --state-dir /run/other --socket /run/other.sock";

#[test]
fn a_second_daemon_is_refused_for_whatever_it_would_share() {
    privileged!();
    let node = Node::start();
    let pid = node.daemon.pid().to_string();
    for (flags, expected) in [
        (
            "--standalone --state-dir /run/weft/state --socket /run/other.sock",
            &["/run/weft/state", "--state-dir", &pid][..],
        ),
        ("--standalone --state-dir /run/other --socket /run/weft/weft.sock", &["/run/weft/weft.sock", "--socket"]),
        (&format!("{ELSEWHERE} --advertise 192.0.2.1"), &["4789", "192.0.2.1", "--vxlan-port"]),
    ] {
        let said = up_refused(node.host(), flags);
        assert!(expected.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(node.json("status")["ready"], true, "the first one lives on");
    }
    // A refused start leaves no state and no socket.
    let left = || (fs::read_dir("/run/other").unwrap().count(), fs::exists("/run/other.sock").unwrap());
    assert_eq!(node.host().run(left).unwrap(), (1, false), "only the lock file");
    // With a port of its own there is room for it.
    up_and_down(node.host(), &format!("{ELSEWHERE} --advertise 192.0.2.1 --vxlan-port 4790"));
}

#[test]
fn a_port_that_another_program_has_is_named() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let _taken = host.run(|| std::net::UdpSocket::bind("192.0.2.1:4789")).unwrap().unwrap();
    let said = up_refused(host, &format!("{ELSEWHERE} --advertise 192.0.2.1"));
    assert!(said.contains("4789") && said.contains("--vxlan-port"), "{said}");
}

#[test]
fn the_tunnel_address_is_the_hosts_only_global_one() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let said = up_refused(host, &format!("{ELSEWHERE} --advertise 192.0.2.77"));
    assert!(said.contains("192.0.2.77") && said.contains("--advertise"), "{said}");
    up_and_down(host, ELSEWHERE);
    let state = host.run(|| fs::read_to_string("/run/other/state.json")).unwrap().unwrap();
    assert!(state.contains("\"192.0.2.1\""), "{state}");
    let add = || Command::new("ip").args(["address", "add", "198.51.100.1/24", "dev", "eth0"]).status();
    assert!(host.run(add).unwrap().unwrap().success());
    let said = up_refused(host, "--standalone --state-dir /run/third --socket /run/other.sock");
    assert!(["192.0.2.1 on eth0", "198.51.100.1 on eth0", "--advertise"].iter().all(|w| said.contains(w)), "{said}");
    // The other node knows its address, and how it lives.
    up_and_down(host, "--state-dir /run/other --socket /run/other.sock");
}

#[test]
fn a_first_start_must_say_how_the_node_lives() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let said = up_refused(&lab.hosts[0], "--state-dir /run/other --socket /run/other.sock");
    assert!(said.contains("/run/other") && said.contains("--standalone"), "{said}");
}

#[test]
fn a_damaged_state_file_is_reported_and_left_alone() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain");
    let Node { daemon, lab } = node;
    daemon.stop().unwrap();
    let host = &lab.hosts[0];
    const FILE: &str = "/run/weft/state/state.json";
    let whole = host.run(|| fs::read_to_string(FILE)).unwrap().unwrap();
    for damaged in [&whole[..whole.len() / 2], "", "{}", &whole.replace("\"version\": 1", "\"version\": 99")] {
        host.run(|| fs::write(FILE, damaged)).unwrap().unwrap();
        let said = up_refused(host, "--standalone --state-dir /run/weft/state --socket /run/weft/weft.sock");
        assert!(said.contains(FILE), "{said}");
        assert_eq!(host.run(|| fs::read_to_string(FILE)).unwrap().unwrap(), damaged, "it was written over");
    }
    host.run(|| fs::write(FILE, &whole)).unwrap().unwrap();
    let node = Node { daemon: Daemon::start(weft(), &lab.hosts[0], &[]).unwrap(), lab };
    assert_eq!(node.json("network inspect blue")["name"], "blue");
}

#[test]
fn a_daemon_ends_in_order_on_a_signal_and_with_its_leash() {
    privileged!();
    let Node { daemon, lab } = Node::start();
    let host = &lab.hosts[0];
    assert!(daemon.stop().unwrap().success());
    assert!(!host.run(|| fs::exists("/run/weft/weft.sock").unwrap()).unwrap());
    up_and_down(host, ELSEWHERE);
}

#[test]
fn a_service_manager_is_told_when_the_node_is_ready() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = Command::new(weft());
    command
        .arg("up")
        .args(words(ELSEWHERE))
        .arg("--until-stdin-closes")
        .env("NOTIFY_SOCKET", dir.path().join("notify"));
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = lab.hosts[0].spawn(&mut command).unwrap();
    let mut told = [0; 64];
    let length = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"READY=1");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
