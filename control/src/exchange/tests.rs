//! Neighbours on a network that loses, delays, reorders and doubles frames, against a model that is slow and obvious:
//! each origin's own map of what it last said. Whatever happens in between, tables end equal to it, entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_vtep::addr::{Mac, Vni};

use super::*;
use crate::objects;
use crate::table::{Change, Key, Limits, Mobility, NodeRecord, Value};

mod rules;
mod stories;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A network's faults, each in percent.
#[derive(Clone, Copy, Debug)]
struct Faults {
    loss: u8,
    doubled: u8,
    /// The longest delay, in ms; frames pass each other.
    delay: u16,
}

const NONE: Faults = Faults { loss: 0, doubled: 0, delay: 0 };

struct Node {
    table: Table,
    objects: Objects,
    exchange: Exchange,
    refused: Vec<FrameRefused>,
    frames: usize,
    /// Bytes of the deltas that came, by origin.
    bytes: BTreeMap<u64, usize>,
    usurped: usize,
    view: View,
}

/// What the changes alone say, as the data plane hears them.
#[derive(Default, Debug, PartialEq)]
struct View {
    stations: BTreeMap<(Vni, Mac), NodeId>,
    neighbors: BTreeMap<(Vni, IpAddr), (Mac, NodeId)>,
    members: BTreeSet<(Vni, NodeId)>,
    names: BTreeMap<(Vni, Box<str>), Vec<IpAddr>>,
    nodes: BTreeSet<NodeId>,
}

impl View {
    fn hear(&mut self, change: Change) {
        fn keep<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
            match value {
                Some(value) => drop(map.insert(key, value)),
                None => assert!(map.remove(&key).is_some(), "what was not there goes"),
            }
        }
        match change {
            Change::Mac { vni, mac, owner } => keep(&mut self.stations, (vni, mac), owner),
            Change::Ip { vni, ip, holder } => keep(&mut self.neighbors, (vni, ip), holder),
            Change::Name { vni, name, addresses } => {
                let some = Some(addresses).filter(|addresses| !addresses.is_empty());
                keep(&mut self.names, (vni, name), some);
            }
            Change::Member { vni, node, present: true } => assert!(self.members.insert((vni, node)), "twice there"),
            Change::Member { vni, node, present: false } => assert!(self.members.remove(&(vni, node)), "twice gone"),
            Change::Node { node, record: Some(_) } => drop(self.nodes.insert(node)),
            Change::Node { node, record: None } => assert!(self.nodes.remove(&node), "twice gone"),
            _ => {}
        }
    }

    /// The same from look-ups.
    fn of(table: &Table, numbers: u8) -> View {
        let mut view = View {
            stations: table.stations().map(|(vni, mac, node)| ((vni, mac), node)).collect(),
            neighbors: table.neighbors().map(|(vni, ip, mac, node)| ((vni, ip), (mac, node))).collect(),
            ..View::default()
        };
        for key in (0..numbers).map(key) {
            match key {
                Key::Member(vni) => view.members.extend(table.members(vni).map(|node| (vni, node))),
                Key::Name(vni, name) => {
                    let addresses = table.resolve(vni, &name);
                    if !addresses.is_empty() {
                        view.names.insert((vni, name), addresses);
                    }
                }
                Key::Mac(vni, mac) => {
                    assert_eq!(table.owner(vni, mac), view.stations.get(&(vni, mac)).copied());
                }
                Key::Ip(vni, ip) => assert_eq!(table.station(vni, ip), view.neighbors.get(&(vni, ip)).copied()),
                _ => {}
            }
        }
        view.nodes = table.nodes().map(|(origin, _)| origin.node).filter(|node| table.node(*node).is_some()).collect();
        view
    }
}

/// Some nodes, the streams between them, and frames on their way.
struct Net {
    now: Duration,
    nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    /// By arrival.
    flying: BTreeMap<(Duration, u64), (usize, usize, v1::Frame)>,
    frames: u64,
    random: u64,
}

