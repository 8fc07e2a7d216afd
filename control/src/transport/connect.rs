//! Dialling a member.
//!
//! In: a node and where it listens. Out: a gRPC channel to exactly that node, or the reason why there is none, whichever
//! side refused. A channel that breaks dials again at its next call, and judges the peer anew.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription as Alert;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::connection::{Connection, Peer, distrusted};
use crate::id::NodeId;
use crate::security::authz::{PeerRefused, Role};
use crate::security::trust::Trust;
use crate::security::{PeerVerifier, client_config, server_name};

/// How long a dial may take, from the first packet to the peer's first word over TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot reach {address}: {error}; check the address, the control port, and firewalls between")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// It takes too long.
    #[error("{address} does not answer within {CONNECT_TIMEOUT:?}; check that weft runs there, and firewalls between")]
    Timeout {
        /// Where.
        address: SocketAddr,
    },
    /// This node refuses the peer.
    #[error("refused {address}: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: PeerRefused,
    },
    /// The peer refuses this node.
    #[error("{address} refuses this node: {reason}")]
    RefusedByPeer {
        /// Where.
        address: SocketAddr,
        /// What its alert means.
        reason: String,
    },
    /// Something else goes wrong in the handshake.
    #[error("no TLS connection to {address}: {error}; check that it is weft's control port")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// What TLS says.
        error: io::Error,
    },
}

/// Connects to `node` at `address`. Only that node's certificate is accepted.
pub async fn connect(trust: &Trust, node: NodeId, address: SocketAddr) -> Result<Channel, ConnectError> {
    let first = dial(trust, node, address).await?;
    let trust = trust.clone();
    Ok(channel(first, move || {
        let trust = trust.clone();
        async move { dial(&trust, node, address).await }
    }))
}

/// A channel over a connection that is there, which asks `again` for another when it breaks.
pub(crate) fn channel<A, F>(first: Connection, again: A) -> Channel
where
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Connection, ConnectError>> + Send + 'static,
{
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = service_fn(move |_: Uri| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let again = first.is_none().then(&again);
        async move {
            match (first, again) {
                (Some(first), _) => Ok(TokioIo::new(first)),
                (None, Some(again)) => again.await.map(TokioIo::new),
                (None, None) => unreachable!("one of the two is there"),
            }
        }
    });
    // The address is the connector's; HTTP/2 wants an authority, and a constant one tells nothing.
    let endpoint = Endpoint::from_static("http://weft")
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true);
    endpoint.connect_with_connector_lazy(connector)
}

async fn dial(trust: &Trust, node: NodeId, address: SocketAddr) -> Result<Connection, ConnectError> {
    let verifier = PeerVerifier::new(trust, Some(node));
    let dialled = timeout(CONNECT_TIMEOUT, handshake(client_config(trust, &verifier), address)).await;
    let (tls, early) = match dialled {
        Err(_) => return Err(ConnectError::Timeout { address }),
        Ok(Err(error)) => {
            return Err(match verifier.verdict() {
                Some(Err(reason)) => ConnectError::Refused { address, reason },
                _ => error,
            });
        }
        Ok(Ok(opened)) => opened,
    };
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let distrusted = distrusted(trust.clone(), Role::Server, chain, Some(node));
    let end = Box::pin(async move { io::Error::new(io::ErrorKind::PermissionDenied, distrusted.await) });
    let peer = Peer { address, identity: verifier.verdict().and_then(Result::ok) };
    Ok(Connection::new(tls, early, peer, end))
}

/// Opens a TLS connection and waits for the peer's first bytes, which its HTTP/2 sends unasked.
///
/// In TLS 1.3 a client is done before the server has judged its certificate: without these bytes it would take a
/// refusal for a connection that breaks later.
pub(crate) async fn handshake(
    config: Arc<rustls::ClientConfig>,
    address: SocketAddr,
) -> Result<(TlsStream<TcpStream>, Bytes), ConnectError> {
    let tcp = TcpStream::connect(address).await.map_err(|error| ConnectError::Unreachable { address, error })?;
    // A small frame must not wait for the acknowledgement of another. Fails only on a socket that is gone.
    let _ = tcp.set_nodelay(true);
    let explain = |error| explain(address, error);
    let mut tls = TlsConnector::from(config).connect(server_name(), tcp).await.map_err(explain)?;
    let mut early = vec![0; 1024];
    let length = tls.read(&mut early).await.map_err(explain)?;
    if length == 0 {
        return Err(explain(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    early.truncate(length);
    Ok((TlsStream::Client(tls), early.into()))
}

fn explain(address: SocketAddr, error: io::Error) -> ConnectError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = tls else { return ConnectError::Tls { address, error } };
    let reason = match alert {
        Alert::CertificateRevoked => "this node was removed from the cluster (`weft members rm`); \
            move its state directory away to join as a new node"
            .to_owned(),
        Alert::CertificateExpired => "this node's certificate has expired or is not valid yet, or a clock is wrong; \
            check both clocks, then let it join anew"
            .to_owned(),
        Alert::UnknownCA => "this node's certificate is of another cluster, or missed a rotation of the CA; \
            let it join anew"
            .to_owned(),
        Alert::AccessDenied => "it has the same id as this node: two hosts run from one state directory".to_owned(),
        other => format!("it sent the TLS alert {other:?}"),
    };
    ConnectError::RefusedByPeer { address, reason }
}
