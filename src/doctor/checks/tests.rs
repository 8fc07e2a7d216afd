//! Each fault, made of facts, is named; a host without faults is not accused.

use std::net::IpAddr;

use super::super::facts::*;
use super::super::{Finding, State};
use super::{all, is_well};

const NOW: u64 = 1_800_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node of a cluster of two that is well.
fn healthy() -> Facts {
    let peer = Peer {
        name: "b".into(),
        vtep: Some(ip("192.0.2.2")),
        control: "192.0.2.2:7956".into(),
        state: "alive".into(),
        shares_sealed: true,
        has_session: true,
        heard_seconds: Some(1),
        echoes: Some(Echoes { rtt_us: Some(90), silent: false, mtu: Some(1500), needed: 1500 }),
        ..Peer::default()
    };
    let network = Network { name: "blue".into(), vni: 4096, sealed: true, mtu: 1418, ..Network::default() };
    let endpoint = Endpoint {
        id: "e1".into(),
        network: "blue".into(),
        ifname: "eth0".into(),
        netns: "/run/netns/c1".into(),
        attached: true,
        link_up: Some(true),
        link_mtu: Some(1418),
    };
    let daemon = Daemon {
        node: "a".into(),
        version: "0".into(),
        in_cluster: true,
        ready: true,
        advertise: Some(ip("192.0.2.1")),
        vxlan_port: 4789,
        control_port: 7956,
        uptime_seconds: 600,
        window_seconds: 60,
        certificate: Some((NOW - 86_400, NOW + 20 * 86_400)),
        signers: 2,
        peers: vec![peer],
        networks: vec![network],
        endpoints: vec![endpoint],
        ..Daemon::default()
    };
    let host = Host {
        now: NOW,
        kernel: "6.8".into(),
        cpu: Cpu { arch: "x86_64".into(), aes: true, clmul: true, wide: true },
        addresses: vec![Address { interface: "eth0".into(), ip: ip("192.0.2.1") }],
        ..Host::default()
    };
    let path = Path {
        name: "b".into(),
        to: Some(ip("192.0.2.2")),
        needed: 1500,
        known_mtu: Some(1500),
        small: true,
        large: true,
        ..Path::default()
    };
    Facts { host, daemon: Some(daemon), no_daemon: None, paths: vec![path] }
}

/// The one finding that is not ok after a change.
fn only(change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = healthy();
    change(&mut facts);
    let bad: Vec<_> = all(&facts).into_iter().filter(|finding| finding.state != State::Ok).collect();
    let [finding] = &bad[..] else { panic!("{bad:#?}") };
    assert!(!finding.remedy.is_empty() && !finding.seen.is_empty(), "{finding:?}");
    finding.clone()
}

fn daemon(change: impl FnOnce(&mut Daemon)) -> Finding {
    only(|facts| change(facts.daemon.as_mut().unwrap()))
}

fn peer(change: impl FnOnce(&mut Peer)) -> Finding {
    daemon(|daemon| change(&mut daemon.peers[0]))
}

fn path(change: impl FnOnce(&mut Path)) -> Finding {
    only(|facts| change(&mut facts.paths[0]))
}

fn assert_is(finding: &Finding, check: &str, state: State, words: &[&str]) {
    assert_eq!((finding.check, finding.state), (check, state), "{finding:?}");
    let text = format!("{:?} {} {}", finding.about, finding.seen, finding.remedy);
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
}

#[test]
fn who_is_well_is_not_accused_and_each_check_has_spoken() {
    let findings = all(&healthy());
    assert!(findings.iter().all(|finding| finding.state == State::Ok), "{findings:#?}");
    assert!(is_well(&findings));
    for check in
        ["tun", "cpu", "firewall", "members", "sessions", "tables", "certificate", "path-mtu", "endpoints", "queues"]
    {
        assert!(findings.iter().any(|finding| finding.check == check), "{check}");
    }
}

#[test]
fn the_host_s_own_faults() {
    let found = only(|f| f.host.tun.lacks = vec![TunFeature::Uso]);
    assert_is(&found, "tun", State::Warn, &["UDP super-frames", "6.2"]);
    let found = only(|f| f.host.tun.broken = Some("No such file".into()));
    assert_is(&found, "tun", State::Fail, &["modprobe tun"]);
    let found = only(|f| f.host.tun.untried = true);
    assert_is(&found, "tun", State::Unknown, &["root"]);
    let found = only(|f| f.host.missing_capabilities = vec!["CAP_SYS_ADMIN".into()]);
    assert_is(&found, "capabilities", State::Warn, &["CAP_SYS_ADMIN"]);
    let found = only(|f| f.host.cpu.aes = false);
    assert_is(&found, "cpu", State::Warn, &["ChaCha20-Poly1305"]);
    let found = only(|f| f.host.addresses[0].ip = ip("192.0.2.9"));
    assert_is(&found, "addresses", State::Fail, &["192.0.2.1", "192.0.2.9", "--advertise"]);
}

