//! Connections whose content is checked to the last byte, in both directions at once.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;

use weft::sandbox::Netns;

use super::PATIENCE;

/// Bytes that depend on where they stand, so that nothing can be lost, moved or repeated unseen.
#[derive(Clone)]
pub(crate) struct Content {
    state: u64,
}

impl Content {
    /// The content called `seed`.
    pub(crate) fn new(seed: u64) -> Content {
        Content { state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next bytes; `into` is a multiple of eight long.
    pub(crate) fn fill(&mut self, into: &mut [u8]) {
        for word in into.chunks_mut(8) {
            // Marsaglia's xorshift64.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

/// What is sent on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    /// Bytes of each write.
    pub(crate) write: usize,
    /// Writes in each direction.
    pub(crate) writes: usize,
}

/// A TCP connection from `from` to a socket bound to `address` in `to`: both ends send at once, both check.
pub(crate) fn tcp(from: &Netns, to: &Netns, address: IpAddr, talk: Talk) {
    let (client, server) = connect(from, to, address);
    thread::scope(|scope| {
        for (seed, socket, peer) in [(1, &client, &server), (2, &server, &client)] {
            scope.spawn(move || say(socket, seed, talk));
            scope.spawn(move || hear(peer, seed, talk));
        }
    });
}

/// Both ends of a TCP connection from `from` to `to`.
pub(crate) fn connect(from: &Netns, to: &Netns, address: IpAddr) -> (TcpStream, TcpStream) {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let client = from.run(|| TcpStream::connect_timeout(&target, PATIENCE)).unwrap();
    let client = client.unwrap_or_else(|error| panic!("cannot connect to {target}: {error}"));
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

/// Sends the content `seed` and says that it was all.
pub(crate) fn say(mut socket: &TcpStream, seed: u64, talk: Talk) {
    let mut content = Content::new(seed);
    for _ in 0..talk.writes {
        socket.write_all(&content.take(talk.write)).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Receives the content `seed` and nothing else.
pub(crate) fn hear(mut socket: &TcpStream, seed: u64, talk: Talk) {
    let mut content = Content::new(seed);
    let mut heard = vec![0; talk.write];
    for write in 0..talk.writes {
        socket.read_exact(&mut heard).unwrap_or_else(|error| panic!("write {write} of {talk:?} is missing: {error}"));
        assert!(heard == content.take(talk.write), "write {write} of {talk:?} has other bytes");
    }
    assert_eq!(socket.read(&mut heard).unwrap(), 0, "more than was sent");
}

/// A datagram of each of `sizes` from `from` to a socket bound to `address` in `to`, and each one back again.
pub(crate) fn udp(from: &Netns, to: &Netns, address: IpAddr, sizes: &[usize]) {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let server = to.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
    let client = from.run(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    from.run(|| client.connect(server.local_addr().unwrap())).unwrap().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut content = Content::new(3);
    let mut buffer = vec![0; 1 << 16];
    for size in sizes {
        let datagram = content.take(*size);
        client.send(&datagram).unwrap();
        let (len, back) = server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        assert!(buffer[..len] == datagram[..], "{size} bytes became {len}, or others");
        server.send_to(&datagram, back).unwrap();
        let len = client.recv(&mut buffer).unwrap_or_else(|error| panic!("{size} bytes back: {error}"));
        assert!(buffer[..len] == datagram[..], "{size} bytes became {len} on the way back, or others");
    }
}
