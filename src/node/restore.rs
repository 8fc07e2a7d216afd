//! Bringing the networks and endpoints back after a restart.
//!
//! A persistent TAP outlives its daemon inside its sandbox, with its addresses and the connections through it.
//! It is opened again from a thread inside the sandbox, under its present name.

use anyhow::{Context, Result};
use tracing::{debug, warn};
use weft_control::space::Space;
use weft_vtep::io::Tap;

use super::endpoints::device;
use super::locate::{lasting_path, locate};
use super::networks::spec;
use super::state::{Endpoint, State};
use super::tables::{Live, Port, Tables};
use super::{Node, NodeError};
use crate::sandbox::{Netns, devices, queue};

impl Node {
    /// Restores what the state says. Blocks; nobody else changes the node meanwhile.
    ///
    /// A network that cannot be restored is an error: nothing of the state may be lost by going on without it. An
    /// endpoint that cannot is kept as lost, since its sandbox may rightly have ended while no daemon was looking.
    pub fn restore(&self, state: State) -> Result<()> {
        self.restore_local()?;
        if self.membership.is_some() {
            return self.restore_member(state);
        }
        let mut tables = Tables::default();
        for network in state.networks {
            let what = || format!("cannot restore the network {}", network.name);
            self.vtep.add_network(spec(&network).with_context(what)?).with_context(what)?;
            if let Err(error) = self.check_underlay(&network) {
                warn!("the network {} lives on, but its large packets do not pass: {error}", network.name);
            }
            tables.spaces.insert(network.id.clone(), Space::new(&network));
            tables.networks.insert(network.name.clone(), network);
        }
        for endpoint in state.endpoints {
            let live = self.restore_endpoint(&mut tables, endpoint);
            tables.endpoints.insert(live.endpoint.id.clone(), live);
        }
        *self.tables_mut() = tables;
        // Only now is what this start said anew, such as another address, known to work.
        self.dir.save(&self.state())?;
        Ok(())
    }

    /// As [`Node::restore`], on a member: the networks are the cluster's, as it was when this node saw it last.
    fn restore_member(&self, state: State) -> Result<()> {
        self.adopt_networks();
        self.restore_blocks()?;
        let mut tables = self.tables().clone();
        for endpoint in state.endpoints {
            let live = self.restore_endpoint(&mut tables, endpoint);
            let network = tables.network_by_id(&live.endpoint.network).cloned();
            if let Some(network) = network {
                self.restore_announced(&network, &live);
            }
            tables.endpoints.insert(live.endpoint.id.clone(), live);
        }
        self.tables_mut().endpoints = tables.endpoints;
        self.restore_names();
        self.dir.save(&self.state())?;
        self.all_announced();
        Ok(())
    }

    fn restore_endpoint(&self, tables: &mut Tables, mut endpoint: Endpoint) -> Live {
        if let Some(space) = tables.spaces.get_mut(&endpoint.network) {
            for ip in &endpoint.ips {
                if let Err(error) = space.restore(*ip, &endpoint.id) {
                    warn!(endpoint = endpoint.id, "{error}");
                }
            }
        }
        let port = self.reattach(tables, &mut endpoint);
        if let Err(error) = &port {
            warn!("the endpoint {} is lost: {error}; `weft detach {0}` frees its addresses", endpoint.id);
        }
        Live { endpoint, port: port.ok() }
    }

    /// What containers asked for while no daemon was there, they may ask for again at once. Blocks.
    pub(super) fn let_ask_again(&self) {
        let endpoints: Vec<_> = self.tables().endpoints.values().map(|live| live.endpoint.clone()).collect();
        for endpoint in endpoints {
            let asked = locate(&endpoint).and_then(|(netns, link)| Ok(devices::forget_unresolved(&netns, &link.name)?));
            if let Err(error) = asked {
                debug!("the endpoint {} asks again when its second is over: {error}", endpoint.id);
            }
        }
    }

    fn reattach(&self, tables: &Tables, endpoint: &mut Endpoint) -> Result<Port, NodeError> {
        let (netns, link) = locate(endpoint)?;
        if let Some(lent) = &mut endpoint.lent {
            // It may have been moved while no daemon was looking, and back.
            let home = Netns::current()?.identity();
            lent.came_back |= endpoint.netns_identity != home && netns.identity() == home;
            endpoint.ifindex = link.index;
            (endpoint.netns, endpoint.netns_identity) = (lasting_path(&netns)?, netns.identity());
        }
        let tap = netns.run(|| Tap::reattach(&link.name, self.vtep.queues()))?;
        let tap = tap.map_err(|e| device(format!("open the TAP device {} again", link.name), e))?;
        queue::none_before(&netns, &link);
        let network = tables.network_by_id(&endpoint.network);
        let network =
            network.ok_or_else(|| weft_control::network::Lookup::None { reference: endpoint.network.clone() })?;
        let id = self.vtep.add_port(network.vni, endpoint.mac, tap)?;
        Ok(Port { id, pins_netns: true })
    }
}
