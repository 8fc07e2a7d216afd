//! Networks of this host alone, beside those that the data plane carries.
//!
//! Their definitions and endpoints are remembered in a file of their own and are told to no other node. The interfaces
//! are the kernel's and live on without the daemon: after a restart it only looks whether they are there.

mod endpoints;

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use weft_control::define::DefineError;
use weft_control::local::{Driver, LocalNetwork, MacvlanMode, define};
use weft_control::space::Space;
use weft_proto::{request, v1};

use super::state::{Endpoint, StateError};
use super::{Node, NodeError, new_id};
use crate::drivers;
use crate::sandbox::Netns;

/// The file in the state directory.
pub(super) const FILE: &str = "local.json";

/// What there is of one host.
#[derive(Debug, Default)]
pub(super) struct Local(RwLock<Tables>);

#[derive(Debug, Clone, Default)]
struct Tables {
    /// By id, each with who holds which address.
    networks: BTreeMap<String, (LocalNetwork, Space)>,
    /// By id.
    endpoints: BTreeMap<String, Live>,
}

#[derive(Debug, Clone)]
struct Live {
    endpoint: Endpoint,
    /// Its namespace or interface is gone.
    lost: bool,
}

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    networks: Vec<LocalNetwork>,
    endpoints: Vec<Endpoint>,
}

impl Local {
    // Changes are assembled outside of the lock, in the node's turn: a panic cannot leave half of one.
    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many networks and endpoints there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let tables = self.tables();
        (tables.networks.len(), tables.endpoints.len())
    }

    /// Says something of each network: of its endpoints, how many are there and how many are lost.
    pub(super) fn each<T>(&self, mut say: impl FnMut(&LocalNetwork, usize, usize) -> T) -> Vec<T> {
        let tables = self.tables();
        let networks = tables.networks.values().map(|(network, _)| {
            let (lost, up): (Vec<_>, Vec<_>) = tables.endpoints_of(network).partition(|live| live.lost);
            say(network, up.len(), lost.len())
        });
        networks.collect()
    }
}

impl Tables {
    fn saved(&self) -> Saved {
        let networks = self.networks.values().map(|(network, _)| network.clone()).collect();
        Saved { networks, endpoints: self.endpoints.values().map(|live| live.endpoint.clone()).collect() }
    }

    fn endpoints_of<'a>(&'a self, network: &'a LocalNetwork) -> impl Iterator<Item = &'a Live> {
        self.endpoints.values().filter(move |live| live.endpoint.network == network.id)
    }
}

impl Node {
    /// Makes a network of this host. Blocks; the caller has the turn.
    pub(super) fn create_local(&self, asked: request::CreateNetwork) -> Result<v1::Network, NodeError> {
        self.check_ready()?;
        if self.tables().networks.contains_key(&asked.name) {
            return Err(DefineError::NameInUse(asked.name).into());
        }
        let mut tables = self.local.tables().clone();
        let others: Vec<_> = tables.networks.values().map(|(network, _)| network).collect();
        let network = define(asked, new_id(), &others)?;
        let host = Netns::current()?;
        drivers::create(&host, &network)?;
        tables.networks.insert(network.id.clone(), (network.clone(), space(&network)));
        if let Err(error) = self.remember_local(tables) {
            if let Err(error) = drivers::remove(&host, &network) {
                warn!("{error}");
            }
            return Err(error.into());
        }
        info!(network = network.name, driver = network.driver.name(), "network made");
        Ok(self.show_local(&network))
    }

    /// Removes a network of this host that has no endpoints. Blocks; the caller has the turn.
    pub(super) fn remove_local(&self, network: &LocalNetwork) -> Result<v1::RemoveNetworkResponse, NodeError> {
        self.check_ready()?;
        let mut tables = self.local.tables().clone();
        let endpoints: Vec<_> = tables.endpoints_of(network).map(|live| live.endpoint.id.clone()).collect();
        if !endpoints.is_empty() {
            return Err(NodeError::HasEndpoints {
                network: network.name.clone(),
                endpoints: super::networks::some_of(&endpoints),
            });
        }
        // What cannot be taken away is still ours to take away.
        drivers::remove(&Netns::current()?, network)?;
        tables.networks.remove(&network.id);
        self.remember_local(tables)?;
        info!(network = network.name, "network removed");
        Ok(v1::RemoveNetworkResponse { id: network.id.clone(), name: network.name.clone() })
    }

