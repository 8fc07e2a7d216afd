//! The engine's networks, and the node's networks that they are.
//!
//! A network of the engine is bound to one that exists (`-o network=NAME`), or one is made for it, which goes with it.

use std::net::IpAddr;

use ipnet::IpNet;
use tracing::{info, warn};
use weft_control::define::DefineError;
use weft_control::network::{Mode, Network};
use weft_proto::{request, v1};

use super::options::{Options, shown};
use super::pool::{Owner, PoolName};
use super::store::Binding;
use super::swarm::{is_allocation, is_made_before, not_heard_of};
use super::wire::{CreateNetwork, PoolData};
use super::{ADDRESS_SPACE, Driver, Refused};
use crate::node::NodeError;

/// The longest identifier of an engine. Docker's have 64 bytes.
const ID_BYTES: usize = 128;

/// An identifier of the engine, which must be there.
pub(super) fn identifier<'a>(id: &'a str, what: &str) -> Result<&'a str, Refused> {
    match id {
        "" => Err(Refused::new(format!("the request has no {what}"))),
        id if id.len() > ID_BYTES || id.chars().any(char::is_control) => {
            Err(Refused::new(format!("the {what} is longer than {ID_BYTES} bytes, or not printable")))
        }
        id => Ok(id),
    }
}

/// What a provisional name begins with.
const PROVISIONAL: &str = "docker-";

/// How much of the engine's identifier follows.
const SHOWN: usize = 12;

/// The name of a network that is made for the engine's, as long as nobody knows what the user calls it.
pub(super) fn provisional_name(id: &str) -> String {
    format!("{PROVISIONAL}{}", id.chars().take(SHOWN).collect::<String>())
}

