//! The other nodes, and what admits them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use weft_proto::v1;

use super::{UNKNOWN, filled, utc};

/// One of `weft members`.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its lasting identifier.
    pub id: String,
    /// The address of its VTEP.
    pub address: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: &'static str,
    /// Whether it holds the key of the cluster's CA.
    pub signer: bool,
    /// The version of its daemon.
    pub version: String,
    /// When its daemon started by its own clock, in milliseconds since 1970, in the document in UTC; null for one that does
    /// not answer.
    #[serde(serialize_with = "in_utc")]
    pub started: Option<u64>,
}

fn in_utc<S: Serializer>(millis: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    millis.map(utc).serialize(to)
}

impl Member {
    /// For how many seconds its daemon is up. Nothing is known of one whose clock is ahead of this host's.
    pub fn uptime_seconds(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        now.checked_sub(Duration::from_millis(self.started?)).map(|up| up.as_secs())
    }
}

impl From<v1::Member> for Member {
    fn from(wire: v1::Member) -> Self {
        let state = match wire.state() {
            v1::MemberState::Alive => "alive",
            v1::MemberState::Suspect => "suspect",
            v1::MemberState::Dead => "dead",
            v1::MemberState::Left => "left",
            v1::MemberState::Unspecified => UNKNOWN,
        };
        let v1::Member { name, id, address, signer, version, started, .. } = wire;
        Member { state, name, id, address, signer, version, started }
    }
}

/// `weft token create`, and one of `weft token ls`.
#[derive(Debug, Serialize)]
pub struct Token {
    /// Its identifier.
    pub id: String,
    /// All of it, only when it has just been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When it was made, in UTC.
    pub created: String,
    /// Until when nodes may join with it, in UTC.
    pub expires: String,
    /// How many nodes still may; null for any number.
    pub uses_left: Option<u32>,
}

impl From<v1::Token> for Token {
    fn from(wire: v1::Token) -> Self {
        let (created, expires) = (utc(wire.created.saturating_mul(1000)), utc(wire.expires.saturating_mul(1000)));
        Token { id: wire.id, token: filled(wire.token), created, expires, uses_left: wire.uses_left }
    }
}
