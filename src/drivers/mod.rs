//! The drivers for networks of one host: `bridge`, `host` and `macvlan`.
//!
//! A [`LocalNetwork`] and the host's namespace come in. [`create`] makes what the network needs on the host, and makes
//! it again after a restart of the machine; [`attach`] puts an interface into a sandbox; [`inspect`] says what is there;
//! [`remove`] takes away all that `create` made. Interfaces belong to the kernel: they live through a restart of the
//! daemon, and end with their sandbox, without anybody's help. Everything blocks.

pub mod bridge;
pub mod host;
pub mod macvlan;
mod nft;

use std::io;

use weft_control::local::{BRIDGE_MTU, Driver, LocalNetwork};

use crate::sandbox::{LinkError, LinkSpec, Netns, NetnsError, link};

/// Why a driver cannot do what it should. What it had begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The interface cannot be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// There is no parent.
    #[error(
        "this host has no interface `{0}`, which the network leads through: make it, or make the network with another --parent"
    )]
    NoParent(String),
    /// The parent is down.
    #[error("the interface `{0}`, which the network leads through, is down: `ip link set {0} up`")]
    ParentDown(String),
    /// The parent carries less than the network's MTU.
    #[error(
        "the network's MTU is {mtu}, but its parent {parent} carries {carries}: raise that, or make the network with a smaller --mtu"
    )]
    ParentTooSmall {
        /// The parent.
        parent: String,
        /// The network's MTU.
        mtu: u32,
        /// The parent's.
        carries: u32,
    },
    /// A host network has no sandbox but the host.
    #[error(
        "the network is the host's own namespace, and {0} is another: start the container in the host's namespace, or \
         attach it to another network"
    )]
    NotTheHost(String),
    /// There is no program to set up address translation.
    #[error("there is no `nft`, which translates the addresses of the way out: install nftables, or give --internal")]
    NoNft,
    /// The program refuses.
    #[error("nft refuses the rules for the bridge {bridge}: {said}")]
    Nft {
        /// The bridge.
        bridge: String,
        /// What it said, the first line.
        said: String,
    },
    /// Packets would not be forwarded.
    #[error("cannot let the host forward packets ({setting}): {error}")]
    Forwarding {
        /// The setting.
        setting: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// Makes what the network needs on the host. What is there already stays as it is.
pub fn create(host: &Netns, network: &LocalNetwork) -> Result<(), DriverError> {
    match &network.driver {
        Driver::Bridge { bridge } => bridge::create(host, bridge, network),
        Driver::Host => Ok(()),
        Driver::Macvlan { parent, .. } => macvlan::check(host, parent, network.mtu).map(drop),
    }
}

/// Takes away what [`create`] made. What is not there is no error.
pub fn remove(host: &Netns, network: &LocalNetwork) -> Result<(), DriverError> {
    match &network.driver {
        Driver::Bridge { bridge } => bridge::remove(host, bridge),
        Driver::Host | Driver::Macvlan { .. } => Ok(()),
    }
}

/// Puts an interface into the sandbox and returns its index there; none on the host's own network. `device` is a name
/// that no interface of the host has.
pub fn attach(
    host: &Netns,
    network: &LocalNetwork,
    sandbox: &Netns,
    device: &str,
    spec: &LinkSpec,
) -> Result<Option<u32>, DriverError> {
    match &network.driver {
        Driver::Bridge { bridge } => bridge::attach(host, bridge, sandbox, device, spec).map(Some),
        Driver::Host => host::attach(host, sandbox).map(|()| None),
        Driver::Macvlan { parent, mode } => macvlan::attach(host, parent, *mode, sandbox, device, spec).map(Some),
    }
}

/// The MTU of an interface on the network.
pub fn mtu(host: &Netns, network: &LocalNetwork) -> Result<u32, DriverError> {
    match &network.driver {
        Driver::Bridge { .. } | Driver::Host => Ok(network.mtu.unwrap_or(BRIDGE_MTU)),
        Driver::Macvlan { parent, .. } => macvlan::check(host, parent, network.mtu),
    }
}

/// What there is of the network on the host, as names and values for the user.
pub fn inspect(host: &Netns, network: &LocalNetwork) -> Result<Vec<(&'static str, String)>, DriverError> {
    let interface = |name: &str| {
        let there = link::lookup_name(host, name)?;
        Ok::<_, DriverError>(there.map_or("missing", |link| if link.up { "up" } else { "down" }).to_owned())
    };
    match &network.driver {
        Driver::Bridge { bridge } => {
            let nat = if network.internal { "none" } else { "masquerade" };
            let rules = if nft::has(host, bridge)? { nat } else { "missing" };
            Ok(vec![("bridge", bridge.clone()), ("state", interface(bridge)?), ("way_out", rules.to_owned())])
        }
        Driver::Host => Ok(vec![("netns", host.identity().to_string())]),
        Driver::Macvlan { parent, mode } => {
            Ok(vec![("parent", parent.clone()), ("state", interface(parent)?), ("mode", mode.to_string())])
        }
    }
}
