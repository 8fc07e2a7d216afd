//! The steps of a trace in words, for people: what was looked at, what was found.

use std::net::IpAddr;

use weft_control::network::Network;
use weft_proto::v1::{self, TraceOutcome as Outcome};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::engine::Forward;
use weft_vtep::engine::watch::Step;
use weft_vtep::io::trace::{Arrival, Departure, Route, SessionSeen};
use weft_vtep::switch::fdb::Learn;
use weft_vtep::switch::{FdbKind, Place};

use crate::node::Node;

/// One node's part of a trace.
#[derive(Debug)]
pub(in crate::node) struct Leg {
    wire: v1::TraceLeg,
}

impl Leg {
    /// This node's, without steps.
    pub(in crate::node) fn of(node: &Node) -> Leg {
        let (name, address) = (node.identity.name.clone(), node.identity.advertise.to_string());
        Leg { wire: v1::TraceLeg { node: name, address, steps: Vec::new() } }
    }

    /// Another node's, as it tells it.
    pub(super) fn from_wire(wire: v1::TraceLeg) -> Leg {
        Leg { wire }
    }

    pub(super) fn into_wire(self) -> v1::TraceLeg {
        self.wire
    }

    /// The answer to another node.
    pub(in crate::node) fn answer(self, arrives: bool) -> v1::TraceFrameResponse {
        v1::TraceFrameResponse { leg: Some(self.wire), arrives }
    }

    /// A step that lets the frame go on. True.
    pub(in crate::node) fn goes_on(&mut self, name: &str, text: String) -> bool {
        self.push(name, text, false, "")
    }

    /// A step that drops the frame. False.
    pub(in crate::node) fn ends(&mut self, name: &str, text: String, reason: DropReason) -> bool {
        self.push(name, text, true, reason.name())
    }

    /// A step at which the way is lost, though no counter says so. False.
    pub(super) fn stops(&mut self, name: &str, text: String) -> bool {
        self.push(name, text, true, "")
    }

    fn push(&mut self, name: &str, text: String, ends: bool, reason: &str) -> bool {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.wire.steps.push(v1::TraceStep { name, text, ends, reason });
        !ends
    }

    /// Why the frame is dropped here, if it is.
    pub(super) fn reason(&self) -> Option<DropReason> {
        let named = |step: &v1::TraceStep| DropReason::ALL.iter().copied().find(|reason| reason.name() == step.reason);
        self.wire.steps.iter().find_map(named)
    }
}

/// The steps of a frame from a port.
pub(super) fn departure(leg: &mut Leg, node: &Node, network: &Network, departure: &Departure) {
    let spread = match departure.decision {
        Ok(Forward::Remotes) => format!("nobody is known: to {} remote VTEPs alone", departure.vteps.len()),
        Ok(_) => format!("to {} other ports here and {} VTEPs", departure.ports.len(), departure.vteps.len()),
        Err(DropReason::UnknownUnicast) => {
            "nobody is known to have it, and a frame for one station is not flooded".into()
        }
        Err(_) => "to nobody: there is no other port and no other VTEP".into(),
    };
    steps(leg, node, network.vni, &departure.steps, departure.decision.err(), &spread);
}

/// The steps of a frame from the wire.
pub(super) fn arrival(leg: &mut Leg, node: &Node, vni: Vni, arrival: &Arrival) {
    let ports = arrival.decision.as_ref().map_or(0, Vec::len);
    steps(leg, node, vni, &arrival.steps, arrival.decision.as_ref().err().copied(), &format!("to {ports} ports here"));
}

/// The last step is the one that `refused`, if any did.
fn steps(leg: &mut Leg, node: &Node, vni: Vni, steps: &[Step], refused: Option<DropReason>, spread: &str) {
    for (index, step) in steps.iter().enumerate() {
        let refused = refused.filter(|_| index + 1 == steps.len());
        let (name, text) = step_text(node, vni, *step, refused, spread);
        match refused {
            Some(reason) => leg.ends(name, text, reason),
            None => leg.goes_on(name, text),
        };
    }
}

