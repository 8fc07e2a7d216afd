//! Who is trusted, why, and for how long.
//!
//! A cluster has a CA ([`ca`]), and while it is replaced two ([`roots`]). A node has a key ([`key`]) and a certificate
//! of the CA that names it ([`identity`]); together with the CAs that the cluster trusts they are its [`credentials`],
//! which a running node keeps in one place ([`trust`]) and on the disk ([`files`]). [`authz`] judges a peer's
//! certificate, `tls` is the protocol that carries it. A [`token`] lets a node in that has no certificate yet, a
//! [`denial`] shuts one out for good, an [`appointment`] makes one a signer: a [`statement`] of the CA each.
//!
//! Keys and secrets come from the cryptographic library's generator; the time comes in. No socket, and no file but
//! those of [`files`].

pub mod appointment;
pub mod authz;
pub mod ca;
pub mod credentials;
pub mod denial;
pub mod files;
mod hex;
pub mod identity;
pub mod key;
pub mod roots;
pub mod statement;
mod tls;
pub mod token;
pub mod trust;

pub(crate) use tls::{PeerVerifier, client_config, joiner_config, server_config, server_name};
