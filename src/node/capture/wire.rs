//! From the workers' records to messages: numbers become names, each told once.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_proto::v1;
use weft_vtep::addr::{PortId, Vni};
use weft_vtep::capture::ring::Record;
use weft_vtep::capture::{Peer, Way};
use weft_vtep::io::capture::Tail;

use crate::node::Node;

/// Bytes of frames after which another message begins.
const BATCH_BYTES: usize = 512 << 10;
/// Frames after which another message begins.
const BATCH_FRAMES: usize = 4_096;

/// Peers that are told by name. Source addresses of an underlay can be made up, and there are many.
const MOST_PEERS: usize = 4_096;

/// What an interface stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Spot {
    /// The underlay.
    Outside,
    /// The networks that are not on this node: their VNIs can be made up, and so share one.
    Elsewhere,
    /// A network, or a port of it.
    Network(Vni, Option<PortId>),
}

/// The names that the client knows, by what they stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    interfaces: HashMap<Spot, u32>,
    peers: HashMap<Far, u32>,
}

/// The other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Far {
    Here,
    Port(PortId),
    Vtep(IpAddr),
    Flood,
    /// One more than are told by name.
    More,
}

impl Names {
    /// What was seen since the last time.
    pub(super) fn batches(&mut self, node: &Node, tail: &mut Tail) -> Vec<v1::CaptureBatch> {
        let mut batches: Vec<v1::CaptureBatch> = Vec::new();
        tail.read(|time_ns, record, bytes| {
            let full =
                |b: &v1::CaptureBatch| b.frames.len() == BATCH_FRAMES || b.data.len() + bytes.len() > BATCH_BYTES;
            if batches.last().is_none_or(full) {
                batches.push(v1::CaptureBatch::default());
            }
            if let Some(batch) = batches.last_mut() {
                self.add(batch, node, time_ns, record, bytes);
            }
        });
        batches
    }

    fn add(&mut self, batch: &mut v1::CaptureBatch, node: &Node, time_ns: u64, record: &Record, bytes: &[u8]) {
        let seen = &record.seen;
        let interface = self.interface(batch, node, seen.vni, seen.port.map(|(id, _)| id));
        let next = self.peers.len() as u32;
        let peer = far(seen.peer).map(|far| {
            let known = self.peers.len() < MOST_PEERS || self.peers.contains_key(&far);
            let far = if known { far } else { Far::More };
            *self.peers.entry(far).or_insert_with(|| {
                batch.peers.push(peer(node, far));
                next
            })
        });
        let way = match seen.way {
            Way::In => v1::CaptureWay::In,
            Way::Out => v1::CaptureWay::Out,
        };
        batch.frames.push(v1::CapturedFrame {
            time_ns,
            interface,
            peer,
            way: way.into(),
            length: record.len,
            kept: bytes.len() as u32,
            dropped: seen.dropped.map(|reason| reason.name().to_owned()).unwrap_or_default(),
            vni: seen.vni.map_or(0, Vni::get),
            cut: seen.cut.into(),
            unfinished: seen.unfinished,
        });
        batch.data.extend_from_slice(bytes);
    }

    /// The number of an interface, which the client is told with its first frame.
    fn interface(&mut self, batch: &mut v1::CaptureBatch, node: &Node, vni: Option<Vni>, port: Option<PortId>) -> u32 {
        let mut spot = vni.map_or(Spot::Outside, |vni| Spot::Network(vni, port));
        if let Some(number) = self.interfaces.get(&spot) {
            return *number;
        }
        let told = interface(node, &mut spot);
        let next = self.interfaces.len() as u32;
        *self.interfaces.entry(spot).or_insert_with(|| {
            batch.interfaces.push(told);
            next
        })
    }
}

fn far(peer: Peer) -> Option<Far> {
    match peer {
        Peer::Nobody => None,
        Peer::Here => Some(Far::Here),
        Peer::Port(id) => Some(Far::Port(id)),
        Peer::Vtep(address) => Some(Far::Vtep(address)),
        Peer::Flood => Some(Far::Flood),
    }
}

/// What the client is told of an interface. A network that is not here becomes [`Spot::Elsewhere`].
fn interface(node: &Node, spot: &mut Spot) -> v1::CaptureInterface {
    let tables = node.tables();
    if let Spot::Network(vni, port) = *spot
        && let Some(network) = tables.network_of(vni)
    {
        let mut interface = v1::CaptureInterface {
            kind: v1::CaptureKind::Network.into(),
            network: network.name.clone(),
            vni: vni.get(),
            ..Default::default()
        };
        if let Some(endpoint) = port.and_then(|port| tables.endpoint_at(port)) {
            interface.endpoint = endpoint.id.clone();
            interface.ifname = endpoint.ifname.clone();
            interface.netns = endpoint.netns.display().to_string();
        }
        return interface;
    }
    let kind = if *spot == Spot::Outside { v1::CaptureKind::Underlay } else { v1::CaptureKind::Elsewhere };
    if *spot != Spot::Outside {
        *spot = Spot::Elsewhere;
    }
    v1::CaptureInterface { kind: kind.into(), ..Default::default() }
}

fn peer(node: &Node, far: Far) -> v1::CapturePeer {
    let named = |name: String| v1::CapturePeer { name, address: String::new() };
    match far {
        Far::Here => named("this node".to_owned()),
        Far::Flood => named("all".to_owned()),
        Far::More => named("one of many".to_owned()),
        Far::Port(id) => {
            let tables = node.tables();
            let endpoint = tables.endpoint_at(id);
            named(endpoint.map_or_else(|| "an endpoint that is gone".to_owned(), |endpoint| endpoint.id.clone()))
        }
        Far::Vtep(address) => {
            let name = node.membership.as_ref().map_or_else(|| address.to_string(), |m| m.peer_at(address));
            v1::CapturePeer { name, address: address.to_string() }
        }
    }
}