/// Whether this name was given for want of another. Engines' identifiers are hexadecimal.
pub(super) fn is_provisional(name: &str) -> bool {
    let shown = name.strip_prefix(PROVISIONAL);
    shown.is_some_and(|shown| shown.len() == SHOWN && shown.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A pool as CreateNetwork has it.
struct Given {
    subnet: IpNet,
    gateway: Option<IpAddr>,
    auxiliary: Vec<IpAddr>,
    /// What it was asked for as, if that is still known.
    asked: Option<PoolName>,
}

impl Driver {
    /// Binds a network of the engine.
    pub(crate) fn create_network(&self, asked: &CreateNetwork) -> Result<(), Refused> {
        let id = identifier(&asked.network, "NetworkID")?;
        let bound = self.store().get(id).cloned();
        if bound.is_some_and(|bound| self.node.network(&bound.network).is_ok()) {
            return Ok(());
        }
        let options = Options::parse(&asked.options)?;
        let pools = self.pools(asked, &options)?;
        let named = options.network.clone().or_else(|| pools.iter().find_map(asked_name));
        let existing = match (&options.network, pools.iter().find_map(asked_network)) {
            (Some(name), _) => self.node.network_called(name),
            (None, Some(id)) => self.node.network(&id).ok(),
            (None, None) => named.as_deref().and_then(|name| self.node.network_called(name)),
        };
        let (network, made) = match existing {
            Some(network) => (fits(network, &options, &pools)?, is_made_before(id, &options)),
            None if options.swarm.is_some() && !is_allocation(id) => return Err(not_heard_of(&options)),
            None => (self.make(id, named, &options, &pools)?, true),
        };
        let binding = Binding {
            id: id.to_owned(),
            network: network.id.clone(),
            made,
            asked_name: pools.iter().find_map(asked_name),
            unforeseen: !made && pools.iter().any(is_to_come),
            leaving: false,
            internal: options.internal,
            listed: false,
            reserved: self.to_reserve(&network, &pools),
        };
        self.settle(&network, &pools, &binding);
        // Of a Swarm's addresses it alone is the authority, and each of its engines keeps the same.
        if options.swarm.is_some() {
            self.hold_again(&binding);
        } else {
            self.hold(&binding, |network, address| self.node.keep(network, address, &binding.holder()));
        }
        let remembered = self.store().insert(binding.clone());
        if let Err(error) = remembered {
            self.let_go(&binding);
            return Err(error.into());
        }
        info!(network = network.name, id, made, "bound to Docker's network");
        Ok(())
    }

    fn pools(&self, asked: &CreateNetwork, options: &Options) -> Result<Vec<Given>, Refused> {
        let all: Vec<_> = asked.ipv4.iter().chain(&asked.ipv6).collect();
        // A Swarm gives out its addresses itself.
        let foreign = |pool: &&PoolData| pool.address_space != ADDRESS_SPACE && options.swarm.is_none();
        if all.is_empty() || all.iter().any(foreign) {
            let name = options.network.as_deref().map_or("NAME".to_owned(), shown);
            return Err(Refused::new(format!(
                "the network's addresses must be weft's: docker network create -d weft -o network={name} --ipam-driver weft \
                 --ipam-opt network={name} {name}"
            )));
        }
        let leases = self.leases();
        let read = |pool: &&PoolData| {
            let mut given = given(pool)?;
            given.asked = leases.asked(given.subnet).cloned();
            Ok(given)
        };
        all.iter().map(read).collect()
    }

    /// Makes a network of the node's for the engine's.
    fn make(&self, id: &str, name: Option<String>, options: &Options, pools: &[Given]) -> Result<Network, Refused> {
        let ranges = pools.iter().filter_map(|pool| pool.asked.as_ref()?.range);
        let wire = v1::CreateNetworkRequest {
            name: name.unwrap_or_else(|| provisional_name(id)),
            vni: options.vni,
            subnets: pools.iter().map(|pool| pool.subnet.to_string()).collect(),
            gateways: pools.iter().filter_map(|pool| pool.gateway).map(|g| g.to_string()).collect(),
            ip_ranges: ranges.map(|range| range.to_string()).collect(),
            mtu: options.mtu,
            internal: options.internal,
            remotes: options.remotes.clone(),
            options: options.network_options.clone(),
            ..Default::default()
        };
        let asked = request::CreateNetwork::try_from(wire).map_err(NodeError::from)?;
        self.node.create_network(asked).map_err(|error| match error {
            NodeError::Define(DefineError::CannotSeal) => Refused::new(
                "sealing needs a cluster, and this node stands alone: add -o plain for a network that is not encrypted",
            ),
            NodeError::Define(DefineError::RemoteNeedsPlain) => {
                Refused::new("-o remote names a VTEP outside of the cluster, which cannot unseal: add -o plain")
            }
            other => other.into(),
        })
    }

    /// What was leased for the network itself is the network's now.
    fn settle(&self, network: &Network, pools: &[Given], binding: &Binding) {
        let mut leases = self.leases();
        for pool in pools {
            leases.settle_pool(binding.asked_name.as_deref(), pool.subnet);
            for address in pool.auxiliary.iter().copied().chain(pool.gateway) {
                leases.settle(&network.id, address);
            }
        }
    }

    /// The addresses that nothing of the network itself keeps.
    fn to_reserve(&self, network: &Network, pools: &[Given]) -> Vec<IpAddr> {
        let known = |address: &IpAddr| network.subnets.iter().any(|s| self.node.kept_gateway(s) == Some(*address));
        let gateways = pools.iter().filter_map(|pool| pool.gateway);
        let mut reserved: Vec<_> =
            gateways.chain(pools.iter().flat_map(|pool| pool.auxiliary.iter().copied())).collect();
        reserved.retain(|address| !known(address));
        reserved.sort();
        reserved.dedup();
        reserved
    }

    /// Keeps the addresses of a binding from being given out, which were this node's to keep before.
    pub(super) fn hold_again(&self, binding: &Binding) {
        self.hold(binding, |network, address| self.node.keep_again(network, address, &binding.holder()));
    }

    fn hold(&self, binding: &Binding, keep: impl Fn(&Network, IpAddr) -> Result<(), NodeError>) {
        let Ok(network) = self.node.network(&binding.network) else { return };
        for address in &binding.reserved {
            if let Err(error) = keep(&network, *address) {
                warn!("{address}, which Docker keeps, is not free: {error}");
            }
        }
    }

    /// The engine's network goes.
    pub(crate) fn delete_network(&self, id: &str) -> Result<(), Refused> {
        self.end_binding(identifier(id, "NetworkID")?, true)
    }

    /// The engine's network went while nobody could be told. One that was made here goes everywhere, as it would have then.
    /// Of another nobody knows whether its user does not want it here, or whether the engine's own state was lost.
    pub(super) fn forget_network(&self, id: &str) -> Result<(), Refused> {
        let made = self.store().get(id).is_some_and(|binding| binding.made);
        self.end_binding(id, made)
    }

    fn end_binding(&self, id: &str, unwanted: bool) -> Result<(), Refused> {
        let Some(binding) = self.store().get(id).filter(|b| !b.leaving).cloned() else { return Ok(()) };
        // The engine removes no network that it knows endpoints of: those that are left are forgotten ones.
        for endpoint in self.node.lent_endpoints() {
            if endpoint.lent.as_ref().is_some_and(|lent| lent.network == id) {
                self.node.take_back(&endpoint.id)?;
            }
        }
        if let Ok(network) = self.node.network(&binding.network) {
            self.node.release(&network, &binding.holder());
        }
        let removed = self.remove_made(&binding);
        // The node removes Docker's network after its own; whoever does so before does not want it here, unless it is
        // there under another name.
        if unwanted && self.node.network(&binding.network).is_ok() && !self.is_shared(&binding) {
            self.store().hide(&binding.network)?;
        }
        let Err(error) = removed else {
            self.store().remove(id)?;
            info!(id, "Docker's network is gone");
            return Ok(());
        };
        // The engine removes its network whatever it is told here, and never asks again.
        self.store().insert(Binding { leaving: true, reserved: Vec::new(), ..binding })?;
        match error {
            NodeError::HasEndpoints { .. } | NodeError::HasEndpointsElsewhere { .. } => {
                info!(id, "Docker's network is gone, and still used by others: it goes once it is not");
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// Removes the network that was made for an engine's network, once no other of the engine's is bound to it.
    fn remove_made(&self, binding: &Binding) -> Result<(), NodeError> {
        if !binding.made || self.node.network(&binding.network).is_err() {
            return Ok(());
        }
        if self.is_shared(binding) {
            let (network, endpoints) = (binding.network.clone(), "those of another network of Docker's".to_owned());
            return Err(NodeError::HasEndpoints { network, endpoints });
        }
        self.node.remove_network(&binding.network).map(drop)
    }

    /// Whether another network of the engine's is bound to the same network.
    fn is_shared(&self, binding: &Binding) -> bool {
        self.store().bindings().any(|b| b.id != binding.id && b.network == binding.network && !b.leaving)
    }

    /// Removes networks of the engine's that were still used when it let go of them. Blocks; the caller has the turn.
    pub(super) fn remove_leaving(&self) {
        let leaving: Vec<_> = self.store().bindings().filter(|b| b.leaving).cloned().collect();
        if leaving.is_empty() || !self.node.has_heard_all() {
            return;
        }
        for binding in leaving {
            if self.remove_made(&binding).is_ok()
                && let Err(error) = self.store().remove(&binding.id)
            {
                warn!("{error}");
            }
        }
    }

    /// Undoes a binding that could not be remembered.
    fn let_go(&self, binding: &Binding) {
        if let Ok(network) = self.node.network(&binding.network) {
            self.node.release(&network, &binding.holder());
        }
        if binding.made
            && let Err(error) = self.node.remove_network(&binding.network)
        {
            warn!("{error}");
        }
    }

    /// The binding of the engine's network, and the network.
    pub(super) fn bound(&self, id: &str) -> Result<(Binding, Network), Refused> {
        let id = identifier(id, "NetworkID")?;
        let binding = self.store().get(id).filter(|b| !b.leaving).cloned();
        let bound = binding.and_then(|binding| Some((self.node.network(&binding.network).ok()?, binding)));
        let (network, binding) = bound.ok_or_else(|| {
            Refused::new(format!(
                "weft does not know the network {}, its state is new or the network was removed: remove Docker's network \
                 and make it again",
                shown(id)
            ))
        })?;
        Ok((binding, network))
    }
}

/// Checks that a network that exists is what the engine asks for.
fn fits(network: Network, options: &Options, pools: &[Given]) -> Result<Network, Refused> {
    let differs = |what: &str, is: String, asked: String| {
        let name = &network.name;
        Err(Refused::new(format!(
            "the network `{name}` has {what} {is}, not {asked}: leave that option out, or choose another"
        )))
    };
    if let Some(pool) = pools.iter().find(|pool| !network.subnets.iter().any(|s| s.subnet == pool.subnet)) {
        let name = &network.name;
        return Err(Refused::new(format!(
            "the network `{name}` does not have the subnet {}: use --ipam-opt network={name}, without --subnet",
            pool.subnet
        )));
    }
    if let Some(other) = pools.iter().find_map(asked_network).filter(|id| *id != network.id) {
        return Err(Refused::new(format!(
            "-o network={} and --ipam-opt network= name different networks ({other}): name the same",
            network.name
        )));
    }
    if let Some(vni) = options.vni.filter(|vni| *vni != network.vni.get()) {
        return differs("the VNI", network.vni.to_string(), vni.to_string());
    }
    if let Some(mtu) = options.mtu.filter(|mtu| *mtu != u32::from(network.mtu)) {
        return differs("the MTU", network.mtu.to_string(), mtu.to_string());
    }
    let parsed = weft_control::options::Options::parse(&options.network_options).map_err(DefineError::from);
    let parsed = parsed.map_err(NodeError::from)?;
    let asked = parsed.plain.map(|plain| if plain { Mode::Plain } else { Mode::Sealed });
    if let Some(mode) = asked.filter(|mode| *mode != network.mode) {
        return differs("the mode", network.mode.to_string(), mode.to_string());
    }
    for (name, value) in
        options.network_options.iter().filter(|(name, _)| !matches!(name.as_str(), "plain" | "encrypted"))
    {
        let is = network.options.get(name).map_or("unset", String::as_str);
        if is != value {
            return differs(&format!("the option {name}"), is.to_owned(), shown(value));
        }
    }
    Ok(network)
}

fn asked_name(pool: &Given) -> Option<String> {
    match &pool.asked.as_ref()?.owner {
        Owner::ToCome(name) => name.clone(),
        Owner::Network(_) => None,
    }
}

fn is_to_come(pool: &Given) -> bool {
    pool.asked.as_ref().is_some_and(|asked| matches!(asked.owner, Owner::ToCome(_)))
}

fn asked_network(pool: &Given) -> Option<String> {
    match &pool.asked.as_ref()?.owner {
        Owner::Network(id) => Some(id.clone()),
        Owner::ToCome(_) => None,
    }
}

fn given(pool: &PoolData) -> Result<Given, Refused> {
    let bad = |text: &str| Refused::new(format!("`{}` is not an address or subnet in CIDR notation", shown(text)));
    let net = |text: &str| text.parse::<IpNet>().map_err(|_| bad(text));
    // An auxiliary address comes with its prefix or without.
    let address = |text: &str| text.split('/').next().unwrap_or_default().parse::<IpAddr>().map_err(|_| bad(text));
    Ok(Given {
        subnet: net(&pool.pool)?.trunc(),
        gateway: if pool.gateway.is_empty() { None } else { Some(address(&pool.gateway)?) },
        auxiliary: pool.aux_addresses.values().map(|text| address(text)).collect::<Result<_, _>>()?,
        asked: None,
    })
}
