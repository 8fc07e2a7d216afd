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
