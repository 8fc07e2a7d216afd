//! A VTEP played by the test: datagrams go out as they were made, and come in as they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};

use socket2::SockRef;
use weft::lab::{Host, kernel::VXLAN_PORT};
use weft::traffic::ping;

use super::PATIENCE;

/// A UDP socket on a host's underlay address.
pub(crate) struct Vtep {
    socket: UdpSocket,
    peer: IpAddr,
}

impl Vtep {
    /// A VTEP on `host`, on the port where weft's datagrams arrive, that sends to the one on `peer`.
    pub(crate) fn on(host: &Host, peer: &Host) -> Vtep {
        Vtep::from_port(host, peer, VXLAN_PORT)
    }

    /// As [`Vtep::on`], from this source port; 0 is any.
    ///
    /// The hosts know each other's link addresses afterwards: what waits for one can be overtaken by what comes after.
    pub(crate) fn from_port(host: &Host, peer: &Host, port: u16) -> Vtep {
        let socket = host.netns.run(|| UdpSocket::bind((host.address, port))).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(ping::once(&host.netns, peer.address, PATIENCE).unwrap().is_some(), "no way to {}", peer.address);
        Vtep { socket, peer: peer.address }
    }

    /// Sends a datagram. One that is larger than the underlay's MTU leaves as IP fragments.
    pub(crate) fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, (self.peer, VXLAN_PORT)).unwrap();
        assert_eq!(sent, datagram.len());
    }

    /// Sends a datagram with this outer type of service or traffic class.
    pub(crate) fn send_with_tos(&self, datagram: &[u8], tos: u8) {
        let socket = SockRef::from(&self.socket);
        match self.peer {
            IpAddr::V4(_) => socket.set_tos_v4(tos.into()),
            IpAddr::V6(_) => socket.set_tclass_v6(tos.into()),
        }
        .unwrap();
        self.send(datagram);
    }

    /// The source ports of the next datagrams that come in.
    pub(crate) fn senders(&self, datagrams: usize) -> BTreeSet<u16> {
        let port = |n| self.socket.recv_from(&mut []).unwrap_or_else(|error| panic!("{n} datagrams: {error}")).1.port();
        (0..datagrams).map(port).collect()
    }

    /// The datagrams that come in up to the first one for which `last` is true, that one included.
    pub(crate) fn until(&self, what: &str, last: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        loop {
            let mut datagram = vec![0; 1 << 16];
            let len = self.socket.recv(&mut datagram);
            let others = datagrams.len();
            datagram.truncate(len.unwrap_or_else(|error| panic!("{what} did not come, but {others} others: {error}")));
            let is_last = last(&datagram);
            datagrams.push(datagram);
            if is_last {
                return datagrams;
            }
        }
    }
}