fn node_id(index: usize) -> NodeId {
    NodeId(100 + index as u64)
}

fn config() -> Config {
    // Small parts and windows, so that everything takes several.
    Config { part_bytes: 150, window_bytes: 400, ..Config::default() }
}

fn start(index: usize, incarnation: u64) -> Node {
    let me = Origin { node: node_id(index), incarnation };
    let mut table = Table::new(me, Limits::default());
    let record = NodeRecord {
        name: format!("n{index}"),
        address: IpAddr::from([192, 0, 2, 1 + index as u8]),
        control_port: 7956,
        version: "0".into(),
        signer: false,
    };
    table.put(ms(0), Key::Node, Value::Node(Box::new(record))).expect("a node record");
    let objects = Objects::new(me.node, objects::Limits::default());
    Node {
        table,
        objects,
        exchange: Exchange::new(me.node, config()),
        refused: Vec::new(),
        frames: 0,
        bytes: BTreeMap::new(),
        usurped: 0,
        view: View::default(),
    }
}

impl Node {
    fn drain(&mut self, now: Duration) {
        while let Some(change) = self.table.poll_change() {
            if let Change::Usurped { incarnation } = change {
                self.table.reincarnate(now, incarnation + 1);
                self.usurped += 1;
            } else {
                self.view.hear(change);
            }
        }
    }
}

impl Net {
    fn new(nodes: usize, relay: bool, links: impl IntoIterator<Item = (usize, usize)>, seed: u64) -> Net {
        let mut net = Net {
            now: ms(1000),
            nodes: (0..nodes).map(|index| start(index, 1)).collect(),
            links: BTreeSet::new(),
            flying: BTreeMap::new(),
            frames: 0,
            random: seed | 1,
        };
        for node in &mut net.nodes {
            node.table.complete();
            node.exchange.set_relay(relay);
        }
        for (a, b) in links {
            net.link(a, b);
        }
        net
    }

