//! The node: the daemon that joins what the user wants, the data plane and the system.
//!
//! [`daemon`] starts and ends it. [`Node`] holds its networks and endpoints and changes them, one change after
//! another, each of them wholly or not at all; every change is written to the state directory ([`state`])
//! before it is answered. [`api`] serves it over the unix socket ([`socket`]); [`reconcile`] brings endpoints
//! back after a restart and notices those whose namespace has gone.

pub mod api;
mod capture;
mod cluster;
pub mod config;
pub mod daemon;
mod endpoints;
mod error;
mod events;
mod examine;
mod figures;
mod key_log;
mod local;
pub(crate) mod locate;
mod lock;
mod names;
mod networks;
mod notify;
pub(crate) mod ports;
mod recent;
pub mod reconcile;
mod reload;
mod restore;
mod served;
pub mod socket;
pub mod state;
mod tables;
mod trace;
pub mod underlay;

pub use cluster::Membership;
pub use error::NodeError;
pub use tables::Node;
use tables::new_id;
