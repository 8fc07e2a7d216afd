//! The resolver in a sandbox: in front of the engine's, which it asks for all that weft does not know.
//!
//! Programs ask 127.0.0.11, where the engine's resolver is. [`Redirect`] turns that aside to a port of ours for as long
//! as this process lives. What is asked for a name of the sandbox's networks is answered from the node's index; all else
//! goes on to the engine's resolver as it came, and what that says comes back as it is. Each sandbox has one thread,
//! which lives in its namespace, so that every socket it opens is one of the sandbox's: a container that asks too much
//! holds up nobody else, and what it may hold of memory is bounded.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use weft_vtep::addr::Vni;

use super::question::{Carrier, Directory, Question};
use crate::node::Node;
use crate::sandbox::Netns;
use crate::sandbox::redirect::Redirect;

/// The engine's resolver, in every sandbox.
pub(in crate::docker) const ENGINE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

/// What this process sends there itself bears this mark ("weft").
const MARK: u32 = 0x7765_6674;

/// Questions of one sandbox that wait for the engine's resolver. Further ones are lost, and asked again.
const WAITING: usize = 256;
/// TCP connections of one sandbox.
const CONNECTIONS: usize = 32;

/// How long the engine's resolver may take: it asks others in turn, each for seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a TCP connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// The longest message (RFC 1035 section 4.2.2).
const MESSAGE_BYTES: usize = u16::MAX as usize;

/// Sockets of both protocols need one port; another program may have taken one of the pair.
const TRIES: usize = 16;

/// A network of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// Its VNI.
    pub(super) vni: Vni,
    /// Its name, which may stand behind a container's.
    pub(super) network: String,
}

/// The networks of a sandbox, as they are now.
pub(super) type Scopes = Arc<RwLock<Vec<Scope>>>;

/// What a sandbox may know.
#[derive(Clone)]
struct View {
    node: Arc<Node>,
    scopes: Scopes,
}

impl View {
    fn scopes(&self) -> Vec<Scope> {
        self.scopes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Directory for View {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found: Option<Vec<IpAddr>> = None;
        for Scope { vni, network } in self.scopes() {
            let qualified = name.strip_suffix(network.to_ascii_lowercase().as_str()).and_then(|n| n.strip_suffix('.'));
            let mut of_network = [Some(name), qualified].into_iter().flatten();
            if let Some(addresses) = of_network.find_map(|name| self.node.names.addresses(vni, name)) {
                found.get_or_insert_default().extend(addresses);
            }
        }
        found
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        let named = |scope: Scope| Some(format!("{}.{}", self.node.names.name_of(scope.vni, address)?, scope.network));
        self.scopes().into_iter().find_map(named)
    }
}

/// A running resolver. It ends, and the engine's is asked directly again, when this value is dropped.
pub(super) struct Resolver {
    scopes: Scopes,
    thread: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Starts a resolver in the sandbox. Blocks until it answers.
    pub(super) fn start(node: Arc<Node>, netns: Netns, scopes: Vec<Scope>) -> io::Result<Resolver> {
        let scopes: Scopes = Arc::new(RwLock::new(scopes));
        let view = View { node, scopes: Arc::clone(&scopes) };
        let (stop, stopped) = oneshot::channel();
        let (started, has_started) = sync_channel(1);
        let live = move || live(netns, view, stopped, &started);
        let thread = thread::Builder::new().name("weft-names".into()).spawn(live)?;
        has_started.recv().map_err(|_| io::Error::other("the resolver's thread ended"))??;
        Ok(Resolver { scopes, thread, _stop: stop })
    }

    /// The sandbox is on these networks now.
    pub(super) fn set_scopes(&self, scopes: Vec<Scope>) {
        *self.scopes.write().unwrap_or_else(PoisonError::into_inner) = scopes;
    }

