//! UDP super-frames: one write of many datagrams (UDP_SEGMENT, udp(7)), in either direction.
//!
//! weft cuts those of its own containers. Those of a kernel peer on a local veth come in uncut, with the size of the
//! datagrams told by the kernel alone.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use weft::lab::{Family, Lab, LabSpec, Underlay};
use weft::sandbox::Netns;

use crate::harness::content::Content;
use crate::harness::{PATIENCE, needs, privileged};
use crate::{check_ping, containers, ways, weft_and_kernel};

#[test]
fn datagrams_of_one_write_arrive_each_for_itself() {
    privileged!();
    for family in [Family::V4, Family::V6] {
        datagrams_arrive(LabSpec { family, ..LabSpec::new(2) });
    }
}

#[test]
fn datagrams_of_one_write_arrive_each_for_itself_without_offloads() {
    privileged!();
    needs!("ethtool");
    for underlay in [Underlay::Wire, Underlay::WireGro] {
        datagrams_arrive(LabSpec { underlay, ..LabSpec::new(2) });
    }
}

fn datagrams_arrive(spec: LabSpec) {
    let lab = Lab::build(spec).unwrap();
    let node = weft_and_kernel(&lab);
    check_ping(containers(&lab));
    // The peer's first words may have come too early for there to be anybody.
    let before = node.stats();
    for (from, to, address) in ways(containers(&lab)) {
        // Many of one size; a short one at the end; just two; the largest that fit; as many as the kernel allows.
        for (size, total) in [(1_000, 8_000), (1_000, 8_500), (500, 1_000), (1_352, 13_520), (1_000, 60_000)] {
            super_frame(&from.netns, &to.netns, address, size, total);
        }
    }
    for (from, to) in [(0, 1), (1, 0)].map(|(from, to)| (&containers(&lab)[from].netns, &containers(&lab)[to].netns)) {
        let all = Ipv4Addr::new(10, 77, 255, 255).into();
        super_frame(from, to, all, 500, 1_000);
        super_frame(from, to, all, 1_000, 8_500);
    }
    assert_eq!(node.stats().drops_since(&before), Default::default(), "{:?}", lab.spec);
    node.is_well();
}

/// Sends `total` bytes by one call, to be cut into datagrams of `size`, and checks each datagram.
fn super_frame(from: &Netns, to: &Netns, address: IpAddr, size: u16, total: usize) {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let hears = to.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says = from.run(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    says.set_broadcast(true).unwrap();
    let bytes = Content::new(total as u64).take(total);
    let target = SockaddrStorage::from(hears.local_addr().unwrap());
    let cut = [ControlMessage::UdpGsoSegments(&size)];
    let sent = sendmsg(says.as_raw_fd(), &[IoSlice::new(&bytes)], &cut, MsgFlags::empty(), Some(&target));
    assert_eq!(sent, Ok(total));
    let mut heard = [0; 1 << 16];
    for (index, datagram) in bytes.chunks(size.into()).enumerate() {
        let what = format!("datagram {index} of {total} bytes in {size} to {address}");
        let len = hears.recv(&mut heard).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(heard[..len] == *datagram, "{what} has {len} bytes, or others");
    }
}
