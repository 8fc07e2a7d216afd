//! The driver `bridge`: sandboxes of one host on a bridge of the kernel, which leads out through NAT.
//!
//! The bridge has the gateway's addresses, so the host itself is reached at them. All of its packet filter rules are in
//! tables of their own (see `nft`), and go with them.

use std::fs;

use ipnet::IpNet;
use tracing::warn;
use weft_control::local::{BRIDGE_MTU, LocalNetwork};
use weft_vtep::addr::Mac;

use super::{DriverError, nft};
use crate::sandbox::{LinkSpec, Netns, devices, link};

/// Makes the bridge, gives it its addresses, lets the host forward and translates what leaves.
pub(super) fn create(host: &Netns, bridge: &str, network: &LocalNetwork) -> Result<(), DriverError> {
    let made = make(host, bridge, network);
    if made.is_err()
        && let Err(error) = remove(host, bridge)
    {
        warn!("{error}");
    }
    made
}

fn make(host: &Netns, bridge: &str, network: &LocalNetwork) -> Result<(), DriverError> {
    // After a restart of the daemon it is there, with its ports; one that is not up was never finished.
    let there = link::lookup_name(host, bridge)?;
    if let Some(unfinished) = there.as_ref().filter(|link| !link.up) {
        link::delete(host, unfinished.index)?;
    }
    if !there.is_some_and(|link| link.up) {
        devices::bridge(host, bridge, network.mtu.unwrap_or(BRIDGE_MTU))?;
        devices::mac(host, bridge, Mac::local_from(rand::random()))?;
        for address in network.gateways() {
            devices::address(host, bridge, address)?;
        }
        devices::up(host, bridge)?;
    }
    if !network.internal {
        let_forward(host, network)?;
    }
    let subnets: Vec<_> = network.subnets.iter().map(|s| s.subnet).collect();
    nft::set(host, bridge, &subnets, network.internal)
}

/// Takes the bridge and its rules away. Its ports in sandboxes stay, and lead nowhere.
pub(super) fn remove(host: &Netns, bridge: &str) -> Result<(), DriverError> {
    nft::unset(host, bridge)?;
    if let Some(link) = link::lookup_name(host, bridge)? {
        link::delete(host, link.index)?;
    }
    Ok(())
}

/// Joins the sandbox to the bridge by a veth pair. Its end on the host is called `device`.
pub(super) fn attach(
    host: &Netns,
    bridge: &str,
    sandbox: &Netns,
    device: &str,
    spec: &LinkSpec,
) -> Result<u32, DriverError> {
    let inner = format!("{}x", device.get(..14).unwrap_or(device));
    devices::veth((host, device), (host, &inner), spec.mtu)?;
    let joined = devices::enslave(host, device, bridge);
    let plugged = joined.and_then(|()| host.run(|| link::plug(&inner, sandbox, spec))?);
    if plugged.is_err()
        && let Ok(Some(end)) = link::lookup_name(host, device)
    {
        // One end takes the other along, wherever that is.
        let _ = link::delete(host, end.index);
    }
    Ok(plugged?)
}

/// A host forwards no packets unless it is told to. It is not told to stop when the network goes: others may rely on it
/// by then.
fn let_forward(host: &Netns, network: &LocalNetwork) -> Result<(), DriverError> {
    let has = |v4: bool| network.subnets.iter().any(|s| matches!(s.subnet, IpNet::V4(_)) == v4);
    let settings = [(has(true), "net.ipv4.ip_forward"), (has(false), "net.ipv6.conf.all.forwarding")].into_iter();
    for (_, setting) in settings.filter(|(wanted, _)| *wanted) {
        let file = format!("/proc/sys/{}", setting.replace('.', "/"));
        let set = || {
            if fs::read_to_string(&file)?.trim() == "1" {
                return Ok(());
            }
            warn!("this host forwards packets now ({setting} = 1), for the network {}", network.name);
            fs::write(&file, "1")
        };
        host.run(set)?.map_err(|error| DriverError::Forwarding { setting, error })?;
    }
    Ok(())
}
