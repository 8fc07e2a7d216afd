//! What was seen, before anybody judges it. All of it may go into a support archive: no key, token or secret is here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

/// Everything that the checks look at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// This host.
    pub host: Host,
    /// What the daemon says; `None` where none answers.
    pub daemon: Option<Daemon>,
    /// Why none answers.
    pub no_daemon: Option<String>,
    /// The ways to peers and remotes, as pings see them.
    pub paths: Vec<Path>,
}

/// This host, whether a daemon runs or not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Host {
    /// Seconds since 1970, by its clock.
    pub now: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What its TUN driver has.
    pub tun: Tun,
    /// Capabilities that the daemon needs and this process lacks.
    pub missing_capabilities: Vec<String>,
    /// What its CPU has.
    pub cpu: Cpu,
    /// Its addresses that other hosts could reach.
    pub addresses: Vec<Address>,
    /// Its packet filter.
    pub firewall: Firewall,
}

/// The kernel's TUN driver.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tun {
    /// Why it cannot be used at all.
    pub broken: Option<String>,
    /// Features that it lacks.
    pub lacks: Vec<TunFeature>,
    /// It was not tried: this needs root.
    pub untried: bool,
}

/// A feature of the TUN driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TunFeature {
    /// Unfinished checksums.
    Checksum,
    /// TCP super-frames.
    Tso,
    /// TCP super-frames of flows with ECN.
    TsoEcn,
    /// UDP super-frames.
    Uso,
}

/// The CPU's help for ciphers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cpu {
    /// The architecture.
    pub arch: String,
    /// AES rounds as instructions.
    pub aes: bool,
    /// Carry-less multiplication, for GCM.
    pub clmul: bool,
    /// Vectors of 256 bits, for ChaCha20.
    pub wide: bool,
}

/// An address of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The interface that has it.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
}

/// The host's packet filter.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Firewall {
    /// Rules that drop or refuse something of weft's: as they stand, and what of it.
    pub in_the_way: Vec<Obstacle>,
    /// Chains that drop whatever no rule accepts, and in which no rule accepts something of weft's.
    pub closed: Vec<Obstacle>,
    /// Why it could not be read.
    pub unread: Option<String>,
}

/// A rule or chain, and what of weft's it stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The rule or chain.
    pub rule: String,
    /// Such as `UDP 4789`.
    pub stops: String,
}

/// A node, as its daemon sees it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Daemon {
    /// Its name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// It is a member of a cluster.
    pub in_cluster: bool,
    /// Its state is restored.
    pub ready: bool,
    /// Its tunnel address.
    pub advertise: Option<IpAddr>,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// The TCP port of the control plane; 0 where there is none.
    pub control_port: u16,
    /// Since it started.
    pub uptime_seconds: u64,
    /// How far back the `recent` figures look.
    pub window_seconds: u64,
    /// Drops in that time, by reason, without zeros.
    pub recent_drops: BTreeMap<String, u64>,
    /// Frames sent in that time.
    pub recent_sent: u64,
    /// UDP datagrams with a wrong checksum that the host received in that time.
    pub recent_checksum_errors: u64,
    /// Frames that came out of tunnels with a wrong inner checksum in that time.
    pub recent_damaged_frames: u64,
    /// When its certificate begins and ends, in seconds since 1970.
    pub certificate: Option<(u64, u64)>,
    /// Members that hold the CA's key.
    pub signers: usize,
    /// The other members.
    pub peers: Vec<Peer>,
    /// Its networks of the driver overlay.
    pub networks: Vec<Network>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Addresses that are there twice or move too often.
    pub contested: Vec<Contested>,
}

/// Another member.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its VTEP.
    pub vtep: Option<IpAddr>,
    /// Its control port.
    pub control: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// It and this node have a sealed network in common.
    pub shares_sealed: bool,
    /// There are keys to send to it.
    pub has_session: bool,
    /// For how long its tables have been other than this node's.
    pub tables_differ_seconds: Option<u64>,
    /// Why its control port cannot be reached from here.
    pub unreachable: Option<String>,
    /// By how many milliseconds its clock is ahead of this node's.
    pub clock_offset_ms: Option<i64>,
    /// Since the last datagram of it was opened, in seconds.
    pub heard_seconds: Option<u64>,
    /// What sealed echoes say of the path to it.
    pub echoes: Option<Echoes>,
}

/// What sealed echoes say of a path.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Echoes {
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// The latest ones all had no answer.
    pub silent: bool,
    /// The largest outer IP packet that comes through, up to what is needed.
    pub mtu: Option<u32>,
    /// What the networks need.
    pub needed: u32,
}

impl Peer {
    /// It is there, or may be.
    pub fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "alive" | "suspect")
    }
}

/// A network of the driver overlay.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its number.
    pub vni: u32,
    /// Its datagrams are sealed.
    pub sealed: bool,
    /// The largest inner IP packet in bytes.
    pub mtu: u16,
    /// Its static VTEPs.
    pub remotes: Vec<IpAddr>,
    /// VTEPs behind which it has learned a station from traffic.
    pub heard: Vec<IpAddr>,
}

/// An endpoint.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The network's name.
    pub network: String,
    /// The interface's name.
    pub ifname: String,
    /// Its namespace.
    pub netns: String,
    /// The daemon holds its device.
    pub attached: bool,
    /// Whether its interface is up; `None` where that cannot be seen.
    pub link_up: Option<bool>,
    /// The MTU that its interface has.
    pub link_mtu: Option<u32>,
}

/// An address that several stations claim, or that may not move any more.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Contested {
    /// The network.
    pub network: String,
    /// A MAC or an IP address.
    pub address: String,
    /// Who claims it.
    pub nodes: Vec<String>,
    /// It moved too often.
    pub frozen: bool,
}

/// The way to a VTEP.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Path {
    /// The peer's name, or the remote's address.
    pub name: String,
    /// Where it leads.
    pub to: Option<IpAddr>,
    /// It is a static remote of a plain network, and no member.
    pub remote: bool,
    /// The largest outer IP packet that must pass, in bytes.
    pub needed: u16,
    /// Why there is no way at all.
    pub no_route: Option<String>,
    /// The next hop does not answer: on a direct link the host does not exist.
    pub no_neighbour: bool,
    /// The MTU that the kernel knows for the way.
    pub known_mtu: Option<u32>,
    /// A small ping came back.
    pub small: bool,
    /// A ping of `needed` bytes came back.
    pub large: bool,
    /// The largest ping that came back, where small ones do and large ones do not.
    pub largest: Option<u16>,
}
