//! What a member remembers of its cluster: the objects that belong to no node, and whom to look for after a restart.
//!
//! A file that cannot be written is said once, as an event, and tried again with the next change: the node goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_control::id::NodeId;
use weft_proto::v1;

use crate::node::state::{StateDir, StateError};

const OBJECTS: &str = "objects.json";
const ROSTER: &str = "roster.json";
const DENIED: &str = "denied.json";
const BLOCKS: &str = "blocks.json";

/// An object as it is remembered: its value is JSON, and shown as such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedObject {
    kind: i32,
    id: String,
    clock: u64,
    writer: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

/// A member as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedMember {
    node: NodeId,
    incarnation: u64,
    #[serde(default)]
    renewal: u32,
    name: String,
    address: IpAddr,
    control_port: u16,
    #[serde(default)]
    version: String,
    #[serde(default)]
    signer: bool,
}

/// Writes this node's blocks of addresses, by the network's id.
pub(super) fn save_blocks(dir: &StateDir, blocks: &BTreeMap<String, Vec<IpNet>>) -> Result<(), StateError> {
    dir.write(BLOCKS, blocks)
}

/// Reads this node's blocks of addresses; none where there is no file.
pub(super) fn load_blocks(dir: &StateDir) -> Result<BTreeMap<String, Vec<IpNet>>, StateError> {
    Ok(dir.read(BLOCKS)?.unwrap_or_default())
}

/// Writes the nodes that were removed for good.
pub(super) fn save_denied(dir: &StateDir, denied: &BTreeSet<NodeId>) -> Result<(), StateError> {
    dir.write(DENIED, denied)
}

/// Reads the nodes that were removed for good; none where there is no file.
pub(super) fn load_denied(dir: &StateDir) -> Result<BTreeSet<NodeId>, StateError> {
    Ok(dir.read(DENIED)?.unwrap_or_default())
}

/// Writes the objects.
pub(super) fn save_objects(dir: &StateDir, objects: &[v1::Object]) -> Result<(), StateError> {
    let saved: Vec<_> = objects.iter().map(SavedObject::from).collect();
    dir.write(OBJECTS, &saved)
}

/// Reads the objects; none where there is no file.
pub(super) fn load_objects(dir: &StateDir) -> Result<Vec<v1::Object>, StateError> {
    let saved: Vec<SavedObject> = dir.read(OBJECTS)?.unwrap_or_default();
    Ok(saved.into_iter().map(v1::Object::from).collect())
}

/// Writes the roster.
pub(super) fn save_roster(dir: &StateDir, roster: &[v1::RosterEntry]) -> Result<(), StateError> {
    let saved: Vec<_> = roster.iter().filter_map(SavedMember::read).collect();
    dir.write(ROSTER, &saved)
}

/// Reads the roster; empty where there is no file.
pub(super) fn load_roster(dir: &StateDir) -> Result<Vec<v1::RosterEntry>, StateError> {
    let saved: Vec<SavedMember> = dir.read(ROSTER)?.unwrap_or_default();
    Ok(saved.into_iter().map(v1::RosterEntry::from).collect())
}

impl From<&v1::Object> for SavedObject {
    fn from(object: &v1::Object) -> Self {
        // A value that is no JSON was refused when it came in.
        let value = object.value.as_deref().map(|bytes| serde_json::from_slice(bytes).unwrap_or(Value::Null));
        let (kind, id, clock) = (object.kind, object.id.clone(), object.clock);
        SavedObject { kind, id, clock, writer: NodeId(object.writer), value }
    }
}

impl From<SavedObject> for v1::Object {
    fn from(saved: SavedObject) -> Self {
        let value = saved.value.map(|value| value.to_string().into_bytes());
        v1::Object { kind: saved.kind, id: saved.id, clock: saved.clock, writer: saved.writer.0, value }
    }
}

impl SavedMember {
    fn read(entry: &v1::RosterEntry) -> Option<Self> {
        let record = entry.record.as_ref()?;
        Some(SavedMember {
            node: NodeId(entry.node),
            incarnation: entry.incarnation,
            renewal: entry.renewal,
            name: record.name.clone(),
            address: address(&record.address)?,
            control_port: record.control_port.try_into().ok()?,
            version: record.version.clone(),
            signer: record.signer,
        })
    }
}

impl From<SavedMember> for v1::RosterEntry {
    fn from(saved: SavedMember) -> Self {
        let record = v1::NodeRecord {
            name: saved.name,
            address: octets(saved.address),
            control_port: saved.control_port.into(),
            version: saved.version,
            signer: saved.signer,
        };
        let SavedMember { incarnation, renewal, .. } = saved;
        v1::RosterEntry { node: saved.node.0, incarnation, renewal, record: Some(record) }
    }
}

/// An address as it is on the wire.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address from the wire, if it is one.
pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_roster_come_back() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        assert!(load_objects(&dir).unwrap().is_empty() && load_roster(&dir).unwrap().is_empty());
        let object = |value: Option<&str>| v1::Object {
            kind: 1,
            id: "ab".into(),
            clock: 1 << 40,
            writer: u64::MAX,
            value: value.map(|text| text.as_bytes().to_vec()),
        };
        let objects = [object(Some(r#"{"name":"blue"}"#)), object(None)];
        save_objects(&dir, &objects).unwrap();
        assert_eq!(load_objects(&dir).unwrap(), objects);
        let record = v1::NodeRecord {
            name: "n1".into(),
            address: vec![192, 0, 2, 1],
            control_port: 7956,
            version: "0.1.0".into(),
            signer: true,
        };
        let roster = [v1::RosterEntry { node: 7, incarnation: 3, renewal: 1, record: Some(record) }];
        save_roster(&dir, &roster).unwrap();
        assert_eq!(load_roster(&dir).unwrap(), roster);
    }
}
