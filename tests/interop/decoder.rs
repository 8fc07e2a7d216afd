//! Wireshark's decoder looks at what weft puts on the wire.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use weft::lab::{Lab, LabSpec, UPLINK, Underlay};

use crate::harness::content::{self, Talk};
use crate::harness::frames::IPV4;
use crate::harness::port::Port;
use crate::harness::{needs, privileged};
use crate::{VNI, check_ping, containers, weft_and_kernel};

/// The ports that a thousand flows send from.
const FLOWS: std::ops::Range<u16> = 20_000..21_000;
/// What the last datagram says.
const LAST: &[u8] = b"this is the last of many flows";
/// The dynamic ports (RFC 7348 section 5).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// What the decoder is asked of every packet. Outer and inner values come together, with a comma between them.
const FIELDS: [&str; 11] = [
    "_ws.malformed",
    "udp.srcport",
    "udp.dstport",
    "ip.flags.df",
    "vxlan.flags",
    "vxlan.gbp",
    "vxlan.vni",
    "vxlan.reserved8",
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
];

#[test]
fn wireshark_finds_nothing_wrong_with_our_datagrams() {
    privileged!();
    needs!("tshark", "ethtool");
    let lab = Lab::build(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(2) }).unwrap();
    let node = weft_and_kernel(&lab);
    let pair @ [ours, theirs] = containers(&lab);
    // What comes in at the peer has left weft.
    let wire = Port::open(&lab.hosts[1].netns, UPLINK, IPV4);
    check_ping(pair);
    for address in [theirs.ip(), theirs.ip6()] {
        content::tcp(&ours.netns, &theirs.netns, address, Talk { write: 60_000, writes: 10 });
    }
    let sink = theirs.netns.run(|| UdpSocket::bind((theirs.ip(), 0))).unwrap().unwrap();
    let target = sink.local_addr().unwrap();
    let say = |port: u16, what: &[u8]| ours.netns.run(|| UdpSocket::bind((ours.ip(), port))?.send_to(what, target));
    for port in FLOWS {
        say(port, b"one of many flows").unwrap().unwrap();
    }
    say(FLOWS.end, LAST).unwrap().unwrap();
    let packets = wire.until("the last datagram", |packet| packet.ends_with(LAST));
    node.is_well();

    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("capture.pcap");
    fs::write(&capture, pcap(&packets)).unwrap();
    let decoded = decode(&capture);
    assert!(packets.len() > 1_500 && decoded.len() == packets.len(), "{} of {}", decoded.len(), packets.len());
    let ports: BTreeSet<u16> = decoded.iter().map(|packet| check(packet)).collect();
    assert!(ports.len() >= 32, "only {} source ports: {ports:?}", ports.len());
}

/// Checks one packet, and returns its outer source port.
fn check(packet: &[String]) -> u16 {
    let [malformed, from, to, df, flags, more, vni, reserved, checksums @ ..] = packet else { panic!("{packet:?}") };
    let outer = |field: &str| field.split(',').next().unwrap_or_default().parse::<u16>().ok();
    assert_eq!(malformed, "", "{packet:?}");
    assert_eq!((outer(to), outer(df)), (Some(4789), Some(1)), "{packet:?}");
    // The I flag alone; all that is reserved is zero.
    assert_eq!((flags.as_str(), more.as_str(), reserved.as_str()), ("0x0800", "0", "0"), "{packet:?}");
    assert_eq!(*vni, VNI.to_string(), "{packet:?}");
    // 1 is "good": of every IPv4, UDP and TCP header that there is.
    assert!(checksums.iter().all(|status| status.split(',').all(|one| matches!(one, "" | "1"))), "{packet:?}");
    outer(from).filter(|port| SOURCE_PORTS.contains(port)).unwrap_or_else(|| panic!("{packet:?}"))
}

/// What the decoder says of every packet, in the order of [`FIELDS`].
fn decode(capture: &Path) -> Vec<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(["-d", "udp.port==4789,vxlan", "-T", "fields", "-E", "separator=|"]);
    for protocol in ["ip", "udp", "tcp"] {
        tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = tshark.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

/// Ethernet frames in the format of tcpdump's files, all of the same moment.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    const SNAP: u32 = 1 << 18;
    const ETHERNET: u32 = 1;
    let mut file = Vec::new();
    // The magic number tells the byte order; version 2.4.
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, SNAP, ETHERNET] {
        file.extend(u32::to_le_bytes(word));
    }
    for packet in packets {
        let len = packet.len() as u32;
        for word in [0, 0, len, len] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(packet);
    }
    file
}
