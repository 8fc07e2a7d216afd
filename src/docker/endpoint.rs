//! The engine's endpoints: a device is lent for each, moved by the engine, and taken back at the end.

use std::collections::BTreeSet;

use ipnet::IpNet;
use weft_proto::request::AskedAddress;
use weft_vtep::addr::Mac;

use super::network::identifier;
use super::options::shown;
use super::wire::{CreateEndpoint, Interface, InterfaceName, Joined, Names};
use super::{Driver, Refused};
use crate::node::ports::Loan;
use crate::node::state::{Endpoint, Lent};

/// What the engine calls the interface inside; it appends a number.
const PREFIX: &str = "eth";

impl Driver {
    /// Makes an endpoint, and answers with what the engine had left open.
    pub(crate) fn create_endpoint(&self, asked: &CreateEndpoint) -> Result<Interface, Refused> {
        let id = identifier(&asked.endpoint, "EndpointID")?;
        let (binding, network) = self.bound(&asked.network)?;
        let wanted = Wanted::read(&asked.interface)?;
        if let Some(endpoint) = self.node.lent_endpoint(id) {
            // A repeated request: its first answer was lost.
            return wanted.check(&endpoint, &binding.id).map(|()| wanted.left_open(&endpoint));
        }
        for address in &wanted.ips {
            self.leases().settle(&network.id, address.addr());
        }
        if let Some(mac) = wanted.mac {
            self.collect_station(&network, mac);
        }
        let asked = |ip: &IpNet| AskedAddress { address: ip.addr(), prefix: Some(ip.prefix_len()) };
        let lent = Lent { endpoint: id.to_owned(), network: binding.id, came_back: false, names: BTreeSet::new() };
        let ips = wanted.ips.iter().map(asked).collect();
        let usual = wanted.ips.iter().find_map(mac_of);
        let endpoint = self.node.lend(Loan { network: network.id, lent, ips, mac: wanted.mac, usual_mac: usual })?;
        Ok(wanted.left_open(&endpoint))
    }

    /// Says which device is to be moved into the sandbox, and which endpoint that is.
    pub(crate) fn join(&self, asked: &Names) -> Result<(Joined, String), Refused> {
        let id = identifier(&asked.endpoint, "EndpointID")?;
        let (binding, network) = self.bound(&asked.network)?;
        let endpoint = self.node.lent_endpoint(id).ok_or_else(|| {
            Refused::new(format!("there is no endpoint {} any more: start the container again", shown(id)))
        })?;
        let src_name = self.node.ready_to_move(&endpoint.id)?;
        let joined = Joined {
            interface_name: InterfaceName { src_name, dst_prefix: PREFIX },
            disable_gateway_service: binding.internal || network.internal,
        };
        Ok((joined, endpoint.id))
    }

    /// Removes an endpoint. One that is not there is what was asked for.
    pub(crate) fn delete_endpoint(&self, asked: &Names) -> Result<(), Refused> {
        let id = identifier(&asked.endpoint, "EndpointID")?;
        match self.node.lent_endpoint(id) {
            Some(endpoint) => {
                self.node.take_back(&endpoint.id)?;
                self.places.notify_one();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The MAC address that Docker's own drivers give to an IPv4 address. A container that comes back under its address, on
/// whichever host, is the same station to its neighbours, whose caches stay right.
fn mac_of(ip: &IpNet) -> Option<Mac> {
    match ip {
        IpNet::V4(ip) => {
            let [a, b, c, d] = ip.addr().octets();
            Some(Mac::new([0x02, 0x42, a, b, c, d]))
        }
        IpNet::V6(_) => None,
    }
}

/// What the engine wants an interface to be.
struct Wanted {
    ips: Vec<IpNet>,
    mac: Option<Mac>,
}

impl Wanted {
    fn read(interface: &Interface) -> Result<Wanted, Refused> {
        let mut ips = Vec::new();
        for text in [&interface.address, &interface.address_ipv6] {
            if !text.is_empty() {
                let bad = || Refused::new(format!("`{}` is not an address in CIDR notation", shown(text)));
                ips.push(text.parse().map_err(|_| bad())?);
            }
        }
        let mac = match interface.mac_address.as_str() {
            "" => None,
            text => {
                let bad = || Refused::new(format!("`{}` is not a MAC address", shown(text)));
                Some(text.parse().map_err(|_| bad())?)
            }
        };
        Ok(Wanted { ips, mac })
    }

    /// Whether an endpoint that exists is what is asked for.
    fn check(&self, endpoint: &Endpoint, network: &str) -> Result<(), Refused> {
        let same_network = endpoint.lent.as_ref().is_some_and(|lent| lent.network == network);
        let same_mac = self.mac.is_none_or(|mac| mac == endpoint.mac);
        if same_network && same_mac && self.ips.iter().all(|ip| endpoint.ips.contains(ip)) {
            return Ok(());
        }
        Err(Refused::new("there is an endpoint with this EndpointID already, with another network or other addresses"))
    }

    /// What of the endpoint the engine does not know yet; it takes an answer for what it decided itself as an error.
    fn left_open(&self, endpoint: &Endpoint) -> Interface {
        let open = |v4: bool| {
            let decided = self.ips.iter().any(|ip| ip.addr().is_ipv4() == v4);
            let ip = endpoint.ips.iter().find(|ip| ip.addr().is_ipv4() == v4);
            ip.filter(|_| !decided).map(ToString::to_string).unwrap_or_default()
        };
        let mac_address = if self.mac.is_none() { endpoint.mac.to_string() } else { String::new() };
        Interface { address: open(true), address_ipv6: open(false), mac_address }
    }
}
