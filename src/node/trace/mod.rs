//! What would become of a frame: `weft trace`.
//!
//! Enters: an endpoint, and whom a frame of it would be for. The frame is built ([`mod@frame`]), and goes the way that the
//! workers' frames go, dry ([`weft_vtep::io::trace`]): first, for an IP address, the question for its MAC address, then
//! the frame itself. What the decision does not know is asked after it: keys, the underlay, the device at the end. The
//! member that the frame would come to does the same for its half, over the control port. Leaves: each step in words
//! ([`words`]), and the first that says no.

mod frame;
mod words;

use std::net::{IpAddr, Ipv4Addr};

use futures_util::future::join_all;
use weft_control::network::Network;
use weft_proto::request::{self, Refused};
use weft_proto::v1;
use weft_proto::v1::TraceOutcome as Outcome;
use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::engine::{Forward, Source};

use self::frame::{Probe, Station};
use super::state::Endpoint;
use super::tables::Live;
use super::{Node, NodeError};

pub(super) use self::words::Leg;

/// The largest IP packet and its Ethernet header.
pub(super) const LONGEST_FRAME: usize = 14 + 65_535;
/// The most VTEPs that are asked about one flooded frame.
const VTEPS: usize = 16;

/// What is to be traced.
struct Asked {
    network: Network,
    live: Live,
    to: Target,
    probe: Probe,
    size: usize,
    source: Mac,
}

enum Target {
    Mac(Mac),
    Ip(IpAddr),
}

/// A trace as far as it has come.
struct Trace {
    legs: Vec<Leg>,
    outcome: Outcome,
}

impl Node {
    /// Follows a frame that an endpoint of this node might send.
    pub(super) async fn trace(&self, asked: v1::TraceRequest) -> Result<v1::TraceResponse, NodeError> {
        self.check_ready()?;
        let asked = self.read_trace(asked)?;
        let mut here = Leg::of(self);
        let Some(port) = self.trace_sender(&mut here, &asked.live) else { return Ok(Trace::ended(here).answer()) };
        let Some(to) = self.trace_question(&mut here, &asked, port) else { return Ok(Trace::ended(here).answer()) };
        let from = Station { mac: asked.source, ip: asked.address_for(to.ip) };
        let frame = frame::probe(from, to, asked.probe, asked.size);
        let Some(departure) = self.vtep.trace_from_port(port, &frame) else {
            here.ends("endpoint", "the endpoint went away meanwhile".to_owned(), DropReason::TapDown);
            return Ok(Trace::ended(here).answer());
        };
        words::departure(&mut here, self, &asked.network, &departure);
        if departure.decision.is_err() {
            return Ok(Trace::ended(here).answer());
        }
        let mut trace = Trace { legs: vec![here], outcome: Outcome::Arrives };
        for port in &departure.ports {
            if !self.trace_delivery(&mut trace.legs[0], *port) {
                trace.worsen(Outcome::Ends);
            }
        }
        self.trace_tunnels(&mut trace, &asked.network, &departure.vteps, &departure.frame, departure.tos).await;
        Ok(trace.answer())
    }

    fn read_trace(&self, asked: v1::TraceRequest) -> Result<Asked, NodeError> {
        const TO: &str = "a MAC or an IP address, as in 02:00:00:00:00:01 or 10.1.0.5";
        let network = request::reference(asked.network, "network")?;
        if self.local_network(&network).is_some() {
            return Err(NodeError::TraceLocal(network));
        }
        let tables = self.tables();
        let network = tables.network(&network)?.clone();
        let live = tables.find_endpoint(&request::reference(asked.endpoint, "endpoint")?)?.clone();
        drop(tables);
        if live.endpoint.network != network.id {
            return Err(NodeError::NotOnNetwork { endpoint: live.endpoint.id, network: network.name });
        }
        let to = match (asked.to.parse::<Mac>(), asked.to.parse::<IpAddr>()) {
            (Ok(mac), _) => Target::Mac(mac),
            (_, Ok(ip)) => Target::Ip(ip),
            _ => return Err(Refused::Syntax { text: asked.to, expected: TO }.into()),
        };
        let port = |port: u32| u16::try_from(port).ok().filter(|port| *port > 0);
        let wrong = |port: u32| Refused::Syntax { text: port.to_string(), expected: "a TCP port, from 1 to 65535" };
        let probe = match asked.tcp_port {
            Some(number) => Probe::Syn(port(number).ok_or_else(|| wrong(number))?),
            None => Probe::Echo,
        };
        let size = asked.size as usize;
        if size > 65_535 {
            return Err(Refused::TooLong { what: "packet", limit: 65_535 }.into());
        }
        let source = match asked.source_mac.as_slice() {
            [] => live.endpoint.mac,
            octets => Mac::read(octets).filter(|_| octets.len() == 6).ok_or(Refused::MacLength(octets.len()))?,
        };
        Ok(Asked { network, live, to, probe, size, source })
    }

