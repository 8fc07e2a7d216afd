//! Headers that are short, wrong, or somebody else's.

use etherparse::PacketBuilder;
use weft_vtep::addr::Mac;

use crate::harness::frames::{mark, station, tagged, vxlan};
use crate::harness::privileged;
use crate::harness::vtep::Vtep;
use crate::{KNOWN, Target, VNI, lab, over_both};

/// Bytes of the VXLAN header, and with it of the inner Ethernet header.
const VXLAN: usize = 8;
const ETHERNET: usize = VXLAN + 14;

/// Sound inner frames to the container: IPv4 and IPv6, TCP and UDP, with headers and little else.
fn frames(target: &Target<'_>) -> [Vec<u8>; 4] {
    let link = || PacketBuilder::ethernet2(station(KNOWN).octets(), target.mac.octets());
    let mut frames = [const { Vec::new() }; 4];
    link().ipv4([10, 77, 9, 9], [10, 77, 9, 8], 64).udp(1, 2).write(&mut frames[0], b"end").unwrap();
    link().ipv4([10, 77, 9, 9], [10, 77, 9, 8], 64).tcp(1, 2, 3, 4).write(&mut frames[1], b"end").unwrap();
    link().ipv6([0xfd; 16], [0xfe; 16], 64).udp(1, 2).write(&mut frames[2], b"end").unwrap();
    link().ipv6([0xfd; 16], [0xfe; 16], 64).tcp(1, 2, 3, 4).write(&mut frames[3], b"end").unwrap();
    frames
}

#[test]
fn datagrams_truncated_at_every_length_are_refused_or_opaque() {
    privileged!();
    over_both(|target| {
        for datagram in frames(target).map(|frame| vxlan(VNI, &frame)) {
            let cut = |to: std::ops::Range<usize>| to.map(|len| &datagram[..len]).collect::<Vec<_>>();
            let send_all = |all: &[&[u8]]| all.iter().for_each(|datagram| target.remote.send(datagram));
            target.refuses("outer_truncated", VXLAN as u64, |_| send_all(&cut(0..VXLAN)));
            target.refuses("inner_truncated", 14, |_| send_all(&cut(VXLAN..ETHERNET)));
            // A frame with a whole Ethernet header is a frame, whatever is missing in it: its receiver sees to that.
            let opaque = cut(ETHERNET..datagram.len() + 1);
            let expected: Vec<_> = opaque.iter().map(|datagram| datagram[VXLAN..].to_vec()).collect();
            target.takes(&expected, |_| send_all(&opaque));
        }
    });
}

/// RFC 7348 section 5: reserved fields are ignored on receipt.
#[test]
fn each_reserved_bit_is_ignored() {
    privileged!();
    over_both(|target| {
        // All but the I flag and the 24 bits of the VNI.
        let reserved: Vec<usize> = (0..64).filter(|bit| *bit != 4 && !(32..56).contains(bit)).collect();
        assert_eq!(reserved.len(), 39);
        let expected: Vec<_> = reserved.iter().map(|bit| target.sound(*bit as u32)).collect();
        target.takes(&expected, |target| {
            for bit in &reserved {
                let mut datagram = vxlan(VNI, &target.sound(*bit as u32));
                datagram[bit / 8] |= 0x80 >> (bit % 8);
                target.remote.send(&datagram);
            }
        });
    });
}

#[test]
fn without_the_i_flag_nothing_is_vxlan() {
    privileged!();
    const I: u8 = 0x08;
    over_both(|target| {
        let send = |first: u8| {
            let mut datagram = vxlan(VNI, &target.sound(1));
            datagram[0] = first;
            target.remote.send(&datagram);
        };
        // 0x80 and 0x81 too: they announce a sealed datagram, but not one of a version that anybody speaks.
        target.refuses("not_vxlan", 128, |_| (0..=255).filter(|b| b & I == 0).for_each(send));
        // What is sealed is not taken for plain, and no session of ours has any index.
        target.refuses("unknown_index", 2, |target| {
            for kind in [0x80, 0x81] {
                target.remote.send(&[&[kind, 1, 0, 0][..], &[0x5a; 60]].concat());
            }
        });
    });
}

#[test]
fn another_network_s_identifier_is_nobody_s_here() {
    privileged!();
    over_both(|target| {
        target.refuses("unknown_vni", 25, |target| {
            for bit in 0..24 {
                target.remote.send(&vxlan(VNI ^ 1 << bit, &target.sound(1)));
            }
            target.remote.send(&vxlan(0, &target.sound(1)));
        });
    });
}

#[test]
fn a_stranger_is_not_heard_and_a_remote_from_any_port_is() {
    privileged!();
    over_both(|target| {
        target.refuses("unknown_vtep", 4, |target| {
            // As the known station, as a new one, to the container, to all.
            for source in [station(KNOWN), station(2)] {
                for destination in [target.mac, Mac::BROADCAST] {
                    target.stranger.send(&vxlan(VNI, &mark(destination, source, 1)));
                }
            }
        });
    });
    // The source port is a hash of the inner flow and says nothing about its sender.
    let lab = lab(weft::lab::Family::V4);
    let target = Target::on(&lab);
    let ports = [1, 53, 1_024, 4_788, 49_151, 65_535];
    let expected: Vec<_> = ports.iter().map(|port| target.sound(u32::from(*port))).collect();
    target.takes(&expected, |target| {
        for port in ports {
            let vtep = Vtep::from_port(&lab.hosts[1], &lab.hosts[0], port);
            vtep.send(&vxlan(VNI, &target.sound(port.into())));
        }
    });
    target.refuses("unknown_vtep", ports.len() as u64, |target| {
        for port in ports {
            let vtep = Vtep::from_port(&lab.hosts[2], &lab.hosts[0], port);
            vtep.send(&vxlan(VNI, &target.sound(port.into())));
        }
    });
}

#[test]
fn a_frame_from_what_is_no_station_is_refused() {
    privileged!();
    over_both(|target| {
        let sources = [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [3, 0, 0, 0, 0, 0]];
        target.refuses("inner_source_invalid", 2 * sources.len() as u64, |target| {
            for source in sources {
                for destination in [target.mac, Mac::BROADCAST] {
                    target.remote.send(&vxlan(VNI, &mark(destination, Mac::new(source), 1)));
                }
            }
        });
    });
}

#[test]
fn nobody_outside_speaks_for_an_endpoint() {
    privileged!();
    over_both(|target| {
        target.refuses("inner_source_local", 2, |target| {
            target.remote.send(&vxlan(VNI, &mark(Mac::BROADCAST, target.mac, 1)));
            target.remote.send(&vxlan(VNI, &mark(target.mac, target.mac, 1)));
        });
    });
}

#[test]
fn a_tagged_frame_is_refused_from_a_known_and_from_a_new_station() {
    privileged!();
    over_both(|target| {
        target.refuses("inner_vlan", 3, |target| {
            target.remote.send(&vxlan(VNI, &tagged(&target.sound(1), 5)));
            target.remote.send(&vxlan(VNI, &tagged(&mark(Mac::BROADCAST, station(2), 1), 5)));
            // Two tags, one behind the other.
            target.remote.send(&vxlan(VNI, &tagged(&tagged(&target.sound(1), 5), 6)));
        });
    });
}
