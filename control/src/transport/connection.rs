//! One TLS connection between nodes, for as long as its peer may have it.
//!
//! The bytes are TLS's. What is added: who the peer is, and an end. A member's connection ends when its certificate is
//! no longer good (denied, expired, signed by a CA that was dropped), a stranger's after a fixed time, either one when
//! it has to make room. The end shows as a read error, which makes HTTP/2 close the connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::id::NodeId;
use crate::security::authz::{self, PeerRefused, Role};
use crate::security::credentials;
use crate::security::identity::Identity;
use crate::security::trust::Trust;

/// How long the wall clock is believed to run evenly: a certificate's end is looked at again after this time.
const CLOCK_CHECK: Duration = Duration::from_secs(600);

/// Who is at the other end. It is in the extensions of each request that the listener serves.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Who it is by its certificate; nobody knows of one that came without.
    pub identity: Option<Identity>,
}

/// Resolves when a connection must end, and says why.
pub(crate) type End = Pin<Box<dyn Future<Output = io::Error> + Send>>;

/// A connection whose handshake is done.
pub struct Connection {
    tls: TlsStream<TcpStream>,
    /// What was read before the connection was handed on.
    early: Bytes,
    peer: Peer,
    end: End,
}

impl Connection {
    pub(crate) fn new(tls: TlsStream<TcpStream>, early: Bytes, peer: Peer, end: End) -> Connection {
        Connection { tls, early, peer, end }
    }
}

/// Resolves when the certificate that a peer showed is no longer accepted.
pub(crate) async fn distrusted(
    trust: Trust,
    role: Role,
    chain: Vec<CertificateDer<'static>>,
    expected: Option<NodeId>,
) -> PeerRefused {
    let mut changes = trust.subscribe();
    let not_after = chain.first().and_then(|own| credentials::validity(own)).map(|(_, not_after)| not_after);
    loop {
        let state = changes.borrow_and_update().clone();
        let now = trust.now();
        if let Err(refused) = authz::judge(role, &state, &chain, expected, now) {
            return refused;
        }
        let now = std::time::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let left = not_after.and_then(|end| end.duration_since(now).ok()).unwrap_or_default();
        tokio::select! {
            // Not an error while `trust` lives.
            _ = changes.changed() => {}
            () = sleep(left.min(CLOCK_CHECK) + Duration::from_secs(1)) => {}
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(why) = self.end.as_mut().poll(cx) {
            self.end = Box::pin(std::future::ready(io::Error::from(io::ErrorKind::ConnectionAborted)));
            return Poll::Ready(Err(why));
        }
        if self.early.has_remaining() {
            let length = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
