//! The control port: from a TCP listener to connections whose peers are known.
//!
//! Out comes a stream of [`Connection`]s, a member's or a stranger's, that tonic serves. A handshake has five seconds;
//! handshakes, strangers and each member hold a bounded number of connections, so that what thousands of silent
//! connections cost is bounded too, and the port goes on serving.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, End, Peer, distrusted};
use super::refusals::{Reason, Refusals};
use super::slots::Slots;
use crate::id::NodeId;
use crate::security::authz::Role;
use crate::security::trust::Trust;
use crate::security::{PeerVerifier, server_config};

/// How long connections live on after the port is closed.
const GRACE: Duration = Duration::from_millis(500);

/// What the port bears. A handshake or a stranger's connection costs some 20 to 50 KB.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a handshake may take. Default 5 s.
    pub handshake: Duration,
    /// Handshakes at a time, of one source and in all. Default 32 and 256.
    pub handshakes: (usize, usize),
    /// How long a connection without a certificate lives: the time for a join. Default 15 s.
    pub stranger: Duration,
    /// Connections without a certificate at a time, of one source and in all. Default 32 and 256.
    pub strangers: (usize, usize),
    /// Members' connections at a time, of one node and in all. Default 16 and 4,096.
    pub members: (usize, usize),
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Duration::from_secs(5),
            handshakes: (32, 256),
            stranger: Duration::from_secs(15),
            strangers: (32, 256),
            members: (16, 4096),
        }
    }
}

/// One source of connections: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V6(v6) => Source(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
            v4 => Source(v4),
        }
    }
}

/// The control port before it is served.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    trust: Trust,
    limits: Limits,
    refusals: Refusals,
}

/// What the tasks of the port share.
struct Port {
    trust: Trust,
    limits: Limits,
    refusals: Refusals,
    handshakes: Slots<Source>,
    strangers: Slots<Source>,
    members: Slots<NodeId>,
}

impl Listener {
    /// Listens on `address`. What is refused on the port is told to `refusals`.
    pub async fn bind(address: SocketAddr, trust: Trust, refusals: Refusals) -> io::Result<Listener> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Listener { tcp, trust, limits: Limits::default(), refusals })
    }

    /// Other limits than the usual ones.
    pub fn with_limits(self, limits: Limits) -> Listener {
        Listener { limits, ..self }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(crate) fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// The connections whose handshakes are done. The port closes when the stream is dropped, and half a second later
    /// the connections do.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
        let (sender, receiver) = mpsc::channel(16);
        let Listener { tcp, trust, limits, refusals } = self;
        let port = Port {
            trust,
            limits,
            refusals,
            handshakes: Slots::new(limits.handshakes.0, limits.handshakes.1),
            strangers: Slots::new(limits.strangers.0, limits.strangers.1),
            members: Slots::new(limits.members.0, limits.members.1),
        };
        tokio::spawn(Arc::new(port).accept(tcp, sender));
        ReceiverStream::new(receiver).map(Ok)
    }
}

impl Port {
    async fn accept(self: Arc<Port>, tcp: TcpListener, ready: mpsc::Sender<Connection>) {
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                () = ready.closed() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let slot = self.handshakes.enter(Source::of(address.ip()));
                    let (port, ready) = (self.clone(), ready.clone());
                    tokio::spawn(async move {
                        let connection = tokio::select! {
                            connection = port.handshake(stream, address) => connection,
                            () = slot.evicted() => Err(Reason::Crowded),
                        };
                        // The handshake is over: its place is free before the connection waits to be served.
                        drop(slot);
                        match connection {
                            // An error here is the end of the port.
                            Ok(Some(connection)) => drop(ready.send(connection).await),
                            Ok(None) => {}
                            Err(reason) => port.refusals.tell(address, reason),
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors or memory: what closes by itself in the meantime helps.
                    tracing::warn!("cannot accept a connection on the control port: {error}; trying again");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(tcp);
        // Calls that are being answered have this long; a stream between neighbours would never end by itself.
        sleep(GRACE).await;
        self.strangers.clear();
        self.members.clear();
    }

    /// The connection; nothing where the caller left before it had said anything.
    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Result<Option<Connection>, Reason> {
        // A small frame must not wait for the acknowledgement of another. Fails only on a socket that is gone.
        let _ = stream.set_nodelay(true);
        let verifier = PeerVerifier::new(&self.trust, None);
        let acceptor = TlsAcceptor::from(server_config(&self.trust, &verifier));
        let accepted = async {
            // Whoever does so asks whether somebody listens, as `weft doctor` does: nobody was refused.
            match stream.peek(&mut [0]).await {
                Ok(1..) => acceptor.accept(stream).await.map(Some),
                _ => Ok(None),
            }
        };
        let tls = match timeout(self.limits.handshake, accepted).await {
            Err(_) => return Err(Reason::Silent),
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => {
                let refused = verifier.verdict().and_then(Result::err);
                return Err(refused.map_or_else(|| Reason::Tls(error.to_string()), Reason::Peer));
            }
            Ok(Ok(Some(tls))) => tls,
        };
        let identity = verifier.verdict().and_then(Result::ok);
        let end: End = match &identity {
            Some(identity) => {
                let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
                let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
                let slot = self.members.enter(identity.node());
                let distrusted = distrusted(self.trust.clone(), Role::Client, chain, None);
                let refusals = self.refusals.clone();
                Box::pin(async move {
                    tokio::select! {
                        refused = distrusted => {
                            refusals.tell(address, Reason::Peer(refused.clone()));
                            io::Error::new(io::ErrorKind::PermissionDenied, refused)
                        }
                        () = slot.evicted() => io::Error::other("newer connections took its place, or the port is closed"),
                    }
                })
            }
            None => {
                let slot = self.strangers.enter(Source::of(address.ip()));
                let life = self.limits.stranger;
                Box::pin(async move {
                    tokio::select! {
                        () = sleep(life) => io::Error::from(io::ErrorKind::TimedOut),
                        () = slot.evicted() => io::Error::other("newer connections took its place, or the port is closed"),
                    }
                })
            }
        };
        let peer = Peer { address, identity };
        Ok(Some(Connection::new(TlsStream::Server(tls), Bytes::new(), peer, end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_host_is_one_source() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