    fn mesh(nodes: usize, seed: u64) -> Net {
        Net::new(nodes, false, (0..nodes).flat_map(|a| (0..a).map(move |b| (a, b))), seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end.max(1)
    }

    fn link(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        for (from, to) in [(a, b), (b, a)] {
            let node = &mut self.nodes[from];
            node.exchange.connect(self.now, node_id(to), &node.table, &node.objects);
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.links.remove(&(a.min(b), a.max(b)));
        self.nodes[a].exchange.disconnect(node_id(b));
        self.nodes[b].exchange.disconnect(node_id(a));
        self.flying.retain(|_, (from, to, _)| (*from.min(to), *from.max(to)) != (a.min(b), a.max(b)));
    }

    fn restart(&mut self, index: usize, relay: bool) {
        let peers: Vec<usize> =
            (0..self.nodes.len()).filter(|peer| self.links.contains(&(index.min(*peer), index.max(*peer)))).collect();
        for peer in &peers {
            self.cut(index, *peer);
        }
        let incarnation = self.nodes[index].table.me().incarnation + 1;
        self.nodes[index] = start(index, incarnation);
        self.nodes[index].exchange.set_relay(relay);
        for peer in peers {
            self.link(index, peer);
        }
    }

    fn run(&mut self, millis: u64, faults: Faults) {
        let end = self.now + ms(millis);
        while self.now < end {
            for index in 0..self.nodes.len() {
                let node = &mut self.nodes[index];
                node.exchange.tick(self.now, &node.table, &node.objects);
                node.drain(self.now);
                while let Some((to, frame)) = self.nodes[index].exchange.poll() {
                    self.send(index, (to.0 - 100) as usize, frame, faults);
                }
            }
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, frame) = entry.remove();
                let node = &mut self.nodes[to];
                node.frames += 1;
                let Some(kind) = frame.kind else { continue };
                if let Kind::Delta(delta) = &kind {
                    *node.bytes.entry(delta.node).or_default() += prost::Message::encoded_len(delta);
                }
                let (table, objects) = (&mut node.table, &mut node.objects);
                if let Err(why) = node.exchange.handle(self.now, 0, node_id(from), kind, table, objects) {
                    node.refused.push(why);
                }
            }
            self.now += ms(5);
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: v1::Frame, faults: Faults) {
        if self.below(100) < faults.loss.into() {
            return;
        }
        let copies = 1 + usize::from(self.below(100) < faults.doubled.into());
        for _ in 0..copies {
            self.frames += 1;
            let at = self.now + ms(self.below(faults.delay.into()));
            self.flying.insert((at, self.frames), (from, to, frame.clone()));
        }
    }

    /// Runs without faults until all agree.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.run(1000, NONE);
            let equal = |a: &Node, b: &Node| digest(&a.table, &a.objects) == digest(&b.table, &b.objects);
            if self.nodes.windows(2).all(|pair| equal(&pair[0], &pair[1])) {
                let now = self.now;
                return self.nodes.iter_mut().for_each(|node| node.drain(now));
            }
        }
        let vectors: Vec<_> = self.nodes.iter().map(|node| node.table.vector()).collect();
        panic!("no agreement after a minute: {vectors:#?}");
    }

    fn records(&self, at: usize, of: usize) -> BTreeMap<Key, Value> {
        self.nodes[at].table.records(node_id(of)).map(|(_, key, value)| (key.clone(), value.clone())).collect()
    }

    /// RFC 7432 section 15, the slow way: of all claims that origins have, the highest sequence, then the lowest VTEP.
    fn winners(&self) -> BTreeMap<(Vni, Mac), NodeId> {
        let mut best: BTreeMap<(Vni, Mac), (u32, std::cmp::Reverse<usize>)> = BTreeMap::new();
        for of in 0..self.nodes.len() {
            for (key, value) in self.records(of, of) {
                if let (Key::Mac(vni, mac), Value::Mac(mobility)) = (key, value) {
                    let claim = (mobility.sequence, std::cmp::Reverse(of));
                    let winner = best.entry((vni, mac)).or_insert(claim);
                    *winner = claim.max(*winner);
                }
            }
        }
        best.into_iter().map(|(key, (_, of))| (key, node_id(of.0))).collect()
    }

    /// Every table holds what each origin has of its own, and sees the same.
    fn assert_equal(&self) {
        for of in 0..self.nodes.len() {
            let own = self.records(of, of);
            for at in 0..self.nodes.len() {
                assert_eq!(self.records(at, of), own, "node {at} of node {of}");
            }
        }
        for node in &self.nodes {
            let view = View::of(&node.table, NUMBERS);
            assert_eq!(view, node.view, "look-ups and changes");
            assert_eq!(view, self.nodes[0].view, "two nodes");
            assert_eq!(view.stations, self.winners(), "the rule");
        }
    }
}

/// Keys that stories are about.
const NUMBERS: u8 = 32;

fn vni(number: u32) -> Vni {
    Vni::new(4096 + number).expect("a VNI")
}

fn mac(number: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, number])
}

fn put(net: &mut Net, node: usize, number: u8) {
    let now = net.now;
    let table = &mut net.nodes[node].table;
    // Two of eight numbers are of the other kinds. A frozen address is not put, by anybody.
    let key = key(number);
    let value = match &key {
        Key::Mac(..) => Value::Mac(Mobility::default()),
        Key::Ip(..) => Value::Ip(mac(number)),
        Key::Name(..) => Value::Name(vec![IpAddr::from([10, 0, 0, number])]),
        _ => Value::Member,
    };
    let _ = table.put(now, key, value);
}

fn key(number: u8) -> Key {
    match number % 8 {
        0 => Key::Member(vni(number.into())),
        1 => Key::Name(vni(0), format!("n{number}").into()),
        2 | 3 => Key::Ip(vni(0), IpAddr::from([10, 0, 0, number])),
        _ => Key::Mac(vni(0), mac(number)),
    }
}
