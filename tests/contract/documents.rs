//! The documents: field names and values as they are promised, text as people expect it from Docker's command line.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use weft_vtep::drops::DropReason;

use crate::harness::privileged;
use crate::{Node, fields};

#[test]
fn status_and_members_say_who_the_node_is() {
    privileged!();
    let node = Node::start();
    let status = node.json("status");
    let expected = [
        "node",
        "id",
        "version",
        "advertise",
        "mode",
        "ready",
        "vxlan_port",
        "control_port",
        "members_alive",
        "members_agreeing",
        "members_compared",
        "clock_ahead_ms",
        "uptime_seconds",
        "networks",
        "endpoints",
        "sessions",
    ];
    assert_eq!(fields(&status), BTreeSet::from(expected));
    assert_eq!(
        (&status["node"], &status["mode"], &status["ready"]),
        (&json!("node1"), &json!("standalone"), &json!(true))
    );
    assert_eq!((&status["advertise"], &status["vxlan_port"]), (&json!("192.0.2.1"), &json!(4789)));
    assert_eq!(
        (&status["members_alive"], &status["networks"], &status["endpoints"]),
        (&json!(1), &json!(0), &json!(0))
    );
    let member = json!([{"name": "node1", "id": status["id"], "address": "192.0.2.1", "state": "alive", "signer": false,
                         "version": status["version"], "started": node.json("members")[0]["started"]}]);
    assert_eq!(node.json("members"), member);
    assert!(
        member[0]["started"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')),
        "{member}"
    );
    assert!(node.text("status").contains("standalone") && node.text("members").contains("alive"));
}

#[test]
fn stats_list_every_drop_reason_at_zero_too() {
    privileged!();
    let node = Node::start();
    let stats = node.json("stats");
    assert_eq!(fields(&stats), BTreeSet::from(["totals", "drops"]));
    assert_eq!(fields(&stats["totals"]), BTreeSet::from(["tx_frames", "tx_bytes", "rx_frames", "rx_bytes"]));
    let reasons: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
    assert_eq!(fields(&stats["drops"]), reasons);
    assert!(stats["drops"].as_object().unwrap().values().all(|count| count.is_u64()));
    let text = node.text("stats");
    assert!(reasons.iter().all(|reason| text.contains(reason)), "{text}");
}

#[test]
fn a_network_is_shown_as_it_was_made() {
    privileged!();
    let node = Node::start();
    let line = "network create blue --plain --vni 5000 --subnet 10.1.0.0/16 --subnet fd00:1::/64 --gateway 10.1.0.1 \
                --ip-range 10.1.4.0/24 --mtu 1400 --internal --remote 192.0.2.2 -o vlan=keep -o trust-macs";
    let id = node.text(line);
    let id = id.strip_suffix('\n').unwrap();
    assert!(id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let expected = json!({
        "name": "blue", "id": id, "vni": 5000, "driver": "overlay", "mtu": 1400, "mode": "plain",
        "subnets": [
            {"subnet": "10.1.0.0/16", "gateway": "10.1.0.1", "ip_range": "10.1.4.0/24"},
            {"subnet": "fd00:1::/64", "gateway": null, "ip_range": null},
        ],
        "remotes": ["192.0.2.2"], "internal": true, "options": {"vlan": "keep", "trust-macs": ""}, "endpoints": [],
    });
    for reference in ["blue", id, &id[..6]] {
        assert_eq!(node.json(&format!("network inspect {reference}")), expected);
    }
    assert_eq!(node.json("network ls"), json!([expected]));
    // For people `inspect` is JSON too, as it is Docker's.
    let text = node.text("network inspect blue");
    assert!(text.lines().count() > 10);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    assert!(node.text("network ls").lines().nth(1).unwrap().contains("blue"));
    assert_eq!(node.text("network rm blue"), "blue\n");
    assert_eq!(node.json("network ls"), json!([]));
    assert_eq!(fields(&node.json("network create green --plain")), fields(&expected));
}

#[test]
fn an_endpoint_is_shown_by_attach_inspect_and_fdb() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --vni 5000 --subnet 10.1.0.0/16");
    let netns = node.netns(0);
    let attached = node.json(&format!("attach blue --netns {netns} --mac 02:00:00:00:00:01"));
    let id = attached["endpoint"].as_str().unwrap();
    assert!(id.len() >= 12 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let expected = json!({
        "endpoint": id, "network": "blue", "mac": "02:00:00:00:00:01", "ips": ["10.1.0.1/16"], "ifname": "eth0",
    });
    assert_eq!(attached, expected);
    let inspected = node.json("network inspect blue");
    let shown = json!([{
        "endpoint": id, "mac": "02:00:00:00:00:01", "ips": ["10.1.0.1/16"], "ifname": "eth0", "netns": netns, "state": "up",
    }]);
    assert_eq!(inspected["endpoints"], shown);
    let entry = json!([{"network": "blue", "vni": 5000, "mac": "02:00:00:00:00:01", "kind": "local", "port": id}]);
    assert_eq!(node.json("fdb"), entry);
    assert_eq!(node.json("fdb blue"), entry);
    let neighbor = json!([{"network": "blue", "vni": 5000, "ip": "10.1.0.1", "mac": "02:00:00:00:00:01", "node": "node1",
                           "vtep": "192.0.2.1"}]);
    assert_eq!((node.json("neigh"), node.json("neigh blue")), (neighbor.clone(), neighbor));
    node.text("network create green --plain");
    assert_eq!(node.json("fdb green"), json!([]));
    assert!(node.text("fdb").lines().nth(1).unwrap().contains("02:00:00:00:00:01"));
    assert_eq!(node.json("status")["endpoints"], 1);

    let line = node.text(&format!("attach blue --netns {} --ip 10.1.0.9/16 --ifname ov0", node.netns(1)));
    let words: Vec<_> = line.split_whitespace().collect();
    assert!(line.lines().count() == 1 && words.len() == 3 && words[2] == "10.1.0.9/16", "{line}");
    assert_eq!(node.text(&format!("detach {}", &words[0][..8])), format!("{}\n", words[0]));
    assert_eq!(node.json(&format!("detach {id}")), json!({"endpoint": id, "network": "blue"}));
}

#[test]
fn the_socket_is_not_for_everybody() {
    privileged!();
    let node = Node::start();
    let mode = std::fs::metadata(node.daemon.socket()).unwrap().permissions().mode() & 0o777;
    let group = nix::unistd::Group::from_name("weft").unwrap();
    assert!(mode == 0o600 || (mode == 0o660 && group.is_some()), "{mode:o}");
}

#[test]
fn colours_are_for_a_terminal_or_whoever_insists_and_never_in_json() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.77.0.0/16");
    node.text(&format!("attach blue --netns {} --ip 10.77.0.1/16", node.netns(0)));
    let run = |line: &str, variables: &[(&str, &str)]| {
        let mut command = Command::new(crate::harness::weft());
        command.args(["--socket", "/run/weft/weft.sock"]).args(line.split(' ')).env("TERM", "xterm");
        let output = node.host().output(command.envs(variables.iter().copied())).unwrap();
        assert!(output.status.success(), "`weft {line}`: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let force = ("CLICOLOR_FORCE", "1");
    for line in ["status", "members", "network ls", "network inspect blue", "fdb", "stats"] {
        assert!(!run(line, &[]).contains('\u{1b}'), "{line}");
        assert!(run(line, &[force]).contains('\u{1b}'), "{line}");
        assert!(!run(line, &[force, ("NO_COLOR", "1")]).contains('\u{1b}'), "{line}");
        assert!(!run(&format!("--json {line}"), &[force]).contains('\u{1b}'), "{line}");
    }
}
