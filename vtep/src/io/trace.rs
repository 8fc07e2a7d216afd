//! What would become of a frame, asked of the running data plane: the ground under `weft trace`.
//!
//! Enters: a frame, where it comes from. Leaves: the steps of the [`engine`](crate::engine) on the very tables that the
//! workers use, and its decision; then, one question each, what the decision does not know: sessions, the underlay, the
//! device at the end. Nothing is sent, learned or counted. Not asked are the workers' allowances of flooded frames and of
//! ICMP answers, and queues that happen to be full.

use std::net::{IpAddr, SocketAddr};

use super::{Vtep, underlay};
use crate::addr::{Mac, PortId, Vni};
use crate::drops::DropReason;
use crate::engine::watch::{Dry, Step};
use crate::engine::{Decapsulated, Engine, Forward, Source};
use crate::frame::Layout;
use crate::path::{ecn, mtu};
use crate::seal::PeerId;
use crate::seal::suite::Suite;
use crate::seal::table::Session;
use crate::switch::FdbRow;
use crate::wire::vxlan;

/// What a worker would do with a frame from a port.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The steps, as far as they were gone.
    pub steps: Vec<Step>,
    /// Where it goes, or why it ends.
    pub decision: Result<Forward, DropReason>,
    /// The frame as it goes on: an answer for [`Forward::Answer`], else without a VLAN tag and with its MSS clamped.
    pub frame: Vec<u8>,
    /// The VTEPs that it goes to.
    pub vteps: Vec<IpAddr>,
    /// The ports on this node that it goes to.
    pub ports: Vec<PortId>,
    /// The outer type of service that it leaves with.
    pub tos: u8,
}

/// What a worker would do with a frame from the wire.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The steps, as far as they were gone.
    pub steps: Vec<Step>,
    /// The ports that it goes to, or why it ends.
    pub decision: Result<Vec<PortId>, DropReason>,
}

/// The keys of one direction, without the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSeen {
    /// The node at the other end.
    pub peer: PeerId,
    /// That node's VTEP.
    pub address: IpAddr,
    /// The receiver's name for it.
    pub index: u32,
    /// The AEAD.
    pub suite: Suite,
    /// Which of the peer's sessions in this direction, from 1 on.
    pub epoch: u32,
}

impl SessionSeen {
    fn of<L>(session: &Session<L>) -> SessionSeen {
        let Session { peer, address, index, suite, epoch, .. } = *session;
        SessionSeen { peer, address, index, suite, epoch }
    }
}

/// The way to a VTEP, as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The path's MTU.
    pub mtu: u16,
    /// Echoes have found that it is so narrow, of which the kernel knows nothing: a larger datagram is lost without a word.
    pub measured: bool,
    /// What the datagram takes of it, outer headers included.
    pub needs: usize,
}

impl Vtep {
    /// Decides on a frame from a port as a worker would. `None`: there is no such port.
    pub fn trace_from_port(&self, id: PortId, frame: &[u8]) -> Option<Departure> {
        let (_, view) = self.shared.view.load();
        let port = view.ports.get(&id)?;
        let segment = view.segments.get(&port.vni)?;
        let mut frame = frame.to_vec();
        let mut engine = Engine::watched(self.shared.secret, Dry::default());
        let untagged = engine.untag(segment, &mut frame);
        frame.drain(..untagged);
        let layout = Layout::of(&frame);
        let packet_len = frame.len() - layout.l3;
        let now = self.shared.now();
        let decision = engine.from_port(segment, port, &mut frame, &layout, packet_len, false, 1, now);
        let others = || segment.ports.iter().map(|other| other.id).filter(|other| *other != id).collect();
        let (ports, vteps) = match decision {
            Ok(Forward::Port(port)) => (vec![port], Vec::new()),
            Ok(Forward::Vtep(vtep)) => (Vec::new(), vec![vtep]),
            Ok(Forward::Flood) => (others(), segment.flood.all().to_vec()),
            Ok(Forward::Remotes) => (Vec::new(), segment.flood.remotes().to_vec()),
            Ok(Forward::Answer(len)) => {
                frame.truncate(len);
                (Vec::new(), Vec::new())
            }
            Err(_) => (Vec::new(), Vec::new()),
        };
        let tos = ecn::encap(layout.tos(&frame));
        Some(Departure { steps: engine.into_watch().steps, decision, frame, vteps, ports, tos })
    }

    /// Decides on a frame out of a tunnel as a worker would. `source` says whose tunnel, and of which kind; the outer
    /// header carried `tos`.
    pub fn trace_from_wire(&self, vni: Vni, source: Source, frame: &[u8], tos: u8) -> Arrival {
        let (_, view) = self.shared.view.load();
        let mut datagram = [&vxlan::header(vni)[..], frame].concat();
        let mut engine = Engine::watched(self.shared.secret, Dry::default());
        let decision = engine.from_wire(&view, &mut datagram, source, tos, self.shared.now());
        let ports = |decapsulated: Decapsulated| match decapsulated.forward {
            Forward::Port(port) => vec![port],
            _ => view.segments.get(&vni).map_or_else(Vec::new, |s| s.ports.iter().map(|port| port.id).collect()),
        };
        Arrival { steps: engine.into_watch().steps, decision: decision.map(ports) }
    }

    /// What seals datagrams to a VTEP; `None`: frames wait while the daemon is asked for a session.
    pub fn trace_send_session(&self, vtep: IpAddr) -> Option<SessionSeen> {
        let (_, view) = self.shared.view.load();
        let session = view.sessions.sending().find(|session| session.address == vtep)?;
        Some(SessionSeen::of(session))
    }

    /// What opens datagrams of a receiver index; `None`: they are dropped as [`DropReason::UnknownIndex`].
    pub fn trace_receive_session(&self, index: u32) -> Option<SessionSeen> {
        let (_, view) = self.shared.view.load();
        let session = view.sessions.receiving().find(|session| session.index == index)?;
        Some(SessionSeen::of(session))
    }

    /// The underlay on the way to a VTEP, for a frame of this many bytes from the Ethernet header on.
    ///
    /// # Errors
    /// What sending would fail with: there is no route, or its MTU is too small.
    pub fn trace_route(
        &self,
        vtep: IpAddr,
        sealed: bool,
        frame_len: usize,
    ) -> Result<Route, (DropReason, Option<Route>)> {
        let told = underlay::route(self.local, SocketAddr::new(vtep, self.port)).map_err(|reason| (reason, None))?;
        let (_, view) = self.shared.view.load();
        let narrow = view.narrow.get(&vtep).copied().filter(|narrow| *narrow < told);
        let mtu = narrow.unwrap_or(told);
        let overhead = usize::from(mtu::overhead(vtep.is_ipv6(), sealed)) - crate::frame::ETH_LEN;
        let route = Route { mtu, measured: narrow.is_some(), needs: frame_len + overhead };
        if route.needs > usize::from(mtu) { Err((DropReason::UnderlayMtu, Some(route))) } else { Ok(route) }
    }

    /// Whether a port's device would take a frame.
    ///
    /// # Errors
    /// [`DropReason::TapDown`].
    pub fn trace_device(&self, id: PortId) -> Result<(), DropReason> {
        let (_, view) = self.shared.view.load();
        view.ports.get(&id).map_or(Err(DropReason::TapDown), |port| port.device.takes_frames())
    }

    /// What the forwarding table of a network says of a station.
    pub fn trace_station(&self, vni: Vni, mac: Mac) -> Option<FdbRow> {
        let (_, view) = self.shared.view.load();
        view.segments.get(&vni)?.fdb.entry(mac)
    }
}
