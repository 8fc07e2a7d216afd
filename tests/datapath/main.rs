//! What the data plane does with frames: where they go, what is learned of them, and what is made of their headers.
//!
//! Real daemons on hosts of a lab. Where a test has to see or say what no honest peer would, it plays the other VTEP
//! itself.

#[path = "../harness/mod.rs"]
mod harness;

mod ecn;
mod learning;
mod macs;
mod managed;
mod mtu;
mod restart;
mod switching;
mod vlan;
mod workers;

use harness::node::Node;
use harness::port::Port;
use harness::vtep::Vtep;
use weft::lab::{Container, Lab, LabSpec, kernel::INSIDE};
use weft_vtep::addr::Mac;

const VNI: u32 = 5151;

/// A lab with this many hosts and containers on each.
fn lab(hosts: u8, containers: u8) -> Lab {
    Lab::build(LabSpec { containers, ..LabSpec::new(hosts) }).unwrap()
}

/// A weft on every host, all containers on the network blue, every node with all others as its remotes.
fn mesh<'a>(lab: &'a Lab, arguments: &[&'a str], options: &str) -> Vec<Node<'a>> {
    let start = |host| {
        let node = Node::with(host, arguments);
        let others: Vec<_> = lab.hosts.iter().filter(|other| other.address != host.address).collect();
        node.network("blue", VNI, &others, options);
        for container in &host.containers {
            node.attach("blue", container);
        }
        node
    };
    lab.hosts.iter().map(start).collect()
}

/// weft on the first host with its containers on the network blue; the VTEPs of all other hosts are the test's.
struct Stage<'a> {
    node: Node<'a>,
    macs: Vec<Mac>,
    vteps: Vec<Vtep>,
}

impl<'a> Stage<'a> {
    fn set(lab: &'a Lab, options: &str) -> Stage<'a> {
        let (first, others) = lab.hosts.split_first().unwrap();
        // Before weft says anything, so that it is never told that nobody listens.
        let vteps = others.iter().map(|other| Vtep::on(other, first)).collect();
        let node = Node::start(first);
        node.network("blue", VNI, &others.iter().collect::<Vec<_>>(), options);
        let macs = first.containers.iter().map(|container| node.attach("blue", container)).collect();
        Stage { node, macs, vteps }
    }

    fn container(&self, n: usize) -> &'a Container {
        &self.node.host.containers[n]
    }

    /// The interface of a container, for frames of this EtherType.
    fn port(&self, n: usize, ethertype: u16) -> Port {
        Port::open(&self.container(n).netns, INSIDE, ethertype)
    }
}

/// The inner frames of VXLAN datagrams.
fn inner(datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    datagrams.iter().map(|datagram| datagram[8..].to_vec()).collect()
}

/// The MAC of a container's eth0.
fn mac(container: &Container) -> Mac {
    weft::sandbox::link::lookup_name(&container.netns, INSIDE).unwrap().unwrap().mac.unwrap()
}
