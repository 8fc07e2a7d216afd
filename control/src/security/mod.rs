//! Who is trusted, why, and for how long.
//!
//! A cluster has a CA ([`ca`]). A node has a key ([`key`]) and a certificate of the CA that names it ([`identity`]);
//! together with the CAs that the cluster trusts they are its [`credentials`], which a running node keeps in one
//! place ([`trust`]). [`authz`] judges a peer's certificate, [`tls`] is the protocol that carries it, and a [`token`]
//! lets a node in that has no certificate yet.
//!
//! Keys and secrets come from the cryptographic library's generator; the time comes in. No socket, no file but in
//! `files`.

pub mod authz;
pub mod ca;
pub mod credentials;
mod hex;
pub mod identity;
pub mod key;
mod tls;
pub mod token;
pub mod trust;

pub(crate) use tls::{PeerVerifier, client_config, joiner_config, server_config, server_name};
