//! An interface's frames, raw: sent and seen as they are (packet(7)).

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use weft::sandbox::Netns;

use super::PATIENCE;

/// Every frame, whatever it carries (linux/if_ether.h).
pub(crate) const ALL: u16 = 3;
/// What the socket may hold: more than any test sends before it looks.
const BUFFER: usize = 64 << 20;
/// A frame that leaves through the interface, not one that comes in (linux/if_packet.h).
const OUTGOING: u8 = 4;

/// A raw socket on an interface.
pub(crate) struct Port {
    socket: Socket,
}

impl Port {
    /// Opens an interface for frames of this EtherType, or for [`ALL`].
    pub(crate) fn open(netns: &Netns, ifname: &str, ethertype: u16) -> Port {
        let open = || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ethertype.to_be()))));
            let mut links = getifaddrs().unwrap().filter(|interface| interface.interface_name == ifname);
            (socket.unwrap(), links.find_map(|interface| interface.address?.as_link_addr().copied()))
        };
        let (socket, link) = netns.run(open).unwrap();
        // Beyond the system's limit where we may, else up to it.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).unwrap();
        }
        bind(socket.as_raw_fd(), &link.unwrap_or_else(|| panic!("no interface {ifname}"))).unwrap();
        let port = Port { socket };
        // Until it was bound it heard all interfaces of the namespace.
        port.socket.set_nonblocking(true).unwrap();
        while port.read().is_ok() {}
        port.socket.set_nonblocking(false).unwrap();
        port
    }

    /// Sends a frame through the interface. False if its queue is full.
    pub(crate) fn offer(&self, frame: &[u8]) -> bool {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) => true,
            Err(Errno::ENOBUFS) => false,
            Err(error) => panic!("cannot send {} bytes: {error}", frame.len()),
        }
    }

    /// Sends a frame through the interface.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert!(self.offer(frame), "the interface's queue is full");
    }

    /// Waits for the next frame that comes in and for which `wanted` is true.
    pub(crate) fn find(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.until(what, wanted).pop().unwrap_or_default()
    }

    /// The frames that come in up to the first one for which `last` is true, that one included.
    pub(crate) fn until(&self, what: &str, mut last: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not come within {PATIENCE:?}, but {} other frames", frames.len());
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            match self.read() {
                Ok(Some(frame)) => {
                    let is_last = last(&frame);
                    frames.push(frame);
                    if is_last {
                        return frames;
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }

    /// Looks at every frame as it comes in, until `over` and nothing more comes: a queue that is read only afterwards
    /// overflows.
    #[allow(dead_code)] // not every test that has this harness listens for so long
    pub(crate) fn listen(&self, over: impl Fn() -> bool, mut heard: impl FnMut(&[u8])) {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        loop {
            match self.read() {
                Ok(Some(frame)) => heard(&frame),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if over() {
                        return;
                    }
                }
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }

    /// Reads one frame; `None` for one that went out, or where the wait was broken off, as when the machine was halted.
    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 1 << 17];
        let (len, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
            Err(Errno::EINTR) => return Ok(None),
            received => received?,
        };
        frame.truncate(len);
        Ok(from.is_none_or(|from| from.pkttype() != OUTGOING).then_some(frame))
    }
}
