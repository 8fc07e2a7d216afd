//! The order of decisions, for a frame from a port and for a datagram from the wire.
//!
//! Bytes, the source and `now` enter; where the frame goes, or why it ends, leaves. There is no device, socket or
//! clock here. The order is the one of RFC 7348 with the checks that a hostile underlay asks for: nothing is learned
//! from, and nothing delivered of, a datagram before all that is outside of it has been judged.

use std::net::IpAddr;

use crate::addr::{PortId, Vni};
use crate::drops::DropReason;
use crate::frame::{self, ETH_LEN, Layout, Network, Transport, VLAN_LEN};
use crate::offload::check;
use crate::path::{ecn, mss};
use crate::switch::Place;
use crate::switch::cache::Cache;
use crate::switch::fdb::Learn;
use crate::switch::storm::Bucket;
use crate::switch::view::{Port, Segment, View};
use crate::wire::vxlan;

/// The moment of a batch, in the two grains that the tables need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Nanoseconds on a clock that never goes back.
    pub ns: u64,
    /// Seconds on the same clock.
    pub s: u32,
}

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forward {
    /// To one local port.
    Port(PortId),
    /// Into the tunnel to one VTEP.
    Vtep(IpAddr),
    /// To every other port, and from a port also to every VTEP of the network.
    Flood,
}

/// A frame from the wire that may go on.
#[derive(Clone, Copy, Debug)]
pub struct Decapsulated {
    /// The network.
    pub vni: Vni,
    /// Where it goes: a port or all ports, never a VTEP (split horizon).
    pub forward: Forward,
    /// Where its headers lie, from the inner Ethernet header on; that one follows the VXLAN header.
    pub layout: Layout,
}

/// One worker's decisions: its cache of the forwarding tables.
#[derive(Debug)]
pub struct Engine {
    cache: Cache,
}

impl Engine {
    /// An engine with an empty cache; `secret` is random and new at each start.
    pub fn new(secret: u64) -> Self {
        Engine { cache: Cache::new(secret) }
    }

    /// Removes the VLAN tag of a frame from a port unless its network carries tags. Returns where the frame now starts.
    #[inline]
    pub fn untag<D>(&self, segment: &Segment<D>, frame: &mut [u8]) -> usize {
        let strip = !segment.spec.keep_vlan && frame::has_vlan(frame) && frame::strip_vlan(frame);
        if strip { VLAN_LEN } else { 0 }
    }

    /// Decides on a frame from a port, untagged already.
    ///
    /// `layout` is the frame's, `packet_len` the bytes of the largest network packet that will come of it (a segment's,
    /// for a super-frame); `storm` is the port's allowance of flooded frames. `partial` says that the transport checksum
    /// is still to be finished, which matters where the MSS is clamped.
    ///
    /// # Errors
    /// Why the frame ends. On [`DropReason::Oversize`] the caller owes the sender an ICMP answer.
    #[inline]
    #[allow(clippy::too_many_arguments)] // each is one thing that the decision depends on
    pub fn from_port<D>(
        &mut self,
        segment: &Segment<D>,
        port: &Port<D>,
        frame: &mut [u8],
        layout: &Layout,
        packet_len: usize,
        partial: bool,
        storm: &mut Bucket,
        now: Now,
    ) -> Result<Forward, DropReason> {
        if frame.len() < ETH_LEN {
            return Err(DropReason::TapTruncated);
        }
        let (destination, source) = (frame::destination(frame), frame::source(frame));
        if source != port.mac {
            if !segment.spec.trust_macs || !source.is_station() {
                return Err(DropReason::SourceMacForeign);
            }
            if self.cache.learn(&segment.fdb, source, Place::Local(port.id), now.s) == Learn::RefusedLocal {
                return Err(DropReason::SourceMacForeign);
            }
        }
        if packet_len > usize::from(segment.spec.mtu) {
            return Err(DropReason::Oversize);
        }
        clamp_mss(frame, layout, segment.spec.mtu, partial);
        let place = if destination.is_group() { None } else { self.cache.lookup(&segment.fdb, destination) };
        match place {
            Some(Place::Local(id)) if id == port.id => Err(DropReason::NoReceiver),
            Some(Place::Local(id)) => Ok(Forward::Port(id)),
            Some(Place::Vtep(vtep)) => Ok(Forward::Vtep(vtep)),
            None if segment.spec.remotes.is_empty() && segment.ports.len() < 2 => Err(DropReason::NoReceiver),
            None if !destination.is_group() && segment.spec.remotes.is_empty() && !segment.spec.trust_macs => {
                Err(DropReason::UnknownUnicast)
            }
            None if !storm.allow(now.ns) => Err(DropReason::StormLimit),
            None => Ok(Forward::Flood),
        }
    }