    /// Whether the endpoint can send at all.
    fn trace_sender(&self, leg: &mut Leg, live: &Live) -> Option<PortId> {
        let endpoint = &live.endpoint;
        let name = named(endpoint);
        let Some(port) = live.port else {
            leg.ends("endpoint", format!("{name} has lost its device or namespace"), DropReason::TapDown);
            return None;
        };
        if self.vtep.trace_device(port.id).is_err() {
            leg.ends("endpoint", format!("the interface of {name} is down: it sends nothing"), DropReason::TapDown);
            return None;
        }
        leg.goes_on("endpoint", format!("{name}, {}", endpoint.mac));
        Some(port.id)
    }

    /// Whom the frame is for: who has an IP address is asked as the endpoint's kernel would ask. `None`: nobody answers.
    fn trace_question(&self, leg: &mut Leg, asked: &Asked, port: PortId) -> Option<Station> {
        let network = &asked.network;
        let target = match asked.to {
            Target::Mac(mac) => {
                // What is in the packet matters to no step, but may as well be right.
                let known = self.neighbors(Some(network.vni)).unwrap_or_default();
                let known = known.iter().find(|neighbor| neighbor.mac == mac.octets());
                let ip = known.and_then(|neighbor| neighbor.ip.parse().ok());
                return Some(Station { mac, ip: ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()) });
            }
            Target::Ip(ip) => ip,
        };
        let ips = &asked.live.endpoint.ips;
        if ips.iter().any(|net| net.addr() == target) {
            leg.stops("question", format!("{target} is the endpoint's own address: its kernel keeps the packet"));
            return None;
        }
        if !ips.iter().any(|net| net.contains(&target)) {
            let gateway =
                network.subnets.iter().find_map(|subnet| subnet.gateway.filter(|g| g.is_ipv4() == target.is_ipv4()));
            let advice =
                gateway.map_or_else(String::new, |gateway| format!(", to {gateway} if that is its default route"));
            let text = format!("{target} is in no subnet of the endpoint: its kernel sends it to a router{advice}");
            leg.stops("question", text);
            return None;
        }
        let from = Station { mac: asked.source, ip: asked.address_for(target) };
        let question = frame::question(from, target)?;
        let departure = self.vtep.trace_from_port(port, &question)?;
        match departure.decision {
            Ok(Forward::Answer(_)) => {
                let mac = frame::answered(&departure.frame);
                leg.goes_on("question", format!("who has {target}? answered here from the table: {mac}"));
                Some(Station { mac, ip: target })
            }
            Ok(_) => self.trace_asked_of_all(leg, network, target),
            Err(_) => {
                words::departure(leg, self, network, &departure);
                None
            }
        }
    }

    /// The question is flooded: who would answer it is known for endpoints of this node alone.
    fn trace_asked_of_all(&self, leg: &mut Leg, network: &Network, target: IpAddr) -> Option<Station> {
        let tables = self.tables();
        let has = |live: &&Live| live.endpoint.ips.iter().any(|net| net.addr() == target);
        if let Some(live) = tables.endpoints_of(&network.id).find(has) {
            let mac = live.endpoint.mac;
            leg.goes_on(
                "question",
                format!("who has {target}? asked of all; {} of this node has it: {mac}", live.endpoint.id),
            );
            return Some(Station { mac, ip: target });
        }
        let advice = if self.membership.is_some() {
            "no endpoint of the network has it (`weft neigh` lists those that there are)"
        } else {
            "whether one answers is not known here: ask with its MAC address"
        };
        leg.stops("question", format!("who has {target}? asked of all; {advice}"));
        None
    }

    /// Whether a local device takes the frame.
    fn trace_delivery(&self, leg: &mut Leg, port: PortId) -> bool {
        let tables = self.tables();
        let name = tables.endpoint_at(port).map_or_else(|| format!("port {}", port.0), named);
        match self.vtep.trace_device(port) {
            Ok(()) => leg.goes_on("deliver", format!("to {name}, which takes frames")),
            Err(reason) => leg.ends("deliver", format!("the interface of {name} is down, or its queue full"), reason),
        }
    }

    /// Through the tunnels to `vteps`, and what the nodes there say.
    async fn trace_tunnels(&self, trace: &mut Trace, network: &Network, vteps: &[IpAddr], frame: &[u8], tos: u8) {
        let sealed = network.mode == weft_control::network::Mode::Sealed;
        let mut asking = Vec::new();
        for vtep in vteps.iter().copied().take(VTEPS) {
            let here = &mut trace.legs[0];
            let session = if sealed { self.vtep.trace_send_session(vtep) } else { None };
            if !words::tunnel(here, self, vtep, sealed, session, frame.len()) {
                trace.worsen(Outcome::Ends);
                continue;
            }
            let request = v1::TraceFrameRequest {
                vni: network.vni.get(),
                receiver_index: session.map(|session| session.index),
                frame: frame.to_vec(),
                tos: tos.into(),
            };
            asking.push(async move {
                match &self.membership {
                    Some(membership) => (vtep, membership.trace_at(vtep, request).await),
                    None => (vtep, None),
                }
            });
        }
        if vteps.len() > VTEPS {
            trace.legs[0].goes_on("tunnel", format!("and to {} more VTEPs, which are not asked", vteps.len() - VTEPS));
            trace.worsen(Outcome::Unknown);
        }
        for (vtep, said) in join_all(asking).await {
            match said {
                None => {
                    trace.legs[0]
                        .goes_on("peer", format!("{vtep} is no member of a cluster with this node: it is not asked"));
                    trace.worsen(Outcome::Leaves);
                }
                Some(Ok(v1::TraceFrameResponse { leg: Some(leg), arrives })) => {
                    trace.legs.push(Leg::from_wire(leg));
                    trace.worsen(if arrives { Outcome::Arrives } else { Outcome::Ends });
                }
                Some(said) => {
                    let why =
                        said.err().map_or_else(|| "it says nothing".to_owned(), |status| status.message().to_owned());
                    trace.legs[0].stops("peer", format!("the node at {vtep} cannot be asked what it would do: {why}"));
                    trace.worsen(Outcome::Unknown);
                }
            }
        }
    }

    /// The way of a frame that has come here, from the tunnel to the devices.
    pub(super) fn trace_arrival(&self, leg: &mut Leg, vni: Vni, source: Source, frame: &[u8], tos: u8) -> bool {
        let arrival = self.vtep.trace_from_wire(vni, source, frame, tos);
        words::arrival(leg, self, vni, &arrival);
        let Ok(ports) = arrival.decision else { return false };
        // All of them are asked, whatever the first says.
        let refused = ports.into_iter().filter(|port| !self.trace_delivery(leg, *port)).count();
        refused == 0
    }
}

