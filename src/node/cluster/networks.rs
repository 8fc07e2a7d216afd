//! The cluster's networks on this node: taken over as they come, change and go.
//!
//! What the cluster's objects say is looked at as a whole ([`Registry`](weft_control::networks::Registry)), and the
//! node then does what has changed. All of it runs in the node's turn.

use std::collections::HashMap;

use tracing::warn;
use weft_control::cluster::Input;
use weft_control::id::NodeId;
use weft_control::membership::State;
use weft_control::network::Network;
use weft_control::networks::{Change, object};
use weft_control::objects::Kind;
use weft_vtep::io::Tap;

use super::Membership;
use super::bridge::all_of;
use crate::node::networks::spec;
use crate::node::tables::Port;
use crate::node::{Node, NodeError};

/// Devices whose network is on its way from one VNI to another, by endpoint.
type Carried = HashMap<String, (Tap, Port)>;

impl Node {
    /// Makes the node's networks those of the cluster. Blocks; the caller has the turn.
    pub(in crate::node) fn adopt_networks(&self) {
        let Some(membership) = &self.membership else { return };
        for refused in membership.look_at_networks() {
            self.events.record("network_refused", refused);
        }
        let mut carried = Carried::new();
        loop {
            let change = membership.registry().poll();
            let Some(change) = change else { break };
            self.network_changed(membership, change, &mut carried);
        }
        // A network that came nowhere takes its endpoints with it.
        for (endpoint, (tap, _)) in carried {
            warn!("the endpoint {endpoint} is lost: its network is gone");
            let _ = tap.set_persist(false);
        }
    }

    fn network_changed(&self, membership: &Membership, change: Change, carried: &mut Carried) {
        match &change {
            Change::Renamed { .. } => self.events.record("network_renamed", change.to_string()),
            Change::Renumbered { .. } => self.events.record("network_renumbered", change.to_string()),
            Change::Vacated { .. } | Change::Removed(_) | Change::Placed(_) => {}
        }
        match change {
            Change::Vacated { id, vni } => {
                let here: Vec<_> = self.tables().endpoints_of(&id).cloned().collect();
                for live in here {
                    self.withdraw(vni, &live.endpoint, true);
                    let Some(port) = live.port else { continue };
                    if let Some(tap) = self.vtep.remove_port(port.id) {
                        carried.insert(live.endpoint.id.clone(), (tap, port));
                    }
                    if let Some(live) = self.tables_mut().endpoints.get_mut(&live.endpoint.id) {
                        live.port = None;
                    }
                }
                // Left in the table, they would take addresses from whatever network has this VNI next.
                membership.withdraw_blocks(&id, vni);
                // It is not there only if it could not be placed.
                let _ = self.vtep.remove_network(vni);
            }
            Change::Removed(network) => {
                membership.forget_blocks(&network.id);
                self.tables_mut().networks.retain(|_, other| other.id != network.id);
                self.events.record("network_removed", format!("the network {} is gone", network.name));
            }
            Change::Renamed { id, to, .. } => {
                let mut tables = self.tables_mut();
                let old = tables.networks.iter().find(|(_, network)| network.id == id).map(|(name, _)| name.clone());
                if let Some(mut network) = old.and_then(|name| tables.networks.remove(&name)) {
                    network.name.clone_from(&to);
                    tables.networks.insert(to, network);
                }
            }
            Change::Renumbered { .. } => {}
            Change::Placed(network) => self.place(membership, network, carried),
        }
    }

    /// Brings a network, and the endpoints that were on it, into the data plane.
    fn place(&self, membership: &Membership, network: Network, carried: &mut Carried) {
        let placed = spec(&network).map_err(|error| error.to_string());
        let placed = placed.map(|spec| weft_vtep::switch::NetworkSpec { managed: true, ..spec });
        let placed = placed.and_then(|spec| self.vtep.add_network(spec).map_err(|error| error.to_string()));
        if let Err(error) = placed {
            let text = format!("the network {} cannot be used on this node: {error}", network.name);
            self.events.record("network_refused", text);
            return;
        }
        let moved = {
            let mut tables = self.tables_mut();
            let moved = tables.networks.values().any(|other| other.id == network.id);
            tables.networks.retain(|_, other| other.id != network.id);
            tables.networks.insert(network.name.clone(), network.clone());
            moved
        };
        self.vtep.apply(&membership.core.look(|cluster| all_of(cluster, network.vni)));
        if moved {
            membership.republish_blocks(&network);
        }
        let here: Vec<_> = self.tables().endpoints_of(&network.id).map(|live| live.endpoint.clone()).collect();
        for endpoint in here {
            let Some((tap, port)) = carried.remove(&endpoint.id) else { continue };
            match self.vtep.add_port(network.vni, endpoint.mac, tap) {
                Ok(id) => {
                    if let Some(live) = self.tables_mut().endpoints.get_mut(&endpoint.id) {
                        live.port = Some(Port { id, ..port });
                    }
                    if let Err(error) = self.announce(&network, &endpoint) {
                        warn!("the endpoint {}: {error}", endpoint.id);
                    }
                }
                Err(error) => warn!("the endpoint {} is lost: {error}", endpoint.id),
            }
        }
    }

