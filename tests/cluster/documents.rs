//! The JSON documents of a node in a cluster, field by field: whoever reads them in a script depends on them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weft::lab::LabSpec;

use crate::harness::{eventually, privileged, weft};
use crate::{BLUE, Cluster, text};

fn fields(document: &Value) -> BTreeSet<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}

fn rows(document: &Value) -> Vec<Value> {
    document.as_array().unwrap().clone()
}

/// A time in UTC as RFC 3339 writes it.
fn is_time(value: &Value) -> bool {
    let time = value.as_str().unwrap();
    time.len() >= 20 && time.ends_with('Z') && time.starts_with("20") && time.as_bytes()[10] == b'T'
}

#[test]
fn status_and_members() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(3), &[]);
    cluster.ping_all(&[0, 1, 2]);
    let status = cluster.json(1, "status");
    let version = status["version"].clone();
    let expected = json!({
        "node": "node2", "id": status["id"], "version": version, "advertise": "192.0.2.2", "mode": "cluster",
        "ready": true, "vxlan_port": 4789, "control_port": 7956, "members_alive": 3, "members_agreeing": 3,
        "members_compared": 3, "networks": 1, "endpoints": 1, "sessions": status["sessions"],
        "clock_ahead_ms": status["clock_ahead_ms"],
        "uptime_seconds": status["uptime_seconds"],
    });
    assert!(status["clock_ahead_ms"].as_i64().is_some_and(|ahead| ahead.abs() < 10_000), "{status}");
    assert_eq!(status, expected);
    let sessions = rows(&status["sessions"]);
    let mut peers: Vec<_> =
        sessions.iter().map(|session| (text(&session["peer"]), text(&session["address"]))).collect();
    peers.sort();
    assert_eq!(peers, [("node1".into(), "192.0.2.1".into()), ("node3".into(), "192.0.2.3".into())]);
    for session in &sessions {
        let numbers = ["epoch", "age_seconds", "sealed", "opened", "echoes", "echoes_lost", "path_mtu_needed"];
        // Null until the first answer.
        let found = ["rtt_us", "rtt_min_us", "rtt_p99_us", "path_mtu"];
        let others = ["peer", "address", "suite", "rejected", "path_silent"];
        let all: BTreeSet<_> = [&numbers[..], &found, &others].concat().into_iter().collect();
        assert_eq!(fields(session), all);
        assert!(found.iter().all(|field| session[field].is_u64() || session[field].is_null()), "{session}");
        assert!(numbers.iter().all(|field| session[field].is_u64()), "{session}");
        assert!(["aes-256-gcm", "chacha20-poly1305"].contains(&session["suite"].as_str().unwrap()), "{session}");
        assert!(session["rejected"].as_object().unwrap().values().all(Value::is_u64), "{session}");
    }
    let id = |n: usize| cluster.json(n, "status")["id"].clone();
    let member = |n: usize| {
        json!({"name": format!("node{}", n + 1), "id": id(n), "address": format!("192.0.2.{}", n + 1), "state": "alive",
               "signer": true, "version": version, "started": cluster.json(n, "members")[n]["started"]})
    };
    let all = json!([member(0), member(1), member(2)]);
    assert!(rows(&all).iter().all(|member| is_time(&member["started"])), "{all}");
    for n in [0, 1, 2] {
        eventually("the members are the same on all", || cluster.json(n, "members") == all);
        assert_eq!(cluster.json(n, "members ls"), all);
    }
    assert!(id(0).as_str().unwrap().bytes().all(|b| b.is_ascii_hexdigit()));
    let mut other = member(2);
    other["signer"] = false.into();
    assert_eq!(cluster.json(0, "signer rm node3"), other);
    eventually("it is no signer", || cluster.json(1, "members")[2] == other);
    assert_eq!(cluster.json(0, "signer add node3"), member(2));
}

