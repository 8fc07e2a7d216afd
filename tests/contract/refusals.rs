//! Bad use: one line with what, why and what to do, status 1, and nothing half made.

use nix::mount::{MsFlags, mount};

use crate::Node;
use crate::endpoints::links;
use crate::harness::privileged;

/// Everything that a refused command could have changed.
fn everything(node: &Node) -> (String, String, Vec<String>, Vec<String>) {
    let state = std::fs::read_to_string(format!("/proc/{}/root/run/weft/state/state.json", node.daemon.pid())).unwrap();
    let shown = format!("{}{}{}", node.text("network ls --json"), node.text("fdb --json"), node.status());
    (state, shown, links(&node.host().netns), links(&node.host().containers[1].netns))
}

#[test]
fn a_refused_network_says_why_and_changes_nothing() {
    privileged!();
    let node = Node::start();
    node.text("network create red --plain --vni 5000 --subnet 10.9.0.0/16");
    let before = everything(&node);
    for (line, expected) in [
        ("red --plain", &["red", "another name"][..]),
        ("blue --plain --vni 5000", &["5000", "red", "--vni"]),
        ("blue", &["sealing needs a cluster", "--plain"]),
        ("blue -o encrypted", &["sealing needs a cluster", "--plain"]),
        ("blue --remote 192.0.2.2", &["--remote", "--plain"]),
        ("blue --plain --remote 2001:db8::1", &["2001:db8::1", "192.0.2.1", "family"]),
        ("blue --plain --remote 192.0.2.1", &["192.0.2.1", "another host"]),
        ("blue --plain --driver ipvlan", &["ipvlan", "overlay"]),
        ("blue --plain -o colour=blue", &["colour"]),
        ("blue --plain -o vlan=maybe", &["vlan", "maybe", "keep"]),
        ("blue --plain --mtu 1451", &["1451", "1450", "1500"]),
        ("blue --plain --mtu 575", &["575", "576"]),
        ("blue --plain --subnet fd00:1::/64 --mtu 1279", &["1279", "1280"]),
        ("blue --plain --subnet 127.0.0.0/8", &["127.0.0.0/8", "loopback", "choose a private one"]),
        ("blue --plain --subnet ::1/128", &["::1/128", "loopback"]),
        ("blue --plain --subnet 169.254.7.0/24", &["169.254.7.0/24", "link-local", "169.254.0.0/16"]),
        ("blue --plain --subnet fe80::/10", &["fe80::/10", "link-local"]),
        ("blue --plain --subnet 239.0.0.0/8", &["239.0.0.0/8", "unicast"]),
        ("blue --plain --subnet 0.0.0.0/0", &["0.0.0.0/0", "loopback"]),
        ("lan --driver bridge --subnet 127.1.0.0/16", &["127.1.0.0/16", "loopback"]),
        ("blue --plain --subnet 10.1.2.0/16", &["10.1.2.0/16", "10.1.0.0/16"]),
        ("blue --plain --subnet 10.1.0.0/16 --subnet 10.1.4.0/24", &["10.1.0.0/16", "10.1.4.0/24", "overlap"]),
        ("blue --plain --subnet 10.1.0.0/16 --gateway 10.2.0.1", &["10.2.0.1", "gateway"]),
        ("blue --plain --subnet 10.1.0.0/16 --ip-range 10.2.0.0/24", &["10.2.0.0/24", "range"]),
        ("--plain -- -blue", &["-blue", "letter"]),
        ("bl/ue --plain", &["bl/ue", "letter"]),
    ] {
        let line = format!("network create {line}");
        let said = node.refused(&line);
        assert!(expected.iter().all(|word| said.contains(word)), "`weft {line}`: {said}");
        assert_eq!(everything(&node), before, "`weft {line}` changed something");
    }
    for line in ["network rm blue", "network inspect blue", "fdb blue", "network rm no-such-id"] {
        assert!(node.refused(line).contains("there is no network"), "{line}");
    }
}

