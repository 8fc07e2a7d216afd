//! Endpoints on networks of this host.

use tracing::{info, warn};
use weft_control::local::{Driver, LocalError, LocalNetwork};
use weft_proto::{request, v1};
use weft_vtep::addr::Mac;

use super::{FILE, Live, Tables};
use crate::drivers;
use crate::node::locate::{alias, device_in};
use crate::node::state::Endpoint;
use crate::node::{Node, NodeError, new_id};
use crate::sandbox::{LinkError, LinkSpec, Netns, link, route};

/// The MAC address of an endpoint that has no interface.
const NONE: Mac = Mac::new([0; 6]);

impl Node {
    /// Puts an interface on a network of this host into a sandbox. Blocks; the caller has the turn.
    pub(in crate::node) fn attach_local(
        &self,
        network: &LocalNetwork,
        asked: &request::Attach,
    ) -> Result<v1::Endpoint, NodeError> {
        self.check_ready()?;
        let (host, sandbox) = (Netns::current()?, Netns::open(&asked.netns)?);
        let mut tables = self.local.tables().clone();
        let endpoint = if network.driver == Driver::Host {
            join_host(&host, network, &sandbox, asked)?
        } else {
            plug(&host, network, &mut tables, &sandbox, asked)?
        };
        let shown = to_wire(network, &endpoint, false);
        info!(endpoint = endpoint.id, network = network.name, netns = %endpoint.netns.display(), "attached");
        tables.endpoints.insert(endpoint.id.clone(), Live { endpoint: endpoint.clone(), lost: false });
        if let Err(error) = self.remember_local(tables) {
            unplug(&endpoint);
            return Err(error.into());
        }
        Ok(shown)
    }

    /// The id of the endpoint on a network of this host that has this id, or alone one that begins so.
    pub(in crate::node) fn local_endpoint(&self, reference: &str) -> Option<String> {
        let tables = self.local.tables();
        let mut matching = tables.endpoints.keys().filter(|id| !reference.is_empty() && id.starts_with(reference));
        matching.next().filter(|_| matching.next().is_none()).cloned()
    }

    /// Removes an endpoint and its interface. Blocks; the caller has the turn.
    pub(in crate::node) fn detach_local(&self, id: &str) -> Result<v1::Endpoint, NodeError> {
        self.check_ready()?;
        let mut tables = self.local.tables().clone();
        let live = tables.endpoints.remove(id).ok_or_else(|| NodeError::NoSuchEndpoint(id.to_owned()))?;
        let endpoint = live.endpoint;
        let mut name = String::new();
        if let Some((network, space)) = tables.networks.get_mut(&endpoint.network) {
            space.release(id);
            name.clone_from(&network.name);
        }
        // A full disk shows before the interface is touched. It is forgotten last: else a crash between the two would leave
        // an interface that nobody knows of, with an address that the next one gets.
        let prepared = self.dir.prepare_as(FILE, &tables.saved())?;
        unplug(&endpoint);
        prepared.commit()?;
        *self.local.tables_mut() = tables;
        info!(endpoint = endpoint.id, "detached");
        let mut shown = crate::node::api::endpoint_to_wire(&endpoint, &name, false);
        shown.mac = wire_mac(endpoint.mac);
        Ok(shown)
    }

    /// Notices endpoints whose sandbox or interface has gone. Blocks; the caller has the turn.
    pub(in crate::node) fn reconcile_local(&self) {
        let candidates: Vec<_> = {
            let tables = self.local.tables();
            tables.endpoints.values().filter(|live| !live.lost).map(|live| live.endpoint.clone()).collect()
        };
        for endpoint in candidates.iter().filter(|endpoint| !is_there(endpoint)) {
            if let Some(live) = self.local.tables_mut().endpoints.get_mut(&endpoint.id) {
                live.lost = true;
            }
            info!(
                "the endpoint {0} is lost: its namespace or interface is gone; `weft detach {0}` frees its addresses",
                endpoint.id
            );
        }
    }
}

/// There is nothing to make: the sandbox is the host already.
fn join_host(
    host: &Netns,
    network: &LocalNetwork,
    sandbox: &Netns,
    asked: &request::Attach,
) -> Result<Endpoint, NodeError> {
    let flags = [("--ip", !asked.ips.is_empty()), ("--mac", asked.mac.is_some())];
    if let Some((what, _)) = flags.into_iter().find(|(_, given)| *given) {
        let driver = network.driver.name();
        return Err(LocalError::NotForDriver { what: what.to_owned(), driver }.into());
    }
    let nothing = LinkSpec {
        ifname: String::new(),
        alias: String::new(),
        mac: NONE,
        mtu: 0,
        super_frame: None,
        addresses: Vec::new(),
    };
    drivers::attach(host, network, sandbox, "", &nothing)?;
    Ok(endpoint(new_id(), network, sandbox, &nothing, 0))
}

