//! The floor: the system calls that a VTEP in userspace cannot do without, and nothing between them.
//!
//! One thread for each host. A super-frame that was read leaves, offload header first, as one message that the kernel is
//! told to cut; the message that arrives is written to the device as it is. No header is made or looked at, no checksum
//! is computed, no table is asked. So it is no overlay: only where nothing on the way takes a message apart, as on `soft`,
//! does it carry anything at all. There it tells what no program with these calls can be faster than.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weft::lab::{Host, cpu_time, kernel};
use weft::sandbox::{Netns, link};
use weft_vtep::io::sys::udp::{ReceiveQueue, SendQueue, enable_gro};
use weft_vtep::io::{Tap, super_frame_size};

use super::naive::{inside, own_stat};

/// What one turn reads from the device before it sends.
const TURN: usize = 120_000;
/// The most that one read gives.
const READ: usize = 66_000;
/// How long the thread waits before it looks whether it is over.
const PATIENCE: u8 = 100;

/// The running thread of one host. It ends with this value.
pub(crate) struct Bare {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    stat: String,
    container: Netns,
    ifindex: u32,
}

impl Bare {
    pub(crate) fn start(host: &Host, peer: IpAddr, mtu: u32) -> Result<Self> {
        let container = &host.containers[0];
        let spec = inside(container, mtu, Some(super_frame_size(mtu as u16, false)));
        let tap = host.netns.run(|| Tap::create("bare0", 1))?.context("cannot make a TAP")?;
        let ifindex = host.netns.run(|| link::plug("bare0", &container.netns, &spec))??;
        let socket = host.netns.run(|| UdpSocket::bind((host.address, kernel::VXLAN_PORT)))??;
        let socket = socket2::Socket::from(socket);
        socket.set_recv_buffer_size(8 << 20)?;
        socket.set_send_buffer_size(8 << 20)?;
        enable_gro(socket.as_fd())?;
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let thread = {
            let over = Arc::clone(&over);
            let (to, size) = (SocketAddr::new(peer, kernel::VXLAN_PORT), mtu as u16);
            thread::spawn(move || {
                let _ = tell.send(own_stat());
                relay(&tap, &socket, to, size, &over);
            })
        };
        let stat = told.recv()?;
        Ok(Bare { over, thread: Some(thread), stat, container: container.netns.try_clone()?, ifindex })
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&self.stat)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = link::delete(&self.container, self.ifindex);
    }
}

fn relay(tap: &Tap, socket: &socket2::Socket, to: SocketAddr, size: u16, over: &AtomicBool) {
    let mut arena = vec![0; TURN + READ];
    let (mut send, mut receive) = (SendQueue::new(64, 64), ReceiveQueue::new(8));
    while !over.load(Ordering::Relaxed) {
        let mut files = [PollFd::new(tap.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut files, PollTimeout::from(PATIENCE)).unwrap_or(0) == 0 {
            continue;
        }
        if receive.receive(socket.as_fd()).is_ok() {
            let (arena, received) = receive.parts();
            for message in received {
                let _ = tap.write(0, &[IoSlice::new(&arena[message.at..][..message.len])]);
            }
        }
        let (mut used, mut pieces) = (0, Vec::with_capacity(64));
        while used < TURN && pieces.len() < 64 {
            match tap.read(0, &mut arena[used..][..READ]) {
                Ok(len) => pieces.push(used..used + len),
                Err(Errno::EAGAIN) => break,
                Err(_) => return,
            }
            used = pieces.last().map_or(0, |piece| piece.end.next_multiple_of(64));
        }
        let mut sending = send.begin();
        for piece in pieces {
            let segment = (piece.len() > usize::from(size)).then_some(size);
            sending.push(to, std::iter::once(&arena[piece]), segment, 0);
        }
        sending.submit(socket.as_fd(), |_, _| {});
    }
}
