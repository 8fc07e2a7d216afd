//! Endpoints that are lent to a container engine: the Container Network Model's side of attaching.
//!
//! The engine, not the node, moves the device. [`Node::lend`] makes it in the node's own namespace, where the engine
//! looks for it; [`Node::moved_to`] remembers the sandbox that it has got to, so that it is found again after a restart;
//! [`Node::take_back`] removes it wherever it is. [`Node::lease`] is for the addresses that an engine asks for before
//! it makes an endpoint, [`Node::keep`] for those that it keeps for itself.

use std::net::IpAddr;

use ipnet::IpNet;
use tracing::{info, warn};
use weft_control::network::{Lookup, Network, Subnet};
use weft_proto::request::AskedAddress;
use weft_vtep::addr::Mac;

use super::endpoints::{device, super_frame};
use super::locate::{OWN, alias, lasting_path, locate};
use super::reconcile::Inhabited;
use super::state::{Endpoint, Lent};
use super::tables::{Live, Port};
use super::{Node, NodeError, new_id};
use crate::sandbox::{Netns, link, queue};

/// What an engine asks an endpoint to be.
#[derive(Debug, Clone)]
pub(crate) struct Loan {
    /// The identifier of the network.
    pub(crate) network: String,
    /// The engine's names for the endpoint.
    pub(crate) lent: Lent,
    /// Its addresses.
    pub(crate) ips: Vec<AskedAddress>,
    /// Its MAC address, if the engine has one.
    pub(crate) mac: Option<Mac>,
    /// The MAC address that it gets otherwise, unless another endpoint has it.
    pub(crate) usual_mac: Option<Mac>,
}

/// An address that an engine asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// This one.
    Exactly(IpAddr),
    /// The next free one of a subnet, or of a range in it.
    Next(IpNet, Option<IpNet>),
}

impl Node {
    /// Makes an endpoint whose device waits in the node's own namespace. Blocks; the caller has the turn.
    pub(crate) fn lend(&self, loan: Loan) -> Result<Endpoint, NodeError> {
        self.check_ready()?;
        let network = self.tables().network(&loan.network)?.clone();
        let free = |mac: &Mac| !self.tables().endpoints_of(&network.id).any(|live| live.endpoint.mac == *mac);
        let mac = loan.mac.or(loan.usual_mac.filter(free));
        let mac = self.choose_mac(&network, mac.map(Mac::octets))?;
        self.check_underlay(&network)?;
        let id = new_id();
        let ips = self.settle_addresses(&network, &loan.ips, &id)?;
        match self.make_lent(&network, loan.lent, &id, mac, ips) {
            Ok(live) => {
                let endpoint = live.endpoint.clone();
                self.tables_mut().endpoints.insert(id, live);
                if let Err(error) = self.announce(&network, &endpoint) {
                    // It holds what was refused and nothing else: nobody has seen it.
                    self.detach(&endpoint.id)?;
                    return Err(error);
                }
                info!(endpoint = endpoint.id, network = network.name, "lent to the engine");
                Ok(endpoint)
            }
            Err(error) => {
                self.release(&network, &id);
                Err(error)
            }
        }
    }

    /// The addresses that were leased become the endpoint's; those that were not are given to it now.
    fn settle_addresses(&self, network: &Network, asked: &[AskedAddress], id: &str) -> Result<Vec<IpNet>, NodeError> {
        let leased = |asked: &AskedAddress| self.hand_on(network, asked.address, &lease_holder(asked.address), id);
        let (given, missing): (Vec<AskedAddress>, Vec<_>) = asked.iter().copied().partition(leased);
        let mut ips: Vec<_> = given.iter().map(|asked| whole(network, asked.address)).collect();
        let rest = match &self.membership {
            Some(membership) => membership.assign_of(network, &missing, &[], id).map_err(NodeError::from),
            None => match self.tables_mut().spaces.get_mut(&network.id) {
                Some(space) => space.reserve_all(&missing, id).map_err(NodeError::from),
                None => Ok(Vec::new()),
            },
        };
        match rest {
            Ok(rest) => ips.extend(rest),
            Err(error) => {
                self.release(network, id);
                return Err(error);
            }
        }
        Ok(ips)
    }

