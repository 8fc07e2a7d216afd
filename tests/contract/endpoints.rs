//! Endpoints come and go without a trace.

use std::fs;
use std::process::Command;

use weft::cli::client::{answer, connect};
use weft::sandbox::{Netns, devices, link};
use weft_proto::v1;

use crate::Node;
use crate::harness::process::{open_files, resident};
use crate::harness::{eventually, privileged};

/// The links of a namespace, one to a line.
pub(crate) fn links(netns: &Netns) -> Vec<String> {
    // /proc/net belongs to the thread that reads it.
    let text = netns.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn routes(netns: &Netns) -> String {
    let read = || fs::read_to_string("/proc/thread-self/net/route");
    netns.run(read).unwrap().unwrap()
}

#[test]
fn an_interface_has_its_addresses_mtu_and_gateway_and_is_gone_after_detach() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16 --gateway 10.1.255.254 --mtu 1400");
    node.text("network create green --plain --subnet 10.2.0.0/16 --gateway 10.2.255.254 --internal");
    let sandbox = &node.host().containers[0].netns;
    let before = (links(sandbox), routes(sandbox), links(&node.host().netns));
    let green = node.json(&format!("attach green --netns {} --ifname ov1", node.netns(0)));
    assert!(!routes(sandbox).contains("ov1\t00000000"), "an internal network leads nowhere");
    let blue = node.json(&format!("attach blue --netns {} --ifname ov0", node.netns(0)));
    let link = link::lookup_name(sandbox, "ov0").unwrap().unwrap();
    assert_eq!(
        (link.mtu, link.up, link.mac.unwrap().to_string().as_str()),
        (1400, true, blue["mac"].as_str().unwrap())
    );
    // Destination 0, through the gateway 10.1.255.254, as /proc/net/route writes them.
    assert!(routes(sandbox).contains("ov0\t00000000\tFEFF010A"), "{}", routes(sandbox));
    for endpoint in [blue, green] {
        node.text(&format!("detach {}", endpoint["endpoint"].as_str().unwrap()));
    }
    assert_eq!((links(sandbox), routes(sandbox), links(&node.host().netns)), before);
}

#[test]
fn two_containers_of_a_node_reach_each_other() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16 --subnet fd00:1::/64");
    for container in 0..2 {
        node.text(&format!("attach blue --netns {}", node.netns(container)));
    }
    for address in ["10.1.0.2", "fd00:1::2"] {
        let ping = || Command::new("ping").args(["-c", "1", "-W", "2", address]).output();
        let output = node.host().containers[0].netns.run(ping).unwrap().unwrap();
        assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn an_endpoint_whose_namespace_has_ended_is_shown_as_lost_and_detached() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    let sandbox = Netns::anonymous().unwrap();
    let attached = node.json(&format!("attach blue --netns {}", sandbox.path().display()));
    let id = attached["endpoint"].as_str().unwrap();
    assert_eq!(node.state_of(id), "up");
    drop(sandbox);
    eventually("the endpoint is shown as lost", || node.state_of(id) == "lost");
    node.text(&format!("detach {id}"));
    // Its address is free again.
    node.text(&format!("attach blue --netns {} --ip 10.1.0.1", node.netns(0)));
}

#[test]
fn a_thousand_endpoints_one_after_another_leave_nothing_behind() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/28 --subnet fd00:1::/64 --gateway 10.1.0.14");
    let sandbox = Netns::anonymous().unwrap();
    devices::up(&sandbox, "lo").unwrap();
    let request =
        v1::AttachRequest { network: "blue".into(), netns: sandbox.path().display().to_string(), ..Default::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = connect(&node.daemon.socket()).await.unwrap();
        let mut before = None;
        for round in 0..1000 {
            let endpoint = answer(client.attach(request.clone()).await).unwrap().id;
            answer(client.detach(v1::DetachRequest { endpoint }).await).unwrap();
            // The first few rounds may open what stays open: that is not a leak yet.
            if round == 10 {
                before = Some(traces(&node, &sandbox));
            }
        }
        assert_eq!(Some(traces(&node, &sandbox)), before);
    });
    assert_eq!(links(&sandbox), ["lo"]);
}

/// What an endpoint could leave behind.
fn traces(node: &Node, sandbox: &Netns) -> (usize, Vec<String>, Vec<String>, String) {
    (open_files(node.daemon.pid()), links(&node.host().netns), links(sandbox), routes(sandbox))
}

/// The most that an idle daemon with ten endpoints may hold in memory.
const IDLE_KB: u64 = 64 << 10;

#[test]
fn an_idle_daemon_with_ten_endpoints_is_small() {
    privileged!();
    let node = Node::start();
    node.text("network create blue --plain --subnet 10.1.0.0/16");
    for endpoint in 0..10 {
        node.text(&format!("attach blue --netns {} --ifname ov{endpoint}", node.netns(endpoint % 2)));
    }
    let kb = resident(node.daemon.pid()) >> 10;
    assert!((1..=IDLE_KB).contains(&kb), "{kb} kB are resident");
}
