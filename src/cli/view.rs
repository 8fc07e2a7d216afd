//! The JSON documents: field names and values are a contract with whoever reads them in a script.
//!
//! Wire messages come in, `serde` structures go out. The promises are tested in `tests/contract.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
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
    /// `standalone` or `cluster`.
    pub mode: &'static str,
    /// Whether it is ready.
    pub ready: bool,
    /// The UDP port of its VTEP.
    pub vxlan_port: u32,
    /// Members that answer, itself included.
    pub members_alive: u32,
    /// Members whose tables this node compares with its own, itself included: all of them up to 16, its neighbours beyond.
    pub members_compared: u32,
    /// Those of them whose tables equal this node's, itself included.
    pub members_agreeing: u32,
    /// How many networks it has.
    pub networks: u32,
    /// How many endpoints it has.
    pub endpoints: u32,
    /// The TCP port of its control plane; null where it has none.
    pub control_port: Option<u32>,
    /// Its keys, by peer.
    pub sessions: Vec<Session>,
    /// By how many milliseconds its clock is ahead of most of its neighbours'; null where none has said the time.
    pub clock_ahead_ms: Option<i64>,
}

/// Keys with one peer, in `weft status`.
#[derive(Debug, Serialize)]
pub struct Session {
    /// The peer's name.
    pub peer: String,
    /// The address of its VTEP.
    pub address: String,
    /// `aes-256-gcm` or `chacha20-poly1305`.
    pub suite: String,
    /// How often the sending key was made.
    pub epoch: u64,
    /// How long ago the present one was.
    pub age_seconds: u64,
    /// Datagrams sealed for it.
    pub sealed: u64,
    /// Datagrams of it that were opened.
    pub opened: u64,
    /// Datagrams of it that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The path to it, as sealed echoes find it.
    #[serde(flatten)]
    pub path: Path,
}

/// The path to a peer, in `weft status`.
#[derive(Debug, Default, Serialize)]
pub struct Path {
    /// Round trip in microseconds, smoothed.
    pub rtt_us: Option<u64>,
    /// The least of the last minutes.
    pub rtt_min_us: Option<u64>,
    /// The 99th percentile of the last minutes.
    pub rtt_p99_us: Option<u64>,
    /// Echoes asked.
    pub echoes: u64,
    /// Echoes without an answer.
    pub echoes_lost: u64,
    /// The latest echoes all had no answer.
    pub path_silent: bool,
    /// The largest outer IP packet that comes through both ways, up to what is needed.
    pub path_mtu: Option<u32>,
    /// What the networks of this node need.
    pub path_mtu_needed: u32,
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
    /// Whether it holds the key of the cluster's CA.
    pub signer: bool,
    /// The version of its daemon.
    pub version: String,
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

/// One of `weft events`.
#[derive(Debug, Serialize)]
pub struct Event {
    /// Rises by one.
    pub number: u64,
    /// When it happened, in UTC.
    pub time: String,
    /// A word such as `member_dead`.
    pub kind: String,
    /// What happened.
    pub text: String,
}

/// `weft token create`, and one of `weft token ls`.
#[derive(Debug, Serialize)]
pub struct Token {
    /// Its identifier.
    pub id: String,
    /// All of it, only when it has just been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it was made, in UTC.
    pub created: String,
    /// Until when nodes may join with it, in UTC.
    pub expires: String,
    /// How many nodes still may; null for any number.
    pub uses_left: Option<u32>,
}

/// `weft rekey`.
#[derive(Debug, Serialize)]
pub struct Rekeyed {
    /// Peers that new keys were agreed with.
    pub peers: u32,
}

/// `weft leave`.
#[derive(Debug, Serialize)]
pub struct Left {
    /// True.
    pub left: bool,
}

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

/// Milliseconds since 1970 as RFC 3339 says them; a number that is no time is shown as it is.
fn utc(millis: u64) -> String {
    let time = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(time).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| millis.to_string())
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

impl From<v1::StatusResponse> for Status {
    fn from(wire: v1::StatusResponse) -> Self {
        let mode = match wire.mode() {
            v1::NodeMode::Standalone => "standalone",
            v1::NodeMode::Cluster => "cluster",
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
            members_compared: wire.members_compared,
            members_agreeing: wire.members_agreeing,
            networks: wire.networks,
            endpoints: wire.endpoints,
            control_port: Some(wire.control_port).filter(|port| *port != 0),
            clock_ahead_ms: wire.clock_ahead_ms,
            sessions: wire.sessions.into_iter().map(Session::from).collect(),
        }
    }
}

impl From<v1::Session> for Session {
    fn from(wire: v1::Session) -> Self {
        Session {
            peer: wire.peer,
            address: wire.address,
            suite: wire.suite,
            epoch: wire.epoch,
            age_seconds: wire.age_seconds,
            sealed: wire.sealed,
            opened: wire.opened,
            rejected: wire.rejected,
            path: wire.path.map(Path::from).unwrap_or_default(),
        }
    }
}

impl From<v1::Path> for Path {
    fn from(wire: v1::Path) -> Self {
        Path {
            rtt_us: wire.rtt_us,
            rtt_min_us: wire.rtt_min_us,
            rtt_p99_us: wire.rtt_p99_us,
            echoes: wire.echoes,
            echoes_lost: wire.echoes_lost,
            path_silent: wire.silent,
            path_mtu: wire.mtu,
            path_mtu_needed: wire.mtu_needed,
        }
    }
}

impl From<v1::Neighbor> for Neighbor {
    fn from(wire: v1::Neighbor) -> Self {
        let v1::Neighbor { network, vni, ip, node, vtep, mac: octets } = wire;
        Neighbor { network, vni, ip, mac: mac(&octets), node, vtep }
    }
}

impl From<v1::Event> for Event {
    fn from(wire: v1::Event) -> Self {
        Event { number: wire.number, time: utc(wire.time), kind: wire.kind, text: wire.text }
    }
}

impl From<v1::Token> for Token {
    fn from(wire: v1::Token) -> Self {
        let (created, expires) = (utc(wire.created.saturating_mul(1000)), utc(wire.expires.saturating_mul(1000)));
        Token { id: wire.id, token: filled(wire.token), created, expires, uses_left: wire.uses_left }
    }
}

impl From<v1::RekeyResponse> for Rekeyed {
    fn from(wire: v1::RekeyResponse) -> Self {
        Rekeyed { peers: wire.peers }
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
        let v1::Member { name, id, address, signer, version, .. } = wire;
        Member { state, name, id, address, signer, version }
    }
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