    /// It answers no more, for whatever reason.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What the thread does.
fn live(netns: Netns, view: View, stopped: oneshot::Receiver<()>, started: &SyncSender<io::Result<()>>) {
    let begin = || {
        netns.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (udp, tcp) = {
            let _inside = runtime.enter();
            bind()?
        };
        let port = udp.local_addr()?.port();
        let redirect = Redirect::set(&netns, ENGINE, port, MARK).map_err(io::Error::other)??;
        Ok((runtime, udp, tcp, redirect))
    };
    let (runtime, udp, tcp, redirect) = match begin() {
        Ok(begun) => begun,
        Err(error) => return drop(started.send(Err(error))),
    };
    // Nobody is there to hear it only if the daemon is ending.
    let _ = started.send(Ok(()));
    runtime.block_on(async {
        let udp = Arc::new(udp);
        tokio::select! {
            () = answer_datagrams(&udp, &view) => {}
            () = answer_connections(&tcp, &view) => {}
            // An error is the sender's end, which is what is waited for.
            _ = stopped => {}
        }
        // Before the sockets: nobody is led to a port where nobody listens.
        drop(redirect);
    });
}

/// A socket of each protocol on one port, beside the engine's resolver.
fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = std::net::UdpSocket::bind((*ENGINE.ip(), 0))?;
        match std::net::TcpListener::bind(udp.local_addr()?) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => tries += 1,
            tcp => {
                let tcp = tcp?;
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?));
            }
        }
    }
}

/// Answers over UDP. Returns only if the socket fails.
async fn answer_datagrams(socket: &Arc<UdpSocket>, view: &View) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; MESSAGE_BYTES];
    for turn in 0_usize.. {
        let (length, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => return tracing::warn!("a container's questions for names are not heard any more: {error}"),
        };
        let question = Question::read(&buffer[..length]);
        if let Some(answer) = question.as_ref().and_then(|asked| asked.answer(view, turn, Carrier::Udp)) {
            // What does not get out is asked again.
            let _ = socket.send_to(&answer, asker).await;
            continue;
        }
        let Ok(place) = Arc::clone(&waiting).try_acquire_owned() else { continue };
        let (socket, message) = (Arc::clone(socket), buffer[..length].to_vec());
        tokio::spawn(async move {
            let answer = match timeout(PATIENCE, ask_datagram(&message)).await {
                Ok(Ok(answer)) => Some(answer),
                // Its asker would have been told that nobody is there.
                Ok(Err(_)) => question.and_then(|asked| asked.fail()),
                Err(_) => None,
            };
            if let Some(answer) = answer {
                let _ = socket.send_to(&answer, asker).await;
            }
            drop(place);
        });
    }
}

/// Asks the engine's resolver. Each question has a socket of its own, as if the program itself asked: so the engine's
/// rules, which may have changed, hold for each anew.
async fn ask_datagram(message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_mark(MARK)?;
    socket.connect(&SocketAddr::from(ENGINE).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.send(message).await?;
    let mut answer = Vec::with_capacity(MESSAGE_BYTES);
    socket.recv_buf(&mut answer).await?;
    Ok(answer)
}

/// Answers over TCP. Never returns.
async fn answer_connections(listener: &TcpListener, view: &View) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Further ones wait in the kernel's queue. The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let view = view.clone();
                tokio::spawn(async move {
                    // How it ended is between the two of them.
                    let _ = converse(stream, &view).await;
                    drop(place);
                });
            }
            // Out of files; they may be there again soon.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, view: &View) -> io::Result<()> {
    for turn in 0_usize.. {
        let message = timeout(SILENCE, read(&mut stream)).await??;
        let question = Question::read(&message);
        let answer = match question.and_then(|asked| asked.answer(view, turn, Carrier::Tcp)) {
            Some(answer) => answer,
            None => timeout(PATIENCE, ask_stream(&message)).await??,
        };
        timeout(SILENCE, write(&mut stream, &answer)).await??;
    }
    Ok(())
}

async fn ask_stream(message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_mark(MARK)?;
    // It is not connected yet, whatever the name of the type says.
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(ENGINE.into()).await?;
    write(&mut stream, message).await?;
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}