fn named(endpoint: &Endpoint) -> String {
    format!("{} ({} in {})", endpoint.id, endpoint.ifname, endpoint.netns.display())
}

impl Asked {
    /// The endpoint's address of the family of another one.
    fn address_for(&self, other: IpAddr) -> IpAddr {
        let of = |v6: bool| self.live.endpoint.ips.iter().map(|net| net.addr()).find(|ip| ip.is_ipv6() == v6);
        let fallback = || if other.is_unspecified() { of(true) } else { None };
        of(other.is_ipv6()).or_else(fallback).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }
}

impl Trace {
    fn ended(leg: Leg) -> Trace {
        let outcome = if leg.reason().is_some() { Outcome::Ends } else { Outcome::Unknown };
        Trace { legs: vec![leg], outcome }
    }

    /// The worst that befalls any copy of the frame counts.
    fn worsen(&mut self, outcome: Outcome) {
        self.outcome = self.outcome.max(outcome);
    }

    fn answer(self) -> v1::TraceResponse {
        let reason = self.legs.iter().find_map(Leg::reason);
        v1::TraceResponse {
            outcome: self.outcome.into(),
            text: words::outcome(self.outcome, reason),
            reason: reason.map(DropReason::name).unwrap_or_default().to_owned(),
            legs: self.legs.into_iter().map(Leg::into_wire).collect(),
        }
    }
}
