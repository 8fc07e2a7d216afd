//! What the underlay says of datagrams that it did not take, and what the endpoints are told of it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::rx::write_pieces;
use super::sys::get_option;
use super::tap::Tap;
use crate::drops::DropReason;
use crate::offload::vnet_hdr::VnetHdr;
use crate::path::pmtu::NarrowPaths;
use crate::path::{icmp, mtu};

/// The paths of one worker, from the address that its tunnels leave from.
#[derive(Debug)]
pub(super) struct Paths {
    narrow: NarrowPaths,
    local: IpAddr,
    vxlan_port: u16,
    now_s: u32,
}

impl Paths {
    pub(super) fn new(local: IpAddr, vxlan_port: u16) -> Self {
        Paths { narrow: NarrowPaths::default(), local, vxlan_port, now_s: 0 }
    }

    /// A new turn begins.
    pub(super) fn turn(&mut self, now_s: u32) {
        self.now_s = now_s;
    }

    /// Takes note of the kernel's refusal of a datagram of `len` bytes, and says what it is counted as.
    pub(super) fn refused(&mut self, vtep: IpAddr, len: usize, error: &io::Error) -> DropReason {
        let reason = reason_of(error);
        if reason == DropReason::UnderlayMtu {
            let Paths { narrow, local, vxlan_port, now_s } = self;
            narrow.refused(vtep, len + mtu::udp_ip(vtep.is_ipv6()), *now_s, || {
                path_mtu(*local, SocketAddr::new(vtep, *vxlan_port))
            });
        }
        reason
    }

    /// The largest inner packet that the path to `vtep` carries, if the path was found to be narrower than it should be: by
    /// the kernel, or by what was `probed`.
    #[inline]
    pub(super) fn inner_mtu(&mut self, vtep: IpAddr, sealed: bool, probed: Option<u16>) -> Option<u16> {
        let Paths { narrow, local, vxlan_port, now_s } = self;
        let told = narrow.mtu(vtep, *now_s, || path_mtu(*local, SocketAddr::new(vtep, *vxlan_port)));
        let path = told.into_iter().chain(probed).min()?;
        Some(path.saturating_sub(mtu::overhead(vtep.is_ipv6(), sealed)))
    }
}

/// The MTU of the path to `peer`, as the kernel knows it.
fn path_mtu(local: IpAddr, peer: SocketAddr) -> Option<u16> {
    route(local, peer).ok()
}

/// Whether there is a route to `peer`, and its MTU: its device's, or what a router on the way has said. Only a connected
/// socket is told. The error is the one that a frame's sender meets.
pub(super) fn route(local: IpAddr, peer: SocketAddr) -> Result<u16, DropReason> {
    let refused = |error: io::Error| reason_of(&error);
    let socket = UdpSocket::bind((local, 0)).map_err(refused)?;
    socket.connect(peer).map_err(refused)?;
    let (level, name) =
        if peer.is_ipv6() { (libc::IPPROTO_IPV6, libc::IPV6_MTU) } else { (libc::IPPROTO_IP, libc::IP_MTU) };
    let mtu = get_option(socket.as_fd(), level, name).map_err(refused)?;
    Ok(mtu.try_into().unwrap_or(u16::MAX))
}

fn reason_of(error: &io::Error) -> DropReason {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMSGSIZE) => DropReason::UnderlayMtu,
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN | Errno::ECONNREFUSED) => {
            DropReason::UnderlayUnreachable
        }
        Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => DropReason::UnderlayBusy,
        _ => DropReason::UnderlayError,
    }
}

/// Tells the sender of a packet that was too large, in the name of the packet's destination, as Linux's own VTEP does.
pub(super) fn tell_too_big(device: &Tap, spread: u64, frame: &[u8], mtu: u16) {
    let mut reply = [0; icmp::REPLY_MAX];
    if let Some(len) = icmp::too_big(frame, mtu, &mut reply) {
        let _ = write_pieces(device, spread, &VnetHdr::default(), std::iter::once(&reply[..len]));
    }
}