#[test]
fn without_a_daemon_the_host_alone_is_judged() {
    let facts = Facts { daemon: None, no_daemon: Some("cannot reach the daemon".into()), paths: vec![], ..healthy() };
    let findings = all(&facts);
    assert!(!is_well(&findings));
    let found = findings.last().unwrap();
    assert_is(found, "daemon", State::Fail, &["cannot reach", "only the host"]);
    let mut several = facts;
    several.host.addresses.push(Address { interface: "eth1".into(), ip: ip("198.51.100.1") });
    let findings = all(&several);
    let found = findings.iter().find(|finding| finding.check == "addresses").unwrap();
    assert_is(found, "addresses", State::Warn, &["eth1", "--advertise"]);
    assert_is(&daemon(|d| d.ready = false), "daemon", State::Fail, &["not become ready"]);
}

#[test]
fn the_cluster_s_faults() {
    assert_is(&peer(|p| p.state = "dead".into()), "members", State::Fail, &["\"b\"", "members rm"]);
    assert_is(&peer(|p| p.state = "suspect".into()), "members", State::Warn, &["\"b\""]);
    let found = peer(|p| p.unreachable = Some("refused".into()));
    assert_is(&found, "control-port", State::Fail, &["192.0.2.2:7956", "refused"]);
    assert_is(&peer(|p| p.has_session = false), "sessions", State::Fail, &["\"b\"", "192.0.2.2:7956"]);
    assert_is(&peer(|p| p.tables_differ_seconds = Some(3)), "tables", State::Warn, &["3 s"]);
    assert_is(&peer(|p| p.tables_differ_seconds = Some(30)), "tables", State::Fail, &["30 s"]);
    assert_is(
        &daemon(|d| d.certificate = Some((0, NOW - 86_400))),
        "certificate",
        State::Fail,
        &["ended 1.0 days ago"],
    );
    assert_is(&daemon(|d| d.certificate = Some((NOW + 3600, NOW + 90_000))), "certificate", State::Fail, &["clock"]);
    assert_is(&daemon(|d| d.certificate = Some((0, NOW + 86_400))), "certificate", State::Warn, &["renewed"]);
    assert_is(&peer(|p| p.clock_offset_ms = Some(3_600_000)), "clock", State::Fail, &["\"b\"", "60 min ahead"]);
    assert_is(&peer(|p| p.clock_offset_ms = Some(-9_000)), "clock", State::Warn, &["\"b\"", "9 s behind"]);
    let both = daemon(|d| {
        d.peers.push(Peer { name: "c".into(), ..d.peers[0].clone() });
        d.peers.iter_mut().for_each(|peer| peer.clock_offset_ms = Some(-3_600_000));
    });
    assert_is(&both, "clock", State::Fail, &["\"a\"", "60 min ahead"]);
    assert_is(&daemon(|d| d.signers = 1), "signers", State::Warn, &["signer add"]);
}

#[test]
fn news_on_its_way_and_peers_that_share_nothing_sealed_are_no_faults() {
    let mut facts = healthy();
    let peer = &mut facts.daemon.as_mut().unwrap().peers[0];
    (peer.tables_differ_seconds, peer.has_session, peer.shares_sealed) = (Some(1), false, false);
    // Sealed echoes come through where pings do not.
    (facts.paths[0].small, facts.paths[0].large) = (false, false);
    assert!(all(&facts).iter().all(|finding| finding.state == State::Ok));
}

