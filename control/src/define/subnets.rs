//! The subnets of a network, with the gateway and the range of each.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_proto::request::CreateNetwork;

use super::{DefineError, is_broadcast};
use crate::network::Subnet;

/// The subnets that a user asks for: each gateway and each range goes to the subnet that it is in.
pub(crate) fn arrange(asked: &CreateNetwork) -> Result<Vec<Subnet>, DefineError> {
    let plain = |subnet: &IpNet| Subnet { subnet: *subnet, gateway: None, ip_range: None };
    let mut subnets: Vec<_> = asked.subnets.iter().map(plain).collect();
    check_subnets(&subnets)?;
    asked.subnets.iter().try_for_each(check_reserved)?;
    for gateway in asked.gateways.iter().copied() {
        let subnet = subnets.iter_mut().find(|s| s.subnet.contains(&gateway));
        let subnet = subnet.ok_or(DefineError::GatewayOutside(gateway))?;
        check_gateway(&subnet.subnet, gateway)?;
        if subnet.gateway.replace(gateway).is_some() {
            return Err(DefineError::TwoGateways(subnet.subnet));
        }
    }
    for range in asked.ip_ranges.iter().copied() {
        let subnet = subnets.iter_mut().find(|s| s.subnet.contains(&range));
        let subnet = subnet.ok_or(DefineError::RangeOutside(range))?;
        if subnet.ip_range.replace(range).is_some() {
            return Err(DefineError::TwoRanges(subnet.subnet));
        }
    }
    Ok(subnets)
}

/// Refuses subnets that no network can have, whoever wrote them.
pub(crate) fn check_subnets(subnets: &[Subnet]) -> Result<(), DefineError> {
    for (index, Subnet { subnet, gateway, ip_range }) in subnets.iter().enumerate() {
        if subnet.addr().is_multicast() || is_broadcast(subnet.addr()) || *subnet != subnet.trunc() {
            return Err(DefineError::NotUnicast(*subnet));
        }
        let overlaps = |other: &&IpNet| other.contains(subnet) || subnet.contains(*other);
        if let Some(other) = subnets[..index].iter().map(|s| &s.subnet).find(overlaps) {
            return Err(DefineError::Overlap(*other, *subnet));
        }
        if let Some(gateway) = *gateway {
            check_gateway(subnet, gateway)?;
        }
        if let Some(range) = ip_range.filter(|range| !subnet.contains(range)) {
            return Err(DefineError::RangeOutside(range));
        }
    }
    Ok(())
}

/// Refuses what every host keeps for itself and its links (RFC 6890). Of a new network only: what earlier versions let
/// members write is there, and stays.
fn check_reserved(subnet: &IpNet) -> Result<(), DefineError> {
    for (what, reserved) in RESERVED {
        let reserved: IpNet = reserved.parse().expect("a literal subnet");
        if reserved.contains(subnet) || subnet.contains(&reserved) {
            return Err(DefineError::Reserved { subnet: *subnet, what, reserved });
        }
    }
    Ok(())
}

const RESERVED: [(&str, &str); 6] = [
    ("loopback", "127.0.0.0/8"),
    ("loopback", "::1/128"),
    ("link-local", "169.254.0.0/16"),
    ("link-local", "fe80::/10"),
    ("multicast", "224.0.0.0/4"),
    ("multicast", "ff00::/8"),
];

fn check_gateway(subnet: &IpNet, gateway: IpAddr) -> Result<(), DefineError> {
    if !subnet.contains(&gateway) {
        return Err(DefineError::GatewayOutside(gateway));
    }
    if !crate::ipam::is_host(subnet, gateway) {
        return Err(DefineError::GatewayNotHost(gateway, *subnet));
    }
    Ok(())
}
