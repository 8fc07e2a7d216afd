//! Sealing: what an underlay carries is readable, changeable and repeatable by nobody but the two nodes at its ends.
//!
//! Sessions are per pair of nodes, one per direction, and never shared by a group. [`handshake`] makes a session's keys
//! of what both sides contributed over mutual TLS; [`suite`] is the AEAD; [`session`] numbers, seals and opens the
//! datagrams of one lane; [`replay`] is a lane's window; [`table`] holds all sessions of a node and hands each worker its
//! share; [`worker`] is that share; [`pending`] keeps the frames that came before their session;
//! [`key_log`] writes keys down for who must look inside.
//!
//! Bytes, the moment and random contributions enter; sealed or opened bytes, or a
//! [`DropReason`](crate::drops::DropReason), leave. The format is [`wire::sealed`](crate::wire::sealed).

pub mod handshake;
pub mod key_log;
#[cfg(all(test, feature = "model"))]
mod model;
pub mod pending;
pub mod replay;
pub mod session;
pub mod suite;
pub mod table;
pub mod worker;

/// A node at the other end of a session: the number of its id, for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u64);