#[test]
fn the_underlay_s_faults() {
    let found = path(|p| (p.large, p.largest) = (false, Some(1400)));
    assert_is(&found, "path-mtu", State::Fail, &["\"b\"", "black hole", "1500", "1400"]);
    let found = path(|p| p.known_mtu = Some(1400));
    assert_is(&found, "path-mtu", State::Fail, &["1400", "--mtu"]);
    let unmeasured = only(|f| {
        (f.paths[0].small, f.paths[0].large) = (false, false);
        f.daemon.as_mut().unwrap().peers[0].echoes = None;
    });
    assert_is(&unmeasured, "path-mtu", State::Unknown, &["ICMP"]);
    let echoes = |silent, mtu| Some(Echoes { rtt_us: None, silent, mtu: Some(mtu), needed: 1500 });
    let found = peer(|p| p.echoes = echoes(false, 1380));
    assert_is(&found, "path-mtu", State::Fail, &["\"b\"", "black hole", "1380", "1500"]);
    let found = peer(|p| p.echoes = echoes(true, 1500));
    assert_is(&found, "udp-port", State::Fail, &["\"b\"", "UDP 4789", "towards it"]);
    let found = peer(|p| (p.echoes, p.heard_seconds) = (echoes(true, 1500), Some(60)));
    assert_is(&found, "udp-port", State::Fail, &["\"b\"", "towards this host"]);
    assert_is(&path(|p| p.no_neighbour = true), "reachable", State::Fail, &["ARP"]);
    assert_is(&path(|p| p.no_route = Some("unreachable".into())), "reachable", State::Fail, &["ip route"]);
    assert_is(&daemon(|d| d.recent_checksum_errors = 9), "checksums", State::Fail, &["9 UDP datagrams", "ethtool"]);
    assert_is(&daemon(|d| d.recent_damaged_frames = 4), "checksums", State::Fail, &["4 frames", "inner"]);
    let found = daemon(|d| d.networks[0].remotes = vec![ip("192.0.2.77")]);
    assert_is(&found, "remotes", State::Warn, &["192.0.2.77", "4096", "4789"]);
    let rule = Obstacle { rule: "inet filter input udp dport 4789 drop".into(), stops: "UDP 4789".into() };
    let found = only(|f| f.host.firewall.in_the_way = vec![rule.clone()]);
    assert_is(&found, "firewall", State::Fail, &["udp dport 4789 drop", "UDP 4789"]);
    assert_is(&only(|f| f.host.firewall.closed = vec![rule]), "firewall", State::Warn, &["new datagrams"]);
    assert_is(&only(|f| f.host.firewall.unread = Some("no nft".into())), "firewall", State::Unknown, &["no nft"]);
}

#[test]
fn the_stations_faults() {
    assert_is(&daemon(|d| d.endpoints[0].attached = false), "endpoints", State::Fail, &["lost", "weft detach e1"]);
    assert_is(&daemon(|d| d.endpoints[0].link_up = Some(false)), "endpoints", State::Fail, &["down", "eth0 up"]);
    assert_is(&daemon(|d| d.endpoints[0].link_mtu = Some(9000)), "endpoints", State::Fail, &["9000", "mtu 1418"]);
    let twice = |frozen| Contested {
        network: "blue".into(),
        address: "02:00:00:00:00:01".into(),
        nodes: vec!["a".into(), "b".into()],
        frozen,
    };
    let found = daemon(|d| d.contested = vec![twice(false)]);
    assert_is(&found, "duplicates", State::Fail, &["02:00:00:00:00:01", "a and b"]);
    assert_is(&daemon(|d| d.contested = vec![twice(true)]), "duplicates", State::Fail, &["frozen"]);
}

#[test]
fn what_was_dropped_in_the_last_minute() {
    for (reason, check, state) in [
        ("unknown_vni", "wrong-vni", State::Warn),
        ("plain_on_sealed", "wrong-mode", State::Fail),
        ("bad_tag", "forgeries", State::Warn),
        ("receive_overflow", "queues", State::Warn),
        ("no_session", "waiting-for-keys", State::Fail),
        ("underlay_mtu", "too-large", State::Warn),
        ("underlay_unreachable", "unreachable", State::Fail),
        ("tap_down", "devices", State::Warn),
    ] {
        let found = daemon(|d| d.recent_drops = [(reason.to_owned(), 7)].into());
        assert_is(&found, check, state, &["last 60 s", &format!("{reason} 7")]);
    }
}

#[test]
fn what_a_new_endpoint_says_before_it_is_known_accuses_nobody() {
    for reason in ["inner_source_foreign", "not_member"] {
        let drops = |count: u64| [(reason.to_owned(), count)].into();
        assert_is(&daemon(|d| d.recent_drops = drops(6)), "wrong-vtep", State::Warn, &[&format!("{reason} 6")]);
        let mut facts = healthy();
        facts.daemon.as_mut().unwrap().recent_drops = drops(5);
        assert!(is_well(&all(&facts)) && all(&facts).iter().all(|finding| finding.state == State::Ok), "{reason}");
    }
}
