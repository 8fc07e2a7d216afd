//! How a network comes to be: a request, judged against what exists, becomes a definition or is refused.

use std::net::IpAddr;

use weft_proto::request::CreateNetwork;
use weft_vtep::addr::Vni;

use crate::network::{Mode, Network, Subnet};
use crate::networks::{object, vni};
use crate::options::Options;

mod error;
mod subnets;

pub use error::DefineError;
pub(crate) use subnets::{arrange, check_subnets};

/// The smallest MTU of a network without IPv6: what every IPv4 host takes (RFC 791).
pub const MIN_MTU: u32 = 576;
/// The smallest MTU of a network with an IPv6 subnet (RFC 8200 section 5).
pub const MIN_MTU_IPV6: u32 = 1280;
/// An outer IP packet is no longer than this, even where a loopback interface has a larger MTU.
const MAX_OUTER_PACKET: u32 = 65_535;

/// What a new network has to fit into.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The networks that exist.
    pub networks: &'a [&'a Network],
    /// This node's tunnel address.
    pub tunnel: IpAddr,
    /// The MTU in bytes of the interface that holds it.
    pub underlay_mtu: u32,
    /// Whether this node has a cluster's keys to seal with.
    pub can_seal: bool,
    /// Whether the network will be the cluster's, made beside others that this node may not know of yet.
    pub in_cluster: bool,
}

/// The most that the MTU of a network with these options can be on this underlay.
pub fn max_mtu(underlay_mtu: u32, mode: Mode, options: Options, tunnel: IpAddr) -> u32 {
    underlay_mtu.min(MAX_OUTER_PACKET).saturating_sub(overhead(mode, options, tunnel))
}

fn overhead(mode: Mode, options: Options, tunnel: IpAddr) -> u32 {
    mode.overhead(tunnel) + options.extra_header()
}

/// Makes the definition of a new network with the random identifier `id`.
pub fn define(asked: CreateNetwork, id: String, around: Surroundings<'_>) -> Result<Network, DefineError> {
    check_name(&asked.name, around.networks.iter().copied())?;
    if asked.driver != Network::DRIVER {
        return Err(DefineError::Driver(asked.driver));
    }
    let options = Options::parse(&asked.options)?;
    let mode = mode(&asked, options)?;
    check_remotes(&asked.remotes, mode, around.tunnel)?;
    if mode == Mode::Sealed && !around.can_seal {
        return Err(DefineError::CannotSeal);
    }
    let subnets = arrange(&asked)?;
    let id = if around.in_cluster { object::id_for(mode, &id) } else { id };
    Ok(Network {
        vni: vni(asked.vni, &id, around)?,
        mtu: mtu(asked.mtu, &subnets, mode, options, around)?,
        id,
        name: asked.name,
        mode,
        subnets,
        internal: asked.internal,
        remotes: asked.remotes,
        options: asked.options,
    })
}

/// Refuses what is no name for a network, and what is the name of one.
pub fn check_name<'a>(name: &str, mut networks: impl Iterator<Item = &'a Network>) -> Result<(), DefineError> {
    if !is_name(name) {
        return Err(DefineError::Name(name.to_owned()));
    }
    if networks.any(|network| network.name == name) { Err(DefineError::NameInUse(name.to_owned())) } else { Ok(()) }
}

/// Docker's form for names.
pub(crate) fn is_name(name: &str) -> bool {
    let rest = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
    name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && name.as_bytes().iter().all(rest)
}

fn mode(asked: &CreateNetwork, options: Options) -> Result<Mode, DefineError> {
    match (asked.plain, options.plain) {
        (true, Some(false)) => Err(DefineError::PlainContradicts),
        (true, _) | (_, Some(true)) => Ok(Mode::Plain),
        _ => Ok(Mode::Sealed),
    }
}

fn check_remotes(remotes: &[IpAddr], mode: Mode, tunnel: IpAddr) -> Result<(), DefineError> {
    if !remotes.is_empty() && mode == Mode::Sealed {
        return Err(DefineError::RemoteNeedsPlain);
    }
    for (index, remote) in remotes.iter().copied().enumerate() {
        if remote.is_unspecified() || remote.is_multicast() || is_broadcast(remote) || remote == tunnel {
            return Err(DefineError::RemoteAddress(remote));
        }
        if remote.is_ipv4() != tunnel.is_ipv4() {
            return Err(DefineError::RemoteFamily { remote, tunnel });
        }
        if remotes[..index].contains(&remote) {
            return Err(DefineError::RemoteTwice(remote));
        }
    }
    Ok(())
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Alone, the lowest that is free; in a cluster, one that a node beyond a partition hardly chooses as well.
fn vni(asked: Option<u32>, id: &str, around: Surroundings<'_>) -> Result<Vni, DefineError> {
    let holder = |vni: Vni| around.networks.iter().find(|n| n.vni == vni);
    match asked {
        Some(number) => {
            let vni = Vni::new(number).ok_or(DefineError::Vni(number))?;
            match holder(vni) {
                Some(network) => Err(DefineError::VniInUse { vni, holder: network.name.clone() }),
                None => Ok(vni),
            }
        }
        None if around.in_cluster => {
            vni::candidates(id).find(|vni| holder(*vni).is_none()).ok_or(DefineError::NoVniLeft)
        }
        None => (vni::FIRST_AUTOMATIC..=Vni::MAX)
            .filter_map(Vni::new)
            .find(|vni| holder(*vni).is_none())
            .ok_or(DefineError::NoVniLeft),
    }
}

fn mtu(
    asked: Option<u32>,
    subnets: &[Subnet],
    mode: Mode,
    options: Options,
    around: Surroundings<'_>,
) -> Result<u16, DefineError> {
    let (min, with) = least_mtu(subnets);
    let underlay = around.underlay_mtu;
    let max = max_mtu(underlay, mode, options, around.tunnel);
    if max < min {
        return Err(DefineError::UnderlayTooSmall { underlay, needed: min + overhead(mode, options, around.tunnel) });
    }
    match asked.unwrap_or(max) {
        given if given < min => Err(DefineError::MtuTooSmall { given, min, with }),
        given if given > max => Err(DefineError::MtuTooLarge { given, underlay, max, mode }),
        given => Ok(u16::try_from(given).unwrap_or(u16::MAX)),
    }
}

/// The smallest MTU of a network with these subnets, and whether that is `with` or `without` IPv6.
fn least_mtu(subnets: &[Subnet]) -> (u32, &'static str) {
    if subnets.iter().any(|s| s.subnet.addr().is_ipv6()) { (MIN_MTU_IPV6, "with") } else { (MIN_MTU, "without") }
}

/// Refuses an MTU that is too small for any network with these subnets.
pub(crate) fn check_least_mtu(given: u32, subnets: &[Subnet]) -> Result<(), DefineError> {
    let (min, with) = least_mtu(subnets);
    if given < min { Err(DefineError::MtuTooSmall { given, min, with }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
