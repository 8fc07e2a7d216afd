//! What the table is made of: keys, their values, and what the merged view tells of itself.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use weft_vtep::addr::{Mac, Vni};

use crate::id::NodeId;

/// What a record is about. An origin has at most one record of each key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The origin itself.
    Node,
    /// The origin has a port on the network, or wants its flooded frames.
    Member(Vni),
    /// A station behind the origin's VTEP.
    Mac(Vni, Mac),
    /// An address of such a station.
    Ip(Vni, IpAddr),
    /// A block of addresses that the origin gives out from.
    Block(Vni, IpNet),
    /// A name that containers resolve.
    Name(Vni, Box<str>),
    /// Something that a later version of the program knows of. It is kept, passed on and compared, and means nothing here.
    Other(Box<OtherKey>),
}

/// What a later version has a record about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OtherKey {
    /// The network's number, where it is about one; else 0.
    pub vni: u32,
    /// Which of the later version's kinds.
    pub kind: u32,
    /// What the later version makes sense of.
    pub data: Box<[u8]>,
}

impl Key {
    /// True for what each origin says of itself, so that two origins never claim the same.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Key::Node | Key::Member(_) | Key::Other(_))
    }

    /// The network that the key is about.
    pub fn vni(&self) -> Option<Vni> {
        match self {
            Key::Node | Key::Other(_) => None,
            Key::Member(vni) | Key::Mac(vni, _) | Key::Ip(vni, _) | Key::Block(vni, _) | Key::Name(vni, _) => {
                Some(*vni)
            }
        }
    }
}

/// What a record says. Its kind is its key's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// Of [`Key::Node`].
    Node(Box<NodeRecord>),
    /// Of [`Key::Member`].
    Member,
    /// Of [`Key::Mac`].
    Mac(Mobility),
    /// Of [`Key::Ip`]: the station that answers for the address.
    Ip(Mac),
    /// Of [`Key::Block`].
    Block,
    /// Of [`Key::Name`]: the addresses, in the origin's order.
    Name(Vec<IpAddr>),
    /// Of [`Key::Other`].
    Other(Box<[u8]>),
}

impl Value {
    /// True if a record of `key` can say this.
    pub fn fits(&self, key: &Key) -> bool {
        matches!(
            (key, self),
            (Key::Node, Value::Node(_))
                | (Key::Member(_), Value::Member)
                | (Key::Mac(..), Value::Mac(_))
                | (Key::Ip(..), Value::Ip(_))
                | (Key::Block(..), Value::Block)
                | (Key::Name(..), Value::Name(_))
                | (Key::Other(_), Value::Other(_))
        )
    }
}

/// A node, as it presents itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeRecord {
    /// What people call it.
    pub name: String,
    /// The VTEP's address.
    pub address: IpAddr,
    /// Where its control port listens.
    pub control_port: u16,
    /// Of the program.
    pub version: String,
    /// It holds the CA's key.
    pub signer: bool,
}

/// RFC 7432 section 15: how often a MAC address has moved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Mobility {
    /// 0 at first, one more with each move: the higher one has the station.
    pub sequence: u32,
    /// Nobody else held the address when this claim was made, so that it is not counted as flapping.
    pub orderly: bool,
}

/// What the table takes, from this node and from others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Origins whose logs are kept, the dead of the last 24 h included. A log without entries costs some 300 bytes.
    pub origins: usize,
    /// Keys of one origin, its tombstones included. An entry costs about 100 bytes.
    pub keys_per_origin: usize,
    /// Keys of all origins together.
    pub keys: usize,
    /// Records in one delta.
    pub records_per_delta: usize,
    /// The longest name that containers resolve, in bytes (RFC 1035 section 2.3.4: 253 as text).
    pub name_bytes: usize,
    /// The longest name or version of a node, in bytes.
    pub label_bytes: usize,
    /// Addresses of one name.
    pub addresses: usize,
    /// The longest key, and the longest value, of a kind that a later version knows, in bytes.
    pub other_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            origins: 4096,
            keys_per_origin: 1 << 18,
            keys: 1 << 22,
            records_per_delta: 1 << 16,
            name_bytes: 253,
            label_bytes: 64,
            addresses: 64,
            other_bytes: 1024,
        }
    }
}

/// Why a record of this node's own was not put. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Duplicate address detection (RFC 7432 section 15.1) holds the address where it is.
    #[error(
        "the MAC address {mac} of network {vni} moved between nodes too often and is frozen at node {owner}: two \
         containers have it; detach one of them, or wait until it was quiet for {} s", .quiet.as_secs()
    )]
    Frozen {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
        /// Who keeps it.
        owner: NodeId,
        /// How long nothing may move for the freeze to end.
        quiet: Duration,
    },
    /// The quota of one origin, or of the table.
    #[error("this node has {0} records in the cluster's table, which is the most: detach what is not needed")]
    Full(usize),
    /// The value is of another kind than the key, or holds something that others would refuse.
    #[error("the record cannot be announced: {0}")]
    Unfit(#[from] super::wire::Refused),
}

/// What the merged view made of changed logs, for the data plane and the user, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A station is now behind this node's VTEP; `None`: behind nobody's.
    Mac {
        /// The network.
        vni: Vni,
        /// The station.
        mac: Mac,
        /// Its node, which may be this one.
        owner: Option<NodeId>,
    },
    /// An address is now this station's.
    Ip {
        /// The network.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// The station and the node that says so.
        holder: Option<(Mac, NodeId)>,
    },
    /// A node joined or left a network's flood list.
    Member {
        /// The network.
        vni: Vni,
        /// The node, which may be this one.
        node: NodeId,
        /// It is on the list now.
        present: bool,
    },
    /// A node presents itself anew; `None`: its log is gone.
    Node {
        /// The node, which may be this one.
        node: NodeId,
        /// What it says.
        record: Option<Box<NodeRecord>>,
    },
    /// A node took or gave back a block of addresses. Two nodes can have the same one after a partition. A dead node
    /// keeps its blocks until it is forgotten.
    Block {
        /// The network.
        vni: Vni,
        /// The block.
        block: IpNet,
        /// The node, which may be this one.
        node: NodeId,
        /// It has the block now.
        present: bool,
    },
    /// A name has these addresses now, those of all nodes, sorted; none: nobody has the name.
    Name {
        /// The network.
        vni: Vni,
        /// The name.
        name: Box<str>,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// A MAC address moved too often and stays where it is (RFC 7432 section 15.1).
    MacFrozen {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
        /// Who keeps it.
        owner: NodeId,
    },
    /// It was quiet long enough to move again.
    MacThawed {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
    },
    /// Several nodes have held the same MAC address for longer than a move takes.
    DuplicateMac {
        /// The network.
        vni: Vni,
        /// The address.
        mac: Mac,
        /// Who, the one that has it in the view first.
        nodes: Vec<NodeId>,
    },
    /// Several stations have held the same address for longer than a move takes.
    DuplicateIp {
        /// The network.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// Which, the one that has it in the view first.
        holders: Vec<(Mac, NodeId)>,
    },
    /// Others have records of this node that it has not written in this life: it has to take a higher incarnation than
    /// this one ([`Table::reincarnate`](super::Table::reincarnate)).
    Usurped {
        /// The incarnation that they have.
        incarnation: u64,
    },
}
