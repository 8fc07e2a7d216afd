//! What belongs to the cluster and to no node: networks, tokens, the deny list, the CA's certificates, the signers.
//!
//! Of two writers the later wins: an object carries a hybrid clock (wall time in milliseconds in the upper 48 bits, a
//! counter in the lower 16, and always more than the clock of what it replaces) and its writer's id, which breaks ties. A
//! removed object leaves a tombstone for 30 days. Every member keeps all objects on its disk, since a whole cluster may
//! restart. What is in an object is kept octet by octet, and neither that nor what it means that two have the same name is
//! judged here.
//!
//! In come this node's writes ([`Objects::put`]) and those of others ([`Objects::apply`]); out come changes
//! ([`Objects::poll_change`]) and objects for others ([`Objects::changed_since`]).

use std::collections::{BTreeMap, VecDeque};

use weft_proto::v1;

use crate::id::NodeId;
use crate::table::digest::Fingerprint;

/// How long a tombstone is kept, in milliseconds. A node that was away for longer may bring a removed object back.
pub const TOMBSTONES_MS: u64 = 30 * 24 * 3600 * 1000;
/// Beyond the year 4000 no clock is merely wrong, and the counter has to have room.
const LATEST: u64 = (1 << 46) << 16;

/// How far another's clock may be ahead of this node's, in milliseconds. Further ahead, no certificate is valid for both.
const AHEAD_MS: u64 = 31 * 24 * 3600 * 1000;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A network, as JSON.
    Network,
    /// A join token: its hashed secret and terms.
    Token,
    /// A node whose certificates are refused and whose records are gone for good.
    Denied,
    /// Certificates that the cluster trusts.
    Ca,
    /// A node that holds the CA's key.
    Signer,
    /// What only a later version of the program knows: it is kept, passed on and compared, and means nothing here.
    Other(i32),
}

impl Kind {
    /// All kinds that this program knows.
    pub const ALL: [Kind; 5] = [Kind::Network, Kind::Token, Kind::Denied, Kind::Ca, Kind::Signer];

    fn from_wire(kind: i32) -> Option<Kind> {
        match v1::ObjectKind::try_from(kind) {
            Ok(v1::ObjectKind::Unspecified) => None,
            Ok(v1::ObjectKind::Network) => Some(Kind::Network),
            Ok(v1::ObjectKind::Token) => Some(Kind::Token),
            Ok(v1::ObjectKind::Denied) => Some(Kind::Denied),
            Ok(v1::ObjectKind::Ca) => Some(Kind::Ca),
            Ok(v1::ObjectKind::Signer) => Some(Kind::Signer),
            Err(_) => (kind > 0).then_some(Kind::Other(kind)),
        }
    }

    fn to_wire(self) -> i32 {
        match self {
            Kind::Network => v1::ObjectKind::Network.into(),
            Kind::Token => v1::ObjectKind::Token.into(),
            Kind::Denied => v1::ObjectKind::Denied.into(),
            Kind::Ca => v1::ObjectKind::Ca.into(),
            Kind::Signer => v1::ObjectKind::Signer.into(),
            Kind::Other(kind) => kind,
        }
    }
}

/// What is taken, from this node and from others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Objects, tombstones included.
    pub objects: usize,
    /// The longest id, in bytes.
    pub id_bytes: usize,
    /// The longest value, in bytes: with the ids, what one node's objects can cost in memory and on disk.
    pub value_bytes: usize,
    /// All values together, in bytes.
    pub total_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { objects: 1 << 16, id_bytes: 128, value_bytes: 64 << 10, total_bytes: 64 << 20 }
    }
}

/// Why an object is not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectRefused {
    /// The kind is none that any version can have.
    #[error("an object of no kind")]
    Kind,
    /// The id is empty, too long, or holds control characters.
    #[error("an object's id is empty, too long, or holds control characters")]
    Id,
    /// The value is too long.
    #[error("an object's value is too long")]
    Value,
    /// The clock is absurd.
    #[error("an object's clock is beyond the year 4000")]
    Clock,
    /// The clock is further ahead of this node's than any member's can be.
    #[error("an object's clock is more than a month ahead of this node's: check the clocks of both hosts")]
    Ahead,
    /// Somebody has written it with the last clock that there is.
    #[error("an object was written before with a clock that nothing outranks: found a new cluster")]
    Outranked,
    /// There are too many objects, or too much in them.
    #[error("the cluster has as many objects as it can: remove some")]
    Full,
}

/// One object, or what is left of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// When it was written, as a hybrid clock.
    pub clock: u64,
    /// Who wrote it.
    pub writer: NodeId,
    /// What it says; absent in a tombstone.
    pub value: Option<Vec<u8>>,
}

/// An object that is different now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectChange {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// What it says now; `None`: it was removed.
    pub value: Option<Vec<u8>>,
}

