//! Making and removing networks.

use std::net::IpAddr;

use tracing::info;
use weft_control::define::{DefineError, Surroundings, check_name, define, max_mtu};
use weft_control::network::{Mode, Network, find};
use weft_control::options::{OptionError, Options};
use weft_control::space::Space;
use weft_proto::request;
use weft_vtep::switch::NetworkSpec;

use super::tables::Tables;
use super::{Node, NodeError, new_id, underlay};

impl Node {
    /// Makes a network. Blocks; the caller has the turn.
    pub(crate) fn create_network(&self, asked: request::CreateNetwork) -> Result<Network, NodeError> {
        self.check_ready()?;
        let underlay_mtu = underlay::mtu(self.identity.advertise)?;
        let network = {
            let tables = self.tables();
            let networks: Vec<_> = tables.networks.values().collect();
            let tunnel = self.identity.advertise;
            define(
                asked,
                new_id(),
                Surroundings {
                    networks: &networks,
                    tunnel,
                    underlay_mtu,
                    can_seal: self.membership.is_some(),
                    in_cluster: self.membership.is_some(),
                },
            )?
        };
        if self.membership.is_some() {
            self.publish_network(&network)?;
            info!(network = network.name, vni = network.vni.get(), "network made");
            return Ok(network);
        }
        self.vtep.add_network(spec(&network).map_err(DefineError::from)?)?;
        let mut state = self.state();
        state.networks.push(network.clone());
        let saved = self.dir.save(&state);
        if let Err(error) = saved {
            // It was added a moment ago, and nobody else changes networks meanwhile.
            let _ = self.vtep.remove_network(network.vni);
            return Err(error.into());
        }
        let mut tables = self.tables_mut();
        tables.spaces.insert(network.id.clone(), Space::new(&network));
        tables.networks.insert(network.name.clone(), network.clone());
        info!(network = network.name, vni = network.vni.get(), "network made");
        Ok(network)
    }

    /// Gives a network another name, which no network has. Blocks; the caller has the turn.
    pub(crate) fn rename_network(&self, id: &str, name: &str) -> Result<(), NodeError> {
        self.check_ready()?;
        let name = request::reference(name.to_owned(), "network's name")?;
        if self.has_local_name(&name) {
            return Err(DefineError::NameInUse(name).into());
        }
        let network = {
            let tables = self.tables();
            check_name(&name, tables.networks.values())?;
            Network { name, ..tables.network(id)?.clone() }
        };
        if self.membership.is_some() {
            self.republish_network(&network);
            return Ok(());
        }
        let mut state = self.state();
        if let Some(saved) = state.networks.iter_mut().find(|n| n.id == network.id) {
            saved.name.clone_from(&network.name);
        }
        self.dir.save(&state)?;
        let mut tables = self.tables_mut();
        tables.networks.retain(|_, other| other.id != network.id);
        info!(network = network.name, id, "network renamed");
        tables.networks.insert(network.name.clone(), network);
        Ok(())
    }

    /// Removes a network that has no endpoints. Blocks; the caller has the turn.
    pub(crate) fn remove_network(&self, reference: &str) -> Result<Network, NodeError> {
        self.check_ready()?;
        let network = {
            let tables = self.tables();
            let network = tables.network(reference)?.clone();
            let endpoints: Vec<_> = tables.endpoints_of(&network.id).map(|l| l.endpoint.id.clone()).collect();
            if !endpoints.is_empty() {
                return Err(NodeError::HasEndpoints { network: network.name, endpoints: some_of(&endpoints) });
            }
            network
        };
        if self.membership.is_some() {
            self.unpublish_network(&network)?;
            return Ok(network);
        }
        let mut state = self.state();
        state.networks.retain(|n| n.id != network.id);
        self.dir.save(&state)?;
        // The state is what counts from here on; a VNI that the data plane does not know is removed as well as can be.
        let _ = self.vtep.remove_network(network.vni);
        let mut tables = self.tables_mut();
        tables.networks.remove(&network.name);
        tables.spaces.remove(&network.id);
        info!(network = network.name, "network removed");
        Ok(network)
    }

    /// Refuses if the underlay has shrunk since the network was made: its frames would not pass.
    pub(super) fn check_underlay(&self, network: &Network) -> Result<(), NodeError> {
        let tunnel: IpAddr = self.identity.advertise;
        let (underlay, mode, mtu) = (underlay::mtu(tunnel)?, network.mode, network.mtu);
        let options = Options::parse(&network.options).map_err(DefineError::from)?;
        let max = max_mtu(underlay, mode, options, tunnel);
        if u32::from(mtu) > max { Err(NodeError::UnderlayShrunk { mtu, underlay, max, mode }) } else { Ok(()) }
    }
}

impl Tables {
    /// The network with this name, id, or beginning of an id.
    pub(super) fn network(&self, reference: &str) -> Result<&Network, NodeError> {
        Ok(find(self.networks.values(), reference)?)
    }
}

/// What the data plane has to know of a network.
pub(super) fn spec(network: &Network) -> Result<NetworkSpec, OptionError> {
    let options = Options::parse(&network.options)?;
    let mut spec = NetworkSpec::new(network.vni, network.mtu);
    spec.remotes = network.remotes.clone();
    spec.sealed = network.mode == Mode::Sealed;
    (spec.trust_macs, spec.keep_vlan) = (options.trust_macs, options.keep_vlan);
    spec.ageing = options.ageing.unwrap_or(spec.ageing);
    Ok(spec)
}

/// The first few of a list that may be long.
pub(super) fn some_of(ids: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = ids.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown} and {} more", ids.len() - SHOWN) } else { shown }
}
