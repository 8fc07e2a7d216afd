//! Who is who in a cluster.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node: 64 random bits, for good. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(pub u64);

/// One of a node's lives: the incarnation is raised at each start, and a log of records belongs to one of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u64,
}

/// The highest life that others may have seen a node in, beyond its own: more than the milliseconds of 8,000 years.
pub(crate) const SEEN_LIVES: u64 = 1 << 48;

/// A text that names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no node's id: give 16 hexadecimal digits")]
pub struct NotANodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(NodeId).ok_or_else(|| NotANodeId(text.to_owned()))
    }
}

impl TryFrom<String> for NodeId {
    type Error = NotANodeId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_shown() {
        let id = NodeId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "+123456789abcdef", "0123456789abcdef0", "0123456789abcdeg"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
    }
}
