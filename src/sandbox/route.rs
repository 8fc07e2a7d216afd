//! The default route of a sandbox, through its network's gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::Netns;
use super::link::{LinkError, inside, is, to_io};

/// Sends what no other route of the namespace takes to `gateway`, through the interface with this index.
///
/// A namespace that has a default route keeps it: its first network is the one that leads out.
pub fn add_default(netns: &Netns, index: u32, gateway: IpAddr) -> Result<(), LinkError> {
    let message = match gateway {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(v4).output_interface(index).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6).output_interface(index).build(),
    };
    inside(netns, async |handle| match handle.route().add(message).execute().await.map_err(to_io) {
        Err(error) if is(&error, Errno::EEXIST) => Ok(()),
        other => other.map_err(|source| LinkError::system(format!("set the default route via {gateway}"), source)),
    })
}
