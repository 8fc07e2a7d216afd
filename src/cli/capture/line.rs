//! A frame in words: who to whom, and what.
//!
//! Bytes enter, a text leaves. A frame that is cut short or broken is told as far as it is understood.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{ArpOperation, ArpPacketSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use weft_vtep::addr::Mac;
use weft_vtep::frame;

/// What a frame of `length` bytes is; `bytes` are those that there are.
pub fn describe(bytes: &[u8], length: u32) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return format!("{length} bytes") };
    let (from, to, protocol) = match &packet.net {
        Some(LaxNetSlice::Arp(arp)) => return format!("ARP {}", arp_words(arp)),
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let (from, to) = (header.source_addr().to_string(), header.destination_addr().to_string());
            (from, to, ip.payload().ip_number.0)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let (from, to) = (header.source_addr().to_string(), header.destination_addr().to_string());
            (from, to, ip.payload().ip_number.0)
        }
        None => {
            let (from, to) = (frame::source(bytes), frame::destination(bytes));
            return format!("{from} > {to} type 0x{:04x}, {length} bytes", frame::ethertype(bytes));
        }
    };
    // Of a frame that is cut short, what is missing is payload.
    let missing = (length as usize).saturating_sub(bytes.len());
    let ports = |a: u16, b: u16| format!("{} > {}", with_port(&from, a), with_port(&to, b));
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let ports = ports(tcp.source_port(), tcp.destination_port());
            format!("TCP {ports} [{}] {} bytes", flags(tcp), tcp.payload().len() + missing)
        }
        Some(TransportSlice::Udp(udp)) => {
            let ports = ports(udp.source_port(), udp.destination_port());
            format!("UDP {ports} {} bytes", udp.payload().len() + missing)
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!("ICMP {from} > {to} {}", icmp_words(icmp.type_u8(), icmp.code_u8()))
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!("ICMPv6 {from} > {to} {}", icmpv6_words(icmp.type_u8(), icmp.code_u8()))
        }
        _ => format!("IP {from} > {to} protocol {protocol}, {length} bytes"),
    }
}

fn with_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// As tcpdump writes them.
fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
    flags.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect()
}

fn arp_words(arp: &ArpPacketSlice<'_>) -> String {
    let sender = protocol_address(arp.sender_protocol_addr());
    match arp.operation() {
        ArpOperation::REQUEST => format!("who has {}? tell {sender}", protocol_address(arp.target_protocol_addr())),
        ArpOperation::REPLY => match Mac::read(arp.sender_hw_addr()) {
            Some(mac) => format!("{sender} is at {mac}"),
            None => format!("{sender} is somewhere"),
        },
        ArpOperation(other) => format!("operation {other} of {sender}"),
    }
}

fn protocol_address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(v4).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(|_| "?".to_owned(), |v6| Ipv6Addr::from(v6).to_string())
}

fn icmp_words(kind: u8, code: u8) -> String {
    match (kind, code) {
        (0, _) => "echo reply".to_owned(),
        (8, _) => "echo request".to_owned(),
        (3, 4) => "fragmentation needed".to_owned(),
        (3, _) => format!("unreachable ({code})"),
        (11, _) => "time exceeded".to_owned(),
        _ => format!("type {kind}, code {code}"),
    }
}

fn icmpv6_words(kind: u8, code: u8) -> String {
    match kind {
        1 => format!("unreachable ({code})"),
        2 => "packet too big".to_owned(),
        3 => "time exceeded".to_owned(),
        128 => "echo request".to_owned(),
        129 => "echo reply".to_owned(),
        133 => "router solicitation".to_owned(),
        134 => "router advertisement".to_owned(),
        135 => "neighbor solicitation".to_owned(),
        136 => "neighbor advertisement".to_owned(),
        143 => "multicast listener report".to_owned(),
        _ => format!("type {kind}, code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    }

    #[test]
    fn frames_are_told_in_words() {
        let eth = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let v4 = || eth().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let v6 = || eth().ipv6([0xfd; 16], [0xfe; 16], 64);
        let syn = built(|frame| v4().tcp(1000, 80, 7, 8).syn().write(frame, &[]).unwrap());
        let udp = built(|frame| v6().udp(53, 5353).write(frame, &[0; 100]).unwrap());
        let ping = built(|frame| v4().icmpv4_echo_request(1, 2).write(frame, &[]).unwrap());
        assert_eq!(describe(&syn, 54), "TCP 10.0.0.1:1000 > 10.0.0.2:80 [S] 0 bytes");
        assert!(describe(&udp, 162).ends_with("]:5353 100 bytes"), "{}", describe(&udp, 162));
        // What was not kept is counted all the same.
        assert!(describe(&udp[..80], 162).ends_with("]:5353 100 bytes"), "{}", describe(&udp[..80], 162));
        assert_eq!(describe(&ping, 42), "ICMP 10.0.0.1 > 10.0.0.2 echo request");
        let arp = [
            &[0xff; 6][..],
            &[2; 6],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2; 6],
            &[10, 0, 0, 1],
            &[0; 6],
            &[10, 0, 0, 2],
        ];
        assert_eq!(describe(&arp.concat(), 42), "ARP who has 10.0.0.2? tell 10.0.0.1");
        assert_eq!(describe(&[0; 20], 20), "00:00:00:00:00:00 > 00:00:00:00:00:00 type 0x0000, 20 bytes");
        assert_eq!(describe(&[], 9), "9 bytes");
    }
}
