//! The page of a node that is made up, however large.

use std::time::{Duration, Instant, SystemTime};

use weft::metrics::page::page;
use weft::metrics::{Figures, MOST, NetworkFigures, PeerFigures};
use weft_vtep::drops::DropReason;
use weft_vtep::path::probe::PathRow;
use weft_vtep::path::rtt::RoundTrips;

use crate::grammar::Page;
use crate::promtool;

/// A path with three echoes: two of 150 µs, and one of two seconds; a fourth was lost.
pub(crate) fn path() -> PathRow {
    let mut trips = RoundTrips::default();
    for micros in [150, 150, 2_000_000] {
        trips.add(Duration::from_micros(micros));
    }
    PathRow {
        vtep: "192.0.2.1".parse().unwrap(),
        latency: trips.latency(),
        histogram: trips.histogram(),
        silent: false,
        echoes: (4, 1),
        mtu: Some(1400),
        needed: 1500,
    }
}

/// A node with so many networks, endpoints in each, and peers.
fn node(networks: usize, endpoints: usize, peers: usize) -> Figures {
    let network = |n: usize| NetworkFigures {
        name: format!("network-{n}"),
        driver: "overlay".to_owned(),
        mode: "sealed",
        mtu: Some(1418),
        up: endpoints,
        lost: 1,
        entries: vec![("local", endpoints), ("remote", 7), ("learned", 0)],
    };
    let rejected = ["unknown_index", "wrong_lane", "replay", "bad_tag", "key_exhausted", "bad_control"];
    let peer = |n: usize| PeerFigures {
        name: format!("node-{n}"),
        address: format!("192.0.{}.{}", n / 250, n % 250 + 1),
        suite: "aes-256-gcm".to_owned(),
        epoch: 3,
        age_seconds: 60,
        sealed: 10,
        opened: 20,
        rejected: rejected.map(|reason| (reason.to_owned(), 1)).into(),
        path: Some(path()),
    };
    Figures {
        node: "n1".to_owned(),
        id: "00ff".to_owned(),
        mode: "cluster",
        ready: true,
        members: vec![("alive", peers + 1), ("suspect", 0), ("dead", 0), ("left", 0)],
        compared: 9,
        agreeing: 8,
        certificate_ends: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
        networks: (0..networks).map(network).collect(),
        peers: (0..peers).map(peer).collect(),
        events: [("member_dead".to_owned(), 2)].into(),
        ..Figures::default()
    }
}

#[test]
fn promtool_and_the_grammar_have_nothing_to_say() {
    let mut odd = node(2, 3, 2);
    odd.networks[0].name = "a \"name\" with \\ and\nmore".to_owned();
    for figures in [node(1, 3, 1), Figures::default(), odd] {
        let text = page(figures);
        let page = Page::read(&text);
        assert!(page.families.len() > 20, "{text}");
        promtool(&["check", "metrics"], &text);
    }
}

#[test]
fn every_drop_reason_is_there_with_zero_too() {
    let mut figures = node(1, 1, 1);
    figures.totals.drops[DropReason::UnknownVni as usize] = 5;
    let page = Page::read(&page(figures));
    assert_eq!(page.of("weft_drops_total").len(), DropReason::COUNT);
    assert_eq!(page.value("weft_drops_total{reason=\"unknown_vni\"}"), 5.0);
    assert_eq!(page.value("weft_drops_total{reason=\"bad_tag\"}"), 0.0);
}

#[test]
fn figures_stand_under_their_names() {
    let page = Page::read(&page(node(1, 3, 1)));
    for (series, value) in [
        ("weft_ready", 1.0),
        ("weft_members{state=\"alive\"}", 2.0),
        ("weft_members{state=\"dead\"}", 0.0),
        ("weft_tables_compared", 9.0),
        ("weft_tables_agreeing", 8.0),
        ("weft_certificate_expiry_timestamp_seconds", 2e9),
        ("weft_network_mtu_bytes{network=\"network-0\"}", 1418.0),
        ("weft_network_endpoints{network=\"network-0\",state=\"up\"}", 3.0),
        ("weft_network_endpoints{network=\"network-0\",state=\"lost\"}", 1.0),
        ("weft_network_forwarding_entries{network=\"network-0\",kind=\"remote\"}", 7.0),
        ("weft_sessions{suite=\"aes-256-gcm\"}", 1.0),
        ("weft_sessions{suite=\"chacha20-poly1305\"}", 0.0),
        ("weft_session_rekeys_total{peer=\"node-0\",address=\"192.0.0.1\"}", 2.0),
        ("weft_session_age_seconds{peer=\"node-0\",address=\"192.0.0.1\"}", 60.0),
        ("weft_session_sealed_datagrams_total{peer=\"node-0\",address=\"192.0.0.1\"}", 10.0),
        ("weft_session_rejected_datagrams_total{peer=\"node-0\",address=\"192.0.0.1\",reason=\"replay\"}", 1.0),
        ("weft_path_silent{peer=\"node-0\",address=\"192.0.0.1\"}", 0.0),
        ("weft_path_echoes_lost_total{peer=\"node-0\",address=\"192.0.0.1\"}", 1.0),
        ("weft_path_mtu_bytes{peer=\"node-0\",address=\"192.0.0.1\"}", 1400.0),
        ("weft_path_round_trip_seconds_bucket{peer=\"node-0\",address=\"192.0.0.1\",le=\"0.0001\"}", 0.0),
        ("weft_path_round_trip_seconds_bucket{peer=\"node-0\",address=\"192.0.0.1\",le=\"0.0002\"}", 2.0),
        ("weft_path_round_trip_seconds_bucket{peer=\"node-0\",address=\"192.0.0.1\",le=\"+Inf\"}", 3.0),
        ("weft_path_round_trip_seconds_count{peer=\"node-0\",address=\"192.0.0.1\"}", 3.0),
        ("weft_path_round_trip_seconds_sum{peer=\"node-0\",address=\"192.0.0.1\"}", 2.0003),
        ("weft_events_total{kind=\"member_dead\"}", 2.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert!(page.value("process_resident_memory_bytes") > 0.0);
}

#[test]
fn the_page_is_bounded_and_says_what_it_leaves_out() {
    let page = Page::read(&page(node(MOST + 2, 1, MOST + 3)));
    assert_eq!(page.of("weft_network_info").len(), MOST);
    assert_eq!(page.of("weft_session_age_seconds").len(), MOST);
    assert_eq!(page.value("weft_metrics_omitted{kind=\"network\"}"), 2.0);
    assert_eq!(page.value("weft_metrics_omitted{kind=\"peer\"}"), 3.0);
}

#[test]
fn what_a_page_of_five_hundred_endpoints_and_two_hundred_peers_takes() {
    let figures = node(50, 10, 200);
    // The best of several: what the page costs, not what else the machine does.
    let took = (0..10).map(|_| {
        let (figures, before) = (figures.clone(), Instant::now());
        let text = page(figures);
        let took = before.elapsed();
        assert!(text.len() > 50_000);
        took
    });
    // Printed only: a machine that does much else takes any time for it.
    eprintln!("a page of 500 endpoints and 200 peers took {:?}", took.min().unwrap());
}
