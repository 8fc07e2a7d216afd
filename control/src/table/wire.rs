//! Where records of the wire become keys and values, or are refused.
//!
//! What comes in here was sent by a member, which may be broken or hostile: nothing of it has been looked at. What
//! goes out to the table is of the right length, names a unicast station, and is within the [`Limits`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weft_proto::v1;
use weft_vtep::addr::{Mac, Vni};

use crate::id::SEEN_LIVES;

use super::entry::{Key, Limits, Mobility, NodeRecord, OtherKey, Value};

/// The highest sequence number of a log. At a million operations a second it lasts for two thousand years, so more is no
/// number that a node has counted to.
pub const MAX_SEQUENCE: u64 = 1 << 56;
/// The highest incarnation that is taken from others. A node that others saw in a life that it does not know takes the one
/// after that: there is room for it, and for a million million more.
const LIVES: u64 = SEEN_LIVES + (1 << 40);
/// The most operations that one delta may run over.
pub const MAX_JUMP: u64 = 1 << 40;
/// The highest mobility sequence. It is kept well below the end of its 32 bits, so that no claim is the last one.
pub const MAX_MOVES: u32 = 1 << 30;

/// Why something from a peer, or of one's own, is not taken. The table is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A key, value or oneof is absent.
    #[error("a field is missing")]
    Missing,
    /// An address has not 4, 6 or 16 octets, or is not one that a station or node can have.
    #[error("an address is malformed or not a unicast one")]
    Address,
    /// A network's number is not 1 to 16777215, or is given where none belongs.
    #[error("a VNI is out of range")]
    Vni,
    /// A prefix is too long or has host bits.
    #[error("a prefix is malformed")]
    Prefix,
    /// A text is longer than the limit, empty, or holds control characters.
    #[error("a text is too long, empty, or holds control characters")]
    Text,
    /// The value is of another kind than its key.
    #[error("a value does not fit its key")]
    Kind,
    /// A range is empty, runs backwards or too far, or records are out of it or out of order.
    #[error("sequence numbers are out of order or absurd")]
    Sequence,
    /// More records, keys, positions or origins than the limit.
    #[error("a quota is exceeded")]
    Quota,
    /// The node was removed from the cluster.
    #[error("the records' node was removed from the cluster")]
    Gone,
    /// The records are not the sender's, and their node can be asked itself.
    #[error("the records are another neighbour's own")]
    NotTheirs,
}

/// False for a life that no node has come to.
pub(super) fn is_plausible(incarnation: u64) -> bool {
    (1..=LIVES).contains(&incarnation)
}

/// False for a life that this node, which is in its life `mine`, has not come to either: whoever lies to it would otherwise
/// bring it to one that nobody takes.
pub(super) fn is_plausible_of_me(incarnation: u64, mine: u64) -> bool {
    (1..LIVES).contains(&incarnation) && incarnation <= mine.max(SEEN_LIVES)
}

/// Four or sixteen octets.
pub fn ip(octets: &[u8]) -> Result<IpAddr, Refused> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Ok(IpAddr::V4(Ipv4Addr::from(four)));
    }
    let sixteen = <[u8; 16]>::try_from(octets).map_err(|_| Refused::Address)?;
    Ok(IpAddr::V6(Ipv6Addr::from(sixteen)))
}

/// An address that one host can have.
pub fn host(octets: &[u8]) -> Result<IpAddr, Refused> {
    let ip = ip(octets)?;
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_unspecified() || ip.is_multicast() || broadcast { Err(Refused::Address) } else { Ok(ip) }
}

/// The octets of an address.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Six octets of a unicast address.
pub fn mac(octets: &[u8]) -> Result<Mac, Refused> {
    let octets = <[u8; 6]>::try_from(octets).map_err(|_| Refused::Address)?;
    Some(Mac::new(octets)).filter(|mac| mac.is_station()).ok_or(Refused::Address)
}

/// A prefix without host bits.
pub fn prefix(prefix: &v1::Prefix) -> Result<IpNet, Refused> {
    let bits = u8::try_from(prefix.bits).map_err(|_| Refused::Prefix)?;
    let net = IpNet::new(ip(&prefix.address)?, bits).map_err(|_| Refused::Prefix)?;
    if net.trunc() == net { Ok(net) } else { Err(Refused::Prefix) }
}

/// A prefix as it is sent.
pub fn prefix_out(net: IpNet) -> v1::Prefix {
    v1::Prefix { address: octets(net.addr()), bits: net.prefix_len().into() }
}

fn text(text: String, longest: usize) -> Result<String, Refused> {
    let fits = !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(Refused::Text) }
}

fn other(data: Vec<u8>, limits: &Limits) -> Result<Box<[u8]>, Refused> {
    if data.len() <= limits.other_bytes { Ok(data.into()) } else { Err(Refused::Quota) }
}

