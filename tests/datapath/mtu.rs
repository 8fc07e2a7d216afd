//! Packets that are too large: for the network, and for the underlay.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use weft::lab::kernel::INSIDE;
use weft::lab::{Container, Host, UPLINK};
use weft::sandbox::devices;
use weft::traffic::ping;
use weft_vtep::addr::Mac;

use crate::harness::content::{self, Content, Talk};
use crate::harness::frames::{IPV4, station, vxlan};
use crate::harness::node::Node;
use crate::harness::port::{ALL, Port};
use crate::harness::{PATIENCE, eventually, privileged};
use crate::{Stage, VNI, lab, mesh};

/// What the network carries over an underlay of 1500 bytes.
const MTU: u16 = 1450;
/// What a container may believe instead.
const BELIEVED: u32 = 9_000;

/// Its sender hears of it, in the name of the packet's destination, and then sends what fits.
#[test]
fn a_packet_larger_than_the_network_s_mtu_is_answered() {
    privileged!();
    let lab = lab(2, 1);
    let nodes = mesh(&lab, &["--workers", "1"], "");
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    devices::mtu(&a.netns, INSIDE, BELIEVED).unwrap();
    let inside = Port::open(&a.netns, INSIDE, ALL);
    for (n, address) in [b.ip(), b.ip6()].into_iter().enumerate() {
        assert!(ping::once(&a.netns, address, PATIENCE).unwrap().is_some());
        let hears = b.netns.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        let says = a.netns.run(|| UdpSocket::bind(any(address))).unwrap().unwrap();
        says.connect(hears.local_addr().unwrap()).unwrap();
        let datagram = Content::new(n as u64).take(3_000);
        says.send(&datagram).unwrap();
        inside.find("word of the MTU", |frame| too_big_from(frame) == Some((address, MTU)));
        assert_eq!(nodes[0].stats().dropped("oversize"), n as u64 + 1);
        // The kernel sees the answer a moment after we do. From then on it cuts what is too large itself.
        hears.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut heard = vec![0; 4_000];
        eventually("the datagram arrives in fragments", || {
            // An error is the kernel's word to the program that the packet was too large.
            let _ = says.send(&datagram);
            match hears.recv(&mut heard) {
                Ok(len) => heard[..len] == datagram,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => panic!("{error}"),
            }
        });
    }
    nodes[0].is_well();
}

fn any(like: IpAddr) -> SocketAddr {
    if like.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}

/// Who says that a packet was too large, and what would have fitted.
fn too_big_from(frame: &[u8]) -> Option<(IpAddr, u16)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let mtu = match packet.transport? {
        TransportSlice::Icmpv4(icmp) if icmp.slice()[..2] == [3, 4] => &icmp.slice()[6..8],
        TransportSlice::Icmpv6(icmp) if icmp.slice()[..2] == [2, 0] => &icmp.slice()[6..8],
        _ => return None,
    };
    let from = match packet.net? {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        NetSlice::Arp(_) => return None,
    };
    Some((from, u16::from_be_bytes([mtu[0], mtu[1]])))
}

/// Containers that believe in jumbo frames are told by the handshake, not by lost packets.
#[test]
fn handshakes_announce_what_the_network_carries() {
    privileged!();
    let lab = lab(2, 1);
    let nodes = mesh(&lab, &["--workers", "1"], "");
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    for container in [a, b] {
        devices::mtu(&container.netns, INSIDE, BELIEVED).unwrap();
    }
    let ports = [a, b].map(|container| Port::open(&container.netns, INSIDE, ALL));
    for (address, headers) in [(b.ip(), 40), (b.ip6(), 60)] {
        content::tcp(&a.netns, &b.netns, address, Talk { write: 60_000, writes: 20 });
        for port in &ports {
            let frame = port.find("the other's handshake", |frame| mss(frame).is_some());
            assert_eq!(mss(&frame), Some(MTU - headers));
        }
    }
    for node in &nodes {
        assert_eq!(node.stats().dropped("oversize"), 0);
        node.is_well();
    }
}

/// Both ways, also where the other side is not weft and does nothing of the kind.
#[test]
fn handshakes_are_corrected_by_one_side_alone() {
    privileged!();
    let lab = lab(2, 1);
    let stage = Stage::set(&lab, "");
    let inside = stage.port(0, IPV4);
    let syn = |to: Mac, from: Mac| {
        let packet = PacketBuilder::ethernet2(from.octets(), to.octets()).ipv4([10, 77, 9, 9], [10, 77, 9, 8], 64);
        let packet = packet.tcp(4000, 5000, 1, 64_000).syn();
        let packet = packet.options(&[TcpOptionElement::MaximumSegmentSize(8_960)]).unwrap();
        let mut frame = Vec::new();
        packet.write(&mut frame, &[]).unwrap();
        assert_eq!(mss(&frame), Some(8_960));
        frame
    };
    inside.send(&syn(station(1), stage.macs[0]));
    let heard = stage.vteps[0].until("the handshake", |datagram| mss(&datagram[8..]).is_some());
    assert_eq!(mss(&heard.last().unwrap()[8..]), Some(MTU - 40));
    stage.vteps[0].send(&vxlan(VNI, &syn(stage.macs[0], station(1))));
    let frame = inside.find("the handshake", |frame| mss(frame).is_some());
    assert_eq!(mss(&frame), Some(MTU - 40));
    stage.node.is_well();
}

