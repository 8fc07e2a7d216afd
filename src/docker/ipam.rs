//! The IPAM driver: pools and addresses.
//!
//! A pool is a subnet of a network, and its addresses are those that the network's endpoints have. The engine asks for
//! an address before it makes the endpoint that gets it; until then the address is leased, and the lease ends by itself
//! if the engine never comes back. Pools of a network that is yet to be made are kept in memory alone: the engine makes
//! the network in the next moment.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use weft_control::ipam::{Pool, is_host};
use weft_control::network::Network;
use weft_control::space::AssignError;

use super::options::shown;
use super::pool::{Owner, PoolName};
use super::wire::{ADDRESS_TYPE, GATEWAY, PoolGiven, PoolRequest, RequestPool};
use super::{ADDRESS_SPACE, Driver, Refused};
use crate::node::NodeError;
use crate::node::ports::Wanted;

/// How long an address waits for its endpoint: the engine needs milliseconds.
pub const LEASE: Duration = Duration::from_secs(300);

/// The most pools of networks that are yet to be made. Each is a subnet and a few addresses.
const PENDING: usize = 1024;

/// What the engine has asked for and not yet made use of.
#[derive(Debug, Default)]
pub struct Leases {
    /// Addresses of networks, by the network's identifier.
    given: HashMap<(String, IpAddr), Instant>,
    /// Pools without a network, by owner and subnet.
    pending: HashMap<(Option<String>, IpNet), Pool>,
    /// What was last asked for under each subnet: the engine hands on no more than that to the network driver.
    asked: HashMap<IpNet, PoolName>,
}

impl Leases {
    /// What was last asked for under this subnet.
    pub(super) fn asked(&self, subnet: IpNet) -> Option<&PoolName> {
        self.asked.get(&subnet)
    }

    /// The address has found its endpoint or its keeper.
    pub(super) fn settle(&mut self, network: &str, address: IpAddr) {
        self.given.remove(&(network.to_owned(), address));
    }

    /// The network has come.
    pub(super) fn settle_pool(&mut self, name: Option<&str>, subnet: IpNet) {
        self.pending.remove(&(name.map(str::to_owned), subnet));
        self.asked.remove(&subnet);
    }
}

impl Driver {
    /// Finds the subnet that the engine wants addresses of.
    pub(crate) fn request_pool(&self, asked: RequestPool) -> Result<PoolGiven, Refused> {
        if !matches!(asked.address_space.as_str(), "" | ADDRESS_SPACE) {
            return Err(Refused::new(format!(
                "the address space `{}` is not weft's, which is {ADDRESS_SPACE}",
                shown(&asked.address_space)
            )));
        }
        let name = network_option(&asked.options)?;
        let subnet = optional(&asked.pool, "a subnet in CIDR notation, as in 10.1.0.0/16")?;
        let range: Option<IpNet> = optional(&asked.sub_pool, "a range in CIDR notation, as in 10.1.2.0/24")?;
        check(subnet, range, asked.v6)?;
        let network = name.as_deref().map(|name| self.node.network_called(name));
        let (pool, gateway) = match network {
            Some(Some(network)) => {
                let pool = pool_of(&network, subnet, range, asked.v6)?;
                let subnet = network.subnets.iter().find(|s| s.subnet == pool.subnet);
                let gateway = subnet.and_then(|s| self.node.kept_gateway(s));
                (pool, gateway)
            }
            _ => (self.pool_to_come(name, subnet, range)?, None),
        };
        let data = gateway.map(|g| (GATEWAY, format!("{g}/{}", pool.subnet.prefix_len())));
        let given = PoolGiven {
            id: pool.to_string(),
            pool: pool.subnet.to_string(),
            data: data.into_iter().collect::<BTreeMap<_, _>>(),
        };
        self.leases().asked.insert(pool.subnet, pool);
        Ok(given)
    }

    /// A pool for a network that the engine is about to make.
    fn pool_to_come(
        &self,
        name: Option<String>,
        subnet: Option<IpNet>,
        range: Option<IpNet>,
    ) -> Result<PoolName, Refused> {
        let Some(subnet) = subnet else {
            return Err(Refused::new(match name {
                Some(name) => format!(
                    "there is no network `{}` here: make it first with `weft network create`, or give --subnet to make \
                     it now",
                    shown(&name)
                ),
                None => {
                    "weft chooses no subnet: give --ipam-opt network=NAME for a network that exists, or --subnet for \
                         a new one"
                        .to_owned()
                }
            }));
        };
        let store = self.store();
        let same_name = store.bindings().filter(|b| b.has_pools_of(name.as_deref()));
        for network in same_name.filter_map(|b| self.node.network(&b.network).ok()) {
            let overlaps = |other: &IpNet| other.contains(&subnet) || subnet.contains(other);
            if let Some(other) = network.subnets.iter().map(|s| s.subnet).find(overlaps) {
                return Err(Refused::new(format!(
                    "{subnet} overlaps with {other} of the network `{}`: choose another, or give --ipam-opt \
                     network={0} -o network={0} to use that network",
                    network.name
                )));
            }
        }
        let mut leases = self.leases();
        let full = leases.pending.len() >= PENDING;
        let key = (name.clone(), subnet);
        if full && !leases.pending.contains_key(&key) {
            return Err(Refused::new("too many pools wait for a network: release some with `docker network rm`"));
        }
        leases.pending.entry(key).or_insert_with(|| Pool::new(subnet, None, None));
        Ok(PoolName { owner: Owner::ToCome(name), subnet, range })
    }