    fn make_lent(&self, network: &Network, lent: Lent, id: &str, mac: Mac, ips: Vec<IpNet>) -> Result<Live, NodeError> {
        let (ifname, home) = (device_name(id), Netns::current()?);
        let tap = self.make_tap(&ifname)?;
        let ifindex = link::shape(&ifname, &alias(id), mac, network.mtu.into(), Some(super_frame(network)))?;
        let endpoint = Endpoint {
            id: id.to_owned(),
            network: network.id.clone(),
            mac,
            ips,
            ifname,
            ifindex,
            netns: OWN.into(),
            netns_identity: home.identity(),
            lent: Some(lent),
        };
        self.commit(network, endpoint, tap)
    }

    /// The name of a lent endpoint's device, which is made anew if it was lost. Blocks; the caller has the turn.
    pub(crate) fn ready_to_move(&self, id: &str) -> Result<String, NodeError> {
        self.check_ready()?;
        let live = self.tables().find_endpoint(id)?.clone();
        let alive = live.port.is_some_and(|port| self.vtep.port_alive(port.id));
        if !alive {
            self.make_anew(&live)?;
        }
        if let Some(lent) = self.tables_mut().endpoints.get_mut(id).and_then(|live| live.endpoint.lent.as_mut()) {
            lent.came_back = false;
        }
        Ok(live.endpoint.ifname)
    }

    fn make_anew(&self, live: &Live) -> Result<(), NodeError> {
        if let Some(port) = live.port {
            self.unplug(port.id);
        }
        let endpoint = &live.endpoint;
        let network = self.tables().network(&endpoint.network)?.clone();
        let tap = self.make_tap(&endpoint.ifname)?;
        let ifindex = link::shape(
            &endpoint.ifname,
            &alias(&endpoint.id),
            endpoint.mac,
            network.mtu.into(),
            Some(super_frame(&network)),
        )?;
        tap.set_persist(true).map_err(|e| device("keep the TAP device", e))?;
        let id = self.vtep.add_port(network.vni, endpoint.mac, tap)?;
        if let Some(live) = self.tables_mut().endpoints.get_mut(&endpoint.id) {
            live.endpoint.ifindex = ifindex;
            live.port = Some(Port { id, pins_netns: false });
        }
        Ok(())
    }

    /// Remembers the sandbox that the device of a lent endpoint has got to. Blocks; the caller has the turn.
    pub(crate) fn moved_to(&self, id: &str, netns: &Netns) -> Result<(), NodeError> {
        let (path, identity) = (lasting_path(netns)?, netns.identity());
        {
            let mut tables = self.tables_mut();
            let Some(live) = tables.endpoints.get_mut(id) else { return Ok(()) };
            if live.endpoint.netns == path && live.endpoint.netns_identity == identity {
                return Ok(());
            }
            (live.endpoint.netns, live.endpoint.netns_identity) = (path, identity);
        }
        Ok(self.dir.save(&self.state())?)
    }

    /// Removes a lent endpoint and its device. Blocks; the caller has the turn.
    pub(crate) fn take_back(&self, id: &str) -> Result<(), NodeError> {
        self.detach(id).map(drop)
    }

    /// The endpoint that an engine calls so.
    pub(crate) fn lent_endpoint(&self, engine_id: &str) -> Option<Endpoint> {
        let tables = self.tables();
        let mut lent = tables.endpoints.values().map(|live| &live.endpoint);
        lent.find(|e| e.lent.as_ref().is_some_and(|lent| lent.endpoint == engine_id)).cloned()
    }

