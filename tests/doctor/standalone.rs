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
    // A frame whose inner UDP checksum is wrong comes from a VTEP that is known.
    send_inner_damage(a, b);
    eventually("the damage is counted", || Diagnosis::of(b, &daemons[1]).names("checksums", &["1 frames", "inner"]));
    let mut other = Diagnosis::of(b, &daemons[1]);
    other.findings.retain(|finding| finding["check"] != "checksums");
    other.well = other.complaints().is_empty();
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

/// Sends a broadcast frame of the network with the VNI 77 whose UDP checksum is wrong.
fn send_inner_damage(from: &Host, to: &Host) {
    let ethernet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x42], &[0x08, 0x00]].concat();
    let mut ip = [0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 77, 0, 9, 10, 77, 255, 255];
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let check = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let udp = [0x30, 0x39, 0x30, 0x39, 0, 12, 0xba, 0xad, 1, 2, 3, 4];
    let datagram = [&[0x08, 0, 0, 0, 0, 0, 77, 0][..], &ethernet, &ip, &udp].concat();
    from.run(|| {
        let socket = std::net::UdpSocket::bind((from.address, 0)).unwrap();
        socket.send_to(&datagram, (to.address, 4789)).unwrap();
    })
    .unwrap();
}
