//! Why a network is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use weft_vtep::addr::Vni;

use crate::network::Mode;
use crate::networks::vni::FIRST_AUTOMATIC;
use crate::options::OptionError;

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
    #[error("there is no driver `{0}`: the drivers are overlay, bridge, host and macvlan")]
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
    #[error("no VNI from {FIRST_AUTOMATIC} up is free: remove a network, or choose a lower one with --vni")]
    NoVniLeft,
    /// Two subnets of the network share addresses.
    #[error("the subnets {0} and {1} overlap: an address would be in both")]
    Overlap(IpNet, IpNet),
    /// A subnet that no host can have an address in.
    #[error("{0} is no subnet for hosts: choose one of unicast addresses")]
    NotUnicast(IpNet),
    /// A subnet whose addresses mean something else on every host.
    #[error(
        "the subnet {subnet} has {what} addresses ({reserved}), which lead to no endpoint: choose a private one, as \
         10.1.0.0/16 or fd00:1::/64"
    )]
    Reserved {
        /// The subnet.
        subnet: IpNet,
        /// What they are.
        what: &'static str,
        /// All of their kind.
        reserved: IpNet,
    },
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
