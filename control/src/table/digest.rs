//! Whether two tables are equal, in few bytes.
//!
//! A live record has a *fingerprint*; a log's hash is the sum of them, so that it is kept up by one addition or
//! subtraction per operation and is the same whatever the order of arrival. A table's digest is made of its logs'
//! positions and hashes. None of it is cryptographic: it finds losses and mistakes, and a member who wants to collide
//! it could as well lie about it.

use weft_proto::v1;

use super::Table;
use super::entry::{Key, Value};
use super::log::{Source, Standing};

/// A hasher whose result is the same on every node and in every version of the program.
#[derive(Clone)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// A start of its own for each `purpose`.
    pub(crate) fn new(purpose: u64) -> Self {
        Fingerprint(mix(purpose, 0x9e37_79b9_7f4a_7c15))
    }

    /// Adds a number.
    pub(crate) fn number(self, number: u64) -> Self {
        Fingerprint(mix(self.0 ^ number, 0xa076_1d64_78bd_642f))
    }

    /// Adds bytes and their number.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let start = self.number(bytes.len() as u64);
        bytes.chunks(8).fold(start, |print, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            print.number(u64::from_le_bytes(word))
        })
    }

    /// The result.
    pub(crate) fn end(self) -> u64 {
        mix(self.0, 0xe703_7ed1_a0b4_28db)
    }
}

/// Both halves of a 128-bit product: each bit of the result depends on all bits of the factors.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ b.rotate_left(23)) * u128::from(b | 1);
    (product as u64) ^ (product >> 64) as u64 ^ a.rotate_left(32)
}

/// The fingerprint of a live record.
pub(super) fn record(seq: u64, key: &Key, value: &Value) -> u64 {
    let print = Fingerprint::new(2).number(seq).number(key.vni().map_or(0, |vni| vni.get().into()));
    let print = match key {
        Key::Node => print.number(1),
        Key::Member(_) => print.number(2),
        Key::Mac(_, mac) => print.number(3).number(mac.to_bits()),
        Key::Ip(_, ip) => print.number(4).bytes(&super::wire::octets(*ip)),
        Key::Block(_, net) => print.number(5).bytes(&super::wire::octets(net.addr())).number(net.prefix_len().into()),
        Key::Name(_, name) => print.number(6).bytes(name.as_bytes()),
        Key::Other(other) => print.number(7).number(other.vni.into()).number(other.kind.into()).bytes(&other.data),
    };
    let print = match value {
        Value::Member | Value::Block => print,
        Value::Node(node) => print
            .bytes(node.name.as_bytes())
            .bytes(&super::wire::octets(node.address))
            .number(node.control_port.into())
            .bytes(node.version.as_bytes())
            .number(node.signer.into()),
        Value::Mac(mobility) => print.number(mobility.sequence.into()).number(mobility.orderly.into()),
        Value::Ip(mac) => print.number(mac.to_bits()),
        Value::Other(data) => print.bytes(data),
        Value::Name(ips) => ips.iter().fold(print, |print, ip| print.bytes(&super::wire::octets(*ip))),
    };
    print.end()
}

fn position(source: &Source) -> v1::Position {
    let log = &source.log;
    // 0 says that there is nothing to compare; a sum that happens to be 0 is shown as 1.
    let hash = if log.is_settled() { log.hash.max(1) } else { 0 };
    v1::Position { node: source.node.0, incarnation: log.incarnation, applied: log.applied, floor: log.floor, hash }
}

/// What a log adds to the table's digest.
fn share(source: &Source) -> u64 {
    let at = position(source);
    if source.standing != Standing::Alive || at.incarnation == 0 {
        return 0;
    }
    Fingerprint::new(1).number(at.node).number(at.incarnation).number(at.applied).number(at.hash).end()
}

impl Table {
    /// The table in one number: equal numbers, equal tables. Logs of dead nodes do not count, since nodes need not
    /// notice at the same moment that another is dead, or for 24 h.
    pub fn digest(&self) -> u64 {
        let shares = || self.sources.iter().flatten().fold(0, |sum: u64, source| sum.wrapping_add(share(source)));
        debug_assert_eq!(self.digest, shares(), "a change of a log that was not reckoned in");
        self.digest
    }

    /// Brings the digest up to date with one log: among a thousand nodes there is always one that changes, and the digest is
    /// told to each neighbour each second.
    pub(super) fn reckon(&mut self, at: u32) {
        let source = self.source_mut(at);
        let share = share(source);
        let before = std::mem::replace(&mut source.share, share);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(share);
    }

    /// What is known of each origin, dead ones included.
    pub fn vector(&self) -> Vec<v1::Position> {
        self.sources.iter().flatten().map(position).filter(|at| at.incarnation != 0).collect()
    }

    /// What is known of one origin.
    pub fn position(&self, node: crate::id::NodeId) -> Option<v1::Position> {
        self.source(node).map(position).filter(|at| at.incarnation != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_each_byte_and_on_where_the_parts_end() {
        let print = |parts: &[&[u8]]| parts.iter().fold(Fingerprint::new(0), |print, part| print.bytes(part)).end();
        let all = [print(&[]), print(&[b""]), print(&[b"a"]), print(&[b"a\0"]), print(&[b"ab"]), print(&[b"a", b"b"])];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:x?}");
        // The same in every version: nodes of different versions compare them.
        assert_eq!(print(&[b"weft"]), print(&[b"weft"]));
    }
}
