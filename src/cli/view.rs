//! The JSON documents: field names and values are a contract with whoever reads them in a script.
//!
//! Wire messages come in, `serde` structures go out. The promises are tested in `tests/contract.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use weft_proto::v1;
use weft_vtep::addr::Mac;

/// `weft status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// Its lasting identifier.
    pub id: String,
    /// The daemon's version.
    pub version: String,
    /// The address that its tunnels end at.
    pub advertise: String,
    /// `standalone`.
    pub mode: &'static str,
    /// Whether it is ready.
    pub ready: bool,
    /// The UDP port of its VTEP.
    pub vxlan_port: u32,
    /// Members that answer, itself included.
    pub members_alive: u32,
    /// How many networks it has.
    pub networks: u32,
    /// How many endpoints it has.
    pub endpoints: u32,
}

/// One of `weft members`.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its lasting identifier.
    pub id: String,
    /// The address of its VTEP.
    pub address: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: &'static str,
}

/// `weft network inspect`, and one of `weft network ls`.
#[derive(Debug, Serialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its lasting identifier.
    pub id: String,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// `overlay`.
    pub driver: String,
    /// The largest inner IP packet in bytes.
    pub mtu: u32,
    /// `plain` or `sealed`.
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

/// `weft detach`.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// The endpoint's identifier.
    pub endpoint: String,
    /// The network's name.
    pub network: String,
}

/// `weft network rm`.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The network's name.
    pub name: String,
    /// Its identifier.
    pub id: String,
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

/// `weft stats`.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// Frames and bytes through tunnels.
    pub totals: Totals,
    /// Frames dropped, by reason; every reason is present.
    pub drops: BTreeMap<String, u64>,
}

/// Frames and bytes through tunnels.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
}

/// What a value of a newer daemon is shown as.
const UNKNOWN: &str = "unknown";

/// A MAC address as text; what is none is shown as nothing.
fn mac(octets: &[u8]) -> String {
    Mac::read(octets).map(|mac| mac.to_string()).unwrap_or_default()
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

impl From<v1::StatusResponse> for Status {
    fn from(wire: v1::StatusResponse) -> Self {
        let mode = match wire.mode() {
            v1::NodeMode::Standalone => "standalone",
            v1::NodeMode::Unspecified => UNKNOWN,
        };
        Status {
            mode,
            node: wire.node,
            id: wire.id,
            version: wire.version,
            advertise: wire.advertise,
            ready: wire.ready,
            vxlan_port: wire.vxlan_port,
            members_alive: wire.members_alive,
            networks: wire.networks,
            endpoints: wire.endpoints,
        }
    }
}

impl From<v1::Member> for Member {
    fn from(wire: v1::Member) -> Self {
        let state = match wire.state() {
            v1::MemberState::Alive => "alive",
            v1::MemberState::Suspect => "suspect",
            v1::MemberState::Dead => "dead",
            v1::MemberState::Left => "left",
            v1::MemberState::Unspecified => UNKNOWN,
        };
        Member { state, name: wire.name, id: wire.id, address: wire.address }
    }
}

impl From<v1::Network> for Network {
    fn from(wire: v1::Network) -> Self {
        let mode = match wire.mode() {
            v1::NetworkMode::Plain => "plain",
            v1::NetworkMode::Sealed => "sealed",
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
        }
    }
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

impl From<v1::Endpoint> for Attached {
    fn from(wire: v1::Endpoint) -> Self {
        Attached { mac: mac(&wire.mac), endpoint: wire.id, network: wire.network, ips: wire.ips, ifname: wire.ifname }
    }
}

impl From<v1::Endpoint> for Detached {
    fn from(wire: v1::Endpoint) -> Self {
        Detached { endpoint: wire.id, network: wire.network }
    }
}

impl From<v1::RemoveNetworkResponse> for Removed {
    fn from(wire: v1::RemoveNetworkResponse) -> Self {
        Removed { name: wire.name, id: wire.id }
    }
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

impl From<v1::StatsResponse> for Stats {
    fn from(wire: v1::StatsResponse) -> Self {
        let totals = Totals {
            tx_frames: wire.tx_frames,
            tx_bytes: wire.tx_bytes,
            rx_frames: wire.rx_frames,
            rx_bytes: wire.rx_bytes,
        };
        Stats { totals, drops: wire.drops }
    }
}
