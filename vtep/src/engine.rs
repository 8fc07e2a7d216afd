//! The order of decisions, for a frame from a port and for a datagram from the wire.
//!
//! Bytes, the source and `now` enter; where the frame goes, or why it ends, leaves. There is no device, socket or
//! clock here. The order is the one of RFC 7348 with the checks that a hostile underlay asks for: nothing is learned
//! from, and nothing delivered of, a datagram before all that is outside of it has been judged.

pub mod run;
pub mod watch;

use std::net::IpAddr;

use self::watch::{Step, Watch};
use crate::addr::{Mac, PortId, Vni};
use crate::drops::DropReason;
use crate::frame::{self, ETH_LEN, Layout, Network, Transport, VLAN_LEN};
use crate::offload::check;
use crate::path::{ecn, mss};
use crate::switch::Place;
use crate::switch::cache::Cache;
use crate::switch::fdb::Learn;
use crate::switch::neigh;
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
    /// To the VTEPs outside of the cluster alone.
    Remotes,
    /// Back to the port where it came from: its first bytes, so many, have become the answer.
    Answer(usize),
}

/// How a datagram came out of the underlay, and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Plain; the outer source address is all there is to go by.
    Plain(IpAddr),
    /// Sealed; its session says that the node with this VTEP made it.
    Sealed(IpAddr),
}

/// A frame from the wire that may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decapsulated {
    /// The network.
    pub vni: Vni,
    /// Where it goes: a port or all ports, never a VTEP (split horizon).
    pub forward: Forward,
    /// Where its headers lie, from the inner Ethernet header on; that one follows the VXLAN header.
    pub layout: Layout,
}

/// One worker's decisions: its cache of the forwarding tables. `W` follows them; a worker has nobody who does.
#[derive(Debug)]
pub struct Engine<W = ()> {
    cache: Cache,
    unlearned: u64,
    watch: W,
}

impl Engine {
    /// An engine with an empty cache; `secret` is random and new at each start.
    pub fn new(secret: u64) -> Self {
        Engine::watched(secret, ())
    }
}

impl<W: Watch> Engine<W> {
    /// An engine whose decisions `watch` follows.
    pub fn watched(secret: u64, watch: W) -> Self {
        Engine { cache: Cache::new(secret), unlearned: 0, watch }
    }

    /// Who followed the decisions.
    pub fn into_watch(self) -> W {
        self.watch
    }

    /// How many frames since the last call went on though there was no room to learn their source address.
    pub fn take_unlearned(&mut self) -> u64 {
        std::mem::take(&mut self.unlearned)
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
    /// for a super-frame), `count` how many frames it stands for where the port's allowance is asked. `partial` says that
    /// the transport checksum is still to be finished, which matters where the MSS is clamped.
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
        count: u64,
        now: Now,
    ) -> Result<Forward, DropReason> {
        if frame.len() < ETH_LEN {
            return Err(DropReason::TapTruncated);
        }
        let (destination, source) = (frame::destination(frame), frame::source(frame));
        self.watch.step(Step::Source { mac: source, own: port.mac });
        if source != port.mac {
            self.foreign_source(segment, port, source, now)?;
        }
        self.watch.step(Step::Size { packet_len, mtu: segment.spec.mtu });
        if packet_len > usize::from(segment.spec.mtu) {
            return Err(DropReason::Oversize);
        }
        clamp_mss(frame, layout, segment.spec.mtu, partial);
        let place = if destination.is_group() {
            if segment.spec.managed
                && let Some(len) = neigh::answer(frame, partial, &segment.neighbors)
            {
                self.watch.step(Step::Answer);
                return Ok(Forward::Answer(len));
            }
            None
        } else {
            self.cache.lookup(&segment.fdb, destination)
        };
        self.watch.step(Step::Destination { mac: destination, place });
        match place {
            Some(Place::Local(id)) if id == port.id => Err(DropReason::NoReceiver),
            Some(Place::Local(id)) => Ok(Forward::Port(id)),
            Some(Place::Vtep(vtep)) => Ok(Forward::Vtep(vtep)),
            None => {
                self.watch.step(Step::Spread);
                let forward = spread(segment, destination.is_group())?;
                // Who only foresees uses nothing up.
                let allowed = !W::REMEMBERS || port.storm.allow_all(now.ns, count);
                if allowed { Ok(forward) } else { Err(DropReason::StormLimit) }
            }
        }
    }

    /// Judges a source address that is not the port's own, and learns it where that is allowed.
    #[cold]
    fn foreign_source<D>(
        &mut self,
        segment: &Segment<D>,
        port: &Port<D>,
        source: Mac,
        now: Now,
    ) -> Result<(), DropReason> {
        if !segment.spec.trust_macs || !source.is_station() {
            return Err(DropReason::SourceMacForeign);
        }
        if !W::REMEMBERS {
            let learn = segment.fdb.foresee(source, Place::Local(port.id));
            self.watch.step(Step::Learn(learn));
            return match (learn, segment.spec.managed) {
                (Learn::Refused, _) => Err(DropReason::SourceMacForeign),
                (Learn::Full, true) => Err(DropReason::StationLimit),
                _ => Ok(()),
            };
        }
        match (self.cache.learn(&segment.fdb, source, Place::Local(port.id), now.s), segment.spec.managed) {
            (Learn::Known, _) | (Learn::New | Learn::Moved, false) => Ok(()),
            (Learn::New | Learn::Moved, true) => {
                if segment.announcements.came(source, port.id) {
                    return Ok(());
                }
                // Every other node refuses its frames until it is announced: it must come again as new.
                segment.fdb.unlearn(source);
                Err(DropReason::StationLimit)
            }
            (Learn::Refused, managed) => {
                // It may have moved here. Whether it did is for the control plane to say, which then forgets the VTEP.
                if managed && matches!(segment.fdb.lookup(source), Some(Place::Vtep(_))) {
                    segment.announcements.came(source, port.id);
                }
                Err(DropReason::SourceMacForeign)
            }
            (Learn::Full, true) => Err(DropReason::StationLimit),
            (Learn::Full, false) => {
                self.unlearned += 1;
                Ok(())
            }
        }
    }

