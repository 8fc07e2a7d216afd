//! The kernel's own overlay on a lab: a bridge and a VXLAN device on each host, as Docker's overlay driver builds it.
//!
//! It is what weft is measured against, and the peer that weft has to agree with.

use std::net::IpAddr;

use anyhow::Result;
use weft_vtep::addr::Vni;

use super::{Host, Lab};
use crate::sandbox::devices::{self, VxlanSpec};

/// IANA's port of VXLAN.
pub const VXLAN_PORT: u16 = 4789;

/// The bridge that the host's containers and its VXLAN device are ports of.
pub const BRIDGE: &str = "ov0";

/// The interface inside the containers.
pub const INSIDE: &str = "eth0";

/// Puts the kernel's overlay on every host of the lab, each one flooding to all others.
pub fn overlay(lab: &Lab, vni: Vni) -> Result<()> {
    for host in &lab.hosts {
        attach_host(host, vni, lab.spec.inner_mtu(), &lab.peers_of(host))?;
    }
    Ok(())
}

/// Puts the kernel's overlay on one host: its containers become ports of the segment `vni`.
pub fn attach_host(host: &Host, vni: Vni, mtu: u32, peers: &[IpAddr]) -> Result<()> {
    let name = format!("vx{vni}");
    let spec = VxlanSpec { name, vni, local: host.address, remote: None, port: VXLAN_PORT, mtu };
    devices::bridge(&host.netns, BRIDGE, mtu)?;
    devices::vxlan(&host.netns, &spec)?;
    devices::enslave(&host.netns, &spec.name, BRIDGE)?;
    for peer in peers {
        devices::flood_to(&host.netns, &spec.name, *peer)?;
    }
    for (n, container) in host.containers.iter().enumerate() {
        let port = format!("c{n}");
        devices::veth((&container.netns, INSIDE), (&host.netns, &port), mtu)?;
        devices::enslave(&host.netns, &port, BRIDGE)?;
        devices::address(&container.netns, INSIDE, container.v4.into())?;
        devices::address(&container.netns, INSIDE, container.v6.into())?;
    }
    Ok(())
}