struct Kept {
    object: Object,
    version: u64,
    print: u64,
}

/// All objects of the cluster.
pub struct Objects {
    me: NodeId,
    limits: Limits,
    objects: BTreeMap<(Kind, String), Kept>,
    /// By the version at which they were last written here.
    recent: BTreeMap<u64, (Kind, String)>,
    version: u64,
    /// The sum of the objects' fingerprints.
    digest: u64,
    bytes: usize,
    changes: VecDeque<ObjectChange>,
}

impl Objects {
    /// No objects.
    pub fn new(me: NodeId, limits: Limits) -> Self {
        let (objects, recent, changes) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Objects { me, limits, objects, recent, version: 0, digest: 0, bytes: 0, changes }
    }

    /// Writes an object. It wins over what this node has seen of it.
    pub fn put(&mut self, wall_ms: u64, kind: Kind, id: &str, value: Vec<u8>) -> Result<(), ObjectRefused> {
        self.write_mine(wall_ms, kind, id, Some(value))
    }

    /// Removes an object. False if there is none, or it stays.
    pub fn remove(&mut self, wall_ms: u64, kind: Kind, id: &str) -> bool {
        self.get(kind, id).is_some() && self.write_mine(wall_ms, kind, id, None).is_ok()
    }

    /// Takes an object from another node. True if it is news: it is later than what is here.
    pub fn apply(&mut self, wall_ms: u64, object: v1::Object) -> Result<bool, ObjectRefused> {
        let kind = Kind::from_wire(object.kind).ok_or(ObjectRefused::Kind)?;
        // Who writes over one that is at the limit has to go a little beyond it.
        let here = self.objects.get(&(kind, object.id.clone())).map_or(0, |kept| kept.object.clock);
        if object.clock < LATEST
            && object.clock >> 16 > (here >> 16).saturating_add(1).max(wall_ms.saturating_add(AHEAD_MS))
        {
            return Err(ObjectRefused::Ahead);
        }
        self.restore(wall_ms, object)
    }

    /// Takes an object from the disk or from a join's answer, whatever this node's clock says now.
    pub fn restore(&mut self, wall_ms: u64, object: v1::Object) -> Result<bool, ObjectRefused> {
        let kind = Kind::from_wire(object.kind).ok_or(ObjectRefused::Kind)?;
        if object.clock >= LATEST {
            return Err(ObjectRefused::Clock);
        }
        let (clock, writer, value) = (object.clock, NodeId(object.writer), object.value);
        if value.is_none() && is_old(clock, wall_ms) {
            return Ok(false);
        }
        self.write(kind, object.id, Object { clock, writer, value })
    }

    /// What an object says.
    pub fn get(&self, kind: Kind, id: &str) -> Option<&[u8]> {
        self.objects.get(&(kind, id.to_owned()))?.object.value.as_deref()
    }

    /// An object with its clock and writer, be it a tombstone.
    pub fn object(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.objects.get(&(kind, id.to_owned())).map(|kept| &kept.object)
    }

    /// All objects of a kind that are not removed, by their ids.
    pub fn iter(&self, kind: Kind) -> impl Iterator<Item = (&str, &Object)> {
        let from = self.objects.range((kind, String::new())..);
        let all = from.take_while(move |((of, _), _)| *of == kind).map(|((_, id), kept)| (id.as_str(), &kept.object));
        all.filter(|(_, object)| object.value.is_some())
    }

    /// All objects and tombstones, for the disk and for one who joins.
    pub fn all(&self) -> impl Iterator<Item = v1::Object> {
        self.objects.iter().map(|((kind, id), kept)| to_wire(*kind, id, &kept.object))
    }

    /// A number that rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// About `max_bytes` of the objects that have changed since `version`, and the version to go on from.
    pub fn changed_since(&self, version: u64, max_bytes: usize) -> (Vec<v1::Object>, u64) {
        let (mut some, mut bytes, mut to) = (Vec::new(), 0, version);
        for (at, (kind, id)) in self.recent.range(version + 1..) {
            if bytes >= max_bytes && !some.is_empty() {
                break;
            }
            if let Some(kept) = self.objects.get(&(*kind, id.clone())) {
                bytes += size(id, &kept.object);
                some.push(to_wire(*kind, id, &kept.object));
            }
            to = *at;
        }
        (some, to)
    }

    /// All objects in one number: equal numbers, equal objects. 0 where there are none.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What has changed, oldest first.
    pub fn poll_change(&mut self) -> Option<ObjectChange> {
        self.changes.pop_front()
    }

