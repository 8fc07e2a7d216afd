//! What crosses the underlay sealed, and what an underlay can do to it: two data planes on hosts of a lab, with keys that
//! the test installs in the place of a control plane.

#[path = "../harness/mod.rs"]
mod harness;

mod modes;
mod paths;
mod rekey;
mod tamper;
mod trace;
mod traffic;

use std::net::UdpSocket;
use std::time::Duration;

use harness::port::Port;
use weft::lab::{Container, Family, Host, Lab, LabSpec, kernel::INSIDE, kernel::VXLAN_PORT};
use weft::sandbox::link::{self, LinkSpec};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::io::{Tap, Vtep, VtepConfig, super_frame_size};
use weft_vtep::path::mtu;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::suite::Suite;
use weft_vtep::switch::NetworkSpec;

const VNI: u32 = 5151;

/// A data plane on a host, with the host's containers on one network.
struct Node<'a> {
    host: &'a Host,
    vtep: Vtep,
    id: PeerId,
    macs: Vec<Mac>,
}

impl<'a> Node<'a> {
    /// Starts it; `remotes` are the VTEPs of its network.
    fn start(host: &'a Host, workers: usize, remotes: &[&Host], sealed: bool) -> Node<'a> {
        let port = VXLAN_PORT;
        let config = VtepConfig { local: host.address, port, workers: Some(workers) };
        let vtep = host.netns.run(|| Vtep::start(config)).unwrap().unwrap();
        let id = PeerId(host.name.trim_start_matches("node").parse().unwrap());
        let mut node = Node { host, vtep, id, macs: Vec::new() };
        node.network(VNI, remotes, sealed);
        for (n, container) in host.containers.iter().enumerate() {
            node.attach(VNI, n as u8, INSIDE, container, sealed);
        }
        node
    }

    fn mtu(&self, sealed: bool) -> u16 {
        mtu::inner_mtu(1500, self.host.address.is_ipv6(), sealed).unwrap()
    }

    fn network(&self, vni: u32, remotes: &[&Host], sealed: bool) {
        let mut spec = NetworkSpec::new(Vni::new(vni).unwrap(), self.mtu(sealed));
        spec.remotes = remotes.iter().map(|host| host.address).collect();
        spec.sealed = sealed;
        self.vtep.add_network(spec).unwrap();
    }

    fn attach(&mut self, vni: u32, n: u8, ifname: &str, container: &Container, sealed: bool) {
        let [.., low] = self.id.0.to_be_bytes();
        let mac = Mac::new([2, 0, 0, vni as u8, low, n]);
        let addresses = if vni == VNI { vec![container.v4.into(), container.v6.into()] } else { Vec::new() };
        let (mtu, super_frame) = (self.mtu(sealed).into(), Some(super_frame_size(self.mtu(sealed), sealed)));
        let spec = LinkSpec { ifname: ifname.into(), alias: "test".into(), mac, mtu, super_frame, addresses };
        let plug = || {
            let tap = Tap::create("wtemp0", 1).unwrap();
            link::plug("wtemp0", &container.netns, &spec).unwrap();
            tap
        };
        let tap = self.host.netns.run(plug).unwrap();
        self.vtep.add_port(Vni::new(vni).unwrap(), mac, tap).unwrap();
        self.macs.push(mac);
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.vtep.stats().drops_of(reason)
    }

    /// All counts of drops, for comparison.
    fn drops(&self) -> Vec<(&'static str, u64)> {
        let stats = self.vtep.stats();
        DropReason::ALL.iter().map(|reason| (reason.name(), stats.drops_of(*reason))).collect()
    }

    /// The reasons that count more than in `before`, and by how much.
    fn drops_since(&self, before: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let more = |(now, then): ((&'static str, u64), &(&'static str, u64))| (now.0, now.1 - then.1);
        self.drops().into_iter().zip(before).map(more).filter(|(_, count)| *count > 0).collect()
    }
}

/// The keys of a session; `seed` stands for what both sides contribute.
fn keys(from: &Node<'_>, to: &Node<'_>, suite: Suite, seed: u8) -> SessionKeys {
    let terms = Terms { sender: from.id, receiver: to.id, suite, lanes: from.vtep.lanes() };
    SessionKeys::derive(terms, &[seed; 32], &[!seed; 32]).unwrap()
}

/// Makes a session in one direction, as two daemons do.
fn open_session(from: &Node<'_>, to: &Node<'_>, suite: Suite, seed: u8) {
    let keys = keys(from, to, suite, seed);
    let index = to.vtep.install_receive(from.host.address, &keys).unwrap();
    from.vtep.install_send(to.host.address, &keys, index).unwrap();
}

fn lab(hosts: u8, containers: u8, family: Family) -> Lab {
    Lab::build(LabSpec { containers, family, ..LabSpec::new(hosts) }).unwrap()
}

/// Two nodes that share a sealed network, with sessions both ways.
fn pair<'a>(lab: &'a Lab, workers: usize, suite: Suite) -> [Node<'a>; 2] {
    let [a, b] = [0, 1].map(|n: usize| Node::start(&lab.hosts[n], workers, &[&lab.hosts[1 - n]], true));
    open_session(&a, &b, suite, 1);
    open_session(&b, &a, suite, 2);
    [a, b]
}

/// What arrives at a host's uplink.
fn tap_the_wire(host: &Host) -> Port {
    Port::open(&host.netns, weft::lab::UPLINK, harness::port::ALL)
}

/// The payload of a UDP packet to the VXLAN port, without IP options or extension headers.
fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    let (protocol, l4) = match frame.get(12..14)? {
        [0x08, 0x00] => (*frame.get(23)?, 34),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    let port = u16::from_be_bytes([*frame.get(l4 + 2)?, *frame.get(l4 + 3)?]);
    (protocol == 17 && port == VXLAN_PORT).then(|| &frame[l4 + 8..])
}

/// A last datagram, of a size that no other has; returns its payload's length on the underlay.
fn last_word(from: &Container, to: &Container) -> usize {
    const SIZE: usize = 777;
    let hears = to.netns.run(|| UdpSocket::bind((to.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    let says = from.netns.run(|| UdpSocket::bind((from.ip(), 0))).unwrap().unwrap();
    says.send_to(&[7; SIZE], hears.local_addr().unwrap()).unwrap();
    hears.recv(&mut [0; SIZE]).unwrap();
    // UDP, IPv4, Ethernet, VXLAN and seal.
    SIZE + 8 + 20 + 14 + 8 + 32
}

/// Long enough for a datagram to cross the lab, many times over, on a busy machine.
const SETTLE: Duration = Duration::from_millis(300);
