//! What enters and leaves a [`Cluster`](super::Cluster).

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use weft_proto::v1;

use super::{Event, PROTOCOL};
use crate::exchange;
use crate::id::{NodeId, Origin};
use crate::membership::State;
use crate::objects::{self, Kind, ObjectRefused};
use crate::table::{self, Change, Key, NodeRecord, PutError, Value};

/// The time, twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment, never going back. All intervals are measured with it.
    pub mono: Duration,
    /// Milliseconds since 1970, for cluster objects alone: of two writers the later one wins. May jump.
    pub wall_ms: u64,
}

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Me {
    /// The node and its life, which is higher than that of the start before.
    pub origin: Origin,
    /// What it says of itself. Its control port listens at `address`.
    pub record: NodeRecord,
}

/// What was saved by the life before, or came with the join.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The members, as [`Cluster::roster`](super::Cluster::roster) gave them.
    pub roster: Vec<v1::RosterEntry>,
    /// The cluster's objects, as [`Objects`](crate::objects::Objects) gave them.
    pub objects: Vec<v1::Object>,
}

/// What may be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The versions of the protocol that this node speaks: [`PROTOCOL`], but for tests of upgrades to come.
    pub protocol: RangeInclusive<u32>,
    /// Bounds on the table.
    pub table: table::Limits,
    /// Bounds on the cluster's objects.
    pub objects: objects::Limits,
    /// How tables are kept equal.
    pub exchange: exchange::Config,
}

impl Default for Config {
    fn default() -> Self {
        let (table, objects, exchange) = Default::default();
        Config { protocol: PROTOCOL, table, objects, exchange }
    }
}

/// What a cluster is told. Those from a peer come with the node that its certificate names.
#[derive(Clone, Debug)]
pub enum Input {
    /// [`deadline`](super::Cluster::deadline) is over.
    Timer,
    /// Members that the cluster is known to have: what came with a join.
    Roster(Vec<v1::RosterEntry>),
    /// There is a stream with a peer, whoever dialed, and this was its first frame. Another one that there was before is replaced.
    Connected {
        /// The other end.
        peer: NodeId,
        /// What it said.
        hello: v1::Hello,
    },
    /// No stream is left with a peer, or a dial that [`Output::Connect`] asked for has failed.
    Disconnected {
        /// The other end.
        peer: NodeId,
    },
    /// A frame came on a stream.
    Frame {
        /// From whom.
        peer: NodeId,
        /// The frame.
        frame: v1::Frame,
    },
    /// A membership datagram came as a call of its own.
    Swim {
        /// From whom.
        peer: NodeId,
        /// The datagram.
        datagram: Bytes,
    },
    /// The data path opened a datagram of a node's: of interest when the node is dead to the control plane.
    Heard {
        /// From whom.
        peer: NodeId,
    },
    /// This node has a record. A value that cannot be put is told by [`Output::NotPut`].
    Put(Key, Value),
    /// This node has that record no more.
    Remove(Key),
    /// All records that this node has after its start were put. Until then the others keep those of its life before.
    Complete,
    /// Writes an object of the cluster's.
    PutObject {
        /// Its kind.
        kind: Kind,
        /// Its name among its kind.
        id: String,
        /// What it says, as JSON.
        value: Vec<u8>,
    },
    /// Deletes an object of the cluster's.
    RemoveObject {
        /// Its kind.
        kind: Kind,
        /// Its name among its kind.
        id: String,
    },
    /// This node leaves: it takes back all its records and says goodbye, until [`Output::Left`].
    Leave,
    /// A node is gone for good, says a denial that the caller has verified: objects can be written by any member, so the
    /// core believes none of them by itself.
    Evict(NodeId),
}

/// What a cluster wants done, or known.
#[derive(Clone, Debug)]
pub enum Output {
    /// Dial a peer and open a stream; [`Input::Connected`] or [`Input::Disconnected`] answers.
    Connect {
        /// To whom.
        peer: NodeId,
        /// Its control port.
        address: SocketAddr,
    },
    /// End the stream with a peer, and refuse it if it was evicted.
    Disconnect {
        /// With whom.
        peer: NodeId,
    },
    /// Write a frame to the stream with a peer.
    Send {
        /// To whom.
        peer: NodeId,
        /// The frame.
        frame: v1::Frame,
    },
    /// Call `Swim` of a node with which there is no stream. Nobody waits for the answer; it may fail.
    SendSwim {
        /// To whom.
        peer: NodeId,
        /// Its control port.
        address: SocketAddr,
        /// The datagram.
        datagram: Vec<u8>,
    },
    /// The merged view changed.
    Change(Change),
    /// An object of the cluster's is new, changed, or deleted.
    ObjectChanged {
        /// Its kind.
        kind: Kind,
        /// Its name among its kind.
        id: String,
        /// What it says now.
        value: Option<Vec<u8>>,
    },
    /// [`Input::Put`] was refused.
    NotPut {
        /// The record.
        key: Key,
        /// Why.
        error: PutError,
    },
    /// [`Input::PutObject`] was refused.
    ObjectNotPut {
        /// Its kind.
        kind: Kind,
        /// Its name among its kind.
        id: String,
        /// Why.
        error: ObjectRefused,
    },
    /// A member is new, or in another state.
    MemberChanged(Member),
    /// A member is not known any more: it was evicted, or was dead or gone for a day.
    MemberForgotten(NodeId),
    /// For the user.
    Event(Event),
    /// The objects changed: write them to disk, soon.
    SaveObjects,
    /// The members changed: write [`roster`](super::Cluster::roster) to disk, soon.
    SaveRoster,
    /// This node took a higher incarnation: write it to disk, so that the next start takes one above it.
    SaveIncarnation(u64),
    /// Goodbye is said, and nothing comes after this. The process may end once what came before it is written.
    Left,
}

/// A member of the cluster, this node included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// What people call it, where its record is known.
    pub name: Option<String>,
    /// Its control port.
    pub address: SocketAddr,
    /// Its life.
    pub incarnation: u64,
    /// How it does.
    pub state: State,
}
