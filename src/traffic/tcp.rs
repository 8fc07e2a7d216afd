//! One-way TCP streams, as many bytes as go through.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sandbox::Netns;

/// How long a connection may take to be made, and how often a stalled one looks whether it is over.
const CONNECT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct TcpSpec {
    /// Connections at once.
    pub streams: usize,
    /// What passes before the measurement begins: slow start is not throughput.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// Bytes per write and per read; iperf3 uses 128 KB.
    pub chunk_bytes: usize,
}

impl Default for TcpSpec {
    fn default() -> Self {
        let warm_up = Duration::from_millis(300);
        TcpSpec { streams: 1, warm_up, duration: Duration::from_secs(2), chunk_bytes: 128 << 10 }
    }
}

/// What arrived while it was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TcpReport {
    /// Bytes that the receiver read.
    pub bytes: u64,
    /// In what time.
    pub elapsed: Duration,
    /// Bytes that the receiver read in all, during the warm-up too: what the CPU time of the whole run was spent on.
    pub total_bytes: u64,
}

impl TcpReport {
    /// The goodput in 10⁹ bits per second.
    pub fn gbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64() / 1e9
    }
}

/// Streams from a socket in `from` to one bound to `address` in `to`.
pub fn stream(from: &Netns, to: &Netns, address: IpAddr, spec: &TcpSpec) -> Result<TcpReport> {
    let listener =
        to.run(|| TcpListener::bind((address, 0)))?.with_context(|| format!("cannot listen on {address}"))?;
    let target = listener.local_addr()?;
    let pairs = (0..spec.streams).map(|_| connect(from, &listener, target)).collect::<Result<Vec<_>>>()?;
    let received = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (sender, receiver) in &pairs {
            scope.spawn(|| send(sender, spec.chunk_bytes, &over));
            scope.spawn(|| receive(receiver, spec.chunk_bytes, &received, &over));
        }
        thread::sleep(spec.warm_up);
        let (before, start) = (received.load(Ordering::Relaxed), Instant::now());
        thread::sleep(spec.duration);
        let (after, elapsed) = (received.load(Ordering::Relaxed), start.elapsed());
        over.store(true, Ordering::Relaxed);
        Ok(TcpReport { bytes: after - before, elapsed, total_bytes: after })
    })
}

fn connect(from: &Netns, listener: &TcpListener, target: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let sender = from.run(|| TcpStream::connect_timeout(&target, CONNECT))?;
    let sender = sender.with_context(|| format!("cannot connect to {target}"))?;
    let (receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(LOOK))?;
    receiver.set_read_timeout(Some(LOOK))?;
    Ok((sender, receiver))
}

fn send(mut socket: &TcpStream, chunk_bytes: usize, over: &AtomicBool) {
    let chunk = vec![0x77; chunk_bytes];
    while !over.load(Ordering::Relaxed) && goes_on(socket.write(&chunk)) {}
    // The receiver may have ended first; then there is nothing left to say.
    let _ = socket.shutdown(Shutdown::Both);
}

fn receive(mut socket: &TcpStream, chunk_bytes: usize, received: &AtomicU64, over: &AtomicBool) {
    let mut chunk = vec![0; chunk_bytes];
    while !over.load(Ordering::Relaxed) {
        let read = socket.read(&mut chunk);
        received.fetch_add(*read.as_ref().unwrap_or(&0) as u64, Ordering::Relaxed);
        if !goes_on(read) {
            break;
        }
    }
}

/// True unless the connection has ended. What was lost to an ending shows in the count of bytes.
fn goes_on(moved: io::Result<usize>) -> bool {
    match moved {
        Ok(bytes) => bytes > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
    }
}
