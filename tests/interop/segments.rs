//! Two segments whose identifiers differ in their last bits do not talk, whoever is on the other side.

use weft::lab::{Container, Host, Lab, LabSpec, kernel};
use weft::sandbox::devices::{self, VxlanSpec};
use weft::sandbox::link;
use weft::traffic::ping;
use weft_vtep::addr::{Mac, Vni};

use crate::harness::frames::{MARK, mark, number, numbers};
use crate::harness::node::{Node, Row};
use crate::harness::port::Port;
use crate::harness::{PATIENCE, privileged};

/// Of all identifiers the largest but one, and its neighbour (after LTP's vxlan tests).
const VNIS: [u32; 2] = [0xff_fffe, 0xff_fffd];
/// How often each container calls.
const CALLS: u32 = 50;

#[test]
fn neighbouring_vnis_are_kept_apart() {
    privileged!();
    let lab = Lab::build(LabSpec { containers: 2, ..LabSpec::new(2) }).unwrap();
    let [ours, theirs] = &lab.hosts[..] else { panic!("a lab of two hosts") };
    let node = Node::start(ours);
    for (n, vni) in VNIS.into_iter().enumerate() {
        node.network(&format!("net{n}"), vni, &[theirs], "");
        node.attach(&format!("net{n}"), &ours.containers[n]);
        kernel_segment(theirs, n, vni, lab.spec.inner_mtu(), ours);
        assert!(ping::once(&ours.containers[n].netns, theirs.containers[n].ip(), PATIENCE).unwrap().is_some());
    }
    // All four call to everybody, in turns: what leaked into a segment would come before its own last call.
    let ports: Vec<_> = (0..2).flat_map(|n| [(n, &ours.containers[n]), (n, &theirs.containers[n])]).collect();
    let ports: Vec<_> =
        ports.iter().map(|(n, c)| (*n as u32 * 1_000, mac(c), Port::open(&c.netns, "eth0", MARK))).collect();
    for call in 1..=CALLS {
        for (base, source, port) in &ports {
            port.send(&mark(Mac::BROADCAST, *source, base + call));
        }
    }
    for (base, _, port) in &ports {
        let heard = port.until("the last call", |frame| number(frame) == Some(base + CALLS));
        assert_eq!(numbers(&heard), (base + 1..=base + CALLS).collect::<Vec<_>>());
    }
    let fdb = node.fdb();
    for n in 0..2 {
        let station = mac(&theirs.containers[n]);
        assert_eq!(fdb.get(&(VNIS[n].into(), station)), Some(&Row::learned(theirs)));
        assert_eq!(fdb.get(&(VNIS[1 - n].into(), station)), None);
    }
    node.is_well();
}

fn mac(container: &Container) -> Mac {
    link::lookup_name(&container.netns, kernel::INSIDE).unwrap().unwrap().mac.unwrap()
}

/// A segment of the kernel's with the host's container number `n` in it.
fn kernel_segment(host: &Host, n: usize, vni: u32, mtu: u32, peer: &Host) {
    let (bridge, device, port) = (format!("br{n}"), format!("vx{n}"), format!("c{n}"));
    let (vni, remote) = (Vni::new(vni).unwrap(), Some(peer.address));
    let spec = VxlanSpec { name: device.clone(), vni, local: host.address, remote, port: kernel::VXLAN_PORT, mtu };
    let container = &host.containers[n];
    devices::bridge(&host.netns, &bridge, mtu).unwrap();
    devices::vxlan(&host.netns, &spec).unwrap();
    devices::veth((&container.netns, kernel::INSIDE), (&host.netns, &port), mtu).unwrap();
    for port in [&device, &port] {
        devices::enslave(&host.netns, port, &bridge).unwrap();
    }
    devices::address(&container.netns, kernel::INSIDE, container.v4.into()).unwrap();
    devices::address(&container.netns, kernel::INSIDE, container.v6.into()).unwrap();
}