/// A record's key.
pub fn key(key: v1::Key, limits: &Limits) -> Result<Key, Refused> {
    use v1::key::Of;
    let of = key.of.ok_or(Refused::Missing)?;
    if let Of::Node(yes) = of {
        return if key.vni != 0 { Err(Refused::Vni) } else { yes.then_some(Key::Node).ok_or(Refused::Missing) };
    }
    if let Of::Other(v1::Other { kind, data }) = of {
        if key.vni > Vni::MAX {
            return Err(Refused::Vni);
        }
        return Ok(Key::Other(Box::new(OtherKey { vni: key.vni, kind, data: other(data, limits)? })));
    }
    let vni = Vni::new(key.vni).ok_or(Refused::Vni)?;
    Ok(match of {
        Of::Node(_) | Of::Other(_) => return Err(Refused::Kind),
        Of::Member(yes) => yes.then_some(Key::Member(vni)).ok_or(Refused::Missing)?,
        Of::Mac(octets) => Key::Mac(vni, mac(&octets)?),
        Of::Ip(octets) => Key::Ip(vni, host(&octets)?),
        Of::Block(net) => Key::Block(vni, prefix(&net)?),
        Of::Name(name) => Key::Name(vni, text(name, limits.name_bytes)?.into_boxed_str()),
    })
}

/// The value of a live record of `key`.
pub fn value(key: &Key, value: v1::Value, limits: &Limits) -> Result<Value, Refused> {
    use v1::value::Of;
    let value = match (key, value.of) {
        (Key::Member(_), None) => Value::Member,
        (Key::Block(..), None) => Value::Block,
        (_, None) => return Err(Refused::Missing),
        (_, Some(Of::Node(record))) => Value::Node(Box::new(node_record(record, limits)?)),
        (_, Some(Of::Mac(v1::Mobility { sequence, orderly }))) => {
            if sequence > MAX_MOVES {
                return Err(Refused::Sequence);
            }
            Value::Mac(Mobility { sequence, orderly })
        }
        (_, Some(Of::Ip(octets))) => Value::Ip(mac(&octets)?),
        (_, Some(Of::Other(data))) => Value::Other(other(data, limits)?),
        (_, Some(Of::Name(v1::Addresses { addresses }))) => {
            if addresses.is_empty() || addresses.len() > limits.addresses {
                return Err(Refused::Quota);
            }
            Value::Name(addresses.iter().map(|octets| host(octets)).collect::<Result<_, _>>()?)
        }
    };
    if value.fits(key) { Ok(value) } else { Err(Refused::Kind) }
}

/// A node's record, from a log or a roster.
pub fn node_record(record: v1::NodeRecord, limits: &Limits) -> Result<NodeRecord, Refused> {
    Ok(NodeRecord {
        name: text(record.name, limits.label_bytes)?,
        address: host(&record.address)?,
        control_port: u16::try_from(record.control_port).ok().filter(|port| *port != 0).ok_or(Refused::Address)?,
        version: text(record.version, limits.label_bytes)?,
        signer: record.signer,
    })
}

/// A node's record as it is sent.
pub fn node_record_out(record: &NodeRecord) -> v1::NodeRecord {
    v1::NodeRecord {
        name: record.name.clone(),
        address: octets(record.address),
        control_port: record.control_port.into(),
        version: record.version.clone(),
        signer: record.signer,
    }
}

/// A record as it is sent; without a value it is a tombstone.
pub fn record_out(seq: u64, key: &Key, value: Option<&Value>) -> v1::Record {
    v1::Record { seq, key: Some(key_out(key)), value: value.map(value_out) }
}

fn key_out(key: &Key) -> v1::Key {
    use v1::key::Of;
    let of = match key {
        Key::Node => Of::Node(true),
        Key::Member(_) => Of::Member(true),
        Key::Mac(_, mac) => Of::Mac(mac.octets().to_vec()),
        Key::Ip(_, ip) => Of::Ip(octets(*ip)),
        Key::Block(_, net) => Of::Block(prefix_out(*net)),
        Key::Name(_, name) => Of::Name(name.to_string()),
        Key::Other(other) => {
            let of = Of::Other(v1::Other { kind: other.kind, data: other.data.to_vec() });
            return v1::Key { vni: other.vni, of: Some(of) };
        }
    };
    v1::Key { vni: key.vni().map_or(0, Vni::get), of: Some(of) }
}

fn value_out(value: &Value) -> v1::Value {
    use v1::value::Of;
    let of = match value {
        Value::Member | Value::Block => None,
        Value::Node(record) => Some(Of::Node(node_record_out(record))),
        Value::Mac(Mobility { sequence, orderly }) => {
            Some(Of::Mac(v1::Mobility { sequence: *sequence, orderly: *orderly }))
        }
        Value::Ip(mac) => Some(Of::Ip(mac.octets().to_vec())),
        Value::Other(data) => Some(Of::Other(data.to_vec())),
        Value::Name(ips) => Some(Of::Name(v1::Addresses { addresses: ips.iter().map(|ip| octets(*ip)).collect() })),
    };
    v1::Value { of }
}

/// True if what this node wants to say would be taken by others.
pub fn check(key: &Key, value: &Value, limits: &Limits) -> Result<(), Refused> {
    let key = self::key(key_out(key), limits)?;
    self::value(&key, value_out(value), limits).map(drop)
}

/// What a record's texts and lists add to its size on the wire, in bytes.
pub(super) fn extra_bytes(key: &Key, value: Option<&Value>) -> usize {
    let key = match key {
        Key::Name(_, name) => name.len(),
        Key::Other(other) => other.data.len(),
        _ => 0,
    };
    let value = match value {
        Some(Value::Node(record)) => record.name.len() + record.version.len(),
        Some(Value::Name(ips)) => 20 * ips.len(),
        Some(Value::Other(data)) => data.len(),
        _ => 0,
    };
    key + value
}