#[test]
fn a_refused_endpoint_says_why_and_changes_nothing() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    node.text("network create outward --plain --subnet 10.2.0.0/16 --remote 192.0.2.2");
    node.text("network create bare --plain");
    let held = node.json(&format!("attach blue --netns {} --ip 10.1.0.5 --mac 02:00:00:00:00:05", node.netns(0)));
    let holder = held["endpoint"].as_str().unwrap();
    let before = everything(&node);
    let (taken, free) = (node.netns(0), node.netns(1));
    let other_kind = format!("/proc/{}/ns/uts", std::process::id());
    for (line, expected) in [
        (format!("green --netns {free}"), &["green", "network ls"][..]),
        ("blue --netns no-such-netns".into(), &["no-such-netns", "ip netns add"]),
        ("blue --netns /no/such/netns".into(), &["/no/such/netns"]),
        ("blue --netns /dev/null".into(), &["/dev/null", "not a network namespace"]),
        (format!("blue --netns {other_kind}"), &[other_kind.as_str(), "not a network namespace"]),
        (format!("blue --netns {free} --ip 10.9.0.1/16"), &["10.9.0.1", "outside", "10.1.0.0/16"]),
        (format!("blue --netns {free} --ip 10.1.0.7/24"), &["10.1.0.7/24", "10.1.0.7/16"]),
        (format!("blue --netns {free} --ip 10.1.255.255"), &["10.1.255.255", "broadcast"]),
        (format!("blue --netns {free} --ip 10.1.0.5"), &["10.1.0.5", holder, "another"]),
        (format!("blue --netns {free} --mac 02:00:00:00:00:05"), &["02:00:00:00:00:05", holder]),
        (format!("blue --netns {free} --mac 01:00:5e:00:00:01"), &["01:00:5e:00:00:01", "group"]),
        (format!("blue --netns {free} --ifname too-long-for-linux"), &["interface", "15"]),
        (format!("blue --netns {free} --ifname a/b"), &["a/b"]),
        (format!("blue --netns {free} --ifname lo"), &["lo", "--ifname"]),
        (format!("blue --netns {taken}"), &["eth0", "--ifname"]),
        (format!("outward --netns {free}"), &["remote", "--ip"]),
        (format!("bare --netns {free} --ip 10.3.0.1"), &["10.3.0.1/24", "prefix"]),
    ] {
        let said = node.refused(&format!("attach {line}"));
        assert!(expected.iter().all(|word| said.contains(word)), "`weft attach {line}`: {said}");
        assert_eq!(everything(&node), before, "`weft attach {line}` changed something");
    }
    assert!(node.refused("detach no-such-id").contains("there is no endpoint"));
    assert!(node.refused("network rm blue").contains(holder), "whoever wants to remove it must know what to detach");
    // The refused ones took no address: the first is still the next.
    assert_eq!(node.json(&format!("attach blue --netns {free}"))["ips"][0], "10.1.0.1/16");
}

#[test]
fn without_a_tun_device_an_endpoint_is_refused_and_so_is_a_start() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let before = everything(&node);
    const NONE: Option<&str> = None;
    let hide = || mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), NONE);
    node.host().run(hide).unwrap().unwrap();
    let said = node.refused(&format!("attach blue --netns {}", node.netns(1)));
    assert!(said.contains("/dev/net/tun") && said.contains("modprobe tun"), "{said}");
    assert_eq!(everything(&node), before);
    let said = node.refused("up --standalone --state-dir /run/other --socket /run/other.sock");
    assert!(said.contains("/dev/net/tun"), "{said}");
    assert!(!node.host().run(|| std::path::Path::new("/run/other").exists()).unwrap());
}

#[test]
fn an_underlay_that_has_shrunk_refuses_endpoints_and_names_both_numbers() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let shrink = || std::process::Command::new("ip").args(["link", "set", "eth0", "mtu", "1400"]).status();
    assert!(node.host().run(shrink).unwrap().unwrap().success());
    let said = node.refused(&format!("attach blue --netns {}", node.netns(1)));
    assert!(["1450", "1400", "1350"].iter().all(|number| said.contains(number)), "{said}");
}

#[test]
fn a_disk_without_room_refuses_changes_and_keeps_what_there_is() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let attached = node.json(&format!("attach blue --netns {}", node.netns(0)));
    let before = everything(&node);
    // The state directory is on a tmpfs of the host's own.
    let fill = || {
        const NONE: Option<&str> = None;
        mount(NONE, "/run", NONE, MsFlags::MS_REMOUNT, Some("size=64k"))?;
        std::fs::write("/run/filler", vec![0; 128 << 10]).map_err(|_| nix::errno::Errno::ENOSPC)
    };
    assert!(node.host().run(fill).unwrap().is_err(), "the disk did not fill up");
    for line in [
        "network create green --plain".to_owned(),
        "network rm blue".to_owned(),
        format!("attach blue --netns {}", node.netns(1)),
        format!("detach {}", attached["endpoint"].as_str().unwrap()),
    ] {
        let said = node.refused(&line);
        assert!(said.contains("make room") || said.contains("detach them first"), "`weft {line}`: {said}");
        assert_eq!(everything(&node), before, "`weft {line}` changed something");
    }
    node.host().run(|| std::fs::remove_file("/run/filler")).unwrap().unwrap();
    node.text(&format!("attach blue --netns {}", node.netns(1)));
}

#[test]
fn the_daemons_own_namespace_may_be_a_sandbox() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let own = format!("/proc/{}/ns/net", node.daemon.pid());
    assert!(node.refused(&format!("attach blue --netns {own}")).contains("eth0"), "the underlay's interface is there");
    let before = links(&node.host().netns);
    let attached = node.json(&format!("attach blue --netns {own} --ifname ov0"));
    assert!(links(&node.host().netns).contains(&"ov0".to_owned()));
    node.text(&format!("detach {}", attached["endpoint"].as_str().unwrap()));
    assert_eq!(links(&node.host().netns), before);
}
