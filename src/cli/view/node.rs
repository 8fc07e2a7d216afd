//! The node itself: its state, its counters, what happened.

use std::collections::BTreeMap;

use serde::Serialize;
use weft_proto::v1;

use super::{UNKNOWN, utc};

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
    /// How long ago its daemon started.
    pub uptime_seconds: u64,
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
            uptime_seconds: wire.uptime_seconds,
            sessions: wire.sessions.into_iter().map(Session::from).collect(),
        }
    }
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

impl From<v1::Event> for Event {
    fn from(wire: v1::Event) -> Self {
        Event { number: wire.number, time: utc(wire.time), kind: wire.kind, text: wire.text }
    }
}

/// `weft stats`.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// Frames and bytes through tunnels.
    pub totals: Totals,
    /// Frames dropped, by reason; every reason is present.
    pub drops: BTreeMap<String, u64>,
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

/// `weft rekey`.
#[derive(Debug, Serialize)]
pub struct Rekeyed {
    /// Peers that new keys were agreed with.
    pub peers: u32,
}

impl From<v1::RekeyResponse> for Rekeyed {
    fn from(wire: v1::RekeyResponse) -> Self {
        Rekeyed { peers: wire.peers }
    }
}

/// `weft leave`.
#[derive(Debug, Serialize)]
pub struct Left {
    /// True.
    pub left: bool,
}
