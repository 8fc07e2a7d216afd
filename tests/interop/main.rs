//! weft beside other implementations of VXLAN: the kernel's device, Open vSwitch, and Wireshark's decoder.
//!
//! What weft sends and takes here was never seen by weft's own code on the other side.

#[path = "../harness/mod.rs"]
mod harness;

mod decoder;
mod kernel;
mod openvswitch;
mod segments;
mod super_frames;

use std::net::IpAddr;

use harness::PATIENCE;
use harness::content::{self, Talk};
use weft::lab::{Container, Lab, kernel::attach_host};
use weft::traffic::ping;
use weft_vtep::addr::Vni;

use harness::node::Node;

const VNI: u32 = 4242;

/// weft on the first host of a lab, the kernel's overlay on the second, each the other's only remote.
fn weft_and_kernel(lab: &Lab) -> Node<'_> {
    let [first, second, ..] = &lab.hosts[..] else { panic!("a lab has two hosts") };
    attach_host(second, Vni::new(VNI).unwrap(), lab.spec.inner_mtu(), &[first.address]).unwrap();
    let node = Node::start(first);
    node.network("blue", VNI, &[second], "");
    for container in &first.containers {
        node.attach("blue", container);
    }
    node
}

/// The first container of each of the two hosts.
fn containers(lab: &Lab) -> [&Container; 2] {
    [&lab.hosts[0].containers[0], &lab.hosts[1].containers[0]]
}

/// Both containers, both ways, with both of the other's addresses.
fn ways([a, b]: [&Container; 2]) -> impl Iterator<Item = (&Container, &Container, IpAddr)> {
    [(a, b), (b, a)].into_iter().flat_map(|(from, to)| [(from, to, to.ip()), (from, to, to.ip6())])
}

/// Every container reaches the other by ICMP; the first packets ask for the neighbour by ARP and ND.
fn check_ping(containers: [&Container; 2]) {
    for (from, _, address) in ways(containers) {
        let rtt = ping::once(&from.netns, address, PATIENCE).unwrap();
        assert!(rtt.is_some(), "no answer from {address}");
    }
}

/// TCP connections from either side carry their content whole, in large writes and in small ones.
fn check_tcp(containers: [&Container; 2]) {
    for (from, to, address) in ways(containers) {
        for talk in [Talk { write: 60_000, writes: 50 }, Talk { write: 64, writes: 500 }] {
            content::tcp(&from.netns, &to.netns, address, talk);
        }
    }
}
