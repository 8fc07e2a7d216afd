//! The host's side of the tunnels: which address they end at, and what its interface carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, bail};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::NodeError;
use crate::sandbox::{Netns, link};

/// The host's only global address, or 127.0.0.1 where it has none: enough for networks within the host.
pub fn only_global_address() -> Result<IpAddr> {
    let global = global_addresses()?;
    match global.as_slice() {
        [] => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        [(_, address)] => Ok(*address),
        several => {
            let list: Vec<_> = several.iter().map(|(name, address)| format!("{address} on {name}")).collect();
            bail!(
                "this host has several global addresses ({}): name the one for tunnels with --advertise",
                list.join(", ")
            )
        }
    }
}

/// The address that packets to `host` leave from.
pub fn source_towards(host: IpAddr) -> Result<IpAddr> {
    let unspecified: IpAddr = if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a UDP socket sends nothing: it only asks the routing table.
    let asked = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        socket.connect((host, 9))?;
        socket.local_addr()
    });
    let source = asked.with_context(|| format!("this host has no route to {host}"))?.ip();
    Ok(source)
}

/// The MTU in bytes of the interface that holds `address`.
pub fn mtu(address: IpAddr) -> Result<u32, NodeError> {
    let found = || -> Result<Option<u32>> {
        let Some((name, _)) = addresses()?.into_iter().find(|(_, a)| *a == address) else { return Ok(None) };
        Ok(link::lookup_name(&Netns::current()?, &name)?.map(|link| link.mtu))
    };
    found().map_err(|error| NodeError::Underlay(format!("{error:#}")))?.ok_or(NodeError::AddressGone(address))
}

/// The addresses that other hosts could reach, with the interfaces' names.
pub(crate) fn global_addresses() -> Result<Vec<(String, IpAddr)>> {
    Ok(addresses()?.into_iter().filter(|(_, address)| is_global(*address)).collect())
}

/// The addresses of the interfaces that are up, with the interfaces' names.
fn addresses() -> Result<Vec<(String, IpAddr)>> {
    let all = getifaddrs().context("cannot list the host's addresses")?;
    Ok(all.filter(|i| i.flags.contains(InterfaceFlags::IFF_UP)).filter_map(named).collect())
}

fn named(interface: InterfaceAddress) -> Option<(String, IpAddr)> {
    let storage = interface.address?;
    let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    let address = v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))?;
    Some((interface.interface_name, address))
}

/// True if datagrams for `address` could come to one host, this one, and it be bound without naming an interface.
pub(super) fn is_tunnel_end(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

/// Neither of this host alone nor of one link alone.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_addresses_are_not_global() {
        for address in ["127.0.0.1", "169.254.1.1", "::1", "fe80::1", "0.0.0.0"] {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_tunnel_ends_at_a_unicast_address_that_needs_no_interface() {
        for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fe80::1"] {
            assert!(!is_tunnel_end(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.1", "169.254.1.1", "127.0.0.1", "2001:db8::1"] {
            assert!(is_tunnel_end(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_of_another_host_has_no_mtu_here() {
        let error = mtu("192.0.2.250".parse().unwrap()).unwrap_err();
        assert!(matches!(error, NodeError::AddressGone(_)), "{error}");
    }
}
