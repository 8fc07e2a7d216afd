//! Who follows a decision, step by step: `weft trace`.
//!
//! The [`Engine`](super::Engine) tells a [`Watch`] of each step as it begins, with what it looks at: where a decision ends
//! in a refusal, the step told last is the one that refused. The workers' watcher is `()`, of which nothing is left in
//! the machine code; a [`Dry`] run writes the steps down and leaves the shared tables as they are. So a trace is the very
//! code that the frames take, not a second account of it.

use std::net::IpAddr;

use crate::addr::{Mac, Vni};
use crate::switch::Place;
use crate::switch::fdb::Learn;

/// A step of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// From a port: whether the port may send from this address.
    Source {
        /// The frame's source address.
        mac: Mac,
        /// The endpoint's own.
        own: Mac,
    },
    /// What learning the source address comes to; told by dry runs alone.
    Learn(Learn),
    /// Whether the network carries a packet of this size.
    Size {
        /// Bytes of the network packet.
        packet_len: usize,
        /// What the network carries.
        mtu: u16,
    },
    /// The frame was a question (ARP, ND) that is answered here.
    Answer,
    /// Where the destination address lives.
    Destination {
        /// The frame's destination address.
        mac: Mac,
        /// What the forwarding table says of it; nothing is said of a group.
        place: Option<Place>,
    },
    /// Who gets a frame that is for a group or for nobody known.
    Spread,
    /// From the wire: whether the network is here.
    Network(Vni),
    /// Whether the frame came as the network demands.
    Mode {
        /// It demands sealed frames; else plain ones.
        sealed: bool,
    },
    /// Whether the sending VTEP may send into the network.
    Peer {
        /// The VTEP.
        vtep: IpAddr,
        /// It is a member or a remote.
        listed: bool,
    },
    /// Whether the inner frame is sound: whole, from a station, without a VLAN tag that is not allowed.
    Inner,
    /// Whether the inner source address lives behind the sending VTEP.
    Station {
        /// The inner source address.
        mac: Mac,
        /// The VTEP.
        vtep: IpAddr,
    },
    /// Whether the outer congestion mark can be taken over (RFC 6040).
    Ecn {
        /// The outer type of service.
        tos: u8,
    },
}

/// Follows the decisions of an engine.
pub trait Watch {
    /// What is found out is learned, as it must be for frames that are real.
    const REMEMBERS: bool;

    /// A step begins.
    fn step(&mut self, step: Step);
}

impl Watch for () {
    const REMEMBERS: bool = true;

    #[inline(always)]
    fn step(&mut self, _: Step) {}
}

/// Writes the steps of a dry run down: nothing is learned, announced or counted. A worker keeps its own allowance of
/// flooded frames, which a dry run cannot ask.
#[derive(Clone, Debug, Default)]
pub struct Dry {
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

impl Watch for Dry {
    const REMEMBERS: bool = false;

    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
}