    /// The endpoint with this id.
    pub(crate) fn endpoint(&self, id: &str) -> Option<Endpoint> {
        self.tables().endpoints.get(id).map(|live| live.endpoint.clone())
    }

    /// All endpoints that are lent.
    pub(crate) fn lent_endpoints(&self) -> Vec<Endpoint> {
        let tables = self.tables();
        tables.endpoints.values().map(|live| &live.endpoint).filter(|e| e.lent.is_some()).cloned().collect()
    }

    /// Lent endpoints that nothing uses: in whose sandbox no process is, or whose device is gone, or still waits. None are
    /// where it cannot be seen which sandboxes are used.
    pub(crate) fn unused_lent(&self) -> Vec<Endpoint> {
        let lent: Vec<_> = self.tables().endpoints.values().filter(|l| l.endpoint.lent.is_some()).cloned().collect();
        if lent.is_empty() {
            return Vec::new();
        }
        let (Ok(home), Ok(Inhabited { seen, hidden: false })) = (Netns::current(), Inhabited::look()) else {
            return Vec::new();
        };
        let used = |live: &Live| {
            let place = live.endpoint.netns_identity;
            // A container whose device is there is one, also where the device could not be opened again.
            let there =
                || live.port.is_some_and(|port| self.vtep.port_alive(port.id)) || locate(&live.endpoint).is_ok();
            place != home.identity() && seen.contains(&place) && there()
        };
        lent.into_iter().filter(|live| !used(live)).map(|live| live.endpoint).collect()
    }

    /// Whether the device of a lent endpoint was last seen in the node's own namespace, and has not been elsewhere.
    pub(crate) fn waits(&self, endpoint: &Endpoint) -> bool {
        let came_back = endpoint.lent.as_ref().is_some_and(|lent| lent.came_back);
        !came_back && Netns::current().is_ok_and(|home| home.identity() == endpoint.netns_identity)
    }

    /// Whether the endpoint's device is there and open.
    pub(crate) fn is_plugged(&self, id: &str) -> bool {
        let port = self.tables().endpoints.get(id).and_then(|live| live.port);
        port.is_some_and(|port| self.vtep.port_alive(port.id))
    }

    /// The network with this name, id, or beginning of an id.
    pub(crate) fn network(&self, reference: &str) -> Result<Network, NodeError> {
        self.tables().network(reference).cloned()
    }

    /// The network with this name or id: what somebody says may begin as another's id does.
    pub(crate) fn network_called(&self, name: &str) -> Option<Network> {
        let called = |network: &Network| network.name == name || network.id == name;
        self.network(name).ok().filter(called)
    }

    /// All networks that reach further than this host.
    pub(crate) fn networks(&self) -> Vec<Network> {
        self.tables().networks.values().cloned().collect()
    }

    /// Leases an address of a network, which an endpoint is to get later. Blocks; the caller has the turn.
    pub(crate) fn lease(&self, network: &Network, wanted: Wanted) -> Result<IpNet, NodeError> {
        const TAKING: &str = "docker-lease";
        self.check_ready()?;
        let given = match (&self.membership, wanted) {
            (Some(membership), Wanted::Next(subnet, range)) => {
                let own = network.subnets.iter().find(|s| s.subnet == subnet).and_then(|s| s.ip_range);
                if let Some(range) = range.filter(|range| Some(*range) != own && *range != subnet) {
                    return Err(NodeError::RangeInCluster(range));
                }
                membership.assign_of(network, &[], &[subnet.addr().is_ipv4()], TAKING)?
            }
            (Some(membership), Wanted::Exactly(address)) => {
                membership.assign_of(network, &[AskedAddress { address, prefix: None }], &[], TAKING)?
            }
            (None, wanted) => {
                let mut tables = self.tables_mut();
                let space = tables.spaces.get_mut(&network.id);
                let space = space.ok_or_else(|| Lookup::None { reference: network.name.clone() })?;
                match wanted {
                    Wanted::Next(subnet, range) => vec![space.allocate_in(subnet, range, TAKING)?],
                    Wanted::Exactly(address) => space.reserve_all(&[AskedAddress { address, prefix: None }], TAKING)?,
                }
            }
        };
        let given = *given.first().ok_or_else(|| Lookup::None { reference: network.name.clone() })?;
        // The holder's name has the address in it, so that each lease ends alone.
        self.hand_on(network, given.addr(), TAKING, &lease_holder(given.addr()));
        Ok(given)
    }

