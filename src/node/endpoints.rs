//! Attaching and detaching endpoints.
//!
//! The device is made in the daemon's own namespace and then moved: a file that is opened inside a sandbox
//! keeps the sandbox alive. Until the endpoint is committed everything that was done for it is undone by
//! dropping what was made: a device that is not persistent goes with its file.

use ipnet::IpNet;
use tracing::{info, warn};
use weft_control::network::{Mode, Network};
use weft_proto::request::{self, AskedAddress};
use weft_vtep::addr::{Mac, PortId};
use weft_vtep::io::{Tap, super_frame_size};

use super::locate::{alias, locate};
use super::ports::device_name;
use super::state::Endpoint;
use super::tables::{Live, Port};
use super::{Node, NodeError, new_id};
use crate::sandbox::announce::announce;
use crate::sandbox::{LinkSpec, Netns, link, route};

impl Node {
    /// Puts an interface on a network into a sandbox. Blocks; the caller has the turn.
    pub(super) fn attach(&self, asked: request::Attach) -> Result<(Endpoint, Network), NodeError> {
        self.check_ready()?;
        link::check_name(&asked.ifname)?;
        let network = self.tables().network(&asked.network)?.clone();
        let mac = self.choose_mac(&network, asked.mac)?;
        self.check_underlay(&network)?;
        let id = new_id();
        let ips = self.give_addresses(&network, &asked.ips, &id)?;
        match self.make_endpoint(&network, &asked, &id, mac, ips) {
            Ok(live) => {
                let endpoint = live.endpoint.clone();
                self.tables_mut().endpoints.insert(id, live);
                if let Err(error) = self.announce(&network, &endpoint) {
                    // It holds what was refused and nothing else: nobody has seen it.
                    self.detach(&endpoint.id)?;
                    return Err(error);
                }
                self.speak_up(&endpoint);
                info!(endpoint = endpoint.id, network = network.name, netns = %endpoint.netns.display(), "attached");
                Ok((endpoint, network))
            }
            Err(error) => {
                match &self.membership {
                    Some(membership) => membership.release(&network, &id),
                    None => {
                        if let Some(space) = self.tables_mut().spaces.get_mut(&network.id) {
                            space.undo(&id);
                        }
                    }
                }
                Err(error)
            }
        }
    }

    /// Lets a new endpoint of a cluster announce its addresses to those who remember an earlier holder.
    fn speak_up(&self, endpoint: &Endpoint) {
        if self.membership.is_none() {
            return;
        }
        let addresses = endpoint.ips.iter().map(|ip| ip.addr());
        let spoken = Netns::find(&endpoint.netns, endpoint.netns_identity);
        let spoken = spoken.and_then(|netns| announce(&netns, &endpoint.ifname, endpoint.mac, addresses));
        if let Err(error) = spoken {
            warn!(endpoint = endpoint.id, "its addresses are not announced: {error}");
        }
    }

    /// The endpoint's addresses: in a cluster's network those of this node's share.
    fn give_addresses(&self, network: &Network, asked: &[AskedAddress], id: &str) -> Result<Vec<IpNet>, NodeError> {
        if let Some(membership) = &self.membership {
            return Ok(membership.assign(network, asked, id)?);
        }
        match self.tables_mut().spaces.get_mut(&network.id) {
            Some(space) => Ok(space.assign(asked, id)?),
            None => Ok(Vec::new()),
        }
    }

    /// Makes the endpoint's device and dresses it.
    fn make_endpoint(
        &self,
        on: &Network,
        asked: &request::Attach,
        id: &str,
        mac: Mac,
        ips: Vec<IpNet>,
    ) -> Result<Live, NodeError> {
        let (ifname, netns) = (asked.ifname.clone(), Netns::open(&asked.netns)?);
        if link::lookup_name(&netns, &ifname)?.is_some() {
            return Err(link::LinkError::NameTaken { ifname, netns: netns.path().to_owned() }.into());
        }
        let temporary = device_name(id);
        let tap = self.make_tap(&temporary)?;
        let (mtu, super_frame) = (on.mtu.into(), Some(super_frame(on)));
        let spec = LinkSpec { ifname: ifname.clone(), alias: alias(id), mac, mtu, super_frame, addresses: ips.clone() };
        let ifindex = link::plug(&temporary, &netns, &spec)?;
        for ip in ips.iter().filter(|_| !on.internal) {
            let gateway = on.subnet_of(ip.addr()).and_then(|s| s.gateway);
            if let Some(gateway) = gateway.filter(|g| *g != ip.addr()) {
                route::add_default(&netns, ifindex, gateway)?;
            }
        }
        let (id, network_id, path) = (id.to_owned(), on.id.clone(), netns.path().to_owned());
        let netns_identity = netns.identity();
        let (network, lent) = (network_id, None);
        let endpoint = Endpoint { id, network, mac, ips, ifname, ifindex, netns: path, netns_identity, lent };
        self.commit(on, endpoint, tap)
    }