    /// Decides on the payload of a UDP datagram from `source`, whose IP header carried `tos`.
    ///
    /// # Errors
    /// Why the frame ends. Nothing was learned from it unless the reason is [`DropReason::NotHere`]: such a frame is
    /// sound, and merely not for this node.
    #[inline]
    pub fn from_wire<D>(
        &mut self,
        view: &View<D>,
        datagram: &mut [u8],
        source: IpAddr,
        tos: u8,
        now: Now,
    ) -> Result<Decapsulated, DropReason> {
        let vni = vxlan::parse(datagram)?;
        let segment = view.segments.get(&vni).ok_or(DropReason::UnknownVni)?;
        if !segment.is_member(source) {
            return Err(DropReason::UnknownVtep);
        }
        let inner = &mut datagram[vxlan::LEN..];
        if inner.len() < ETH_LEN {
            return Err(DropReason::InnerTruncated);
        }
        let (destination, station) = (frame::destination(inner), frame::source(inner));
        if !station.is_station() {
            return Err(DropReason::InnerSourceInvalid);
        }
        if !segment.spec.keep_vlan && frame::has_vlan(inner) {
            return Err(DropReason::InnerVlan);
        }
        let layout = Layout::of(inner);
        // Larger than the MTU is only what a kernel VTEP on the same machine did not cut, and so did not sum up either.
        if inner.len() - layout.l3 > usize::from(segment.spec.mtu) && !check::looks_partial(inner, &layout) {
            return Err(DropReason::InnerOversize);
        }
        if layout.network != Network::Other {
            ecn::apply(&mut inner[layout.l3..], tos)?;
        }
        if self.cache.learn(&segment.fdb, station, Place::Vtep(source), now.s) == Learn::RefusedLocal {
            return Err(DropReason::InnerSourceLocal);
        }
        let forward = if destination.is_group() {
            Forward::Flood
        } else {
            match self.cache.lookup(&segment.fdb, destination) {
                Some(Place::Local(id)) => Forward::Port(id),
                None if segment.spec.trust_macs => Forward::Flood,
                _ => return Err(DropReason::NotHere),
            }
        };
        if forward == Forward::Flood && segment.ports.is_empty() {
            return Err(DropReason::NotHere);
        }
        Ok(Decapsulated { vni, forward, layout })
    }
}

