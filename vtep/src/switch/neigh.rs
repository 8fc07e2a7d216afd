//! Questions for a MAC address, answered by the VTEP: proxy ARP and ND (RFC 9161).
//!
//! Enters: a group frame from a port of a managed network, and what the control plane knows of its addresses. Leaves: the
//! frame turned into its answer, in its own bytes; or nothing, and the frame goes to the members like any other group
//! frame. Answered is only who asks for another's address that is in the table. Probes for a duplicate (RFC 5227,
//! RFC 4862 section 5.4), gratuitous ARP and unsolicited advertisements are for the members themselves (RFC 9161 section
//! 3.2), and so is a frame with a VLAN tag, behind which the same addresses may mean others. Unicast questions, by
//! which a host looks whether a neighbour still lives, never come here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dashmap::DashMap;

use crate::addr::Mac;
use crate::checksum::Sum;
use crate::frame::{self, ETH_LEN, ETHERTYPE_IPV6};

/// As the forwarding table has.
const SHARDS: usize = 16;

/// Which station has which address, in one network.
#[derive(Debug)]
pub struct Neighbors {
    map: DashMap<IpAddr, Mac>,
}

impl Default for Neighbors {
    fn default() -> Self {
        Neighbors { map: DashMap::with_shard_amount(SHARDS) }
    }
}

impl Neighbors {
    /// The station that has `ip`.
    pub fn lookup(&self, ip: IpAddr) -> Option<Mac> {
        self.map.get(&ip).map(|entry| *entry)
    }

    /// From now on `mac` has `ip`.
    pub fn set(&self, ip: IpAddr, mac: Mac) {
        self.map.insert(ip, mac);
    }

    /// Nobody known has `ip` any more.
    pub fn remove(&self, ip: IpAddr) {
        self.map.remove(&ip);
    }
}

/// Turns `frame`, whose destination is a group, into the answer to its question, and says how long that is. `None`, and
/// the frame is as it was, if it is no question that is to be answered here.
///
/// `partial` says that the transport checksum is still to be finished, and so cannot be judged.
pub fn answer(frame: &mut [u8], partial: bool, neighbors: &Neighbors) -> Option<usize> {
    match frame::ethertype(frame) {
        arp::ETHERTYPE => arp::answer(frame, neighbors),
        nd::ETHERTYPE => nd::answer(frame, partial, neighbors),
        _ => None,
    }
}

/// The address of the station `mac`, unless that is who asks: then there is nothing to tell.
fn other_than(asking: Mac, mac: Option<Mac>) -> Option<Mac> {
    mac.filter(|mac| *mac != asking)
}

/// ARP for IPv4 over Ethernet (RFC 826).
mod arp {
    use super::*;

    pub(super) const ETHERTYPE: u16 = 0x0806;
    const LEN: usize = ETH_LEN + 28;
    /// Hardware Ethernet, protocol IPv4, their lengths.
    const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
    const OPERATION: usize = ETH_LEN + 6;
    const REQUEST: [u8; 2] = [0, 1];
    const REPLY: [u8; 2] = [0, 2];
    const SENDER_MAC: usize = ETH_LEN + 8;
    const SENDER_IP: usize = ETH_LEN + 14;
    const TARGET_MAC: usize = ETH_LEN + 18;
    const TARGET_IP: usize = ETH_LEN + 24;

    pub(super) fn answer(frame: &mut [u8], neighbors: &Neighbors) -> Option<usize> {
        let packet = frame.first_chunk_mut::<LEN>()?;
        let asking = frame::source(packet);
        let is_request = packet[ETH_LEN..OPERATION] == KIND && packet[OPERATION..SENDER_MAC] == REQUEST;
        // Another sender than the frame's speaks through a bridge or lies: either is for the members to judge.
        if !is_request
            || frame::destination(packet) != Mac::BROADCAST
            || packet[SENDER_MAC..SENDER_IP] != asking.octets()
        {
            return None;
        }
        let sender_ip: [u8; 4] = *packet[SENDER_IP..].first_chunk()?;
        let target_ip: [u8; 4] = *packet[TARGET_IP..].first_chunk()?;
        let is_probe = sender_ip == [0; 4];
        if is_probe || sender_ip == target_ip {
            return None;
        }
        let mac = other_than(asking, neighbors.lookup(Ipv4Addr::from(target_ip).into()))?;
        packet[..6].copy_from_slice(&asking.octets());
        packet[6..12].copy_from_slice(&mac.octets());
        packet[OPERATION..SENDER_MAC].copy_from_slice(&REPLY);
        packet[SENDER_MAC..SENDER_IP].copy_from_slice(&mac.octets());
        packet[SENDER_IP..TARGET_MAC].copy_from_slice(&target_ip);
        packet[TARGET_MAC..TARGET_IP].copy_from_slice(&asking.octets());
        packet[TARGET_IP..].copy_from_slice(&sender_ip);
        Some(LEN)
    }
}

/// Neighbor solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 7).
mod nd {
    use super::*;

