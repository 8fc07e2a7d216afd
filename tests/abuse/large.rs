//! Datagrams as large as UDP has them. The underlay carries them as IP fragments, which the kernel joins.

use etherparse::PacketBuilder;

use crate::harness::frames::{MARK, ethernet, station, vxlan};
use crate::harness::privileged;
use crate::{KNOWN, Target, VNI, over_both};

/// The largest UDP payload over IPv4.
const LARGEST: usize = 65_507;

fn filled(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(LARGEST - 8, 0x77);
    vxlan(VNI, &frame)
}

#[test]
fn the_largest_datagrams_are_refused_for_what_they_are() {
    privileged!();
    over_both(|target| {
        for (reason, datagram) in [
            ("not_vxlan", vec![0; LARGEST]),
            ("not_vxlan", vec![0x77; LARGEST]),
            ("unknown_vni", vec![0xff; LARGEST]),
            // More than the network's MTU, whatever it is: another protocol, IP with a lot behind it, a datagram.
            ("inner_oversize", filled(ethernet(target.mac, station(KNOWN), MARK, &[]))),
            ("inner_oversize", filled(udp(target, 100))),
            ("inner_oversize", vxlan(VNI, &udp(target, LARGEST - 8 - 14 - 28))),
            ("inner_oversize", vxlan(VNI, &udp(target, 1_451 - 28))),
            // From a new station, and to all.
            ("inner_oversize", filled(ethernet(target.mac, station(2), MARK, &[]))),
            ("inner_oversize", filled(ethernet(weft_vtep::addr::Mac::BROADCAST, station(2), MARK, &[]))),
        ] {
            target.refuses(reason, 3, |target| (0..3).for_each(|_| target.remote.send(&datagram)));
        }
    });
}

#[test]
fn a_frame_of_the_network_s_mtu_is_not_too_large() {
    privileged!();
    over_both(|target| {
        let mtu = target.node.run("network inspect blue")["mtu"].as_u64().unwrap() as usize;
        let mut large = ethernet(target.mac, station(KNOWN), MARK, &vec![0x77; mtu]);
        target.takes(&[large.clone()], |target| target.remote.send(&vxlan(VNI, &large)));
        large.push(0x77);
        target.refuses("inner_oversize", 1, |target| target.remote.send(&vxlan(VNI, &large)));
    });
}

/// A sound IPv4 frame with a UDP datagram.
fn udp(target: &Target<'_>, payload: usize) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(station(KNOWN).octets(), target.mac.octets());
    let mut frame = Vec::new();
    packet.ipv4([10, 77, 9, 9], [10, 77, 9, 8], 64).udp(1, 2).write(&mut frame, &vec![0x77; payload]).unwrap();
    frame
}
