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

/// All of them.
pub(in crate::node) const FILES: [&str; 4] = [OBJECTS, ROSTER, DENIED, BLOCKS];

/// An object as it is remembered: what it says is kept octet by octet. Others compare it, and read in it what this
/// version does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedObject {
    kind: i32,
    id: String,
    clock: u64,
    writer: NodeId,
    /// Absent in a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<Said>,
    /// The same as an earlier build saved it: as JSON of which the octets are lost.
    #[serde(default, skip_serializing)]
    value: Option<Value>,
}

/// Octets, readable where they can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Text(String),
    Octets(Vec<u8>),
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
        let said = object.value.clone().map(|octets| match String::from_utf8(octets) {
            Ok(text) => Said::Text(text),
            Err(not_text) => Said::Octets(not_text.into_bytes()),
        });
        let (kind, id, clock) = (object.kind, object.id.clone(), object.clock);
        SavedObject { kind, id, clock, writer: NodeId(object.writer), said, value: None }
    }
}

impl From<SavedObject> for v1::Object {
    fn from(saved: SavedObject) -> Self {
        let value = match saved.said {
            Some(Said::Text(text)) => Some(text.into_bytes()),
            Some(Said::Octets(octets)) => Some(octets),
            None => saved.value.map(|value| value.to_string().into_bytes()),
        };
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
    use weft_control::objects::{Limits, Objects};

    /// What a later version wrote may have members that this one does not know, in an order, with spaces and with numbers
    /// that its own writer of JSON would not choose, or be no JSON at all. Once it was written anew in this one's way: a
    /// node that had restarted had other objects than its peers, of the same clock and writer, and gave them to its peers.
    #[test]
    fn a_restart_leaves_each_octet_of_an_object_so_that_digests_stay_equal() {
        let values: [&[u8]; 5] = [
            br#"{"name": "blue", "later": {"z": 1, "a": 1e2}, "big": 12345678901234567890123}"#,
            b"a later version's own form \" \\ \n",
            b"zzz\xff\x00\x01",
            b"",
            b" null\n",
        ];
        let mut peer = Objects::new(NodeId(1), Limits::default());
        for (number, value) in values.iter().enumerate() {
            for kind in [1, 77] {
                let (id, value) = (number.to_string(), Some(value.to_vec()));
                peer.apply(0, v1::Object { kind, id, clock: 1 << 40, writer: 9, value }).unwrap();
            }
        }
        peer.apply(0, v1::Object { kind: 2, id: "gone".into(), clock: 1 << 40, writer: 9, value: None }).unwrap();
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        save_objects(&dir, &peer.all().collect::<Vec<_>>()).unwrap();
        let mut restarted = Objects::new(NodeId(2), Limits::default());
        for object in load_objects(&dir).unwrap() {
            restarted.apply(0, object).unwrap();
        }
        assert_eq!(restarted.all().collect::<Vec<_>>(), peer.all().collect::<Vec<_>>());
        assert_eq!(restarted.digest(), peer.digest());
    }

    #[test]
    fn an_object_that_an_earlier_build_saved_as_json_is_read_and_a_damaged_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        let file = base.path().join(OBJECTS);
        let saved = |rest: &str| format!(r#"[{{"kind":1,"id":"ab","clock":7,"writer":"0000000000000009"{rest}}}]"#);
        std::fs::write(&file, saved(r#","value":{"name":"blue"}"#)).unwrap();
        assert_eq!(load_objects(&dir).unwrap()[0].value.as_deref(), Some(&br#"{"name":"blue"}"#[..]));
        for damaged in [r#","said":{"octets":[256]}"#, r#","said":{"later":"a"}"#, r#","said":{}"#] {
            std::fs::write(&file, saved(damaged)).unwrap();
            assert!(matches!(load_objects(&dir), Err(StateError::Corrupt { .. })), "{damaged}");
        }
    }

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