    /// The engine needs a pool no more.
    pub(crate) fn release_pool(&self, asked: &PoolRequest) -> Result<(), Refused> {
        // A pool of another name was never given, so there is nothing to release.
        if let Ok(PoolName { owner: Owner::ToCome(name), subnet, .. }) = asked.pool.parse() {
            self.leases().pending.remove(&(name, subnet));
        }
        Ok(())
    }

    /// Gives the engine an address.
    pub(crate) fn request_address(&self, asked: &PoolRequest) -> Result<IpNet, Refused> {
        let pool: PoolName = asked.pool.parse().map_err(|error| Refused::new(format!("{error}")))?;
        let address = optional_address(&asked.address)?;
        if let Some(address) = address.filter(|a| !is_host(&pool.subnet, *a)) {
            return Err(Refused::new(format!(
                "{address} is not the address of a host of {}: choose another",
                pool.subnet
            )));
        }
        let for_gateway = asked.options.get(ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY);
        match (self.network_of(&pool), &pool.owner) {
            (Some(network), _) if for_gateway => self.gateway(&network, &pool, address),
            (Some(network), _) => {
                let kept = |s| self.node.kept_gateway(s).filter(|kept| Some(*kept) == address);
                let gateway = network.subnets.iter().find_map(kept);
                if let Some(gateway) = gateway {
                    return Err(Refused::new(format!("{gateway} is kept for the network's gateway: choose another")));
                }
                let wanted = address.map_or(Wanted::Next(pool.subnet, pool.range), Wanted::Exactly);
                self.lease(&network, wanted)
            }
            (None, Owner::ToCome(name)) => {
                let mut leases = self.leases();
                let key = (name.clone(), pool.subnet);
                // After a restart the pool is not there yet; its name says all of it.
                let waiting = leases.pending.entry(key).or_insert_with(|| Pool::new(pool.subnet, None, None));
                let address = match address {
                    Some(address) => waiting.reserve(address, "docker").map(|()| address),
                    None => {
                        let range = pool.range.filter(|_| !for_gateway).unwrap_or(pool.subnet);
                        waiting.allocate_from(range, "docker")
                    }
                };
                let address = address.map_err(|error| Refused::new(error.to_string()))?;
                Ok(with_prefix(address, pool.subnet))
            }
            (None, Owner::Network(_)) => {
                Err(Refused::new("the network of this pool was removed: remove Docker's network as well"))
            }
        }
    }

    /// The gateway's address. Nobody has to be there: the way out is the engine's own bridge.
    fn gateway(&self, network: &Network, pool: &PoolName, address: Option<IpAddr>) -> Result<IpNet, Refused> {
        let known = network.subnets.iter().find(|s| s.subnet == pool.subnet).and_then(|s| self.node.kept_gateway(s));
        match (known, address) {
            (Some(known), Some(asked)) if known != asked => Err(Refused::new(format!(
                "the gateway of the network `{}` is {known}, not {asked}: leave --gateway out",
                network.name
            ))),
            (Some(known), _) => Ok(with_prefix(known, pool.subnet)),
            (None, Some(asked)) => self.lease(network, Wanted::Exactly(asked)),
            (None, None) => {
                let first = pool.subnet.hosts().next();
                let first = first.and_then(|first| self.lease(network, Wanted::Exactly(first)).ok());
                first.map_or_else(|| self.lease(network, Wanted::Next(pool.subnet, Some(pool.subnet))), Ok)
            }
        }
    }

    fn lease(&self, network: &Network, wanted: Wanted) -> Result<IpNet, Refused> {
        if let Wanted::Exactly(address) = wanted {
            self.collect_holder(network, address);
        }
        let given = self.node.lease(network, wanted).map_err(|error| match error {
            NodeError::Assign(AssignError::MustAsk) => Refused::new(
                "the network has remote VTEPs, whose stations' addresses are not known here, so none can be chosen: make \
                 Docker's network with --subnet and an --ip-range of this host's own, or give docker run --ip",
            ),
            other => other.into(),
        })?;
        self.leases().given.insert((network.id.clone(), given.addr()), Instant::now());
        Ok(given)
    }