    /// A new device in the calling thread's namespace, with the queues that the workers read.
    pub(super) fn make_tap(&self, ifname: &str) -> Result<Tap, NodeError> {
        Tap::create(ifname, self.vtep.queues()).map_err(|e| device("make a TAP device", e))
    }

    /// Remembers the endpoint, makes its device lasting, and hands it to the data plane.
    pub(super) fn commit(&self, network: &Network, endpoint: Endpoint, tap: Tap) -> Result<Live, NodeError> {
        let mut state = self.state();
        state.endpoints.push(endpoint.clone());
        let prepared = self.dir.prepare(&state)?;
        // The device becomes lasting only once the endpoint is remembered: the other way round, a crash between the
        // two would leave an interface that nobody knows of.
        let saved = prepared.commit().map_err(NodeError::from);
        let lasting = saved.and_then(|()| tap.set_persist(true).map_err(|e| device("keep the TAP device", e)));
        match lasting.and_then(|()| Ok(self.vtep.add_port(network.vni, endpoint.mac, tap)?)) {
            Ok(id) => Ok(Live { endpoint, port: Some(Port { id, pins_netns: false }) }),
            Err(error) => {
                // If it had become lasting, dropping its file was not enough.
                delete_left_over(&endpoint);
                self.forget_saved(&endpoint);
                Err(error)
            }
        }
    }

    /// Removes an endpoint and its interface. Blocks; the caller has the turn.
    pub(super) fn detach(&self, reference: &str) -> Result<(Endpoint, String), NodeError> {
        self.check_ready()?;
        let live = self.tables().find_endpoint(reference)?.clone();
        let mut state = self.state();
        state.endpoints.retain(|e| e.id != live.endpoint.id);
        // A full disk shows before the device is touched.
        let prepared = self.dir.prepare(&state)?;
        let endpoint = live.endpoint;
        let unplugged = live.port.is_some_and(|port| self.unplug(port.id));
        if !unplugged {
            delete_left_over(&endpoint);
        }
        // Without its device the endpoint is lost, whatever becomes of the state.
        if let Some(live) = self.tables_mut().endpoints.get_mut(&endpoint.id) {
            live.port = None;
        }
        prepared.commit()?;
        {
            let mut tables = self.tables_mut();
            tables.endpoints.remove(&endpoint.id);
            if let Some(space) = tables.spaces.get_mut(&endpoint.network) {
                space.release(&endpoint.id);
            }
        }
        self.forget_announced(&endpoint);
        info!(endpoint = endpoint.id, "detached");
        let network = self.network_name(&endpoint);
        Ok((endpoint, network))
    }

    /// Takes back from the cluster what it was told of an endpoint.
    fn forget_announced(&self, endpoint: &Endpoint) {
        let Some(membership) = &self.membership else { return };
        let (network, last) = {
            let tables = self.tables();
            let network = tables.network_by_id(&endpoint.network).cloned();
            (network, tables.endpoints_of(&endpoint.network).next().is_none())
        };
        if let Some(network) = network {
            self.withdraw(network.vni, endpoint, last);
            membership.release(&network, &endpoint.id);
        }
    }

    /// The name of an endpoint's network.
    pub(super) fn network_name(&self, endpoint: &Endpoint) -> String {
        let tables = self.tables();
        let network = tables.network_by_id(&endpoint.network);
        network.map(|n| n.name.clone()).unwrap_or_default()
    }

    /// Takes the port from the data plane. True if its device was given back, and so is gone.
    pub(super) fn unplug(&self, port: PortId) -> bool {
        let tap = self.vtep.remove_port(port);
        // A device that is gone with its namespace has nothing to unset.
        tap.is_some_and(|tap| tap.set_persist(false).is_ok())
    }

    pub(super) fn choose_mac(&self, network: &Network, asked: Option<[u8; 6]>) -> Result<Mac, NodeError> {
        let tables = self.tables();
        let holder = |mac: Mac| tables.endpoints_of(&network.id).find(|l| l.endpoint.mac == mac);
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

    /// Writes the state without an endpoint that may have been saved and did not come to be.
    fn forget_saved(&self, endpoint: &Endpoint) {
        if let Err(error) = self.dir.save(&self.state()) {
            warn!("{error}; after a restart the endpoint {} is shown as lost, detach it then", endpoint.id);
        }
    }
}

/// Removes the device of an endpoint that the data plane has lost, if it is still in its sandbox.
fn delete_left_over(endpoint: &Endpoint) {
    let Ok((netns, link)) = locate(endpoint) else { return };
    if let Err(error) = link::delete(&netns, link.index) {
        warn!(endpoint = endpoint.id, "{error}");
    }
}

pub(super) fn device(doing: impl Into<String>, error: std::io::Error) -> NodeError {
    NodeError::Device { doing: doing.into(), error }
}

/// The largest super-frame that an endpoint of the network should hand over.
pub(super) fn super_frame(network: &Network) -> u32 {
    super_frame_size(network.mtu, network.mode == Mode::Sealed)
}