    /// Gives the cluster's networks the blocks of addresses that this node had before a restart.
    pub(in crate::node) fn restore_blocks(&self) -> Result<(), NodeError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let mut owned = super::store::load_blocks(&self.dir)?;
        let networks: Vec<_> = self.tables().networks.values().cloned().collect();
        for network in networks {
            membership.restore_blocks(&network, &owned.remove(&network.id).unwrap_or_default());
        }
        Ok(())
    }

    /// Gives a new network to the cluster. The caller has the turn.
    pub(in crate::node) fn publish_network(&self, network: &Network) -> Result<(), NodeError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let (kind, id) = (Kind::Network, network.id.clone());
        let put = Input::PutObject { kind, id: id.clone(), value: object::encode(network) };
        membership.write(put).map_err(|_| NodeError::ClusterFull)?;
        membership.unsaved.mark_objects();
        if let Err(error) = self.save_cluster() {
            membership.core.tell(Input::RemoveObject { kind, id });
            return Err(error.into());
        }
        self.adopt_networks();
        Ok(())
    }

    /// Tells the cluster what a network that it has is now. The caller has the turn.
    pub(in crate::node) fn republish_network(&self, network: &Network) {
        let Some(membership) = &self.membership else { return };
        let (kind, id) = (Kind::Network, network.id.clone());
        membership.core.tell(Input::PutObject { kind, id, value: object::encode(network) });
        self.save_told(membership);
        self.adopt_networks();
    }

    /// Takes a network out of the cluster. The caller has the turn.
    pub(in crate::node) fn unpublish_network(&self, network: &Network) -> Result<(), NodeError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let others = membership.nodes_on(network);
        if !others.is_empty() {
            return Err(NodeError::HasEndpointsElsewhere { network: network.name.clone(), nodes: others.join(", ") });
        }
        membership.core.tell(Input::RemoveObject { kind: Kind::Network, id: network.id.clone() });
        self.save_told(membership);
        self.adopt_networks();
        Ok(())
    }

    /// Whether this node has heard from all members what they have, since it was started. Who knows less cannot say that a
    /// network is not used any more.
    pub(crate) fn has_heard_all(&self) -> bool {
        let Some(membership) = &self.membership else { return true };
        membership.core.look(|cluster| {
            let others = || cluster.members().filter(|m| m.node != membership.me && m.state != State::Left);
            let compared = cluster.agreeing() > 0 || !others().any(|member| member.state.is_active());
            compared && others().all(|member| cluster.table().node(member.node).is_some())
        })
    }

    /// Saves what all others have been told already: what cannot be written now is written as soon as it can be.
    fn save_told(&self, membership: &Membership) {
        membership.unsaved.mark_objects();
        if let Err(error) = self.save_cluster() {
            self.events.record("not_saved", error.to_string());
        }
    }
}

impl Membership {
    /// Reads what the cluster's objects say of networks. Those that are no networks are passed over, and named once; one
    /// that was known stays as it was.
    fn look_at_networks(&self) -> Vec<String> {
        let mut refused = Vec::new();
        let objects: Vec<(String, u64, NodeId, Vec<u8>)> = self.core.look(|cluster| {
            let all = cluster.objects().iter(Kind::Network);
            all.filter_map(|(id, o)| Some((id.to_owned(), o.clock, o.writer, o.value.clone()?))).collect()
        });
        let mut registry = self.registry();
        let gone: Vec<_> = registry.iter().map(|network| network.id.clone()).collect();
        for id in gone.iter().filter(|id| !objects.iter().any(|(other, ..)| other == *id)) {
            registry.remove(id);
        }
        let mut unreadable = self.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (id, clock, writer, value) in objects {
            match object::decode(&id, &value) {
                Ok(network) => registry.set(clock, writer, network),
                Err(error) => {
                    if unreadable.insert(id.clone()) {
                        let name = registry.get(&id).map_or(id.as_str(), |network| &network.name);
                        refused.push(format!("what {writer} wrote of the network {name} is passed over: {error}"));
                    }
                }
            }
        }
        refused
    }

    /// The names of the other nodes that have endpoints on a network. One that is dead comes back, with its containers.
    fn nodes_on(&self, network: &Network) -> Vec<String> {
        self.core.look(|cluster| {
            let table = cluster.table();
            let others = table.users(network.vni).filter(|node| *node != self.me);
            let name = |node: NodeId| table.node(node).map_or_else(|| node.to_string(), |record| record.name.clone());
            others.map(name).collect()
        })
    }
}