    /// The engine needs an address no more. One that an endpoint has goes with the endpoint.
    pub(crate) fn release_address(&self, asked: &PoolRequest) -> Result<(), Refused> {
        let (Ok(pool), Some(address)) = (asked.pool.parse::<PoolName>(), optional_address(&asked.address)?) else {
            return Ok(());
        };
        match (self.network_of(&pool), pool.owner) {
            (Some(network), _) => {
                self.leases().settle(&network.id, address);
                self.node.end_lease(&network, address);
            }
            (None, Owner::ToCome(name)) => {
                if let Some(waiting) = self.leases().pending.get_mut(&(name, pool.subnet)) {
                    waiting.free(address);
                }
            }
            (None, Owner::Network(_)) => {}
        }
        Ok(())
    }

    /// Ends the leases that nobody came back for.
    pub(crate) fn end_leases(&self, now: Instant) {
        let ended: Vec<_> = {
            let mut leases = self.leases();
            leases.given.extract_if(|_, since| now.duration_since(*since) > LEASE).map(|(key, _)| key).collect()
        };
        for (network, address) in ended {
            tracing::info!("{address} was asked for by the engine and never used: free again");
            if let Ok(network) = self.node.network(&network) {
                self.node.end_lease(&network, address);
            }
        }
    }

    /// The network that the pool is a subnet of, if it is there.
    fn network_of(&self, pool: &PoolName) -> Option<Network> {
        match &pool.owner {
            Owner::Network(id) => self.node.network(id).ok(),
            Owner::ToCome(name) => {
                let store = self.store();
                let mut made = store.bindings().filter(|b| b.has_pools_of(name.as_deref()));
                made.find_map(|binding| {
                    let network = self.node.network(&binding.network).ok()?;
                    network.subnets.iter().any(|s| s.subnet == pool.subnet).then_some(network)
                })
            }
        }
    }
}

/// The pool of a network that exists.
fn pool_of(network: &Network, subnet: Option<IpNet>, range: Option<IpNet>, v6: bool) -> Result<PoolName, Refused> {
    let mut of_family = network.subnets.iter().filter(|s| s.subnet.addr().is_ipv6() == v6);
    let found = match subnet {
        Some(subnet) => of_family.find(|s| s.subnet == subnet),
        None => of_family.next(),
    };
    let Some(found) = found else {
        let subnets: Vec<_> = network.subnets.iter().map(|s| s.subnet.to_string()).collect();
        let family = if v6 { "IPv6" } else { "IPv4" };
        let wanted = subnet.map_or(format!("an {family} subnet"), |subnet| format!("the subnet {subnet}"));
        return Err(Refused::new(format!(
            "the network `{}` does not have {wanted}; it has {}",
            network.name,
            if subnets.is_empty() { "none".to_owned() } else { subnets.join(", ") }
        )));
    };
    Ok(PoolName { owner: Owner::Network(network.id.clone()), subnet: found.subnet, range })
}

/// What the combination of a subnet and a range has to be.
fn check(subnet: Option<IpNet>, range: Option<IpNet>, v6: bool) -> Result<(), Refused> {
    match (subnet, range) {
        (None, Some(range)) => Err(Refused::new(format!("the range {range} needs its subnet: give --subnet as well"))),
        (Some(subnet), _) if subnet.trunc() != subnet => {
            Err(Refused::new(format!("{subnet} is an address, not a subnet: write {}", subnet.trunc())))
        }
        (Some(subnet), _) if subnet.addr().is_ipv6() != v6 => {
            Err(Refused::new(format!("{subnet} is of the other address family")))
        }
        (Some(subnet), _) if subnet.addr().is_multicast() => {
            Err(Refused::new(format!("{subnet} is no subnet for hosts: choose one of unicast addresses")))
        }
        (Some(subnet), Some(range)) if !subnet.contains(&range) => {
            Err(Refused::new(format!("the range {range} is outside of the subnet {subnet}")))
        }
        _ => Ok(()),
    }
}

/// `--ipam-opt network=NAME`; the engine's own labels are passed over, anything else is refused.
fn network_option(options: &BTreeMap<String, String>) -> Result<Option<String>, Refused> {
    let unknown = options.keys().find(|key| *key != "network" && !key.starts_with("com.docker."));
    if let Some(unknown) = unknown {
        let unknown = shown(unknown);
        return Err(Refused::new(format!("there is no IPAM option `{unknown}`; the only one is network")));
    }
    Ok(options.get("network").filter(|name| !name.is_empty()).cloned())
}

fn optional<T: std::str::FromStr>(text: &str, expected: &str) -> Result<Option<T>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refused::new(format!("`{}` is not {expected}", shown(text))))
}

/// An address, with or without its prefix.
fn optional_address(text: &str) -> Result<Option<IpAddr>, Refused> {
    let address = text.split('/').next().unwrap_or_default();
    optional(address, "an IP address")
}

fn with_prefix(address: IpAddr, subnet: IpNet) -> IpNet {
    IpNet::new(address, subnet.prefix_len()).unwrap_or_else(|_| IpNet::from(address))
}
