//! The Docker driver: weft as a network and IPAM plugin of a Docker Engine.
//!
//! The engine's requests come in on a unix socket ([`listen`], [`api`]); networks and endpoints of the node go out. The
//! Container Network Model of libnetwork (its `docs/remote.md` and `docs/ipam.md`) rules what is asked and answered
//! ([`wire`]). [`ipam`] gives out pools and addresses, [`network`] binds the engine's networks to the node's, [`endpoint`]
//! lends it devices, which the engine moves into its containers, where `sandbox` finds them; [`store`] remembers the
//! bindings.
//!
//! A cluster's networks are made in the engine by the node itself (`publish`).
//!
//! Names are the engine's to say (`engine`) and the node's to spread; `names` answers the containers' questions.
//!
//! A Swarm takes no plugin but a managed one, which [`shim`] is for, and gives out addresses itself (`swarm`).
//!
//! Three rules hold everywhere. A request that comes twice does its work once, since the engine repeats what it got no
//! answer to. A handler never calls the engine, which would wait for itself. What the engine lets go of without a word is
//! collected (`garbage`).

pub mod api;
pub mod endpoint;
mod engine;
mod garbage;
mod hand;
pub mod ipam;
pub mod listen;
mod names;
pub mod network;
pub mod options;
pub mod pool;
mod publish;
mod sandbox;
pub mod shim;
pub mod store;
mod swarm;
pub mod wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::node::{Node, NodeError};
use crate::sandbox::Identity;
use ipam::Leases;
use store::{Store, StoreError};

/// The driver's name, as in `docker network create -d weft`.
pub const DRIVER: &str = "weft";

/// The address space of every network whose addresses weft gives out.
pub const ADDRESS_SPACE: &str = "weft";

/// Who makes the networks of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Each engine its own.
    Local,
    /// A Swarm for all of its engines.
    Global,
}

/// What is answered alike whatever there is.
fn fixed(method: &str, scope: Scope) -> Option<Value> {
    let scope = if scope == Scope::Local { "local" } else { "global" };
    Some(match method {
        "/Plugin.Activate" => json!({ "Implements": ["NetworkDriver", "IpamDriver"] }),
        "/NetworkDriver.GetCapabilities" => {
            json!({ "Scope": scope, "ConnectivityScope": "global", "GwAllocChecker": false })
        }
        "/IpamDriver.GetCapabilities" => json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false }),
        "/IpamDriver.GetDefaultAddressSpaces" => {
            json!({ "LocalDefaultAddressSpace": ADDRESS_SPACE, "GlobalDefaultAddressSpace": ADDRESS_SPACE })
        }
        _ => return None,
    })
}

/// Whether the plugin socket is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Where there is a Docker Engine, also one that comes later, and nobody else serves the socket.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How the driver is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether.
    pub when: When,
    /// Where.
    pub socket: PathBuf,
    /// Where the engine answers, which knows the names of its containers.
    pub engine: PathBuf,
    /// Whether the cluster's networks appear there by themselves.
    pub networks: bool,
}

/// The driver of one node.
#[derive(Debug)]
pub struct Driver {
    pub(crate) node: Arc<Node>,
    store: Mutex<Store>,
    leases: Mutex<Leases>,
    unused: Mutex<garbage::Unused>,
    /// The sandboxes of endpoints that are about to come there, by the endpoints' ids.
    expected: Mutex<HashMap<String, (PathBuf, Identity)>>,
    /// An endpoint has got to its sandbox or is about to, or has gone.
    places: Notify,
}

/// Why the engine is refused. The text is what `docker` prints.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The node refuses.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The bindings cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something of the request itself.
    #[error("{0}")]
    Request(String),
}

impl Refused {
    pub(crate) fn new(text: impl Into<String>) -> Refused {
        Refused::Request(text.into())
    }
}

impl Driver {
    /// The driver with the bindings that it remembers; the addresses that the engine keeps are held again.
    pub fn restore(node: Arc<Node>, dir: &std::path::Path) -> Result<Driver, StoreError> {
        let store = Store::load(dir)?;
        let (leases, unused, expected) = (Mutex::default(), Mutex::default(), Mutex::default());
        let driver = Driver { node, store: Mutex::new(store), leases, unused, expected, places: Notify::new() };
        for binding in driver.store().bindings() {
            driver.hold_again(binding);
        }
        Ok(driver)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, HashMap<String, (PathBuf, Identity)>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