    pub(super) const ETHERTYPE: u16 = ETHERTYPE_IPV6;
    const PAYLOAD_LEN: usize = ETH_LEN + 4;
    const SOURCE: usize = ETH_LEN + 8;
    const DESTINATION: usize = ETH_LEN + 24;
    const ICMP: usize = ETH_LEN + 40;
    const CHECKSUM: usize = ICMP + 2;
    const FLAGS: usize = ICMP + 4;
    const TARGET: usize = ICMP + 8;
    const OPTIONS: usize = ICMP + 24;
    /// An advertisement with its one option, the target's link-layer address.
    const LEN: usize = OPTIONS + OPTION_LEN;
    const OPTION_LEN: usize = 8;

    const PROTO_ICMPV6: u8 = 58;
    /// What crossed no router: nobody outside can ask.
    const HOP_LIMIT: u8 = 255;
    const SOLICITATION: [u8; 2] = [135, 0];
    const ADVERTISEMENT: [u8; 2] = [136, 0];
    const SOURCE_LINK: u8 = 1;
    const TARGET_LINK: u8 = 2;
    /// Solicited, and to override what was known; the table does not know of routers (RFC 9161 section 3.2).
    const SOLICITED_OVERRIDE: [u8; 4] = [0x60, 0, 0, 0];

    pub(super) fn answer(frame: &mut [u8], partial: bool, neighbors: &Neighbors) -> Option<usize> {
        let asking = frame::source(frame);
        let (from, target) = question(frame, asking, partial)?;
        let mac = other_than(asking, neighbors.lookup(target.into()))?;
        let reply = frame.first_chunk_mut::<LEN>()?;
        reply[..6].copy_from_slice(&asking.octets());
        reply[6..12].copy_from_slice(&mac.octets());
        let payload_len = (LEN - ICMP) as u16;
        reply[ETH_LEN..PAYLOAD_LEN].copy_from_slice(&[0x60, 0, 0, 0]);
        reply[PAYLOAD_LEN..PAYLOAD_LEN + 2].copy_from_slice(&payload_len.to_be_bytes());
        reply[PAYLOAD_LEN + 2..SOURCE].copy_from_slice(&[PROTO_ICMPV6, HOP_LIMIT]);
        reply[SOURCE..DESTINATION].copy_from_slice(&target.octets());
        reply[DESTINATION..ICMP].copy_from_slice(&from.octets());
        reply[ICMP..CHECKSUM].copy_from_slice(&ADVERTISEMENT);
        reply[CHECKSUM..FLAGS].fill(0);
        reply[FLAGS..TARGET].copy_from_slice(&SOLICITED_OVERRIDE);
        reply[OPTIONS..OPTIONS + 2].copy_from_slice(&[TARGET_LINK, 1]);
        reply[OPTIONS + 2..].copy_from_slice(&mac.octets());
        let pseudo = Sum::pseudo_v6(target.octets(), from.octets(), PROTO_ICMPV6, payload_len.into());
        let check = pseudo.add_bytes(&reply[ICMP..]).finish();
        reply[CHECKSUM..FLAGS].copy_from_slice(&check.to_be_bytes());
        Some(LEN)
    }

    /// Who asks, and for which address, if the frame is a solicitation that a host must believe (RFC 4861 section 7.1.1).
    fn question(frame: &[u8], asking: Mac, partial: bool) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let header = frame.get(ETH_LEN..ICMP)?;
        if header[0] >> 4 != 6 || header[6] != PROTO_ICMPV6 || header[7] != HOP_LIMIT {
            return None;
        }
        let end = ICMP + usize::from(frame::be16(frame, PAYLOAD_LEN));
        let (icmp, options) = (frame.get(ICMP..end)?, frame.get(OPTIONS..end)?);
        let address = |at: usize| frame[at..].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        let (from, to, target) = (address(SOURCE)?, address(DESTINATION)?, address(TARGET)?);
        // From nobody: the sender looks whether the address is free. Only the members can tell.
        let is_probe = from.is_unspecified();
        if icmp[..2] != SOLICITATION || is_probe || from.is_multicast() || !to.is_multicast() || target.is_multicast() {
            return None;
        }
        let pseudo = Sum::pseudo_v6(from.octets(), to.octets(), PROTO_ICMPV6, icmp.len() as u32);
        let sound = partial || pseudo.add_bytes(icmp).is_valid();
        (sound && link_option(options)? == asking).then_some((from, target))
    }

    /// The source link-layer address, which a multicast solicitation must carry. `None` also if the options are broken.
    fn link_option(mut options: &[u8]) -> Option<Mac> {
        let mut link = None;
        while !options.is_empty() {
            let len = usize::from(*options.get(1)?) * OPTION_LEN;
            let (option, rest) = options.split_at_checked(len)?;
            match *option.first()? {
                SOURCE_LINK if len == OPTION_LEN => link = Mac::read(&option[2..]),
                _ => {}
            }
            options = rest;
        }
        link
    }
}

#[cfg(test)]
mod tests;