    /// Decides on a VXLAN header and what follows, from `source`; the outer IP header carried `tos`.
    ///
    /// # Errors
    /// Why the frame ends. Nothing was learned from it unless the reason is [`DropReason::NotHere`]: such a frame is
    /// sound, and merely not for this node.
    #[inline]
    pub fn from_wire<D>(
        &mut self,
        view: &View<D>,
        datagram: &mut [u8],
        source: Source,
        tos: u8,
        now: Now,
    ) -> Result<Decapsulated, DropReason> {
        let vni = vxlan::parse(datagram)?;
        self.watch.step(Step::Network(vni));
        let segment = view.segments.get(&vni).ok_or(DropReason::UnknownVni)?;
        self.watch.step(Step::Mode { sealed: segment.spec.sealed });
        let (source, stranger) = match source {
            Source::Plain(_) if segment.spec.sealed => return Err(DropReason::PlainOnSealed),
            Source::Sealed(_) if !segment.spec.sealed => return Err(DropReason::SealedOnPlain),
            Source::Plain(vtep) => (vtep, DropReason::UnknownVtep),
            Source::Sealed(vtep) => (vtep, DropReason::NotMember),
        };
        let inner = &mut datagram[vxlan::LEN..];
        let listed = segment.flood.contains(source);
        self.watch.step(Step::Peer { vtep: source, listed });
        if !listed && !self.lives_at(segment, frame::source(inner), source) {
            return Err(stranger);
        }
        self.watch.step(Step::Inner);
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
        self.watch.step(Step::Size { packet_len: inner.len() - layout.l3, mtu: segment.spec.mtu });
        // Larger than the MTU is only what a kernel VTEP on the same machine did not cut, and so did not sum up either.
        if inner.len() - layout.l3 > usize::from(segment.spec.mtu) && !check::looks_partial(inner, &layout) {
            return Err(DropReason::InnerOversize);
        }
        let learns = !segment.spec.managed || segment.flood.is_remote(source);
        self.watch.step(Step::Station { mac: station, vtep: source });
        if !learns && !self.lives_at(segment, station, source) {
            return Err(self.pretender(segment, station));
        }
        if layout.network != Network::Other {
            self.watch.step(Step::Ecn { tos });
            ecn::apply(&mut inner[layout.l3..], tos)?;
        }
        if learns {
            match self.learn(segment, station, Place::Vtep(source), now) {
                Learn::Known | Learn::New | Learn::Moved => {}
                Learn::Refused => return Err(self.pretender(segment, station)),
                Learn::Full => self.unlearned += 1,
            }
        }
        let forward = if destination.is_group() {
            Forward::Flood
        } else {
            let place = self.cache.lookup(&segment.fdb, destination);
            self.watch.step(Step::Destination { mac: destination, place });
            match place {
                Some(Place::Local(id)) => Forward::Port(id),
                None if segment.spec.trust_macs && !segment.spec.managed => Forward::Flood,
                _ => return Err(DropReason::NotHere),
            }
        };
        if forward == Forward::Flood {
            self.watch.step(Step::Spread);
        }
        if forward == Forward::Flood && segment.ports.is_empty() {
            return Err(DropReason::NotHere);
        }
        Ok(Decapsulated { vni, forward, layout })
    }

    /// Learns a source address, or in a dry run says what would come of it.
    #[inline]
    fn learn<D>(&mut self, segment: &Segment<D>, station: Mac, place: Place, now: Now) -> Learn {
        if W::REMEMBERS {
            return self.cache.learn(&segment.fdb, station, place, now.s);
        }
        let learn = segment.fdb.foresee(station, place);
        self.watch.step(Step::Learn(learn));
        learn
    }

    /// True when the control plane says that `station` lives behind `vtep`. That also lets a VTEP in that is no member any
    /// more: a node that the others hold for dead, and whose endpoints go on speaking.
    #[inline]
    fn lives_at<D>(&mut self, segment: &Segment<D>, station: Mac, vtep: IpAddr) -> bool {
        segment.spec.managed && self.cache.lookup(&segment.fdb, station) == Some(Place::Vtep(vtep))
    }

    /// Why a frame ends whose source address does not live where it came from.
    fn pretender<D>(&mut self, segment: &Segment<D>, station: Mac) -> DropReason {
        match self.cache.lookup(&segment.fdb, station) {
            Some(Place::Local(_)) => DropReason::InnerSourceLocal,
            _ => DropReason::InnerSourceForeign,
        }
    }
}

/// Where a frame from a port goes that is for a `group`, or for nobody who is known.
fn spread<D>(segment: &Segment<D>, group: bool) -> Result<Forward, DropReason> {
    let (flood, spec) = (&segment.flood, &segment.spec);
    if spec.managed && !group {
        return if flood.remotes().is_empty() { Err(DropReason::UnknownUnicast) } else { Ok(Forward::Remotes) };
    }
    let nobody_far = flood.all().is_empty();
    match segment.ports.len() {
        0 | 1 if nobody_far => Err(DropReason::NoReceiver),
        _ if nobody_far && !group && !spec.trust_macs => Err(DropReason::UnknownUnicast),
        _ => Ok(Forward::Flood),
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
mod tests;
