//! A new node's way in.
//!
//! The joiner knows the hash of the cluster's CA from its token and trusts nothing else. It connects without a
//! certificate, accepts the other side only if its chain leads to that CA, and only then, on that same connection,
//! shows the token and asks for a certificate. What it gets is checked before it is used: a certificate for its own
//! key and id, under CAs of which one is the token's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use weft_proto::v1;
use weft_proto::v1::admission_client::AdmissionClient;

use super::connect::{CONNECT_TIMEOUT, ConnectError, channel, handshake};
use super::connection::{Connection, Peer};
use crate::security::ca::CaHash;
use crate::security::credentials::Credentials;
use crate::security::identity::Identity;
use crate::security::joiner_config;
use crate::security::key::NodeKey;
use crate::security::token::Token;

/// How long a joiner waits in all: a join that comes to nothing is to end within 5 s, the daemon's start included.
pub const JOIN_TIMEOUT: Duration = CONNECT_TIMEOUT;
/// The longest answer to a join: the roster and objects of a large cluster.
const ANSWER_BYTES: usize = 64 << 20;

/// What a node needs to join.
#[derive(Debug)]
pub struct Joiner<'a> {
    /// The token that it was given.
    pub token: &'a Token,
    /// Who it will be.
    pub identity: &'a Identity,
    /// Its key, which it keeps.
    pub key: &'a NodeKey,
    /// The range of protocol versions that it speaks.
    pub protocol: (u32, u32),
}

/// What a node gets when it joins.
#[derive(Debug)]
pub struct Joined {
    /// Its key, its certificate, and the CAs of the cluster.
    pub credentials: Credentials,
    /// The cluster's VXLAN port.
    pub vxlan_port: u16,
    /// The cluster's members. To be judged as any message of a member.
    pub roster: Vec<v1::RosterEntry>,
    /// The cluster's objects. To be judged as any message of a member.
    pub objects: Vec<v1::Object>,
}

/// Why a node has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Whoever answers is not of the cluster that the token is for. The token was not sent.
    #[error(
        "{address} is not of the cluster that the token is for, so the token was not sent ({why}): check --join, \
         or make a token on a member of that cluster"
    )]
    NotTheCluster {
        /// Where.
        address: SocketAddr,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The cluster refuses.
    #[error("{address} refuses the join: {why}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What it says.
        why: String,
    },
    /// The cluster cannot let the node in at the moment.
    #[error("{address} cannot let the node in now: {why}; try again")]
    Unavailable {
        /// Where.
        address: SocketAddr,
        /// What it says.
        why: String,
    },
    /// What was answered makes no sense.
    #[error("the answer of {address} is no good: {why}; nothing was stored")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// What is wrong with it.
        why: String,
    },
}

/// Joins the cluster by its member at `address`.
pub async fn join(address: SocketAddr, joiner: Joiner<'_>) -> Result<Joined, JoinError> {
    let joined = timeout(JOIN_TIMEOUT, ask(address, &joiner)).await;
    let answer = joined.map_err(|_| ConnectError::Timeout { address })??;
    accept(address, &joiner, answer)
}

async fn ask(address: SocketAddr, joiner: &Joiner<'_>) -> Result<v1::JoinResponse, JoinError> {
    let config = joiner_config(joiner.token.ca(), Arc::new(DefaultTimeProvider));
    let (tls, early) = handshake(config, address).await.map_err(|error| not_the_cluster(address, error))?;
    let end = Box::pin(async {
        sleep(JOIN_TIMEOUT).await;
        io::Error::from(io::ErrorKind::TimedOut)
    });
    let first = Connection::new(tls, early, Peer { address, identity: None }, end);
    // The secret goes to the peer that was verified and to no other: the channel cannot dial again.
    let channel = channel(first, move || async move { Err(ConnectError::Timeout { address }) });
    let mut client = AdmissionClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
    let request = v1::JoinRequest {
        token: joiner.token.to_string(),
        request: joiner.key.request(joiner.identity),
        protocol_min: joiner.protocol.0,
        protocol_max: joiner.protocol.1,
    };
    let answer = client.join(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refused(address, &status))
}

