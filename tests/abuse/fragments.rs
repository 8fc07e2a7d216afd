//! IP fragments of the underlay (RFC 7348 section 4.3: a VTEP may discard them; the kernel joins them for us), and outer
//! checksums.

use etherparse::{IpNumber, Ipv4Header, UdpHeader};
use weft::lab::{Family, Host, UPLINK};
use weft::sandbox::link;
use weft_vtep::addr::Mac;

use crate::harness::frames::{IPV4, ethernet, vxlan};
use crate::harness::port::Port;
use crate::harness::privileged;
use crate::{Target, VNI, lab};

/// The interface of the remote's host, which sends packets made by hand to weft's host.
struct Wire<'a> {
    port: Port,
    macs: [Mac; 2],
    hosts: [&'a Host; 2],
}

/// Which sum a UDP header carries.
#[derive(Clone, Copy, PartialEq)]
enum Sum {
    Right,
    Wrong,
    None,
}

impl<'a> Wire<'a> {
    fn new(from: &'a Host, to: &'a Host) -> Wire<'a> {
        let mac = |host: &Host| link::lookup_name(&host.netns, UPLINK).unwrap().unwrap().mac.unwrap();
        Wire { port: Port::open(&from.netns, UPLINK, IPV4), macs: [mac(from), mac(to)], hosts: [from, to] }
    }

    /// The IP payload of a datagram to weft: UDP header and payload.
    fn udp(&self, payload: &[u8], sum: Sum) -> Vec<u8> {
        let ip = self.ip(0);
        let mut udp = UdpHeader::with_ipv4_checksum(50_000, 4789, &ip, payload).unwrap();
        match sum {
            Sum::Right => {}
            Sum::Wrong => udp.checksum ^= 0x0101,
            Sum::None => udp.checksum = 0,
        }
        [&udp.to_bytes()[..], payload].concat()
    }

    fn ip(&self, len: usize) -> Ipv4Header {
        let [from, to] = self.hosts.map(|host| match host.address {
            std::net::IpAddr::V4(address) => address.octets(),
            std::net::IpAddr::V6(_) => panic!("an IPv4 underlay"),
        });
        Ipv4Header::new(len as u16, 64, IpNumber::UDP, from, to).unwrap()
    }

    /// Sends the bytes `range` of the packet `id` that has this IP payload.
    fn send(&self, id: u16, payload: &[u8], range: std::ops::Range<usize>) {
        let mut ip = self.ip(range.len());
        ip.dont_fragment = false;
        ip.identification = id;
        ip.fragment_offset = ((range.start / 8) as u16).try_into().unwrap();
        ip.more_fragments = range.end < payload.len();
        ip.header_checksum = ip.calc_header_checksum();
        let packet = [&ip.to_bytes()[..], &payload[range]].concat();
        self.port.send(&ethernet(self.macs[1], self.macs[0], IPV4, &packet));
    }
}

#[test]
fn fragments_are_one_datagram_or_nothing() {
    privileged!();
    let lab = lab(Family::V4);
    let target = Target::on(&lab);
    let wire = Wire::new(&lab.hosts[1], &lab.hosts[0]);
    let [first, second] = [1, 2].map(|n| target.sound(n));
    // 76 bytes: 8 of UDP, 8 of VXLAN, 60 of the frame.
    let packets = [&first, &second].map(|frame| wire.udp(&vxlan(VNI, frame), Sum::Right));
    target.takes(&[first, second], |_| {
        for cut in [0..8, 8..40, 40..76] {
            wire.send(1, &packets[0], cut);
        }
        for cut in [48..76, 8..48, 0..8] {
            wire.send(2, &packets[1], cut);
        }
    });
    // A first, a middle and a last one alone; two that overlap; one that says the datagram goes on far beyond.
    target.takes(&[], |_| {
        wire.send(3, &packets[0], 0..40);
        wire.send(4, &packets[0], 40..64);
        wire.send(5, &packets[0], 64..76);
        wire.send(6, &packets[0], 0..40);
        wire.send(6, &packets[0], 32..76);
        let long = [&packets[0][..], &[0x77; 65_000 - 76]].concat();
        wire.send(7, &long, 0..40);
        wire.send(7, &long, 64_000..65_000);
    });
    target.refuses("inner_oversize", 1, |target| {
        let long = [&target.sound(3)[..], &[0x77; 8_000]].concat();
        let long = wire.udp(&vxlan(VNI, &long), Sum::None);
        for at in (0..long.len()).step_by(1_000) {
            wire.send(8, &long, at..(at + 1_000).min(long.len()));
        }
    });
}

/// A zero checksum is accepted, a wrong one is not (RFC 7348 section 5).
#[test]
fn a_wrong_outer_checksum_is_never_seen() {
    privileged!();
    let lab = lab(Family::V4);
    let target = Target::on(&lab);
    let wire = Wire::new(&lab.hosts[1], &lab.hosts[0]);
    let frames = [1, 2, 3].map(|n| target.sound(n));
    let sums = [Sum::Right, Sum::Wrong, Sum::None];
    let [right, _, none] = frames.clone();
    target.takes(&[right, none], |_| {
        for (frame, sum) in frames.iter().zip(sums) {
            let packet = wire.udp(&vxlan(VNI, frame), sum);
            wire.send(9, &packet, 0..packet.len());
        }
    });
}
