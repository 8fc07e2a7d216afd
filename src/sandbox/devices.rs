//! The kernel's own devices: what labs, comparisons, tests, and networks of one host are wired from.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{self, InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState};
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
};
use weft_control::local::MacvlanMode;
use weft_vtep::addr::{Mac, Vni};

use super::link::{LinkError, acknowledged, by_name, inside, set_address, to_io};
use super::netns::Netns;

/// One end of a veth pair: its namespace and its name there.
pub type End<'a> = (&'a Netns, &'a str);

/// A VXLAN device of the kernel: the peer that weft must agree with.
#[derive(Clone, Debug)]
pub struct VxlanSpec {
    /// The name of the device.
    pub name: String,
    /// The segment.
    pub vni: Vni,
    /// The tunnel address of this host.
    pub local: IpAddr,
    /// Where unknown and group destinations go. More of them are added by [`flood_to`].
    pub remote: Option<IpAddr>,
    /// The UDP port, on both sides.
    pub port: u16,
    /// The MTU of the device in bytes.
    pub mtu: u32,
}

/// Makes a veth pair, each end in its namespace, both up.
pub fn veth(a: End<'_>, b: End<'_>, mtu: u32) -> Result<(), LinkError> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(b.1.to_owned()).mtu(mtu);
    let peer = peer.setns_by_fd(b.0.as_fd().as_raw_fd()).build();
    let pair =
        LinkMessageBuilder::<LinkVeth>::new(a.1, b.1).mtu(mtu).set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    add(a.0, a.1, pair.build())?;
    up(a.0, a.1)?;
    up(b.0, b.1)
}

/// Makes a bridge, up.
pub fn bridge(netns: &Netns, name: &str, mtu: u32) -> Result<(), LinkError> {
    add(netns, name, LinkBridge::new(name).mtu(mtu).build())
}

/// Makes a macvlan device on the interface `parent`, not yet up.
pub fn macvlan(netns: &Netns, name: &str, parent: &str, mode: MacvlanMode, mac: Mac) -> Result<(), LinkError> {
    let mode = match mode {
        MacvlanMode::Bridge => link::MacVlanMode::Bridge,
        MacvlanMode::Vepa => link::MacVlanMode::Vepa,
        MacvlanMode::Private => link::MacVlanMode::Private,
    };
    let parent = lookup_index(netns, parent)?;
    add(netns, name, LinkMacVlan::new(name, parent, mode).address(mac.octets().to_vec()).build())
}

/// Makes a VXLAN device that learns, up.
pub fn vxlan(netns: &Netns, spec: &VxlanSpec) -> Result<(), LinkError> {
    let mut device = LinkVxlan::new(&spec.name, spec.vni.get()).port(spec.port).learning(true).mtu(spec.mtu).up();
    device = match spec.local {
        IpAddr::V4(local) => device.local(local),
        IpAddr::V6(local) => device.local6(local),
    };
    device = match spec.remote {
        Some(IpAddr::V4(remote)) => device.remote(remote),
        Some(IpAddr::V6(remote)) => device.remote6(remote),
        None => device,
    };
    add(netns, &spec.name, device.build())
}

/// Adds a VTEP to which the VXLAN device `name` sends unknown and group destinations (ingress replication).
pub fn flood_to(netns: &Netns, name: &str, remote: IpAddr) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        let mut entry = handle.neighbours().add_bridge(index, &[0; 6]).destination(remote).flags(NeighbourFlags::Own);
        let message = std::mem::take(entry.message_mut());
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        // rtnetlink's own request would replace or refuse: this entry alone may have many destinations.
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
        acknowledged(handle, request).await
    })
}

/// Makes `port` a port of the bridge `bridge`, and sets it up.
pub fn enslave(netns: &Netns, port: &str, bridge: &str) -> Result<(), LinkError> {
    let bridge = lookup_index(netns, bridge)?;
    with(netns, port, async |handle, index| {
        handle.link().set(LinkUnspec::new_with_index(index).controller(bridge).up().build()).execute().await
    })
}

/// Sets the link up.
pub fn up(netns: &Netns, name: &str) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    })
}

/// Sets the link down.
pub fn down(netns: &Netns, name: &str) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        handle.link().set(LinkUnspec::new_with_index(index).down().build()).execute().await
    })
}

