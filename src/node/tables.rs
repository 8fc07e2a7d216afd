//! The node's tables, and the order in which they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rand::random;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use weft_control::network::Network;
use weft_control::space::Space;
use weft_vtep::addr::{PortId, Vni};
use weft_vtep::io::Vtep;

use super::NodeError;
use super::cluster::Membership;
use super::events::Events;
use super::key_log::KeyLog;
use super::local::Local;
use super::names::Names;
use super::recent::Recent;
use super::state::{Endpoint, Identity, State, StateDir};

/// A node: its networks and endpoints, the data plane under them and the directory that remembers them.
///
/// Changes are made one after another, by blocking methods that take the turn. Readers never wait for a
/// change that is under way: they see the tables as they were before it, or after.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    pub(super) vtep: Vtep,
    pub(super) dir: StateDir,
    pub(super) events: Events,
    /// `None` on a node that stands alone.
    pub(super) membership: Option<Arc<Membership>>,
    /// Open while session keys are to be written down.
    pub(super) key_log: OnceLock<KeyLog>,
    /// What was counted lately.
    pub(super) recent: Recent,
    /// What ends the daemon from within.
    pub(super) over: Notify,
    /// The networks of this host alone.
    pub(super) local: Local,
    /// The names of the cluster's containers.
    pub(crate) names: Names,
    tables: RwLock<Tables>,
    ready: watch::Sender<bool>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The right to change the node. It may be held across threads, and outlives a client that went away.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// What the node has.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    /// By name.
    pub(super) networks: BTreeMap<String, Network>,
    /// Who holds which address, by the network's id.
    pub(super) spaces: HashMap<String, Space>,
    /// By id.
    pub(super) endpoints: BTreeMap<String, Live>,
}

/// An endpoint, and what there is of it now.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) endpoint: Endpoint,
    /// `None` when its namespace or device is gone.
    pub(super) port: Option<Port>,
}

/// A device that the data plane has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port {
    pub(super) id: PortId,
    /// The file on the device was opened inside the sandbox, which it keeps alive.
    pub(super) pins_netns: bool,
}

impl Node {
    /// A node without networks, not yet ready.
    pub fn new(identity: Identity, vtep: Vtep, dir: StateDir, membership: Option<Arc<Membership>>) -> Node {
        let (events, tables, ready) = (Events::default(), RwLock::default(), watch::Sender::new(false));
        let (local, over, turn) = (Local::default(), Notify::new(), Arc::default());
        let (key_log, recent, names) = (OnceLock::new(), Recent::default(), Names::default());
        Node { identity, vtep, dir, events, membership, key_log, recent, over, local, names, tables, ready, turn }
    }

    /// Waits for the turn to change the node.
    pub(crate) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Whether the state is restored.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Returns when the state is restored.
    pub(super) async fn wait_ready(&self) {
        // The sender lives in this very node, so waiting ends only in one way.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// From now on requests are answered: what was to be restored is.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    pub(super) fn check_ready(&self) -> Result<(), NodeError> {
        if self.is_ready() { Ok(()) } else { Err(NodeError::NotReady) }
    }

    // A panic while the lock is held cannot leave half a change: changes are assembled outside of it.
    pub(super) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life that this node is in: a member may have had to begin one since its start.
    pub(super) fn incarnation(&self) -> u64 {
        let member = self.membership.as_ref();
        member.map_or(self.identity.incarnation, |member| member.core.look(|cluster| cluster.table().me().incarnation))
    }

    /// The state as it is to be remembered now.
    pub(super) fn state(&self) -> State {
        let identity = Identity { incarnation: self.incarnation(), ..self.identity.clone() };
        let tables = self.tables();
        let endpoints = tables.endpoints.values().map(|l| l.endpoint.clone()).collect();
        // A cluster's networks are the cluster's, and remembered with its other objects.
        let networks = if self.membership.is_some() { Vec::new() } else { tables.networks.values().cloned().collect() };
        State::new(identity, networks, endpoints)
    }
}

impl Tables {
    /// The endpoint with this id, or the only one whose id begins so.
    pub(super) fn find_endpoint(&self, reference: &str) -> Result<&Live, NodeError> {
        if let Some(live) = self.endpoints.get(reference) {
            return Ok(live);
        }
        let mut matching = self.endpoints.values().filter(|l| l.endpoint.id.starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(live), None) => Ok(live),
            (None, _) => Err(NodeError::NoSuchEndpoint(reference.to_owned())),
            (Some(_), Some(_)) => Err(NodeError::SeveralEndpoints(reference.to_owned())),
        }
    }

    /// The network with this VNI.
    pub(super) fn network_of(&self, vni: Vni) -> Option<&Network> {
        self.networks.values().find(|network| network.vni == vni)
    }

    /// The network with this identifier: all of it, not the beginning or the name that a user may say.
    pub(super) fn network_by_id(&self, id: &str) -> Option<&Network> {
        self.networks.values().find(|network| network.id == id)
    }

    /// The endpoint that a port of the data plane is of.
    pub(super) fn endpoint_at(&self, port: PortId) -> Option<&Endpoint> {
        let live = self.endpoints.values().find(|live| live.port.is_some_and(|p| p.id == port));
        live.map(|live| &live.endpoint)
    }

    /// The endpoints of a network.
    pub(super) fn endpoints_of<'a>(&'a self, network_id: &'a str) -> impl Iterator<Item = &'a Live> {
        self.endpoints.values().filter(move |l| l.endpoint.network == network_id)
    }
}

/// A new identifier for a node, network or endpoint: 64 random bits in hexadecimal.
pub(super) fn new_id() -> String {
    format!("{:016x}", random::<u64>())
}