    /// The network of this host with this name, id, or beginning of an id, unless a carried one has the better claim.
    pub(super) fn local_network(&self, reference: &str) -> Option<LocalNetwork> {
        if self.tables().network(reference).is_ok() {
            return None;
        }
        let tables = self.local.tables();
        let all = || tables.networks.values().map(|(network, _)| network);
        if let Some(network) = all().find(|n| n.name == reference || n.id == reference) {
            return Some(network.clone());
        }
        let mut matching = all().filter(|n| !reference.is_empty() && n.id.starts_with(reference));
        matching.next().filter(|_| matching.next().is_none()).cloned()
    }

    /// True if a network of this host has this name.
    pub(super) fn has_local_name(&self, name: &str) -> bool {
        self.local.tables().networks.values().any(|(network, _)| network.name == name)
    }

    /// All networks of this host.
    pub(super) fn local_networks(&self) -> Vec<v1::Network> {
        let networks: Vec<_> = self.local.tables().networks.values().map(|(network, _)| network.clone()).collect();
        networks.iter().map(|network| self.show_local(network)).collect()
    }

    /// A network of this host, for the user.
    pub(super) fn show_local(&self, network: &LocalNetwork) -> v1::Network {
        let seen = Netns::current().map_err(Into::into).and_then(|host| {
            let mtu = drivers::mtu(&host, network).unwrap_or(network.mtu.unwrap_or_default());
            drivers::inspect(&host, network).map(|state| (mtu, state))
        });
        let (mtu, state) = seen.unwrap_or_else(|error: drivers::DriverError| {
            (network.mtu.unwrap_or_default(), vec![("error", error.to_string())])
        });
        let mut options = BTreeMap::new();
        if let Driver::Macvlan { parent, mode } = &network.driver {
            options.insert("parent".to_owned(), parent.clone());
            if *mode != MacvlanMode::default() {
                options.insert("macvlan_mode".to_owned(), mode.to_string());
            }
        }
        let tables = self.local.tables();
        let endpoints = tables.endpoints_of(network).map(|live| endpoints::to_wire(network, &live.endpoint, live.lost));
        v1::Network {
            id: network.id.clone(),
            name: network.name.clone(),
            driver: network.driver.name().to_owned(),
            mtu,
            subnets: network.subnets.iter().map(super::api::subnet_to_wire).collect(),
            internal: network.internal,
            options,
            endpoints: endpoints.collect(),
            state: state.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Default::default()
        }
    }

    /// Brings the networks of this host back. Blocks; nobody else changes the node meanwhile.
    ///
    /// One that cannot be made again, for its parent may be gone, is kept: it is the user's to remove.
    pub(super) fn restore_local(&self) -> Result<(), NodeError> {
        let saved: Saved = self.dir.read(FILE)?.unwrap_or_default();
        let mut tables = Tables::default();
        for network in saved.networks {
            if let Err(error) = Netns::current().map_err(Into::into).and_then(|host| drivers::create(&host, &network)) {
                warn!("the network {} is of no use yet: {error}", network.name);
            }
            let space = space(&network);
            tables.networks.insert(network.id.clone(), (network, space));
        }
        for endpoint in saved.endpoints {
            let live = endpoints::restore(&mut tables, endpoint);
            tables.endpoints.insert(live.endpoint.id.clone(), live);
        }
        *self.local.tables_mut() = tables;
        Ok(())
    }

    /// Writes the tables down, and from then on they are what there is.
    fn remember_local(&self, tables: Tables) -> Result<(), StateError> {
        self.dir.write(FILE, &tables.saved())?;
        *self.local.tables_mut() = tables;
        Ok(())
    }
}

/// The addresses of a network of this host: the bridge holds its own.
fn space(network: &LocalNetwork) -> Space {
    let mut space = Space::of(&network.subnets);
    if let Driver::Bridge { bridge } = &network.driver {
        for gateway in network.gateways() {
            // Nobody else holds an address of a new space.
            let _ = space.restore(gateway, &format!("bridge {bridge}"));
        }
    }
    space
}
