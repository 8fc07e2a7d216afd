//! Networks of one host: the other drivers of the Container Network Model.
//!
//! A [`LocalNetwork`] has no VNI and is on no wire: `bridge` joins sandboxes of this host and leads out through NAT,
//! `host` is the host's own namespace, `macvlan` puts sandboxes beside the host on a network that exists. What enters
//! is the same request as for an overlay; what leaves is the definition that the node remembers for itself and never
//! tells another. Addresses of such a network are a [`Space`](crate::space::Space)'s.

mod define;

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use define::{LocalError, define};

use crate::network::Subnet;

/// The MTU in bytes of a bridge's ports where none is given: Ethernet's.
pub const BRIDGE_MTU: u32 = 1500;

/// What carries a network's frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the kernel on this host, with the way out translated.
    Bridge {
        /// The bridge's name.
        bridge: String,
    },
    /// The host's own namespace: no isolation and no interface.
    Host,
    /// Interfaces of their own on an existing network.
    Macvlan {
        /// The host's interface that leads there.
        parent: String,
        /// Who of them sees whom.
        #[serde(default)]
        mode: MacvlanMode,
    },
}

impl Driver {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Bridge { .. } => BRIDGE,
            Driver::Host => HOST,
            Driver::Macvlan { .. } => MACVLAN,
        }
    }
}

const BRIDGE: &str = "bridge";
const HOST: &str = "host";
const MACVLAN: &str = "macvlan";

/// True if a driver of this name makes networks of one host.
pub fn is_local(driver: &str) -> bool {
    [BRIDGE, HOST, MACVLAN].contains(&driver)
}

/// How the interfaces of one parent see each other. The host itself they never see: the kernel hands nothing from a
/// macvlan interface to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Directly.
    #[default]
    Bridge,
    /// Through the switch outside, if it sends frames back where they came from.
    Vepa,
    /// Not at all.
    Private,
}

impl fmt::Display for MacvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MacvlanMode::Bridge => "bridge",
            MacvlanMode::Vepa => "vepa",
            MacvlanMode::Private => "private",
        })
    }
}

/// A network of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNetwork {
    /// Random lasting identifier, hexadecimal.
    pub id: String,
    /// Unique among the networks of this node.
    pub name: String,
    /// What carries it.
    #[serde(flatten)]
    pub driver: Driver,
    /// The largest IP packet in bytes; `None` for the parent's, or a bridge's usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Disjoint, in the order in which the user gave them. Those of a bridge have a gateway, which is the bridge.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// There is no way out.
    #[serde(default)]
    pub internal: bool,
}

impl LocalNetwork {
    /// The addresses of the bridge itself, one for each subnet.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> {
        self.subnets.iter().filter_map(|s| IpNet::new(s.gateway?, s.subnet.prefix_len()).ok())
    }
}