/// The segment size that a SYN announces.
fn mss(frame: &[u8]) -> Option<u16> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    let options = tcp.options_iterator().filter_map(Result::ok);
    let mut sizes = options.filter_map(|option| match option {
        TcpOptionElement::MaximumSegmentSize(size) => Some(size),
        _ => None,
    });
    tcp.syn().then(|| sizes.next()).flatten()
}

/// It does not fragment (RFC 7348 section 4.3): what does not fit is counted, and what fits goes out all the same.
#[test]
fn an_underlay_that_became_too_small_is_counted() {
    privileged!();
    let lab = lab(2, 1);
    let nodes = mesh(&lab, &["--workers", "1"], "");
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    assert!(ping::once(&a.netns, b.ip(), PATIENCE).unwrap().is_some());
    devices::mtu(&lab.hosts[0].netns, UPLINK, 1_400).unwrap();
    let before = nodes[0].stats();
    let dropped = || nodes[0].stats().dropped("underlay_mtu") - before.dropped("underlay_mtu");
    // Alone; then as a super-frame of which the last datagram is the only one that fits.
    super_frame(a, b, 1_400, &[1_400], &[]);
    eventually("one datagram does not fit", || dropped() == 1);
    super_frame(a, b, 1_400, &[1_400, 1_400, 1_400, 1_400, 500], &[500]);
    eventually("four datagrams do not fit", || dropped() == 5);
    assert!(ping::once(&a.netns, b.ip(), PATIENCE).unwrap().is_some());
    let drops = nodes[0].stats().drops_since(&before);
    assert_eq!(drops.into_iter().collect::<Vec<_>>(), [("underlay_mtu".to_owned(), 5)]);
    nodes[0].is_well();
}

/// The sender hears of it from the next packet on, and its connection goes on.
#[test]
fn an_underlay_that_became_too_small_stops_no_connection() {
    privileged!();
    let lab = lab(2, 1);
    let nodes = mesh(&lab, &["--workers", "1"], "");
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    let inside = Port::open(&a.netns, INSIDE, ALL);
    for (address, underlay) in [(b.ip(), 1_400), (b.ip6(), 1_350)] {
        let (client, server) = content::connect(&a.netns, &b.netns, address);
        recovers(&client, &server, || devices::mtu(&lab.hosts[0].netns, UPLINK, underlay.into()).unwrap());
        inside.find("word of the MTU", |frame| too_big_from(frame) == Some((address, underlay - 50)));
    }
    assert!(nodes[0].stats().dropped("underlay_mtu") > 0);
    // Wider again: what a host has learned for itself it keeps for ten minutes, but nothing else stands in the way.
    devices::mtu(&lab.hosts[0].netns, UPLINK, 1_500).unwrap();
    let before = nodes[0].stats();
    super_frame(a, b, 1_300, &[1_300], &[1_300]);
    assert_eq!(nodes[0].stats().dropped("underlay_mtu"), before.dropped("underlay_mtu"));
    nodes[0].is_well();
}

/// A router on the way tells the host, and the host's kernel tells us when we ask.
#[test]
fn a_router_s_word_stops_no_connection() {
    privileged!();
    let lab = lab(3, 1);
    let [from, router, to] = &lab.hosts[..] else { unreachable!() };
    let ip = |host: &Host, line: &str| {
        let output = host.output(Command::new("ip").args(line.split_whitespace())).unwrap();
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for name in ["ip_forward", "conf/all/send_redirects", "conf/eth0/send_redirects"] {
        let value = if name == "ip_forward" { "1" } else { "0" };
        router.run(|| std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value)).unwrap().unwrap();
    }
    ip(from, &format!("route add {}/32 via {}", to.address, router.address));
    let [node, _peer] = [(from, to), (to, from)].map(|(host, other)| {
        let node = Node::start(host);
        node.network("blue", VNI, &[other], "");
        node.attach("blue", &host.containers[0]);
        node
    });
    let [a, b] = [from, to].map(|host| &host.containers[0]);
    let (client, server) = content::connect(&a.netns, &b.netns, b.ip());
    recovers(&client, &server, || ip(router, &format!("route add {}/32 dev {UPLINK} mtu 1400", to.address)));
    assert!(node.stats().dropped("underlay_mtu") > 0, "the kernel did not hear of it");
    node.is_well();
}

/// Half a megabyte goes through, the way then becomes narrow, and another goes through within three seconds.
fn recovers(client: &TcpStream, server: &TcpStream, narrow: impl FnOnce()) {
    let bytes = vec![7; 500_000];
    let transfer = || {
        let (mut from, mut to, mut heard) = (client, server, vec![0; bytes.len()]);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| from.write_all(&bytes).unwrap());
            to.read_exact(&mut heard).unwrap();
        });
        start.elapsed()
    };
    transfer();
    narrow();
    let took = transfer();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Sends datagrams of these sizes, all but the last of `cut` bytes, by one call; `arrive` is what must come of it.
fn super_frame(from: &Container, to: &Container, cut: u16, sizes: &[usize], arrive: &[usize]) {
    let hears = to.netns.run(|| UdpSocket::bind((to.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says = from.netns.run(|| UdpSocket::bind(any(to.ip()))).unwrap().unwrap();
    let target = SockaddrStorage::from(hears.local_addr().unwrap());
    let bytes = vec![7; sizes.iter().sum()];
    let control = [ControlMessage::UdpGsoSegments(&cut)];
    sendmsg(says.as_raw_fd(), &[IoSlice::new(&bytes)], &control, MsgFlags::empty(), Some(&target)).unwrap();
    for size in arrive {
        assert_eq!(hears.recv(&mut [0; 2_000]).unwrap(), *size);
    }
}