/// Lowers the MSS that a TCP handshake announces to what an MTU carries; `partial` as for [`Engine::from_port`].
#[inline]
pub fn clamp_mss(frame: &mut [u8], layout: &Layout, mtu: u16, partial: bool) {
    if layout.transport == Transport::Tcp {
        let (l3, end) = (layout.l3, layout.end);
        mss::clamp(&mut frame[l3..end], layout.l4 - l3, mtu, partial);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::addr::Mac;
    use crate::switch::NetworkSpec;

    const HERE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const NEXT: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
    const FAR: Mac = Mac::new([2, 0, 0, 0, 0, 3]);
    const STRANGER: Mac = Mac::new([2, 0, 0, 0, 0, 9]);

    fn vtep(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    /// Network 1 with two ports and two remotes; network 2 with one port and nobody else.
    fn view(change: impl Fn(&mut NetworkSpec)) -> View<()> {
        let mut view = View::default();
        for (number, macs, remotes) in [(1, vec![HERE, NEXT], vec![vtep(1), vtep(2)]), (2, vec![HERE], vec![])] {
            let mut spec = NetworkSpec::new(vni(number), 1450);
            spec.remotes = remotes;
            change(&mut spec);
            let mut segment = Segment::new(spec, 7);
            for (index, mac) in macs.into_iter().enumerate() {
                let port = Port { id: PortId(number * 10 + index as u32), vni: vni(number), mac, device: () };
                segment.fdb.set_local(mac, port.id);
                segment.ports.push(Arc::new(port));
                view.ports.insert(segment.ports[index].id, segment.ports[index].clone());
            }
            view.segments.insert(vni(number), segment);
        }
        view
    }

    fn frame(destination: Mac, source: Mac) -> Vec<u8> {
        [&destination.octets()[..], &source.octets(), &[0x08, 0x06], &[0; 46]].concat()
    }

    fn datagram(number: u32, frame: &[u8]) -> Vec<u8> {
        [&vxlan::header(vni(number))[..], frame].concat()
    }

    fn from_port(engine: &mut Engine, view: &View<()>, number: u32, frame: &[u8]) -> Result<Forward, DropReason> {
        let segment = &view.segments[&vni(number)];
        let mut storm = Bucket::new(1, 3);
        let (mut frame, now) = (frame.to_vec(), Now { ns: 1, s: 1 });
        let layout = Layout::of(&frame);
        let len = frame.len().saturating_sub(layout.l3);
        engine.from_port(segment, &segment.ports[0], &mut frame, &layout, len, false, &mut storm, now)
    }

    fn from_wire(engine: &mut Engine, view: &View<()>, source: u8, datagram: &[u8]) -> Result<Forward, DropReason> {
        let now = Now { ns: 1, s: 1 };
        engine.from_wire(view, &mut datagram.to_vec(), vtep(source), 0, now).map(|taken| taken.forward)
    }

    #[test]
    fn a_frame_from_a_port_goes_where_its_destination_lives() {
        let (view, mut engine) = (view(|_| {}), Engine::new(1));
        let mut go = |number, destination| from_port(&mut engine, &view, number, &frame(destination, HERE));
        assert_eq!(go(1, NEXT), Ok(Forward::Port(PortId(11))));
        assert_eq!(go(1, FAR), Ok(Forward::Flood), "unknown: the static remotes are asked");
        assert_eq!(go(1, Mac::BROADCAST), Ok(Forward::Flood));
        assert_eq!(go(1, HERE), Err(DropReason::NoReceiver));
        assert_eq!(go(2, FAR), Err(DropReason::NoReceiver));
        view.segments[&vni(1)].fdb.learn(FAR, Place::Vtep(vtep(2)), 1);
        assert_eq!(go(1, FAR), Ok(Forward::Vtep(vtep(2))));
    }

    #[test]
    fn a_port_speaks_for_its_own_address_unless_it_is_trusted() {
        let (strict, trusting) = (view(|_| {}), view(|spec| spec.trust_macs = true));
        let mut engine = Engine::new(1);
        let foreign = frame(NEXT, STRANGER);
        assert_eq!(from_port(&mut engine, &strict, 1, &foreign), Err(DropReason::SourceMacForeign));
        assert_eq!(strict.segments[&vni(1)].fdb.lookup(STRANGER), None);
        assert_eq!(from_port(&mut engine, &trusting, 1, &foreign), Ok(Forward::Port(PortId(11))));
        assert_eq!(trusting.segments[&vni(1)].fdb.lookup(STRANGER), Some(Place::Local(PortId(10))));
        // Nor does trust let a port take its neighbour's address.
        assert_eq!(from_port(&mut engine, &trusting, 1, &frame(FAR, NEXT)), Err(DropReason::SourceMacForeign));
    }

    #[test]
    fn short_large_and_flooded_frames_from_a_port_end() {
        let (view, mut engine) = (view(|_| {}), Engine::new(1));
        assert_eq!(from_port(&mut engine, &view, 1, &[0; 13]), Err(DropReason::TapTruncated));
        let large = [frame(NEXT, HERE), vec![0; 1450]].concat();
        assert_eq!(from_port(&mut engine, &view, 1, &large), Err(DropReason::Oversize));
        let segment = &view.segments[&vni(1)];
        let (mut flood, mut storm) = (frame(Mac::BROADCAST, HERE), Bucket::new(1, 3));
        let layout = Layout::of(&flood);
        let now = Now { ns: 1, s: 1 };
        let mut go = || engine.from_port(segment, &segment.ports[0], &mut flood, &layout, 46, false, &mut storm, now);
        assert_eq!((go(), go(), go()), (Ok(Forward::Flood), Ok(Forward::Flood), Ok(Forward::Flood)));
        assert_eq!(go(), Err(DropReason::StormLimit));
    }

    #[test]
    fn a_datagram_goes_to_ports_and_never_back_into_a_tunnel() {
        let (view, mut engine) = (view(|_| {}), Engine::new(1));
        let mut go = |destination| from_wire(&mut engine, &view, 1, &datagram(1, &frame(destination, FAR)));
        assert_eq!(go(NEXT), Ok(Forward::Port(PortId(11))));
        assert_eq!(go(Mac::BROADCAST), Ok(Forward::Flood));
        // Known behind another VTEP: split horizon.
        view.segments[&vni(1)].fdb.learn(STRANGER, Place::Vtep(vtep(2)), 1);
        assert_eq!(go(STRANGER), Err(DropReason::NotHere));
    }

    #[test]
    fn a_refused_datagram_teaches_nothing() {
        let (view, mut engine) = (view(|_| {}), Engine::new(1));
        let good = frame(HERE, FAR);
        let tagged = [&good[..12], &[0x81, 0, 0, 5], &good[12..]].concat();
        let cases: [(u8, Vec<u8>, DropReason); 9] = [
            (1, vec![8, 0, 0, 0, 0], DropReason::OuterTruncated),
            (1, [&[0; 8][..], &good].concat(), DropReason::NotVxlan),
            (1, [&[0x80, 1, 0, 0, 0, 0, 1, 0][..], &good].concat(), DropReason::UnknownIndex),
            (1, datagram(3, &good), DropReason::UnknownVni),
            (9, datagram(1, &good), DropReason::UnknownVtep),
            (1, datagram(2, &good), DropReason::UnknownVtep),
            (1, datagram(1, &good[..13]), DropReason::InnerTruncated),
            (1, datagram(1, &frame(HERE, Mac::BROADCAST)), DropReason::InnerSourceInvalid),
            (1, datagram(1, &tagged), DropReason::InnerVlan),
        ];
        for (source, bytes, reason) in cases {
            assert_eq!(from_wire(&mut engine, &view, source, &bytes), Err(reason));
        }
        assert_eq!(
            from_wire(&mut engine, &view, 1, &datagram(1, &frame(NEXT, HERE))),
            Err(DropReason::InnerSourceLocal)
        );
        let known: Vec<_> = view.segments.values().flat_map(|s| s.fdb.rows()).filter(|row| row.learned).collect();
        assert!(known.is_empty(), "{known:?}");
        assert_eq!(from_wire(&mut engine, &view, 1, &datagram(1, &good)), Ok(Forward::Port(PortId(10))));
        assert_eq!(view.segments[&vni(1)].fdb.lookup(FAR), Some(Place::Vtep(vtep(1))));
    }
}
