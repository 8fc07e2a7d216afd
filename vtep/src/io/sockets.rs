//! The sockets of a VTEP: one pool to send from, one group to receive on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tracing::{info, warn};

use super::StartError;
use super::sys::{set_option, udp};

/// The dynamic ports that RFC 7348 section 5 recommends as sources.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// Kernel buffer of each socket, in bytes: about 5 ms at 14 Gb/s.
const BUFFER: usize = 8 << 20;
/// How long a full send buffer holds a worker before the datagram is dropped and counted.
const SEND_PATIENCE: Duration = Duration::from_millis(5);

fn open(local: IpAddr) -> io::Result<Socket> {
    let domain = if local.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Buffers as large as the system lets us have them: beyond the sysctl limit with CAP_NET_ADMIN, else up to it.
fn size_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER);
    }
}

/// A pool of `count` sockets on different source ports of `local`. `random` chooses where the search starts.
pub(super) fn transmit(local: IpAddr, count: usize, random: u16) -> Result<Vec<Socket>, StartError> {
    let system = |doing| move |error| StartError::System { doing, error };
    let (first, last) = (*SOURCE_PORTS.start(), *SOURCE_PORTS.end());
    let span = u32::from(last - first) + 1;
    let mut sockets = Vec::with_capacity(count);
    for step in 0..span {
        if sockets.len() == count {
            return Ok(sockets);
        }
        let port = first + ((u32::from(random) + step) % span) as u16;
        let socket = open(local).map_err(system("open a UDP socket"))?;
        match socket.bind(&SocketAddr::new(local, port).into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                return Err(StartError::NoSuchAddress { address: local });
            }
            Err(error) => return Err(StartError::System { doing: "bind a UDP socket", error }),
        }
        prepare_transmit(&socket, local).map_err(system("set up a UDP socket"))?;
        sockets.push(socket);
    }
    Err(StartError::System {
        doing: "find free source ports",
        error: io::Error::new(io::ErrorKind::AddrInUse, "all ports from 49152 to 65535 are taken"),
    })
}

fn prepare_transmit(socket: &Socket, local: IpAddr) -> io::Result<()> {
    size_buffers(socket);
    socket.set_write_timeout(Some(SEND_PATIENCE))?;
    // Never fragment at the VTEP (RFC 7348 section 4.3): too large for the path is an error that we count.
    if local.is_ipv6() {
        set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
    } else {
        set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    }
    // Nobody sends to a source port: what arrives is dropped by the kernel before it costs anything.
    socket.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)])
}

/// A group of `count` sockets on the VXLAN port of `local`, complete before any of them is read.
pub(super) fn receive(local: IpAddr, port: u16, count: usize) -> Result<Vec<Socket>, StartError> {
    let system = |doing| move |error| StartError::System { doing, error };
    let address = SocketAddr::new(local, port);
    // SO_REUSEPORT would hide a second weft, or any other program that uses it: bind once without.
    let probe = open(local).map_err(system("open a UDP socket"))?;
    probe.bind(&address.into()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { address: local, port },
        io::ErrorKind::AddrNotAvailable => StartError::NoSuchAddress { address: local },
        _ => StartError::System { doing: "bind the VXLAN port", error },
    })?;
    drop(probe);
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = open(local).map_err(system("open a UDP socket"))?;
        prepare_receive(&socket, local, count > 1).map_err(system("set up the VXLAN socket"))?;
        socket.bind(&address.into()).map_err(system("bind the VXLAN port"))?;
        sockets.push(socket);
    }
    if count > 1 {
        udp::steer(sockets[0].as_fd(), count as u32, local.is_ipv6())
            .map_err(system("steer datagrams to receive workers"))?;
    }
    Ok(sockets)
}

fn prepare_receive(socket: &Socket, local: IpAddr, group: bool) -> io::Result<()> {
    size_buffers(socket);
    // Choosing from a group costs the kernel a little for each datagram: not for a group of one.
    if group {
        socket.set_reuse_port(true)?;
    }
    if local.is_ipv6() {
        socket.set_recv_tclass_v6(true)?;
    } else {
        socket.set_recv_tos_v4(true)?;
    }
    if let Err(error) = udp::enable_gro(socket.as_fd()) {
        info!("no UDP_GRO ({error}): receiving costs about twice as much");
    }
    if let Err(error) = udp::report_overflow(socket.as_fd()) {
        warn!("no SO_RXQ_OVFL ({error}): overflows of the VXLAN socket are not counted");
    }
    Ok(())
}