/// Makes an interface. On a refusal neither it nor an address is left over: the caller's tables are a copy.
fn plug(
    host: &Netns,
    network: &LocalNetwork,
    tables: &mut Tables,
    sandbox: &Netns,
    asked: &request::Attach,
) -> Result<Endpoint, NodeError> {
    link::check_name(&asked.ifname)?;
    if link::lookup_name(sandbox, &asked.ifname)?.is_some() {
        let (ifname, netns) = (asked.ifname.clone(), sandbox.path().to_owned());
        return Err(LinkError::NameTaken { ifname, netns }.into());
    }
    let id = new_id();
    let mac = choose_mac(network, tables, asked.mac)?;
    let addresses = match tables.networks.get_mut(&network.id) {
        Some((_, space)) => space.assign(&asked.ips, &id)?,
        None => Vec::new(),
    };
    let (ifname, mtu) = (asked.ifname.clone(), drivers::mtu(host, network)?);
    let spec = LinkSpec { ifname, alias: alias(&id), mac, mtu, super_frame: None, addresses };
    // Unique on the host, and not to be mistaken for anybody else's.
    let device = format!("wv{}", &id[..12]);
    let index = drivers::attach(host, network, sandbox, &device, &spec)?.unwrap_or_default();
    let endpoint = endpoint(id, network, sandbox, &spec, index);
    for address in endpoint.ips.iter().filter(|_| !network.internal) {
        let subnet = network.subnets.iter().find(|s| s.subnet.contains(&address.addr()));
        let gateway = subnet.and_then(|s| s.gateway).filter(|gateway| *gateway != address.addr());
        if let Some(Err(error)) = gateway.map(|gateway| route::add_default(sandbox, index, gateway)) {
            unplug(&endpoint);
            return Err(error.into());
        }
    }
    Ok(endpoint)
}

fn choose_mac(network: &LocalNetwork, tables: &Tables, asked: Option<[u8; 6]>) -> Result<Mac, NodeError> {
    let holder = |mac: Mac| tables.endpoints_of(network).find(|live| live.endpoint.mac == mac);
    match asked.map(Mac::new) {
        Some(mac) if !mac.is_station() => Err(NodeError::BadMac(mac)),
        Some(mac) => match holder(mac) {
            Some(live) => Err(NodeError::MacInUse { mac, holder: live.endpoint.id.clone() }),
            None => Ok(mac),
        },
        None => loop {
            let mac = Mac::local_from(rand::random());
            if holder(mac).is_none() {
                return Ok(mac);
            }
        },
    }
}

fn endpoint(id: String, network: &LocalNetwork, sandbox: &Netns, spec: &LinkSpec, ifindex: u32) -> Endpoint {
    Endpoint {
        id,
        network: network.id.clone(),
        mac: spec.mac,
        ips: spec.addresses.clone(),
        ifname: spec.ifname.clone(),
        ifindex,
        netns: sandbox.path().to_owned(),
        netns_identity: sandbox.identity(),
        lent: None,
    }
}

/// Gives an endpoint its addresses back, and looks whether it is still there.
pub(super) fn restore(tables: &mut Tables, endpoint: Endpoint) -> Live {
    if let Some((_, space)) = tables.networks.get_mut(&endpoint.network) {
        for ip in &endpoint.ips {
            if let Err(error) = space.restore(*ip, &endpoint.id) {
                warn!(endpoint = endpoint.id, "{error}");
            }
        }
    }
    let lost = !is_there(&endpoint);
    if lost {
        warn!(
            "the endpoint {0} is lost: its namespace or interface is gone; `weft detach {0}` frees its addresses",
            endpoint.id
        );
    }
    Live { endpoint, lost }
}

/// The interface of an endpoint, in its sandbox.
fn find(endpoint: &Endpoint) -> Option<(Netns, u32)> {
    let netns = Netns::find(&endpoint.netns, endpoint.netns_identity).ok()?;
    let link = device_in(&netns, endpoint).ok()??;
    Some((netns, link.index))
}

fn is_there(endpoint: &Endpoint) -> bool {
    endpoint.mac == NONE || find(endpoint).is_some()
}

fn unplug(endpoint: &Endpoint) {
    if endpoint.mac == NONE {
        return;
    }
    if let Some((netns, index)) = find(endpoint)
        && let Err(error) = link::delete(&netns, index)
    {
        warn!(endpoint = endpoint.id, "{error}");
    }
}

/// An endpoint, for the user.
pub(super) fn to_wire(network: &LocalNetwork, endpoint: &Endpoint, lost: bool) -> v1::Endpoint {
    let mut wire = crate::node::api::endpoint_to_wire(endpoint, &network.name, !lost);
    wire.mac = wire_mac(endpoint.mac);
    wire
}

fn wire_mac(mac: Mac) -> Vec<u8> {
    if mac == NONE { Vec::new() } else { mac.octets().to_vec() }
}