    /// Forgets tombstones of 30 days ago. To be called now and then.
    pub fn tick(&mut self, wall_ms: u64) {
        let old = |kept: &Kept| kept.object.value.is_none() && is_old(kept.object.clock, wall_ms);
        let ids: Vec<_> = self.objects.iter().filter(|(_, kept)| old(kept)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(kept) = self.objects.remove(&id) {
                self.recent.remove(&kept.version);
                self.digest = self.digest.wrapping_sub(kept.print);
                self.bytes -= size(&id.1, &kept.object);
            }
        }
    }

    fn write_mine(&mut self, wall_ms: u64, kind: Kind, id: &str, value: Option<Vec<u8>>) -> Result<(), ObjectRefused> {
        // A wall clock that was set back does not take this node's word away from it. Only this object's clock counts: one
        // that somebody wrote in the year 3999 does not carry all others there.
        let before = self.objects.get(&(kind, id.to_owned())).map_or(0, |kept| kept.object.clock + 1);
        let clock = (wall_ms.min(LATEST >> 16) << 16).max(before).min(LATEST - 1);
        let written = self.write(kind, id.to_owned(), Object { clock, writer: self.me, value })?;
        if written { Ok(()) } else { Err(ObjectRefused::Outranked) }
    }

    fn write(&mut self, kind: Kind, id: String, object: Object) -> Result<bool, ObjectRefused> {
        if id.is_empty() || id.len() > self.limits.id_bytes || id.chars().any(char::is_control) {
            return Err(ObjectRefused::Id);
        }
        if object.value.as_ref().is_some_and(|value| value.len() > self.limits.value_bytes) {
            return Err(ObjectRefused::Value);
        }
        let here = self.objects.get(&(kind, id.clone()));
        if here.is_some_and(|here| rank(&here.object) >= rank(&object)) {
            return Ok(false);
        }
        let bytes = self.bytes - here.map_or(0, |here| size(&id, &here.object)) + size(&id, &object);
        let full = here.is_none() && self.objects.len() >= self.limits.objects;
        if full || (bytes > self.limits.total_bytes && bytes > self.bytes) {
            return Err(ObjectRefused::Full);
        }
        self.bytes = bytes;
        self.version += 1;
        if let Some(here) = here {
            self.recent.remove(&here.version);
            self.digest = self.digest.wrapping_sub(here.print);
        }
        let differs = here.and_then(|here| here.object.value.as_ref()) != object.value.as_ref();
        if differs {
            self.changes.push_back(ObjectChange { kind, id: id.clone(), value: object.value.clone() });
        }
        let print = print(kind, &id, &object);
        self.digest = self.digest.wrapping_add(print);
        self.recent.insert(self.version, (kind, id.clone()));
        self.objects.insert((kind, id), Kept { object, version: self.version, print });
        Ok(true)
    }
}

/// The later writer wins; the same writer at the same clock wrote the same, and if it did not, any order will do that
/// is the same on all nodes.
fn rank(object: &Object) -> (u64, NodeId, &Option<Vec<u8>>) {
    (object.clock, object.writer, &object.value)
}

fn is_old(clock: u64, wall_ms: u64) -> bool {
    (clock >> 16).saturating_add(TOMBSTONES_MS) < wall_ms
}

fn size(id: &str, object: &Object) -> usize {
    64 + id.len() + object.value.as_ref().map_or(0, Vec::len)
}

fn print(kind: Kind, id: &str, object: &Object) -> u64 {
    let print = Fingerprint::new(3).number(kind.to_wire() as u64).bytes(id.as_bytes());
    let print = print.number(object.clock).number(object.writer.0).number(object.value.is_some().into());
    print.bytes(object.value.as_deref().unwrap_or_default()).end()
}

