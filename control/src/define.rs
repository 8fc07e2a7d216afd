//! How a network comes to be: a request, judged against what exists, becomes a definition or is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_proto::request::CreateNetwork;
use weft_vtep::addr::Vni;

use crate::network::{Mode, Network, Subnet};
use crate::options::{OptionError, Options};

/// The first VNI that is given out: those below are left to people who choose by hand.
pub const FIRST_AUTOMATIC_VNI: u32 = 4096;
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
}

/// Why a network is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// The name is not one.
    #[error("`{0}` is no name for a network: begin with a letter or digit, go on with letters, digits, `_`, `.`, `-`")]
    Name(String),
    /// A network has this name.
    #[error("there is a network `{0}` already: choose another name, or remove it with `weft network rm {0}`")]
    NameInUse(String),
    /// No such driver.
    #[error("there is no driver `{0}` in this version: the driver is overlay")]
    Driver(String),
    /// An option is refused.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// `--plain` beside `-o encrypted`.
    #[error("--plain contradicts the option encrypted: leave one of the two out")]
    PlainContradicts,
    /// There is nobody to agree on keys with.
    #[error("sealing needs a cluster, and this node stands alone: add --plain for a network that is not encrypted")]
    CannotSeal,
    /// The VNI is not one.
    #[error("{0} is not a VNI: choose a number from 1 to {max}, or leave --vni out", max = Vni::MAX)]
    Vni(u32),
    /// A network has this VNI.
    #[error("VNI {vni} is in use by the network `{holder}`: choose another, or leave --vni out")]
    VniInUse {
        /// The VNI.
        vni: Vni,
        /// The network that has it.
        holder: String,
    },
    /// All VNIs that are given out are in use.
    #[error("no VNI from {FIRST_AUTOMATIC_VNI} up is free: remove a network, or choose a lower one with --vni")]
    NoVniLeft,
    /// Two subnets of the network share addresses.
    #[error("the subnets {0} and {1} overlap: an address would be in both")]
    Overlap(IpNet, IpNet),
    /// A subnet that no host can have an address in.
    #[error("{0} is no subnet for hosts: choose one of unicast addresses")]
    NotUnicast(IpNet),
    /// The gateway is in no subnet.
    #[error("the gateway {0} is in none of the network's subnets: give --subnet for it, or another gateway")]
    GatewayOutside(IpAddr),
    /// The gateway is the network or broadcast address.
    #[error("the gateway {0} is the network or broadcast address of {1}: choose an address between them")]
    GatewayNotHost(IpAddr, IpNet),
    /// Two gateways for a subnet.
    #[error("two gateways for the subnet {0}: give one")]
    TwoGateways(IpNet),
    /// The range is in no subnet.
    #[error("the range {0} is in none of the network's subnets: give --subnet for it, or another range")]
    RangeOutside(IpNet),
    /// Two ranges for a subnet.
    #[error("two ranges for the subnet {0}: give one")]
    TwoRanges(IpNet),
    /// The MTU is too small.
    #[error("an MTU of {given} is too small: at least {min} for a network {with} IPv6 subnets")]
    MtuTooSmall {
        /// What was given.
        given: u32,
        /// The least that is possible.
        min: u32,
        /// `with` or `without`.
        with: &'static str,
    },
    /// The MTU is more than the underlay carries.
    #[error(
        "an MTU of {given} is too large: the underlay's MTU is {underlay}, which carries {max} inside a {mode} tunnel; \
         give --mtu {max} or less, or raise the underlay's"
    )]
    MtuTooLarge {
        /// What was given.
        given: u32,
        /// The underlay's MTU.
        underlay: u32,
        /// The most that it carries.
        max: u32,
        /// The network's mode.
        mode: Mode,
    },
    /// The underlay carries less than any network needs.
    #[error("the underlay's MTU is {underlay}, which is too small for a tunnel: raise it to {needed} or more")]
    UnderlayTooSmall {
        /// The underlay's MTU.
        underlay: u32,
        /// What the smallest network needs.
        needed: u32,
    },
    /// Static VTEPs know nothing of sealing.
    #[error("--remote names a VTEP outside of the cluster, which cannot unseal: add --plain")]
    RemoteNeedsPlain,
    /// The remote is of the other family.
    #[error(
        "the remote {remote} is of another address family than this node's tunnel address {tunnel}: give one of the same family"
    )]
    RemoteFamily {
        /// The remote.
        remote: IpAddr,
        /// This node's address.
        tunnel: IpAddr,
    },
    /// The remote is no other host's address.
    #[error("the remote {0} is not the unicast address of another host: give the address of its VTEP")]
    RemoteAddress(IpAddr),
    /// A remote is named twice.
    #[error("the remote {0} is named twice: name it once")]
    RemoteTwice(IpAddr),
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
    if !is_name(&asked.name) {
        return Err(DefineError::Name(asked.name));
    }
    if around.networks.iter().any(|n| n.name == asked.name) {
        return Err(DefineError::NameInUse(asked.name));
    }
    if asked.driver != Network::DRIVER {
        return Err(DefineError::Driver(asked.driver));
    }
    let options = Options::parse(&asked.options)?;
    let mode = mode(&asked, options)?;
    check_remotes(&asked.remotes, mode, around.tunnel)?;
    if mode == Mode::Sealed && !around.can_seal {
        return Err(DefineError::CannotSeal);
    }
    let subnets = subnets(&asked)?;
    Ok(Network {
        vni: vni(asked.vni, around.networks)?,
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

/// Docker's form for names.
fn is_name(name: &str) -> bool {
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

fn vni(asked: Option<u32>, networks: &[&Network]) -> Result<Vni, DefineError> {
    let holder = |vni: Vni| networks.iter().find(|n| n.vni == vni);
    match asked {
        Some(number) => {
            let vni = Vni::new(number).ok_or(DefineError::Vni(number))?;
            match holder(vni) {
                Some(network) => Err(DefineError::VniInUse { vni, holder: network.name.clone() }),
                None => Ok(vni),
            }
        }
        None => (FIRST_AUTOMATIC_VNI..=Vni::MAX)
            .filter_map(Vni::new)
            .find(|vni| holder(*vni).is_none())
            .ok_or(DefineError::NoVniLeft),
    }
}

fn subnets(asked: &CreateNetwork) -> Result<Vec<Subnet>, DefineError> {
    for (index, subnet) in asked.subnets.iter().enumerate() {
        if subnet.addr().is_multicast() || is_broadcast(subnet.addr()) {
            return Err(DefineError::NotUnicast(*subnet));
        }
        let overlaps = |other: &&IpNet| other.contains(subnet) || subnet.contains(*other);
        if let Some(other) = asked.subnets[..index].iter().find(overlaps) {
            return Err(DefineError::Overlap(*other, *subnet));
        }
    }
    let plain = |subnet: &IpNet| Subnet { subnet: *subnet, gateway: None, ip_range: None };
    let mut subnets: Vec<_> = asked.subnets.iter().map(plain).collect();
    for gateway in asked.gateways.iter().copied() {
        let subnet = subnets.iter_mut().find(|s| s.subnet.contains(&gateway));
        let subnet = subnet.ok_or(DefineError::GatewayOutside(gateway))?;
        if !crate::ipam::is_host(&subnet.subnet, gateway) {
            return Err(DefineError::GatewayNotHost(gateway, subnet.subnet));
        }
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

fn mtu(
    asked: Option<u32>,
    subnets: &[Subnet],
    mode: Mode,
    options: Options,
    around: Surroundings<'_>,
) -> Result<u16, DefineError> {
    let with_ipv6 = subnets.iter().any(|s| s.subnet.addr().is_ipv6());
    let (min, with) = if with_ipv6 { (MIN_MTU_IPV6, "with") } else { (MIN_MTU, "without") };
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

#[cfg(test)]
#[path = "define_tests.rs"]
mod tests;