    /// Ends a lease that became nobody's address.
    pub(crate) fn end_lease(&self, network: &Network, address: IpAddr) {
        self.release(network, &lease_holder(address));
    }

    /// Keeps an address of a network from being given out; it may have been leased for that. Blocks; the caller has the
    /// turn.
    pub(crate) fn keep(&self, network: &Network, address: IpAddr, keeper: &str) -> Result<(), NodeError> {
        if !self.hand_on(network, address, &lease_holder(address), keeper) {
            self.lease(network, Wanted::Exactly(address))?;
            self.hand_on(network, address, &lease_holder(address), keeper);
        }
        Ok(())
    }

    /// Keeps an address that was this node's to keep before: nobody is asked. Blocks; the caller has the turn.
    pub(crate) fn keep_again(&self, network: &Network, address: IpAddr, keeper: &str) -> Result<(), NodeError> {
        match &self.membership {
            Some(membership) => membership.restore_address(network, address, keeper).map_err(NodeError::Kept),
            None => self.keep(network, address, keeper),
        }
    }

    fn hand_on(&self, network: &Network, address: IpAddr, from: &str, to: &str) -> bool {
        match &self.membership {
            Some(membership) => membership.hand_on(network, address, from, to),
            None => {
                let mut tables = self.tables_mut();
                let space = tables.spaces.get_mut(&network.id);
                space.is_some_and(|space| space.hand_on(address, from, to))
            }
        }
    }

    /// Takes back what `holder` has of a network.
    pub(crate) fn release(&self, network: &Network, holder: &str) {
        match &self.membership {
            Some(membership) => membership.release(network, holder),
            None => {
                if let Some(space) = self.tables_mut().spaces.get_mut(&network.id) {
                    space.release(holder);
                }
            }
        }
    }

    /// The address of a subnet that no endpoint gets: a member keeps one in each.
    pub(crate) fn kept_gateway(&self, subnet: &Subnet) -> Option<IpAddr> {
        if self.membership.is_some() { subnet.reserved() } else { subnet.gateway }
    }

    /// Looks for the devices of lent endpoints whose sandbox was not visible when they were joined.
    pub(crate) fn find_strays(&self) {
        let home = match Netns::current() {
            Ok(home) => home,
            Err(error) => return warn!("cannot look for devices: {error}"),
        };
        for endpoint in self.lent_endpoints() {
            let at_home = endpoint.netns_identity == home.identity();
            if !at_home || link::lookup_name(&home, &endpoint.ifname).is_ok_and(|found| found.is_some()) {
                continue;
            }
            let Ok((netns, link)) = locate(&endpoint) else { continue };
            queue::none_before(&netns, &link);
            if let Err(error) = self.moved_to(&endpoint.id, &netns) {
                warn!(endpoint = endpoint.id, "{error}");
            }
        }
    }
}

/// What the device of an endpoint is called where the node makes it: unique on the host, and nobody else's.
pub(super) fn device_name(id: &str) -> String {
    format!("wf{}", &id[..12])
}

/// Who holds a leased address.
fn lease_holder(address: IpAddr) -> String {
    format!("docker-lease-{address}")
}

/// An address with the prefix of its subnet.
fn whole(network: &Network, address: IpAddr) -> IpNet {
    let prefix = network.subnet_of(address).map(|s| s.subnet.prefix_len());
    prefix.and_then(|prefix| IpNet::new(address, prefix).ok()).unwrap_or_else(|| IpNet::from(address))
}