fn step_text(node: &Node, vni: Vni, step: Step, refused: Option<DropReason>, spread: &str) -> (&'static str, String) {
    let sealing = |sealed: bool| if sealed { "sealed" } else { "plain" };
    let text = match step {
        Step::Source { mac, own } if mac == own => format!("{mac} is the endpoint's own address"),
        Step::Source { mac, own } => format!("{mac} is not the endpoint's own address, {own}"),
        Step::Learn(Learn::Known) => "its address is known to be there".into(),
        Step::Learn(Learn::New) => "its address would be learned".into(),
        Step::Learn(Learn::Moved) => "its address would be learned to have moved".into(),
        Step::Learn(Learn::Refused) => "its address is another's: it is not learned".into(),
        Step::Learn(Learn::Full) => "the forwarding table is full: its address is not learned".into(),
        Step::Size { packet_len, mtu } => format!("a packet of {packet_len} bytes; the network's MTU is {mtu}"),
        Step::Answer => "answered from the table".into(),
        Step::Destination { mac, place } => destination(node, vni, mac, place),
        Step::Spread => spread.to_owned(),
        Step::Network(vni) if refused.is_some() => format!("no network of this node has the VNI {vni}"),
        Step::Network(vni) => format!("VNI {vni} is {}", network_name(node, vni)),
        Step::Mode { sealed } if refused.is_some() => {
            format!("the network is {}, and the frame comes {}", sealing(sealed), sealing(!sealed))
        }
        Step::Mode { sealed } => format!("the network and the frame are {}", sealing(sealed)),
        Step::Peer { vtep, listed: true } => format!("{} is a VTEP of the network", named(node, vtep)),
        Step::Peer { vtep, .. } if refused.is_some() => format!("{} is no VTEP of the network", named(node, vtep)),
        Step::Peer { vtep, .. } => format!("{} is no VTEP of the network, but has the station", named(node, vtep)),
        Step::Inner if refused.is_some() => "the inner frame is not sound".into(),
        Step::Inner => "the inner frame is sound".into(),
        Step::Station { mac, vtep } => station(node, vni, mac, vtep),
        Step::Ecn { tos } => format!("the outer congestion mark is {}", tos & 3),
    };
    let name = match step {
        Step::Source { .. } => "source",
        Step::Learn(_) => "learn",
        Step::Size { .. } => "size",
        Step::Answer => "answer",
        Step::Destination { .. } => "destination",
        Step::Spread => "spread",
        Step::Network(_) => "network",
        Step::Mode { .. } => "mode",
        Step::Peer { .. } => "peer",
        Step::Inner => "inner",
        Step::Station { .. } => "station",
        Step::Ecn { .. } => "ecn",
    };
    (name, text)
}

fn destination(node: &Node, vni: Vni, mac: Mac, place: Option<Place>) -> String {
    let how = match node.vtep.trace_station(vni, mac).map(|row| row.kind) {
        Some(FdbKind::Local) => "local",
        Some(FdbKind::Remote) => "told by the cluster",
        Some(FdbKind::Learned) => "learned",
        None => "known",
    };
    match place {
        Some(Place::Local(port)) => {
            let tables = node.tables();
            let endpoint = tables.endpoint_at(port);
            let name = endpoint.map_or_else(|| format!("port {}", port.0), |endpoint| endpoint.id.clone());
            format!("{mac} is behind the endpoint {name} here ({how})")
        }
        Some(Place::Vtep(vtep)) => format!("{mac} is behind {} ({how})", named(node, vtep)),
        None if mac.is_group() => format!("{mac} is a group's address"),
        None => format!("{mac} is not in the forwarding table"),
    }
}

fn station(node: &Node, vni: Vni, mac: Mac, vtep: IpAddr) -> String {
    match node.vtep.trace_station(vni, mac).map(|row| row.place) {
        Some(Place::Vtep(at)) if at == vtep => format!("{mac} lives behind {}", named(node, vtep)),
        Some(Place::Vtep(at)) => format!("{mac} lives behind {}, not behind {}", named(node, at), named(node, vtep)),
        Some(Place::Local(_)) => format!("{mac} is an endpoint's of this node"),
        None => format!("{mac} is not in the forwarding table"),
    }
}

