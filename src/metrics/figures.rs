//! What the page is made from: plain figures, so that a node of any size can be made up.

use std::collections::BTreeMap;
use std::time::SystemTime;

use weft_vtep::path::probe::PathRow;
use weft_vtep::stats::Snapshot;

/// A node at one moment.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Its name.
    pub node: String,
    /// Its lasting identifier.
    pub id: String,
    /// `cluster` or `standalone`.
    pub mode: &'static str,
    /// Its state is restored.
    pub ready: bool,
    /// The data plane's counters.
    pub totals: Snapshot,
    /// Members by state: every state is there, with zero members too.
    pub members: Vec<(&'static str, usize)>,
    /// Members whose tables are compared with this node's, itself included.
    pub compared: usize,
    /// Those whose tables are equal, itself included.
    pub agreeing: usize,
    /// When its certificate ends; `None` where it has none.
    pub certificate_ends: Option<SystemTime>,
    /// Its networks.
    pub networks: Vec<NetworkFigures>,
    /// Those whom it has keys with.
    pub peers: Vec<PeerFigures>,
    /// What happened since the start, by kind.
    pub events: BTreeMap<String, u64>,
}

/// One network, as this node has it.
#[derive(Debug, Clone, Default)]
pub struct NetworkFigures {
    /// Its name, which no other network of the node has.
    pub name: String,
    /// `overlay`, or the driver of a network of this host alone.
    pub driver: String,
    /// `sealed`, `plain`, or `local` where nothing leaves the host.
    pub mode: &'static str,
    /// The largest inner IP packet in bytes; `None` where the host decides.
    pub mtu: Option<u32>,
    /// Endpoints of this node whose device it has.
    pub up: usize,
    /// Endpoints of this node whose device or namespace is gone.
    pub lost: usize,
    /// Entries of the forwarding table, by kind: every kind is there.
    pub entries: Vec<(&'static str, usize)>,
}

/// One peer of the data plane.
#[derive(Debug, Clone, Default)]
pub struct PeerFigures {
    /// Its name.
    pub name: String,
    /// The address of its VTEP, which no other peer has.
    pub address: String,
    /// The AEAD of the session in which this node sends.
    pub suite: String,
    /// How many sending keys there have been.
    pub epoch: u64,
    /// The age of the present one in seconds.
    pub age_seconds: u64,
    /// Datagrams sealed with the present sessions.
    pub sealed: u64,
    /// Datagrams opened with the present sessions.
    pub opened: u64,
    /// Datagrams refused in the present sessions, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// What sealed echoes say of the path to it; `None` before it is asked.
    pub path: Option<PathRow>,
}
