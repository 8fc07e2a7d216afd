//! What this node tells the cluster of its endpoints.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::warn;
use weft_control::cluster::Input;
use weft_control::network::Network;
use weft_control::table::{Key, Mobility, NodeRecord, Value};
use weft_vtep::addr::Vni;

use super::Membership;
use crate::node::state::Endpoint;
use crate::node::tables::Live;
use crate::node::{Node, NodeError};

impl Node {
    /// What this node says of itself.
    pub(super) fn record(&self, signer: bool) -> NodeRecord {
        NodeRecord {
            name: self.identity.name.clone(),
            address: self.identity.advertise,
            control_port: self.identity.control_port,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            signer,
        }
    }

    /// Tells the cluster that an endpoint is here. Nothing happens on a node that stands alone.
    pub(in crate::node) fn announce(&self, network: &Network, endpoint: &Endpoint) -> Result<(), NodeError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        membership.core.tell_all(records(network.vni, endpoint).map(|(key, value)| Input::Put(key, value)));
        // A frozen address stays where it is; the core says so as an event, and the user hears it here.
        let (vni, mac) = (network.vni, endpoint.mac);
        let mine = membership.core.look(|cluster| cluster.table().mine(&Key::Mac(vni, mac)).is_some());
        if mine {
            self.tell_names(network.vni, endpoint, None);
            membership.wait_until_told();
            return Ok(());
        }
        self.withdraw(network.vni, endpoint, true);
        Err(NodeError::MacFrozen(mac))
    }

    /// Tells the cluster what was here before a restart. A lost endpoint keeps its addresses and has no station.
    pub(in crate::node) fn restore_announced(&self, network: &Network, live: &Live) {
        let Some(membership) = &self.membership else { return };
        let endpoint = &live.endpoint;
        for ip in &endpoint.ips {
            if let Err(error) = membership.restore_address(network, ip.addr(), &endpoint.id) {
                warn!(endpoint = endpoint.id, "{error}");
            }
        }
        let all = records(network.vni, endpoint);
        let here = all.filter(|(key, _)| live.port.is_some() || matches!(key, Key::Ip(..)));
        membership.core.tell_all(here.map(|(key, value)| Input::Put(key, value)));
    }

    /// All that was here before a restart has been told.
    pub(in crate::node) fn all_announced(&self) {
        if let Some(membership) = &self.membership {
            membership.core.tell(Input::Complete);
        }
    }

    /// Tells the cluster that an endpoint is gone; `last`: no other of this network is here.
    pub(in crate::node) fn withdraw(&self, vni: Vni, endpoint: &Endpoint, last: bool) {
        let Some(membership) = &self.membership else { return };
        let keys = records(vni, endpoint).map(|(key, _)| key);
        let gone = keys.filter(|key| last || !matches!(key, Key::Member(_)));
        membership.core.tell_all(gone.map(Input::Remove));
        self.tell_names(vni, endpoint, Some(&endpoint.id));
    }

    /// Tells the cluster who has the names of an endpoint, here and now. `without`: an endpoint that does not count.
    pub(in crate::node) fn tell_names(&self, vni: Vni, endpoint: &Endpoint, without: Option<&str>) {
        let names = endpoint.lent.iter().flat_map(|lent| &lent.names);
        self.tell_names_of(vni, &endpoint.network, names, without);
    }

    /// As [`Node::tell_names`], of these names on a network.
    pub(in crate::node) fn tell_names_of<'a>(
        &self,
        vni: Vni,
        network: &str,
        names: impl Iterator<Item = &'a String>,
        without: Option<&str>,
    ) {
        let Some(membership) = &self.membership else { return };
        let told: Vec<_> = {
            let tables = self.tables();
            names
                .map(|name| {
                    let key = Key::Name(vni, name.as_str().into());
                    let addresses = tables.addresses_named(network, name, without);
                    if addresses.is_empty() { Input::Remove(key) } else { Input::Put(key, Value::Name(addresses)) }
                })
                .collect()
        };
        membership.core.tell_all(told);
    }

    /// Passes on what stations have come and gone behind endpoints that may speak for others.
    pub(super) fn announce_trusted(&self, membership: &Membership) {
        let announcements = self.vtep.take_announcements();
        if announcements.is_empty() {
            return;
        }
        let input = |a: weft_vtep::switch::announce::Announcement| match a.port.is_some() {
            true => Input::Put(Key::Mac(a.vni, a.mac), Value::Mac(Mobility::default())),
            false => Input::Remove(Key::Mac(a.vni, a.mac)),
        };
        membership.core.tell_all(announcements.into_iter().map(input));
    }
}

impl Membership {
    /// Waits until the neighbours know what this node has said: whoever is told that an endpoint is there may reach it.
    /// Blocks, but not for long: a neighbour that is slow is not waited for.
    fn wait_until_told(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.core.look(|cluster| cluster.is_told()) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
}

/// How long an attach waits for the neighbours to know of it.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it looks whether they do.
const LOOK: Duration = Duration::from_millis(2);

/// The records of an endpoint. The table chooses the mobility of the MAC address itself.
fn records(vni: Vni, endpoint: &Endpoint) -> impl Iterator<Item = (Key, Value)> {
    let mac = endpoint.mac;
    let ips: Vec<IpAddr> = endpoint.ips.iter().map(|ip| ip.addr()).collect();
    let station = [(Key::Member(vni), Value::Member), (Key::Mac(vni, mac), Value::Mac(Mobility::default()))];
    station.into_iter().chain(ips.into_iter().map(move |ip| (Key::Ip(vni, ip), Value::Ip(mac))))
}