fn not_the_cluster(address: SocketAddr, error: ConnectError) -> JoinError {
    let ConnectError::Tls { error: tls, .. } = &error else { return error.into() };
    match tls.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => JoinError::NotTheCluster { address, why: why.to_string() },
        _ => error.into(),
    }
}

fn refused(address: SocketAddr, status: &Status) -> JoinError {
    let why = status.message().to_owned();
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => {
            JoinError::Unavailable { address, why }
        }
        _ => JoinError::Refused { address, why },
    }
}

fn accept(address: SocketAddr, joiner: &Joiner<'_>, answer: v1::JoinResponse) -> Result<Joined, JoinError> {
    let wrong = |why: String| JoinError::Answer { address, why };
    if !answer.roots.iter().any(|root| CaHash::of(root) == joiner.token.ca()) {
        return Err(wrong("the token's CA is not among the cluster's".to_owned()));
    }
    let credentials = Credentials::new(joiner.key, &answer.certificate, &answer.roots);
    let credentials = credentials.map_err(|error| wrong(error.to_string()))?;
    if credentials.identity() != joiner.identity {
        return Err(wrong(format!("the certificate is for {}", credentials.identity())));
    }
    let port = u16::try_from(answer.vxlan_port).ok().filter(|port| *port != 0);
    let vxlan_port = port.ok_or_else(|| wrong(format!("{} is no UDP port", answer.vxlan_port)))?;
    Ok(Joined { credentials, vxlan_port, roster: answer.roster, objects: answer.objects })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::id::NodeId;
    use crate::security::ca::{Authority, Permit};

    fn sign(authority: &Authority, key: &NodeKey, identity: &Identity) -> Vec<u8> {
        let permit = Permit::Renewal(identity.node());
        authority.sign(&key.request(identity), &permit, SystemTime::now()).unwrap()
    }

    #[test]
    fn an_answer_is_taken_only_for_this_node_key_and_cluster() {
        let authority = Authority::found(SystemTime::now());
        let other = Authority::found(SystemTime::now());
        let key = NodeKey::generate();
        let identity = Identity::new(NodeId(1), "one").unwrap();
        let (token, _) = Token::create(authority.hash(), JOIN_TIMEOUT, None, SystemTime::now());
        let address = "192.0.2.1:7956".parse().unwrap();
        let judge = |certificate: &[u8], root: &Authority, vxlan_port| {
            let (certificate, roots) = (certificate.to_vec(), vec![root.certificate().to_vec()]);
            let answer = v1::JoinResponse { certificate, roots, vxlan_port, ..Default::default() };
            accept(address, &Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) }, answer)
        };
        let good = sign(&authority, &key, &identity);
        assert_eq!(judge(&good, &authority, 4789).unwrap().vxlan_port, 4789);

        let stranger = Identity::new(NodeId(2), "one").unwrap();
        let renamed = Identity::new(NodeId(1), "two").unwrap();
        let bad: &[(&[u8], &Authority, u32)] = &[
            (&good, &other, 4789),
            (&good, &authority, 0),
            (&good, &authority, 65536),
            (&[], &authority, 4789),
            (&sign(&authority, &NodeKey::generate(), &identity), &authority, 4789),
            (&sign(&authority, &key, &stranger), &authority, 4789),
            (&sign(&authority, &key, &renamed), &authority, 4789),
            (&sign(&other, &key, &identity), &authority, 4789),
        ];
        for (n, (certificate, root, port)) in bad.iter().enumerate() {
            let error = judge(certificate, root, *port).unwrap_err();
            assert!(matches!(error, JoinError::Answer { .. }), "{n}: {error}");
        }
    }
}
