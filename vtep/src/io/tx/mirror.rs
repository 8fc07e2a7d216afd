//! What captures see of the sending half. None of it runs unless somebody looks on.
//!
//! A frame is shown when its fate is known. One whose fate changes after that, because the session that it waited for did
//! not come or a device did not take its copy, is shown again, as dropped.

use std::iter::once;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Step, Tap};
use crate::addr::Vni;
use crate::capture::{Mirror, Peer, Seen, Way};
use crate::drops::DropReason;
use crate::engine::Forward;
use crate::offload::vnet_hdr::{self, VnetHdr};
use crate::switch::view::Port;

/// More than any question (ARP, ND) that is answered in its place.
const QUESTION: usize = 128;

/// The first bytes of a frame as it came.
pub(super) struct Beginning {
    bytes: [u8; QUESTION],
    len: usize,
}

impl Beginning {
    #[cold]
    pub(super) fn of(frame: &[u8]) -> Beginning {
        let len = frame.len().min(QUESTION);
        let mut bytes = [0; QUESTION];
        bytes[..len].copy_from_slice(&frame[..len]);
        Beginning { bytes, len }
    }
}

/// A frame from or to a port.
fn at(port: &Port<Arc<Tap>>, way: Way, peer: Peer, hdr: &VnetHdr, dropped: Option<DropReason>) -> Seen {
    Seen { port: Some((port.id, port.mac)), ..between(port.vni, way, peer, hdr, dropped) }
}

/// A frame on a network; its port is not known any more, or it is for all.
fn between(vni: Vni, way: Way, peer: Peer, hdr: &VnetHdr, dropped: Option<DropReason>) -> Seen {
    Seen { vni: Some(vni), port: None, way, peer, dropped, cut: hdr.gso_size, unfinished: hdr.csum.is_some() }
}

/// A frame that waited for a session, offload header first, and is dropped.
pub(super) fn unsent(mirror: &Mirror<'_>, vni: Vni, vtep: IpAddr, raw: &[u8], reason: DropReason) {
    if mirror.is_on()
        && let Ok(hdr) = VnetHdr::read(raw)
    {
        let seen = between(vni, Way::Out, Peer::Vtep(vtep), &hdr, Some(reason));
        mirror.show(&seen, once(&raw[vnet_hdr::LEN..]));
    }
}

impl Step<'_> {
    /// A frame from a port, and what became of it.
    #[cold]
    pub(super) fn show(
        &self,
        port: &Port<Arc<Tap>>,
        hdr: &VnetHdr,
        came: Beginning,
        frame: &[u8],
        done: Result<Forward, (DropReason, u64)>,
    ) {
        let out = |peer, dropped| at(port, Way::Out, peer, hdr, dropped);
        match done {
            Err((reason, _)) => self.mirror.show(&out(Peer::Nobody, Some(reason)), once(frame)),
            Ok(Forward::Vtep(vtep)) => self.mirror.show(&out(Peer::Vtep(vtep), None), once(frame)),
            Ok(Forward::Remotes) => self.mirror.show(&out(Peer::Flood, None), once(frame)),
            Ok(Forward::Flood) => {
                let others = between(port.vni, Way::In, Peer::Port(port.id), hdr, None);
                self.mirror.show_either(&out(Peer::Flood, None), Some(&others), once(frame));
            }
            Ok(Forward::Port(id)) => {
                let other = self.view.ports.get(&id).map(|to| at(to, Way::In, Peer::Port(port.id), hdr, None));
                self.mirror.show_either(&out(Peer::Port(id), None), other.as_ref(), once(frame));
            }
            Ok(Forward::Answer(len)) => {
                self.mirror.show(&out(Peer::Here, None), once(&came.bytes[..came.len]));
                let answer = at(port, Way::In, Peer::Here, &VnetHdr::default(), None);
                self.mirror.show(&answer, once(&frame[..len]));
            }
        }
    }

    /// A copy of a flooded frame that a device did not take.
    #[cold]
    pub(super) fn not_taken(&self, port: &Port<Arc<Tap>>, hdr: &VnetHdr, frame: &[u8], reason: DropReason) {
        if self.mirror.is_on() {
            self.mirror.show(&at(port, Way::In, Peer::Nobody, hdr, Some(reason)), once(frame));
        }
    }

    /// A frame that was not sealed for a VTEP.
    #[cold]
    pub(super) fn unsealed(&self, vni: Vni, vtep: IpAddr, hdr: &VnetHdr, frame: &[u8], reason: DropReason) {
        if self.mirror.is_on() {
            self.mirror.show(&between(vni, Way::Out, Peer::Vtep(vtep), hdr, Some(reason)), once(frame));
        }
    }
}
