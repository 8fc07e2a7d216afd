//! weft's control plane: what a network is, and who holds which address.
//!
//! Everything here but [`transport`] and [`security::files`] is pure: requests, existing state and random identifiers
//! come in, new state or a refusal comes out. No socket, no clock, no file. A refusal says what is wrong, why, and what
//! to do, on one line, since it is what the user reads; and it has changed nothing.
//!
//! * [`network`]: a network's definition, [`define`]: how it comes to be, [`options`]: what may be set on it.
//! * [`id`]: who is who in a cluster, [`networks`]: the networks that its nodes have made.
//! * [`security`]: certificates, tokens, and whom to trust, [`transport`]: connections between nodes.
//! * [`ipam`]: the addresses of one subnet, [`space`]: those of a whole network that one node has for itself,
//!   [`blocks`]: those of a cluster's network.
//! * [`local`]: networks of one host.
//! * [`table`]: what nodes tell each other about themselves and their stations, [`objects`]: what belongs to the cluster.
//! * [`cluster`]: all that a node knows of its cluster, as one state machine; [`membership`]: who is there and lives.

pub mod blocks;
pub mod cluster;
pub mod define;
pub mod exchange;
pub mod id;
pub mod ipam;
pub mod local;
pub mod membership;
pub mod network;
pub mod networks;
pub mod objects;
pub mod options;
pub mod security;
pub mod space;
mod spread;
pub mod table;
pub mod transport;
