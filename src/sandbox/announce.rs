//! Telling a segment who has an address now.
//!
//! A station that talked to the last holder of an address remembers that one's MAC address for a minute or more. An
//! endpoint that is new therefore announces itself from inside its sandbox, as a host does that comes up: by a gratuitous
//! ARP request (RFC 5227 section 2.3), by an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{MsgFlags, bind, send};
use socket2::{Domain, Socket, Type};
use weft_vtep::addr::Mac;
use weft_vtep::checksum::Sum;

use super::{Netns, NetnsError};

/// Announces that `mac`, on the interface of that name in the sandbox, has these addresses.
pub fn announce(
    netns: &Netns,
    ifname: &str,
    mac: Mac,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> Result<(), NetnsError> {
    let frames: Vec<_> = addresses.into_iter().map(|address| frame(mac, address)).collect();
    let sent = netns.run(|| emit(ifname, &frames))?;
    if let Err(error) = sent {
        // Nothing is lost but a minute for those who remember another.
        tracing::debug!("{ifname} could not announce its addresses: {error}");
    }
    Ok(())
}

fn emit(ifname: &str, frames: &[Vec<u8>]) -> io::Result<()> {
    // Of protocol 0 it hears nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let mut links = getifaddrs()?.filter(|interface| interface.interface_name == ifname);
    let link = links.find_map(|interface| interface.address?.as_link_addr().copied());
    bind(socket.as_raw_fd(), &link.ok_or(io::ErrorKind::NotFound)?)?;
    for frame in frames {
        send(socket.as_raw_fd(), frame, MsgFlags::empty())?;
    }
    Ok(())
}

fn frame(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

/// An ARP request for the sender's own address, to everybody.
fn arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let (mac, ip) = (mac.octets(), address.octets());
    let ethernet = [&[0xff; 6][..], &mac, &[0x08, 0x06]].concat();
    // Ethernet, IPv4, lengths, request.
    let head = [0, 1, 0x08, 0, 6, 4, 0, 1];
    [&ethernet[..], &head, &mac, &ip, &[0; 6], &ip].concat()
}

/// A neighbour advertisement to all nodes: not asked for, and to be believed over what was known.
fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ICMPV6: u8 = 58;
    let (mac, source, to) = (mac.octets(), address.octets(), ALL_NODES.octets());
    // Type 136, override, the target, and its link-layer address as an option.
    let mut icmp = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &source, &[2, 1], &mac].concat();
    let sum = Sum::pseudo_v6(source, to, ICMPV6, icmp.len() as u32).add_bytes(&icmp).finish();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [&[0x33, 0x33, 0, 0, 0, 1][..], &mac, &[0x86, 0xdd]].concat();
    // Version 6, the payload's length, hop limit 255.
    let head = [&[0x60, 0, 0, 0, 0, icmp.len() as u8, ICMPV6, 255][..], &source, &to].concat();
    [ethernet, head, icmp].concat()
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_announcement_is_what_an_independent_parser_takes_it_for() {
        let frame = arp(MAC, Ipv4Addr::new(10, 1, 0, 5));
        assert_eq!((frame.len(), &frame[28..32], &frame[38..42]), (42, &[10, 1, 0, 5][..], &[10, 1, 0, 5][..]));
        let frame = advertisement(MAC, "fd00::5".parse().unwrap());
        let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = parsed.net else { panic!("{parsed:?}") };
        let Some(TransportSlice::Icmpv6(icmp)) = parsed.transport else { panic!("no ICMPv6") };
        let header = ip.header().to_header();
        assert_eq!((header.hop_limit, header.source_addr()), (255, "fd00::5".parse().unwrap()));
        assert!(icmp.is_checksum_valid(header.source, header.destination));
        assert_eq!(icmp.type_u8(), 136);
    }
}