/// Sets the MTU of the link.
pub fn mtu(netns: &Netns, name: &str, mtu: u32) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        handle.link().set(LinkUnspec::new_with_index(index).mtu(mtu).build()).execute().await
    })
}

/// Gives the link a MAC address. A bridge without one of its own has the lowest of its ports', which come and go.
pub fn mac(netns: &Netns, name: &str, mac: Mac) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        let shape = LinkUnspec::new_with_index(index).address(mac.octets().to_vec());
        handle.link().set(shape.build()).execute().await
    })
}

/// Adds an address to the link, without duplicate address detection.
pub fn address(netns: &Netns, name: &str, address: IpNet) -> Result<(), LinkError> {
    let index = lookup_index(netns, name)?;
    inside(netns, async |handle| set_address(&handle, index, name, address).await)
}

/// Gives the link permanent neighbours: nobody is asked for their MAC addresses.
pub fn neighbours(netns: &Netns, name: &str, neighbours: &[(IpAddr, Mac)]) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        for (address, mac) in neighbours {
            let entry = handle.neighbours().add(index, *address).link_local_address(&mac.octets());
            entry.state(NeighbourState::Permanent).execute().await?;
        }
        Ok(())
    })
}

/// Makes the link forget the neighbours that it has learnt.
pub fn forget_neighbours(netns: &Netns, name: &str) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        // The kernel empties the link's neighbour table when ARP goes off.
        for arp in [false, true] {
            handle.link().set(LinkUnspec::new_with_index(index).arp(arp).build()).execute().await?;
        }
        Ok(())
    })
}

/// Makes the link forget the neighbours for which its kernel has asked in vain, so that it asks anew with the next packet
/// and not when its second is over (RFC 4861 section 10: RETRANS_TIMER).
pub fn forget_unresolved(netns: &Netns, name: &str) -> Result<(), LinkError> {
    with(netns, name, async |handle, index| {
        let unresolved = |neighbour: &NeighbourMessage| {
            let NeighbourHeader { ifindex, state, .. } = neighbour.header;
            ifindex == index && matches!(state, NeighbourState::Incomplete | NeighbourState::Failed)
        };
        let mut neighbours = handle.neighbours().get().execute();
        while let Some(neighbour) = neighbours.try_next().await? {
            if unresolved(&neighbour)
                && let Err(error) = handle.neighbours().del(neighbour).execute().await
            {
                // It was resolved, or forgotten, in this very moment.
                tracing::debug!("a neighbour of {name} stays: {error}");
            }
        }
        Ok(())
    })
}

/// Adds a route to `destination` through `gateway`.
pub fn route(netns: &Netns, destination: IpNet, gateway: IpAddr) -> Result<(), LinkError> {
    let doing = || format!("add the route to {destination} through {gateway}");
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.network(), destination.prefix_len())
        .and_then(|route| route.gateway(gateway))
        .map_err(|error| LinkError::system(doing(), std::io::Error::other(error)))?
        .build();
    inside(netns, async |handle| {
        handle.route().add(route).execute().await.map_err(|error| LinkError::system(doing(), to_io(error)))
    })
}

fn add(netns: &Netns, name: &str, message: LinkMessage) -> Result<(), LinkError> {
    inside(netns, async |handle| {
        let request = handle.link().add(message).execute().await;
        request.map_err(|error| LinkError::system(format!("make the device {name}"), to_io(error)))
    })
}

fn lookup_index(netns: &Netns, name: &str) -> Result<u32, LinkError> {
    super::link::lookup_name(netns, name)?.map(|link| link.index).ok_or_else(|| LinkError::NoSuchLink(name.to_owned()))
}

/// Does one thing to the link called `name`.
fn with(
    netns: &Netns,
    name: &str,
    change: impl AsyncFnOnce(&Handle, u32) -> Result<(), rtnetlink::Error> + Send,
) -> Result<(), LinkError> {
    inside(netns, async |handle| {
        let link = by_name(&handle, name).await?.ok_or_else(|| LinkError::NoSuchLink(name.to_owned()))?;
        let changed = change(&handle, link.index).await;
        changed.map_err(|error| LinkError::system(format!("change the interface {name}"), to_io(error)))
    })
}
