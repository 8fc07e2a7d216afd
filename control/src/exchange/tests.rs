//! Neighbours on a network that loses, delays, reorders and doubles frames, against a model that is slow and obvious:
//! each origin's own map of what it last said. Whatever happens in between, tables end equal to it, entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use weft_vtep::addr::{Mac, Vni};

use super::*;
use crate::objects;
use crate::table::{Change, Key, Limits, Mobility, NodeRecord, Value};

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
    Node { table, objects, exchange: Exchange::new(me.node, config()), refused: Vec::new(), frames: 0 }
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
                while let Some(change) = node.table.poll_change() {
                    if let Change::Usurped { incarnation } = change {
                        node.table.reincarnate(self.now, incarnation + 1);
                    }
                }
                while let Some((to, frame)) = self.nodes[index].exchange.poll() {
                    self.send(index, (to.0 - 100) as usize, frame, faults);
                }
            }
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, frame) = entry.remove();
                let node = &mut self.nodes[to];
                node.frames += 1;
                let Some(kind) = frame.kind else { continue };
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
                return;
            }
        }
        let vectors: Vec<_> = self.nodes.iter().map(|node| node.table.vector()).collect();
        panic!("no agreement after a minute: {vectors:#?}");
    }

    fn records(&self, at: usize, of: usize) -> BTreeMap<Key, Value> {
        self.nodes[at].table.records(node_id(of)).map(|(_, key, value)| (key.clone(), value.clone())).collect()
    }

    /// Every table holds what each origin has of its own, and sees the same.
    fn assert_equal(&self) {
        for of in 0..self.nodes.len() {
            let own = self.records(of, of);
            for at in 0..self.nodes.len() {
                assert_eq!(self.records(at, of), own, "node {at} of node {of}");
            }
        }
        let view = |node: &Node| -> BTreeSet<_> { node.table.stations().collect() };
        for node in &self.nodes {
            assert_eq!(view(node), view(&self.nodes[0]));
        }
    }
}

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

#[derive(Clone, Debug)]
enum Op {
    Put(usize, u8),
    Remove(usize, u8),
    Object(usize, u8),
    Run(u16),
    Cut(usize, usize),
    Link(usize, usize),
    Restart(usize),
    /// Time in which tombstones are forgotten, with nobody connected to this node.
    Away(usize),
}

fn op(nodes: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..nodes, 0..32u8).prop_map(|(node, number)| Op::Put(node, number)),
        6 => (0..nodes, 0..32u8).prop_map(|(node, number)| Op::Remove(node, number)),
        2 => (0..nodes, 0..4u8).prop_map(|(node, number)| Op::Object(node, number)),
        8 => (1..400u16).prop_map(Op::Run),
        2 => (0..nodes, 0..nodes).prop_map(|(a, b)| Op::Cut(a, b)),
        2 => (0..nodes, 0..nodes).prop_map(|(a, b)| Op::Link(a, b)),
        1 => (0..nodes).prop_map(Op::Restart),
        1 => (0..nodes).prop_map(Op::Away),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    (0..50u8, 0..30u8, 0..200u16).prop_map(|(loss, doubled, delay)| Faults { loss, doubled, delay })
}

fn story() -> impl Strategy<Value = (usize, bool, u64, Faults, Vec<Op>)> {
    (3..=5usize).prop_flat_map(|nodes| {
        (Just(nodes), any::<bool>(), any::<u64>(), faults(), proptest::collection::vec(op(nodes), 1..80))
    })
}

fn play(nodes: usize, relay: bool, seed: u64, faults: Faults, ops: Vec<Op>) {
    // With relays a ring is enough.
    let mut net = if relay {
        Net::new(nodes, true, (0..nodes).map(|a| (a, (a + 1) % nodes)), seed)
    } else {
        Net::mesh(nodes, seed)
    };
    for op in ops {
        match op {
            Op::Put(node, number) => put(&mut net, node, number),
            Op::Remove(node, number) => {
                let now = net.now;
                net.nodes[node].table.remove(now, &key(number));
            }
            Op::Object(node, number) => {
                let objects = &mut net.nodes[node].objects;
                let _ = objects.put(u64::from(number), objects::Kind::Network, &format!("o{number}"), vec![number]);
            }
            Op::Run(millis) => net.run(millis.into(), faults),
            Op::Cut(a, b) if a != b => net.cut(a, b),
            Op::Link(a, b) if a != b => net.link(a, b),
            Op::Cut(..) | Op::Link(..) => {}
            Op::Restart(node) => {
                net.restart(node, relay);
                for number in [4, 5] {
                    put(&mut net, node, number);
                }
                net.run(50, faults);
                net.nodes[node].table.complete();
            }
            Op::Away(node) => {
                let peers: Vec<usize> = (0..nodes).filter(|peer| *peer != node).collect();
                peers.iter().for_each(|peer| net.cut(node, *peer));
                net.now += Duration::from_secs(601);
                let now = net.now;
                net.nodes.iter_mut().for_each(|node| node.table.tick(now));
                peers.iter().for_each(|peer| net.link(node, *peer));
            }
        }
    }
    for a in 0..nodes {
        net.link(a, (a + 1) % nodes);
    }
    net.settle();
    net.assert_equal();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn tables_end_equal_whatever_the_network_does((nodes, relay, seed, faults, ops) in story()) {
        play(nodes, relay, seed, faults, ops);
    }
}
