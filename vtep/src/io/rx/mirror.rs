//! What captures see of the receiving half. None of it runs unless somebody looks on.
//!
//! A frame is shown as it comes out of its tunnel, before it is joined with others; one that is dropped later, because its
//! device does not take it, is shown again, as it was to be delivered.

use std::iter::once;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::tap::Tap;
use super::Delivery;
use crate::addr::Vni;
use crate::capture::{Peer, Seen, Way};
use crate::drops::DropReason;
use crate::engine::{Forward, Source};
use crate::offload::check::Check;
use crate::offload::coalesce::{Frame, Output};
use crate::switch::view::Port;
use crate::wire::vxlan;

impl Delivery<'_> {
    /// A frame out of a tunnel that goes on.
    #[cold]
    pub(super) fn arrived(&self, arena: &[u8], frame: &Frame, vni: Vni, forward: Forward, source: Source) {
        let port = match forward {
            Forward::Port(id) => self.view.ports.get(&id).map(|port| (id, port.mac)),
            _ => None,
        };
        let (Source::Plain(vtep) | Source::Sealed(vtep)) = source;
        let seen = Seen {
            port,
            cut: frame.cut,
            unfinished: frame.check == Check::Partial,
            ..from(Some(vni), Peer::Vtep(vtep), None)
        };
        self.mirror.show(&seen, once(frame.piece.of(arena)));
    }

    /// A VXLAN header and what follows, which is dropped. What is no frame of a network is shown as it is.
    #[cold]
    pub(super) fn refused(&self, datagram: &[u8], vtep: IpAddr, reason: DropReason) {
        if !self.mirror.is_on() {
            return;
        }
        match vxlan::parse(datagram) {
            Ok(vni) => {
                self.mirror.show(&from(Some(vni), Peer::Vtep(vtep), Some(reason)), once(&datagram[vxlan::LEN..]));
            }
            Err(_) => self.unopened(datagram, vtep, reason),
        }
    }

    /// A datagram that is dropped before it is known what is inside.
    #[cold]
    pub(super) fn unopened(&self, datagram: &[u8], vtep: IpAddr, reason: DropReason) {
        if self.mirror.is_on() {
            self.mirror.show(&from(None, Peer::Vtep(vtep), Some(reason)), once(datagram));
        }
    }

    /// A frame or super-frame that its port's device did not take.
    #[cold]
    pub(super) fn not_taken(&self, arena: &[u8], port: &Port<Arc<Tap>>, output: &Output<'_>, reason: DropReason) {
        if self.mirror.is_on() {
            let seen = Seen {
                port: Some((port.id, port.mac)),
                cut: output.header.gso_size,
                unfinished: output.header.csum.is_some(),
                ..from(Some(port.vni), Peer::Nobody, Some(reason))
            };
            self.mirror.show(&seen, output.pieces.iter().map(|piece| piece.of(arena)));
        }
    }
}

fn from(vni: Option<Vni>, peer: Peer, dropped: Option<DropReason>) -> Seen {
    Seen { vni, port: None, way: Way::In, peer, dropped, cut: 0, unfinished: false }
}
