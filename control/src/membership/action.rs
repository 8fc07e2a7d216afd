//! What membership says.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::identity::Identity;
use crate::id::NodeId;

/// How a member does, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It answers.
    Alive,
    /// It answered no probe, and has some seconds to defend itself.
    Suspect,
    /// It did not. It is called on from time to time, and may come back.
    Dead,
    /// It said goodbye.
    Left,
}

impl State {
    /// Whether the member counts as one that is there.
    pub fn is_active(self) -> bool {
        matches!(self, State::Alive | State::Suspect)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Alive => "alive",
            State::Suspect => "suspect",
            State::Dead => "dead",
            State::Left => "left",
        })
    }
}

/// What is to be done, or to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A datagram goes to a member.
    Send {
        /// To whom.
        to: NodeId,
        /// Where it listens.
        address: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// A member is new, in another state, or in another life.
    Changed {
        /// As it is now.
        now: Identity,
        /// How it does.
        state: State,
        /// As it was, unless it is new.
        before: Option<(Identity, State)>,
    },
    /// A member is not known any more: it was evicted, or was dead or gone for a day.
    Forgotten(NodeId),
    /// Others had given this node up. It came back.
    Returned,
    /// Others hold this node for gone under a rank that it does not come up to: it needs a life beyond this one.
    Outranked {
        /// The highest that they can have seen.
        seen: u64,
    },
    /// Nobody woke this node for so long after a timer was due.
    Paused(Duration),
}

/// Why a datagram was dropped. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not of this protocol.
    #[error("a membership datagram that is cut short or not of this protocol")]
    Malformed,
    /// It names another sender than the certificate.
    #[error("a membership datagram in the name of another node")]
    Forged,
    /// The sender was evicted.
    #[error("a membership datagram of a node that was evicted")]
    Evicted,
}
