//! Networks and their endpoints, and where each station lives.

use std::collections::BTreeMap;

use serde::Serialize;
use weft_proto::v1;

use super::{UNKNOWN, filled, mac};

/// `weft network inspect`, and one of `weft network ls`.
#[derive(Debug, Serialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its lasting identifier.
    pub id: String,
    /// Its VXLAN network identifier; 0 for a network of this host.
    pub vni: u32,
    /// `overlay`, or `bridge`, `host` or `macvlan` for a network of this host.
    pub driver: String,
    /// The largest inner IP packet in bytes.
    pub mtu: u32,
    /// `plain` or `sealed`; `none` for a network of this host.
    pub mode: &'static str,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Static VTEPs.
    pub remotes: Vec<String>,
    /// Whether its endpoints get no default route.
    pub internal: bool,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Its endpoints on this node.
    pub endpoints: Vec<NetworkEndpoint>,
    /// What there is of a network of this host; left out for others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<String, String>,
}

impl From<v1::Network> for Network {
    fn from(wire: v1::Network) -> Self {
        let mode = match wire.mode() {
            v1::NetworkMode::Plain => "plain",
            v1::NetworkMode::Sealed => "sealed",
            v1::NetworkMode::Unspecified if wire.driver != "overlay" => "none",
            v1::NetworkMode::Unspecified => UNKNOWN,
        };
        let subnet =
            |s: v1::Subnet| Subnet { subnet: s.subnet, gateway: filled(s.gateway), ip_range: filled(s.ip_range) };
        Network {
            mode,
            name: wire.name,
            id: wire.id,
            vni: wire.vni,
            driver: wire.driver,
            mtu: wire.mtu,
            subnets: wire.subnets.into_iter().map(subnet).collect(),
            remotes: wire.remotes,
            internal: wire.internal,
            options: wire.options,
            endpoints: wire.endpoints.into_iter().map(NetworkEndpoint::from).collect(),
            state: wire.state,
        }
    }
}

/// A subnet of a network.
#[derive(Debug, Serialize)]
pub struct Subnet {
    /// In CIDR notation.
    pub subnet: String,
    /// Null if it has none.
    pub gateway: Option<String>,
    /// Null if the whole subnet is given out.
    pub ip_range: Option<String>,
}

/// An endpoint, in its network's document.
#[derive(Debug, Serialize)]
pub struct NetworkEndpoint {
    /// Its identifier.
    pub endpoint: String,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses in CIDR notation.
    pub ips: Vec<String>,
    /// Its interface's name.
    pub ifname: String,
    /// Where its namespace was.
    pub netns: String,
    /// `up`, or `lost` if its namespace or device is gone.
    pub state: &'static str,
}

impl From<v1::Endpoint> for NetworkEndpoint {
    fn from(wire: v1::Endpoint) -> Self {
        let state = match wire.state() {
            v1::EndpointState::Up => "up",
            v1::EndpointState::Lost => "lost",
            v1::EndpointState::Unspecified => UNKNOWN,
        };
        NetworkEndpoint {
            state,
            mac: mac(&wire.mac),
            endpoint: wire.id,
            ips: wire.ips,
            ifname: wire.ifname,
            netns: wire.netns,
        }
    }
}

/// `weft attach`.
#[derive(Debug, Serialize)]
pub struct Attached {
    /// The endpoint's identifier.
    pub endpoint: String,
    /// The network's name.
    pub network: String,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses in CIDR notation.
    pub ips: Vec<String>,
    /// Its interface's name.
    pub ifname: String,
}

impl From<v1::Endpoint> for Attached {
    fn from(wire: v1::Endpoint) -> Self {
        Attached { mac: mac(&wire.mac), endpoint: wire.id, network: wire.network, ips: wire.ips, ifname: wire.ifname }
    }
}

/// `weft detach`.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// The endpoint's identifier.
    pub endpoint: String,
    /// The network's name.
    pub network: String,
}

impl From<v1::Endpoint> for Detached {
    fn from(wire: v1::Endpoint) -> Self {
        Detached { endpoint: wire.id, network: wire.network }
    }
}

/// `weft network rm`.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The network's name.
    pub name: String,
    /// Its identifier.
    pub id: String,
}

impl From<v1::RemoveNetworkResponse> for Removed {
    fn from(wire: v1::RemoveNetworkResponse) -> Self {
        Removed { name: wire.name, id: wire.id }
    }
}

/// One of `weft fdb`.
#[derive(Debug, Serialize)]
pub struct FdbEntry {
    /// The network's name.
    pub network: String,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// The station.
    pub mac: String,
    /// `local`, `remote`, `static` or `learned`.
    pub kind: &'static str,
    /// The local endpoint that it lives behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The VTEP that it lives behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vtep: Option<String>,
}

impl From<v1::FdbEntry> for FdbEntry {
    fn from(wire: v1::FdbEntry) -> Self {
        let kind = match wire.kind() {
            v1::FdbKind::Local => "local",
            v1::FdbKind::Remote => "remote",
            v1::FdbKind::Static => "static",
            v1::FdbKind::Learned => "learned",
            v1::FdbKind::Unspecified => UNKNOWN,
        };
        let (port, vtep) = match wire.place {
            Some(v1::fdb_entry::Place::Port(port)) => (Some(port), None),
            Some(v1::fdb_entry::Place::Vtep(vtep)) => (None, Some(vtep)),
            None => (None, None),
        };
        FdbEntry { kind, port, vtep, mac: mac(&wire.mac), network: wire.network, vni: wire.vni }
    }
}

/// One of `weft neigh`.
#[derive(Debug, Serialize)]
pub struct Neighbor {
    /// The network's name.
    pub network: String,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// The address.
    pub ip: String,
    /// The station that answers to it.
    pub mac: String,
    /// The name of the node that it lives on.
    pub node: String,
    /// That node's VTEP.
    pub vtep: String,
}

impl From<v1::Neighbor> for Neighbor {
    fn from(wire: v1::Neighbor) -> Self {
        let v1::Neighbor { network, vni, ip, node, vtep, mac: octets } = wire;
        Neighbor { network, vni, ip, mac: mac(&octets), node, vtep }
    }
}
