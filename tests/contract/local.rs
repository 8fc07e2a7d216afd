//! Networks of one host: the drivers bridge, host and macvlan, as a user has them.

use std::net::IpAddr;
use std::time::Duration;

use weft::sandbox::{Netns, link};
use weft::traffic::ping;

use crate::Node;
use crate::endpoints::links;
use crate::harness::{eventually, needs, privileged};

const PATIENCE: Duration = Duration::from_secs(5);

fn answers(from: &Netns, to: IpAddr) -> bool {
    ping::once(from, to, PATIENCE).is_ok_and(|rtt| rtt.is_some())
}

#[test]
fn a_bridge_leads_out_and_survives_kill_9_and_leaves_nothing() {
    privileged!();
    needs!("nft");
    let node = Node::start();
    let before = links(&node.host().netns);
    let made = node.json("network create lan --driver bridge --subnet 10.88.0.0/24");
    assert_eq!(
        (made["driver"].as_str(), made["vni"].as_u64(), made["mode"].as_str()),
        (Some("bridge"), Some(0), Some("none"))
    );
    assert_eq!(made["subnets"][0]["gateway"], "10.88.0.1");
    assert_eq!((made["state"]["state"].as_str(), made["state"]["way_out"].as_str()), (Some("up"), Some("masquerade")));
    let first = node.json(&format!("attach lan --netns {}", node.netns(0)));
    assert_eq!(first["ips"][0], "10.88.0.2/24");
    let asked = node.json(&format!("attach lan --netns {} --ip 10.88.0.9", node.netns(1)));
    let outside = node.lab.hosts[1].address;
    let sandbox = |number: usize| &node.host().containers[number].netns;
    assert!(answers(sandbox(0), "10.88.0.9".parse().unwrap()) && answers(sandbox(0), outside));
    let refused = node.refused(&format!("attach lan --netns {} --ifname b --ip 10.88.0.1", node.netns(1)));
    assert!(refused.contains("held by the endpoint bridge wb"), "{refused}");
    assert!(node.refused("network rm lan").contains("has endpoints"), "in use");
    assert!(node.refused("network create lan --plain").contains("there is a network `lan` already"));

    let shown = |node: &Node| (node.json("network inspect lan"), node.status());
    let before_crash = shown(&node);
    let node = node.crash_and_restart();
    assert_eq!(shown(&node), before_crash);
    assert!(answers(&node.host().containers[0].netns, outside));
    let refused = node.refused(&format!("attach lan --netns {} --ifname b --ip 10.88.0.9", node.netns(0)));
    assert!(refused.contains("is held by the endpoint"), "{refused}");
    for endpoint in [first, asked] {
        node.text(&format!("detach {}", endpoint["endpoint"].as_str().unwrap()));
    }
    assert_eq!(link::lookup_name(&node.host().containers[0].netns, "eth0").unwrap(), None);
    node.text("network rm lan");
    assert_eq!(links(&node.host().netns), before);
    assert_eq!(node.json("network ls"), serde_json::json!([]));
}

#[test]
fn macvlan_is_on_the_parents_network_and_lost_with_its_sandbox() {
    privileged!();
    let node = Node::start();
    let subnet = match node.host().address {
        IpAddr::V4(address) => ipnet::Ipv4Net::new(address, 24).unwrap().trunc(),
        IpAddr::V6(_) => unreachable!("the lab's underlay is IPv4"),
    };
    let made = node.json(&format!("network create lan --driver macvlan --parent eth0 --subnet {subnet}"));
    assert_eq!((made["options"]["parent"].as_str(), made["state"]["state"].as_str()), (Some("eth0"), Some("up")));
    let free = subnet.hosts().nth(99).unwrap();
    let sandbox = Netns::anonymous().unwrap();
    let attached = node.json(&format!("attach lan --netns {} --ip {free}", sandbox.path().display()));
    assert!(answers(&sandbox, node.lab.hosts[1].address));
    assert!(answers(&node.lab.hosts[1].netns, free.into()));
    drop(sandbox);
    let state = || node.json("network inspect lan")["endpoints"][0]["state"].as_str().unwrap().to_owned();
    eventually("the endpoint is shown as lost", || state() == "lost");
    node.text(&format!("detach {}", attached["endpoint"].as_str().unwrap()));
    node.text("network rm lan");
    for (line, why) in [
        ("network create x --driver macvlan", "give it with --parent"),
        ("network create x --driver macvlan --parent eth9", "no interface `eth9`"),
        ("network create x --driver bridge", "a bridge network needs --subnet"),
        ("network create x --driver bridge --subnet 10.9.0.0/24 --vni 7", "--vni is of no use with the driver bridge"),
        ("network create x --driver ipvlan", "the drivers are overlay, bridge, host and macvlan"),
        ("network create x --plain --parent eth0", "no option `parent`"),
    ] {
        let refused = node.refused(line);
        assert!(refused.contains(why), "{line}: {refused}");
    }
}

#[test]
fn the_host_network_has_no_interface_and_takes_only_the_host() {
    privileged!();
    let node = Node::start();
    node.text("network create h --driver host");
    assert!(node.refused("network create h2 --driver host").contains("there is a host network `h` already"));
    let refused = node.refused(&format!("attach h --netns {}", node.netns(0)));
    assert!(refused.contains("the host's own namespace"), "{refused}");
    let before = links(&node.host().netns);
    let itself = format!("/proc/{}/ns/net", node.daemon.pid());
    let attached = node.json(&format!("attach h --netns {itself}"));
    assert_eq!((attached["mac"].as_str(), attached["ips"].as_array().unwrap().len()), (Some(""), 0));
    assert_eq!(links(&node.host().netns), before);
    assert!(node.refused(&format!("attach h --netns {itself} --ip 10.0.0.1/24")).contains("--ip is of no use"));
    node.text(&format!("detach {}", attached["endpoint"].as_str().unwrap()));
    node.text("network rm h");
}
