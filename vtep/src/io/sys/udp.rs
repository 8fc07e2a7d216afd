//! UDP in batches: `sendmmsg` with UDP_SEGMENT, `recvmmsg` with UDP_GRO (linux/udp.h, udp(7)).
//!
//! [`SendQueue`] and [`ReceiveQueue`] own the arrays that the kernel reads and writes, made once; a send borrows the
//! payload for exactly as long as the kernel may look at it.

use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::arena::Arena;
use super::set_option;

const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

/// Room for the control messages of one message: segment size, TOS, overflow count.
const CONTROL: usize = 96;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

fn zeroed_header() -> libc::mmsghdr {
    // SAFETY: an all-zero `mmsghdr` is a valid value: null pointers and zero lengths.
    unsafe { std::mem::zeroed() }
}

fn zeroed_name() -> libc::sockaddr_storage {
    // SAFETY: an all-zero `sockaddr_storage` is a valid value: the family AF_UNSPEC.
    unsafe { std::mem::zeroed() }
}

/// Lets the kernel join datagrams of one flow into one receive, and say their size.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.0.
pub fn enable_gro(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_UDP, UDP_GRO, 1)
}

/// Lets the kernel report with each receive how many datagrams its queue had to drop.
///
/// # Errors
/// As `setsockopt`.
pub fn report_overflow(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Spreads a reuseport group: a plain datagram by its outer source port modulo `sockets`, so that a flow stays with one
/// worker; a sealed one by its lane modulo `sockets`, so that its replay, from whatever port, meets the same window.
///
/// # Errors
/// As `setsockopt`.
pub fn steer(fd: BorrowedFd<'_>, sockets: u32, ipv6: bool) -> io::Result<()> {
    use crate::wire::sealed::{AT_LANE, TYPE_CONTROL, TYPE_DATA};
    const NETWORK_HEADER: u32 = -0x10_0000_i32 as u32; // SKF_NET_OFF
    let port_at = NETWORK_HEADER + if ipv6 { 40 } else { 20 };
    let op = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let sealed =
        |kind: u8, jt, jf| libc::sock_filter { jt, jf, ..op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, kind.into()) };
    // Offsets are the UDP payload's. A load beyond its end answers 0, the first socket.
    let mut program = [
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0),
        sealed(TYPE_DATA, 3, 0),
        sealed(TYPE_CONTROL, 2, 0),
        op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, port_at),
        op(libc::BPF_JMP | libc::BPF_JA, 1),
        op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, AT_LANE as u32),
        op(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets.max(1)),
        op(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: pointer and length are those of `filter`, whose program outlives the call; the kernel copies both.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes `address` into `name` and returns its length.
fn write_name(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: `sockaddr_storage` is large enough and aligned for every address family.
            let to = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_port = v6.port().to_be();
            to.sin6_flowinfo = v6.flowinfo();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Reads the source address that the kernel wrote. An unknown family reads as the unspecified address.
fn read_name(name: &libc::sockaddr_storage) -> (IpAddr, u16) {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`, and the storage is aligned for it.
            let from = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            (Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes()).into(), u16::from_be(from.sin_port))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let from = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            (Ipv6Addr::from(from.sin6_addr.s6_addr).into(), u16::from_be(from.sin6_port))
        }
        _ => (Ipv4Addr::UNSPECIFIED.into(), 0),
    }
}

/// The arrays of one sender.
pub struct SendQueue {
    headers: Vec<libc::mmsghdr>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    /// First iovec of each message.
    starts: Vec<usize>,
}

impl std::fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendQueue").field("messages", &self.headers.len()).finish_non_exhaustive()
    }
}

impl SendQueue {
    /// Room for `messages` messages of altogether `slices` slices: about 300 and 16 bytes each.
    pub fn new(messages: usize, slices: usize) -> Self {
        SendQueue {
            headers: Vec::with_capacity(messages),
            names: Vec::with_capacity(messages),
            controls: Vec::with_capacity(messages),
            iovecs: Vec::with_capacity(slices),
            starts: Vec::with_capacity(messages),
        }
    }

    /// Starts a batch. What is pushed into it must stay borrowed until [`Sending::submit`].
    pub fn begin<'a>(&mut self) -> Sending<'_, 'a> {
        self.headers.clear();
        self.names.clear();
        self.controls.clear();
        self.iovecs.clear();
        self.starts.clear();
        Sending { queue: self, payload: PhantomData }
    }
}

/// A batch being filled.
#[derive(Debug)]
pub struct Sending<'q, 'a> {
    queue: &'q mut SendQueue,
    payload: PhantomData<&'a [u8]>,
}

impl<'a> Sending<'_, 'a> {
    /// Adds a message to `to`: its bytes are `slices`, joined. With a `segment` the kernel cuts it into datagrams of
    /// that many bytes. `tos` is the outer type of service or traffic class.
    pub fn push(&mut self, to: SocketAddr, slices: impl Iterator<Item = &'a [u8]>, segment: Option<u16>, tos: u8) {
        let queue = &mut *self.queue;
        queue.starts.push(queue.iovecs.len());
        queue.iovecs.extend(slices.map(|slice| libc::iovec {
            iov_base: slice.as_ptr().cast_mut().cast(), // sendmmsg only reads
            iov_len: slice.len(),
        }));
        let mut name = zeroed_name();
        let mut header = zeroed_header();
        header.msg_hdr.msg_namelen = write_name(&mut name, to);
        let mut control = Control([0; CONTROL]);
        let mut used = 0;
        if let Some(size) = segment {
            used = put_control(&mut control, used, libc::IPPROTO_UDP, UDP_SEGMENT, &size.to_ne_bytes());
        }
        if tos != 0 {
            let (level, kind) = match to {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            used = put_control(&mut control, used, level, kind, &i32::from(tos).to_ne_bytes());
        }
        header.msg_hdr.msg_controllen = used as _;
        queue.names.push(name);
        queue.controls.push(control);
        queue.headers.push(header);
    }

    /// How many messages were pushed.
    pub fn len(&self) -> usize {
        self.queue.headers.len()
    }

    /// True when nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.queue.headers.is_empty()
    }

    /// Sends all messages in order and tells the fate of each: its index, and the error that the kernel refused it with.
    pub fn submit(self, fd: BorrowedFd<'_>, mut fate: impl FnMut(usize, io::Result<()>)) {
        let queue = self.queue;
        let count = queue.headers.len();
        for index in 0..count {
            let start = queue.starts[index];
            let end = queue.starts.get(index + 1).copied().unwrap_or(queue.iovecs.len());
            let header = &mut queue.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut queue.names[index]).cast();
            header.msg_iov = queue.iovecs[start..end].as_mut_ptr();
            header.msg_iovlen = (end - start) as _;
            header.msg_control =
                if header.msg_controllen == 0 { ptr::null_mut() } else { queue.controls[index].0.as_mut_ptr().cast() };
        }
        let mut next = 0;
        while next < count {
            let rest = &mut queue.headers[next..];
            // SAFETY: each header points to a name, iovecs and control bytes in the queue's own vectors, which do not
            // move before the call returns, and each iovec to bytes that are borrowed for 'a, which outlives `self`.
            let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if sent > 0 {
                for _ in 0..sent {
                    fate(next, Ok(()));
                    next += 1;
                }
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                fate(next, Err(error));
                next += 1;
            }
        }
    }
}

/// Appends one control message and returns the bytes in use (cmsg(3)).
fn put_control(control: &mut Control, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
    let align = |n: usize| n.next_multiple_of(size_of::<usize>());
    let head = size_of::<libc::cmsghdr>();
    let bytes = &mut control.0[at..];
    bytes[..size_of::<usize>()].copy_from_slice(&(align(head) + data.len()).to_ne_bytes());
    bytes[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
    bytes[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[align(head)..][..data.len()].copy_from_slice(data);
    at + align(head) + align(data.len())
}

/// What the kernel said of one received message.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Where it came from.
    pub source: IpAddr,
    /// The outer source port.
    pub port: u16,
    /// Where it starts in the arena.
    pub at: usize,
    /// Its bytes.
    pub len: usize,
    /// The size of each datagram in it but the last, which may be shorter; 0 for a single datagram.
    pub segment: usize,
    /// The outer type of service or traffic class.
    pub tos: u8,
}

/// The arrays and the arena of one receiver.
pub struct ReceiveQueue {
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    arena: Arena,
    received: Vec<Received>,
    overflow: u32,
}

impl std::fmt::Debug for ReceiveQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveQueue").field("messages", &self.headers.len()).finish_non_exhaustive()
    }
}

impl ReceiveQueue {
    /// Bytes of each message's part of the arena: the largest UDP datagram fits.
    pub const SLOT: usize = 65_536;

    /// Room for `messages` messages, 64 KB each.
    pub fn new(messages: usize) -> Self {
        ReceiveQueue {
            headers: (0..messages).map(|_| zeroed_header()).collect(),
            iovecs: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; messages].into(),
            names: (0..messages).map(|_| zeroed_name()).collect(),
            controls: vec![Control([0; CONTROL]); messages].into(),
            arena: Arena::new(messages * Self::SLOT),
            received: Vec::with_capacity(messages),
            overflow: 0,
        }
    }

    /// Receives what is there, without waiting. Returns how many datagrams the kernel has dropped since the last call.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else as `recvmmsg`. [`ReceiveQueue::parts`] is then empty.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<u32> {
        self.received.clear();
        for (index, header) in self.headers.iter_mut().enumerate() {
            let slot = &mut self.arena[index * Self::SLOT..][..Self::SLOT];
            self.iovecs[index] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: each header points into arrays of `self`, with their true lengths, and they do not move during the call.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut dropped = 0;
        for (index, header) in self.headers[..count as usize].iter().enumerate() {
            let (source, port) = read_name(&self.names[index]);
            let mut message =
                Received { source, port, at: index * Self::SLOT, len: header.msg_len as usize, segment: 0, tos: 0 };
            let control = &self.controls[index].0[..header.msg_hdr.msg_controllen.min(CONTROL)];
            for (level, kind, data) in controls(control) {
                match (level, kind) {
                    (libc::IPPROTO_UDP, UDP_GRO) => message.segment = int(data) as usize,
                    (libc::IPPROTO_IP, libc::IP_TOS) => message.tos = data.first().copied().unwrap_or(0),
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => message.tos = int(data) as u8,
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        let total = int(data);
                        dropped += total.wrapping_sub(self.overflow);
                        self.overflow = total;
                    }
                    _ => {}
                }
            }
            self.received.push(message);
        }
        Ok(dropped)
    }

    /// The arena and what the last receive put there.
    pub fn parts(&mut self) -> (&mut [u8], &[Received]) {
        (&mut self.arena, &self.received)
    }

    /// How many messages one receive can take.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }
}

/// The first four bytes as a native integer; 0 when there are fewer.
fn int(data: &[u8]) -> u32 {
    data.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Walks control messages: level, type, data. Ends at the first that does not fit.
fn controls(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    let word = size_of::<usize>();
    let head = size_of::<libc::cmsghdr>();
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(*bytes.first_chunk()?);
        if len < head || len > bytes.len() {
            return None;
        }
        let (level, kind) = (int(&bytes[word..]) as i32, int(&bytes[word + 4..]) as i32);
        let data = &bytes[head..len];
        bytes = &bytes[len.next_multiple_of(word).min(bytes.len())..];
        Some((level, kind, data))
    })
}
