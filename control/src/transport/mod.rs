//! Connections between nodes: the control port, and dialling others.
//!
//! The shell around the pure rooms of this crate: sockets, tasks and gRPC live here and nowhere else in it. Everything
//! is TLS 1.3 with certificates on both sides (RFC 8446), but for a node that joins, which has none yet.
//!
//! * [`listener`]: the port, and what it bears; [`serve()`] runs it. [`gate`] keeps callers without a certificate to
//!   [`admission`]. [`connection`] ends with its peer's right to it. [`refusals`] says what was turned away.
//! * [`connect`]: a channel to exactly one member. [`join`]: a new node's way in.
//!
//! # How a node uses it
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! use weft_control::id::NodeId;
//! use weft_control::security::ca::{Authority, Permit};
//! use weft_control::security::credentials::Credentials;
//! use weft_control::security::identity::Identity;
//! use weft_control::security::key::NodeKey;
//! use weft_control::security::token::Token;
//! use weft_control::security::trust::Trust;
//! use weft_control::transport::admission::Registrar;
//! use weft_control::transport::join::{Joiner, join};
//! use weft_control::transport::listener::Listener;
//! use weft_control::transport::refusals::Refusals;
//! use weft_control::transport::{connect::connect, serve};
//!
//! # async fn run(registrar: Arc<impl Registrar>, services: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
//! // The first node: a CA, and a certificate from it.
//! let now = SystemTime::now();
//! let authority = Authority::found(now);
//! let key = NodeKey::generate();
//! let identity = Identity::new(NodeId(1), "left")?;
//! let certificate = authority.sign(&key.request(&identity), &Permit::Renewal(identity.node()), now)?;
//! let credentials = Credentials::new(&key, &certificate, &[authority.certificate()])?;
//!
//! // Every node: one place that says whom it trusts, and the port.
//! let trust = Trust::new(credentials);
//! let listener = Listener::bind("192.0.2.1:7956".parse()?, trust.clone(), Refusals::log()).await?;
//! let shutdown = std::future::pending();
//! // `services` holds the Cluster service, whose methods ask `gate::peer_of(&request)` who calls.
//! tokio::spawn(serve(listener, registrar, services, shutdown));
//!
//! // A token: the text for the user, the record for the cluster's objects.
//! let (token, _record) = Token::create(authority.hash(), Duration::from_secs(3600), Some(3), now);
//!
//! // A new node, with the token's text from a file.
//! let (key, identity) = (NodeKey::generate(), Identity::new(NodeId(2), "right")?);
//! let joiner = Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) };
//! let joined = join("192.0.2.1:7956".parse()?, joiner).await?;
//! let trust = Trust::new(joined.credentials);
//!
//! // A member calls another; nobody else's certificate is accepted there.
//! let channel = connect(&trust, NodeId(1), "192.0.2.1:7956".parse()?).await?;
//! let client = weft_proto::v1::cluster_client::ClusterClient::new(channel);
//! # Ok(()) }
//! ```

pub mod admission;
pub mod connect;
pub mod connection;
pub mod gate;
pub mod join;
pub mod listener;
pub mod refusals;
mod serve;
mod slots;
mod throttle;

pub use gate::peer_of;
pub use serve::serve;