#[test]
fn neigh_and_fdb() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(2));
    let made = cluster.network(0, BLUE, "--vni 5000");
    let attached = cluster.attach(1, BLUE, "--mac 02:00:00:00:00:01 --ip 10.77.0.9 --ip fd77::9");
    let shown = json!({
        "endpoint": attached["endpoint"], "network": BLUE, "mac": "02:00:00:00:00:01",
        "ips": ["10.77.0.9/16", "fd77::9/64"], "ifname": "eth0",
    });
    assert_eq!(attached, shown);
    let row = |ip: &str| json!({"network": BLUE, "vni": 5000, "ip": ip, "mac": "02:00:00:00:00:01", "node": "node2", "vtep": "192.0.2.2"});
    let neigh = json!([row("10.77.0.9"), row("fd77::9")]);
    for n in [0, 1] {
        eventually("the addresses are known", || cluster.json(n, "neigh") == neigh);
        assert_eq!(cluster.json(n, &format!("neigh {BLUE}")), neigh);
    }
    assert_eq!(
        cluster.json(0, "fdb"),
        json!([{"network": BLUE, "vni": 5000, "mac": "02:00:00:00:00:01", "kind": "remote", "vtep": "192.0.2.2"}])
    );
    assert_eq!(
        cluster.json(1, "fdb"),
        json!([{"network": BLUE, "vni": 5000, "mac": "02:00:00:00:00:01", "kind": "local", "port": attached["endpoint"]}])
    );
    let network = json!({
        "name": BLUE, "id": made["id"], "vni": 5000, "driver": "overlay", "mtu": 1418, "mode": "sealed",
        "subnets": [
            {"subnet": "10.77.0.0/16", "gateway": "10.77.255.254", "ip_range": null},
            {"subnet": "fd77::/64", "gateway": "fd77::ffff:fffe", "ip_range": null},
        ],
        "remotes": [], "internal": true, "options": {}, "endpoints": [],
    });
    assert_eq!(cluster.json(0, &format!("network inspect {BLUE}")), network);
    cluster.json(0, "network create green");
    assert_eq!(cluster.json(0, "neigh green"), json!([]));
    assert!(cluster.refused(0, "neigh red").contains("there is no network"));
}

#[test]
fn tokens_rekey_and_events() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let made = cluster.json(0, "token create --uses 3 --ttl 2h");
    assert_eq!(fields(&made), BTreeSet::from(["id", "token", "created", "expires", "uses_left"]));
    assert!(is_time(&made["created"]) && is_time(&made["expires"]) && made["uses_left"] == 3, "{made}");
    let mut listed = made.clone();
    listed.as_object_mut().unwrap().remove("token");
    assert_eq!(cluster.json(0, "token ls"), json!([listed]));
    let open = cluster.json(0, "token create");
    assert_eq!(open["uses_left"], Value::Null);
    assert_eq!(rows(&cluster.json(0, "token ls")).len(), 2);
    cluster.json(0, &format!("token rm {}", open["id"].as_str().unwrap()));
    assert_eq!(cluster.json(0, "token ls"), json!([listed]));
    cluster.join(1, 0, made["token"].as_str().unwrap());
    cluster.converge();
    listed["uses_left"] = 2.into();
    for n in [0, 1] {
        eventually("a use is counted on all", || cluster.json(n, "token ls") == json!([listed]));
    }
    assert_eq!(cluster.json(0, "rekey"), json!({"peers": 0}));

    let events = rows(&cluster.json(0, "events"));
    let numbers: Vec<_> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    for event in &events {
        assert_eq!(fields(event), BTreeSet::from(["number", "time", "kind", "text"]));
        assert!(is_time(&event["time"]) && !text(&event["text"]).is_empty(), "{event}");
    }
    let joined: Vec<_> = events.iter().filter(|event| event["kind"] == "member_joined").collect();
    let id = text(&cluster.json(1, "status")["id"]);
    assert!(joined.len() == 1 && text(&joined[0]["text"]) == format!("node node2 ({id}) joined"), "{events:?}");
}

#[test]
fn events_are_followed_one_document_to_a_line() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let mut command = Command::new(weft());
    command.args(["--socket", "/run/weft/weft.sock", "--json", "events", "--follow"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = cluster.host(0).spawn(&mut command).unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.converge();
    cluster.crash(1);
    // It ends at what it waits for: a follower that says nothing more blocks until the daemon ends it.
    let mut followed = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(fields(&event), BTreeSet::from(["number", "time", "kind", "text"]));
        followed.push(event);
        if followed.last().unwrap()["kind"] == "member_dead" {
            break;
        }
    }
    assert_eq!(rows(&cluster.json(0, "events"))[..followed.len()], followed);
    assert!(followed.iter().any(|event| event["kind"] == "member_joined"), "{followed:?}");
    // And with the daemon it ends, however that does.
    cluster.crash(0);
    eventually("the follower ends", || follower.try_wait().unwrap().is_some());
    let output = follower.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the daemon has ended"), "{said}");
}