/// What the decision does not look at: the keys, and the way that the underlay offers. False if the frame ends there.
pub(super) fn tunnel(
    leg: &mut Leg,
    node: &Node,
    vtep: IpAddr,
    sealed: bool,
    session: Option<SessionSeen>,
    frame_len: usize,
) -> bool {
    let name = named(node, vtep);
    match session {
        Some(SessionSeen { suite, epoch, .. }) => {
            leg.goes_on("session", format!("{}, epoch {epoch}, to {name}", suite.name()));
        }
        None if sealed => {
            let text =
                format!("no keys for {name} yet: frames wait up to 2 s while they are asked for, then are dropped");
            return leg.ends("session", text, DropReason::NoSession);
        }
        None => {}
    }
    let mtu = |route: Route| format!("{}{}", route.mtu, if route.measured { ", as echoes have found" } else { "" });
    match node.vtep.trace_route(vtep, sealed, frame_len) {
        Ok(route) => {
            leg.goes_on("underlay", format!("{} bytes to {name}; the path's MTU is {}", route.needs, mtu(route)))
        }
        Err((reason, Some(route))) => {
            let text = format!("{} bytes to {name} are too many; the path's MTU is {}", route.needs, mtu(route));
            leg.ends("underlay", text, reason)
        }
        Err((reason, None)) => leg.ends("underlay", format!("there is no route to {name}"), reason),
    }
}

/// The last line.
pub(super) fn outcome(outcome: Outcome, reason: Option<DropReason>) -> String {
    match (outcome, reason) {
        (Outcome::Arrives, _) => "it arrives".into(),
        (Outcome::Leaves, _) => {
            "it leaves for a VTEP outside of the cluster; what becomes of it there is not known".into()
        }
        (_, Some(reason)) => format!("it is dropped ({}): {}", reason.name(), advice(reason)),
        _ => "it is not known to arrive: the last step says why".into(),
    }
}

/// What to do.
fn advice(reason: DropReason) -> &'static str {
    match reason {
        DropReason::UnknownVni => "the node has no such network: see `weft network ls` and `weft status` there",
        DropReason::PlainOnSealed | DropReason::SealedOnPlain => {
            "one side has the network sealed and the other plain: see `weft network inspect` on both"
        }
        DropReason::NotMember | DropReason::UnknownVtep => {
            "the receiver does not count the sender among the network's VTEPs: compare `weft members` on both, or name it \
             with --remote"
        }
        DropReason::InnerSourceForeign | DropReason::InnerSourceLocal => {
            "the receiver knows the sender's MAC address elsewhere or not at all: compare `weft fdb` on both"
        }
        DropReason::NotHere => "the destination has left that node: compare `weft fdb` on both",
        DropReason::SourceMacForeign => {
            "an endpoint sends from its own MAC address alone; `-o trust-macs` lets it use others"
        }
        DropReason::Oversize | DropReason::InnerOversize => "send smaller packets: the sender is told the MTU by ICMP",
        DropReason::UnderlayMtu => {
            "the underlay carries less than the network's MTU needs: raise its MTU, or lower the network's"
        }
        DropReason::UnderlayUnreachable => {
            "the host has no route to the other node: see `ip route get` for its address"
        }
        DropReason::UnknownUnicast => "nobody has the destination: see `weft fdb` for who there is",
        DropReason::NoReceiver => "nobody else is on the network, or the frame is for its own sender",
        DropReason::NoSession | DropReason::UnknownIndex => {
            "the two nodes have no keys with each other: see `weft status`, and whether the control port is open"
        }
        DropReason::TapDown => "set the interface up in its namespace, or detach the endpoint if it is gone",
        DropReason::EcnNotCapable => "the underlay marks congestion on packets that cannot carry the mark",
        _ => "`weft stats` counts how often that happens",
    }
}

fn named(node: &Node, vtep: IpAddr) -> String {
    node.membership.as_ref().map_or_else(|| vtep.to_string(), |membership| membership.peer_at(vtep))
}

fn network_name(node: &Node, vni: Vni) -> String {
    node.tables().network_of(vni).map(|network| network.name.clone()).unwrap_or_default()
}