fn to_wire(kind: Kind, id: &str, object: &Object) -> v1::Object {
    v1::Object {
        kind: kind.to_wire(),
        id: id.to_owned(),
        clock: object.clock,
        writer: object.writer.0,
        value: object.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(me: u64) -> Objects {
        Objects::new(NodeId(me), Limits::default())
    }

    fn carry(from: &Objects, to: &mut Objects) {
        for object in from.all() {
            to.apply(0, object).expect("a member's object");
        }
    }

    #[test]
    fn the_last_writer_wins_on_both_sides_in_either_order() {
        let (mut a, mut b) = (objects(1), objects(2));
        a.put(1000, Kind::Network, "blue", b"a".to_vec()).unwrap();
        b.put(1000, Kind::Network, "blue", b"b".to_vec()).unwrap();
        b.put(999, Kind::Network, "red", b"red".to_vec()).unwrap();
        carry(&a, &mut b);
        carry(&b, &mut a);
        // The same clock: the writer's id decides.
        assert_eq!(a.get(Kind::Network, "blue"), Some(&b"b"[..]));
        assert_eq!((a.digest(), a.iter(Kind::Network).count()), (b.digest(), 2));
        // A clock that was set back still wins over what its node has seen.
        assert!(a.remove(5, Kind::Network, "blue"));
        carry(&a, &mut b);
        assert_eq!((b.get(Kind::Network, "blue"), a.digest()), (None, b.digest()));
        let last = std::iter::from_fn(|| b.poll_change()).last();
        assert_eq!(last, Some(ObjectChange { kind: Kind::Network, id: "blue".into(), value: None }));
    }

    #[test]
    fn a_tombstone_outlives_a_late_copy_and_is_forgotten_after_30_days() {
        let mut a = objects(1);
        a.put(1000, Kind::Token, "t", b"x".to_vec()).unwrap();
        let late: Vec<_> = a.all().collect();
        assert!(a.remove(2000, Kind::Token, "t"));
        assert!(!a.remove(2000, Kind::Token, "t"));
        assert_eq!(a.apply(2000, late[0].clone()), Ok(false));
        let grave = a.all().next().expect("a tombstone");
        a.tick(2000 + TOMBSTONES_MS);
        assert_eq!(a.all().count(), 1);
        a.tick(2001 + TOMBSTONES_MS);
        assert_eq!((a.all().count(), a.digest(), a.bytes, a.recent.len()), (0, 0, 0, 0));
        // Another, whose clock is a moment behind, does not bring it back.
        assert_eq!(a.apply(2001 + TOMBSTONES_MS, grave), Ok(false));
    }

    #[test]
    fn what_no_member_would_send_is_refused_and_changes_nothing() {
        let limits = Limits { objects: 2, id_bytes: 4, value_bytes: 8, total_bytes: 200 };
        let mut a = Objects::new(NodeId(1), limits);
        let good = v1::Object { kind: 1, id: "blue".into(), clock: 9, writer: 2, value: Some(vec![1; 8]) };
        let refused = [
            (v1::Object { kind: 0, ..good.clone() }, ObjectRefused::Kind),
            (v1::Object { kind: -1, ..good.clone() }, ObjectRefused::Kind),
            (v1::Object { id: "bluer".into(), ..good.clone() }, ObjectRefused::Id),
            (v1::Object { id: String::new(), ..good.clone() }, ObjectRefused::Id),
            (v1::Object { id: "a\n".into(), ..good.clone() }, ObjectRefused::Id),
            (v1::Object { value: Some(vec![1; 9]), ..good.clone() }, ObjectRefused::Value),
            (v1::Object { clock: LATEST, ..good.clone() }, ObjectRefused::Clock),
        ];
        for (object, why) in refused {
            assert_eq!(a.apply(0, object.clone()), Err(why), "{object:?}");
        }
        assert_eq!((a.version(), a.digest()), (0, 0));
        let far = v1::Object { clock: LATEST - 1, ..good.clone() };
        let mut b = objects(1);
        assert_eq!((b.restore(0, far), b.put(7, Kind::Network, "red", vec![])), (Ok(true), Ok(())));
        assert_eq!(b.object(Kind::Network, "red").map(|object| object.clock), Some(7 << 16));
        assert_eq!(a.apply(0, good.clone()), Ok(true));
        assert_eq!(a.apply(0, v1::Object { id: "red".into(), ..good.clone() }), Ok(true));
        assert_eq!(a.apply(0, v1::Object { id: "pink".into(), ..good }), Err(ObjectRefused::Full));
        assert_eq!(a.changed_since(0, 1).0.len(), 1);
        assert_eq!(a.changed_since(1, 1000), (a.changed_since(0, 1000).0[1..].to_vec(), 2));
    }

    #[test]
    fn nobody_takes_the_last_word_before_there_is_anything_to_say() {
        let (mut a, mut b) = (objects(1), objects(2));
        let wall = 1 << 40;
        let grave = |clock| v1::Object { kind: 3, id: "m".into(), clock, writer: u64::MAX, value: None };
        for clock in [LATEST - 1, (wall + AHEAD_MS + 1) << 16] {
            assert_eq!(a.apply(wall, grave(clock)), Err(ObjectRefused::Ahead));
        }
        // As far ahead as a member's clock can be: who writes after it has its word, there and elsewhere.
        let edge = grave((wall + AHEAD_MS) << 16);
        assert_eq!((a.apply(wall, edge.clone()), b.apply(wall, edge)), (Ok(true), Ok(true)));
        a.put(wall, Kind::Denied, "m", b"out".to_vec()).unwrap();
        let said = a.all().next().unwrap();
        assert_eq!(b.apply(wall - 1, said), Ok(true));
        assert_eq!(b.get(Kind::Denied, "m"), Some(&b"out"[..]));
        // What an earlier version let in.
        let mut c = objects(3);
        assert_eq!(c.restore(wall, grave(LATEST - 1)), Ok(true));
        assert_eq!(c.put(wall, Kind::Denied, "m", b"out".to_vec()), Err(ObjectRefused::Outranked));
        assert_eq!(c.get(Kind::Denied, "m"), None);
    }
}
