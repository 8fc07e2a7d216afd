//! The kernel's vxlan device under a bridge, as Docker's overlay driver builds it, on every kind of underlay.
//!
//! On a local veth with its offloads on, the kernel's frames never meet a wire: their inner checksums are left half done
//! and TCP comes as super-frames that nobody cut.

use std::net::{Ipv4Addr, UdpSocket};

use weft::lab::kernel::{INSIDE, VXLAN_PORT};
use weft::lab::{Family, Lab, LabSpec, Underlay};
use weft::sandbox::{Netns, link};
use weft_vtep::addr::Mac;

use crate::harness::content;
use crate::harness::frames::ethernet;
use crate::harness::node::Row;
use crate::harness::port::Port;
use crate::harness::{PATIENCE, needs, privileged};
use crate::{VNI, check_ping, check_tcp, containers, ways, weft_and_kernel};

#[test]
fn everything_crosses_a_soft_underlay() {
    privileged!();
    everything_crosses(LabSpec::new(2));
    everything_crosses(LabSpec { family: Family::V6, ..LabSpec::new(2) });
}

#[test]
fn everything_crosses_an_underlay_without_offloads() {
    privileged!();
    needs!("ethtool");
    everything_crosses(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(2) });
    everything_crosses(LabSpec { underlay: Underlay::Wire, family: Family::V6, ..LabSpec::new(2) });
}

#[test]
fn everything_crosses_an_underlay_that_coalesces_at_its_end() {
    privileged!();
    needs!("ethtool");
    everything_crosses(LabSpec { underlay: Underlay::WireGro, ..LabSpec::new(2) });
    everything_crosses(LabSpec { underlay: Underlay::WireGro, family: Family::V6, ..LabSpec::new(2) });
}

fn everything_crosses(spec: LabSpec) {
    let lab = Lab::build(spec).unwrap();
    let node = weft_and_kernel(&lab);
    let pair = containers(&lab);
    if lab.spec.underlay != Underlay::Soft {
        // The peer's container has no offloads either.
        lab.spec.underlay.shape(&pair[1].netns, INSIDE).unwrap();
        lab.spec.underlay.shape(&lab.hosts[1].netns, "c0").unwrap();
    }
    check_ping(pair);
    // The peer's first words may have come too early for there to be anybody.
    let before = node.stats();
    check_tcp(pair);
    let most = lab.spec.inner_mtu() as usize;
    for (from, to, address) in ways(pair) {
        let headers = if address.is_ipv4() { 28 } else { 48 };
        // The last ones do not fit into the MTU: the containers' own kernels fragment them.
        content::udp(&from.netns, &to.netns, address, &[1, 18, 100, most - headers, most - headers + 1, 9_000]);
    }
    for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        check_broadcast(&from.netns, &to.netns);
    }
    let macs = pair.map(|container| link::lookup_name(&container.netns, INSIDE).unwrap().unwrap().mac.unwrap());
    check_arp(&pair[0].netns, [macs[0], macs[1]], [pair[0].v4.addr(), pair[1].v4.addr()]);
    assert_eq!(node.fdb().get(&(VNI.into(), macs[1])), Some(&Row::learned(&lab.hosts[1])));
    assert_eq!(node.stats().drops_since(&before), Default::default(), "{:?}", lab.spec);
    node.is_well();
}

/// A datagram to the subnet's broadcast address arrives.
fn check_broadcast(from: &Netns, to: &Netns) {
    let broadcast = Ipv4Addr::new(10, 77, 255, 255);
    let hears = to.run(|| UdpSocket::bind((broadcast, VXLAN_PORT))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    says.set_broadcast(true).unwrap();
    says.send_to(b"to whom it may concern", (broadcast, VXLAN_PORT)).unwrap();
    let mut heard = [0; 100];
    let len = hears.recv(&mut heard).unwrap_or_else(|error| panic!("the broadcast did not come: {error}"));
    assert_eq!(&heard[..len], b"to whom it may concern");
}

/// Whoever asks all for an address, and whoever asks its holder alone, gets the holder's answer.
fn check_arp(asker: &Netns, [mine, theirs]: [Mac; 2], [my_ip, their_ip]: [Ipv4Addr; 2]) {
    const ARP: u16 = 0x0806;
    let port = Port::open(asker, INSIDE, ARP);
    let (my_ip, their_ip) = (my_ip.octets(), their_ip.octets());
    // Ethernet and IPv4; an answer names its sender first.
    let head = |operation: u8| [0, 1, 8, 0, 6, 4, 0, operation];
    let request = [&head(1)[..], &mine.octets(), &my_ip, &[0; 6], &their_ip].concat();
    let reply = [&head(2)[..], &theirs.octets(), &their_ip, &mine.octets(), &my_ip].concat();
    for destination in [Mac::BROADCAST, theirs] {
        port.send(&ethernet(destination, mine, ARP, &request));
        let answer = ethernet(mine, theirs, ARP, &reply);
        port.find("an answer to ARP", |frame| frame.starts_with(&answer));
    }
}
