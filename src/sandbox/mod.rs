//! The sandbox of the Container Network Model: a network namespace, and the links inside it.
//!
//! Namespaces come in as names or paths from the user and go out as open handles ([`Netns`]); links are moved, dressed,
//! looked up and deleted through [`link`]. This is the only room that talks rtnetlink.

pub mod announce;
pub mod devices;
pub mod link;
pub mod netns;
pub mod queue;
pub mod redirect;
pub mod route;

pub use link::{LinkError, LinkSpec};
pub use netns::{Identity, Netns, NetnsError};
