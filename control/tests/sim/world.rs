//! Nodes, what happens to them, and the loop that lets it happen in the order of virtual time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use weft_control::cluster::{Cluster, Config, Event, Input, Me, Now, Output, PROTOCOL, Saved};
use weft_control::id::{NodeId, Origin};
use weft_control::membership::random::SplitMix;
use weft_control::objects::Kind;
use weft_control::table::{Change, Key, NodeRecord, Value};

use crate::net::Net;
use crate::streams::{Flow, Load, Streams};
use crate::upgrade::sent_later;

const PORT: u16 = 7956;
/// Packets that a call of its own takes before the request: TCP's and TLS's handshakes.
const HANDSHAKE: u32 = 4;

/// A node and what the world knows of it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// None: it is down.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) incarnation: u64,
    /// Which versions its program speaks.
    pub(crate) protocol: RangeInclusive<u32>,
    /// What it has: the truth that all tables are compared with.
    pub(crate) records: BTreeMap<Key, Value>,
    /// But for deaths and suspicions: a thousand nodes have millions.
    pub(crate) events: Vec<(Duration, Event)>,
    /// Whom it declared dead.
    pub(crate) deaths: Vec<(Duration, NodeId)>,
    saved: Saved,
    /// It wanted its roster to be saved, which is put together when it is read: a thousand of a thousand are much.
    roster_saved: bool,
    /// Stopped until then; what comes in waits.
    stalled: Option<Duration>,
    waiting: VecDeque<Waiting>,
    alarm: Option<Duration>,
    /// How far its clocks are ahead.
    pub(crate) mono_ahead: Duration,
    pub(crate) wall_ahead_ms: i64,
}

/// What comes in while a node is stopped.
enum Waiting {
    Input(Input),
    Frame(usize, Load),
}

/// What happens at a time; of several at once, what was arranged first.
struct Happening {
    at: Duration,
    number: u64,
    what: What,
}

impl Ord for Happening {
    fn cmp(&self, other: &Self) -> Ordering {
        // The earliest is the greatest: a `BinaryHeap` gives the greatest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Happening {}

enum What {
    Input { to: usize, life: u64, input: Box<Input> },
    Dialed { from: usize, life: u64, to: usize },
    Flow { stream: u64, way: usize },
    Broken { stream: u64 },
    Alarm { node: usize },
    Wake { node: usize },
    Exit { node: usize, life: u64 },
}

/// A change that is waited for.
pub(crate) struct Watch {
    pub(crate) change: Change,
    /// When each node saw it.
    pub(crate) seen: Vec<Option<Duration>>,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) random: SplitMix,
    pub(crate) watch: Option<Watch>,
    /// Datagrams and frames.
    pub(crate) sent: (u64, u64),
    streams: Streams,
    index: BTreeMap<NodeId, usize>,
    happenings: BinaryHeap<Happening>,
    made: u64,
}

impl World {
    /// `count` nodes that are down.
    pub(crate) fn new(count: usize, seed: u64) -> World {
        let mut random = SplitMix::new(seed);
        let node = |_| Node {
            id: NodeId(random.number()),
            cluster: None,
            incarnation: 0,
            protocol: PROTOCOL,
            records: BTreeMap::new(),
            events: Vec::new(),
            deaths: Vec::new(),
            saved: Saved::default(),
            roster_saved: false,
            stalled: None,
            waiting: VecDeque::new(),
            alarm: None,
            mono_ahead: Duration::ZERO,
            wall_ahead_ms: 0,
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        World {
            now: Duration::from_secs(1000),
            net: Net::new(count, random.number()),
            index: nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect(),
            nodes,
            random,
            watch: None,
            sent: (0, 0),
            streams: Streams::default(),
            happenings: BinaryHeap::new(),
            made: 0,
        }
    }

    /// `count` nodes of which each knows all others and has a node record, after `settled` of virtual time.
    pub(crate) fn cluster(count: usize, seed: u64, settled: Duration) -> World {
        let mut world = World::new(count, seed);
        let roster: Vec<_> = (0..count).map(|node| world.entry(node, 1)).collect();
        for node in 0..count {
            world.nodes[node].saved.roster = roster.clone();
            world.start(node);
        }
        world.run(settled);
        world
    }

    fn entry(&self, node: usize, incarnation: u64) -> weft_proto::v1::RosterEntry {
        let record = weft_control::table::wire::node_record_out(&record(node));
        weft_proto::v1::RosterEntry { node: self.nodes[node].id.0, incarnation, record: Some(record), renewal: 0 }
    }

    /// Starts a node, with what its former life saved and the records that it has.
    pub(crate) fn start(&mut self, node: usize) {
        let seed = self.random.number();
        let now = self.clock(node);
        let it = &mut self.nodes[node];
        it.incarnation += 1;
        it.roster_saved = false;
        let me = Me { origin: Origin { node: it.id, incarnation: it.incarnation }, record: record(node) };
        let config = Config { protocol: it.protocol.clone(), ..Config::default() };
        it.cluster = Some(Cluster::new(config, me, it.saved.clone(), now, seed));
        let records = it.records.clone();
        self.settle(node);
        for (key, value) in records {
            self.input(node, Input::Put(key, value));
        }
        self.input(node, Input::Complete);
    }

    /// Starts a node that `host` admits to the cluster.
    pub(crate) fn join(&mut self, node: usize, host: usize) {
        let host = self.nodes[host].cluster.as_ref().expect("the host is up");
        self.nodes[node].saved = Saved { roster: host.roster(), ..Saved::default() };
        self.start(node);
    }

    /// Ends a node's process. With its machine, nobody closes its streams.
    pub(crate) fn kill(&mut self, node: usize, machine: bool) {
        let it = &mut self.nodes[node];
        if let Some(cluster) = it.cluster.take().filter(|_| it.roster_saved) {
            it.saved.roster = cluster.roster();
        }
        self.nodes[node].waiting.clear();
        self.nodes[node].stalled = None;
        let streams: Vec<_> =
            self.streams.all.iter().filter(|(_, s)| s.ends.contains(&node)).map(|(id, _)| *id).collect();
        for stream in streams {
            let after = if machine { Duration::from_secs(15) } else { self.net.delay };
            self.at(self.now + after, What::Broken { stream });
        }
        self.streams.used.retain(|(from, _), _| *from != node);
    }

    /// Stops a node's process for a while.
    pub(crate) fn stall(&mut self, node: usize, pause: Duration) {
        if self.nodes[node].cluster.is_some() && self.nodes[node].stalled.is_none() {
            self.nodes[node].stalled = Some(self.now + pause);
            self.at(self.now + pause, What::Wake { node });
        }
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].cluster.is_some()
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = (usize, &Cluster)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.cluster.as_ref()?)))
    }

    /// A node gets a record, or another value of it.
    pub(crate) fn put(&mut self, node: usize, key: Key, value: Value) {
        self.nodes[node].records.insert(key.clone(), value.clone());
        self.input(node, Input::Put(key, value));
    }

    /// A node gives a record back.
    pub(crate) fn remove(&mut self, node: usize, key: Key) {
        self.nodes[node].records.remove(&key);
        self.input(node, Input::Remove(key));
    }

    /// Something that the node's own daemon says, or that arrives.
    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let now = self.clock(node);
        let it = &mut self.nodes[node];
        if it.stalled.is_some() {
            return it.waiting.push_back(Waiting::Input(input));
        }
        if let Some(cluster) = &mut it.cluster {
            cluster.handle(now, input);
            self.settle(node);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.happenings.peek().is_some_and(|next| next.at <= end) {
            let Some(Happening { at, what, .. }) = self.happenings.pop() else { break };
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    fn clock(&self, node: usize) -> Now {
        let it = &self.nodes[node];
        let wall_ms = 1_700_000_000_000 + self.now.as_millis() as i64 + it.wall_ahead_ms;
        Now { mono: self.now + it.mono_ahead, wall_ms: wall_ms as u64 }
    }

    fn at(&mut self, at: Duration, what: What) {
        self.made += 1;
        self.happenings.push(Happening { at, number: self.made, what });
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Input { to, life, input } => {
                if self.nodes[to].incarnation == life {
                    self.input(to, *input);
                }
            }
            What::Dialed { from, life, to } => self.dialed(from, life, to),
            What::Flow { stream, way } => match self.streams.flow(self.now, &self.net, stream, way) {
                Flow::Arrived(load, next) => {
                    let ends = self.streams.all[&stream].ends;
                    let (from, to) = (ends[way], ends[1 - way]);
                    if let Some(next) = next {
                        self.at(next, What::Flow { stream, way });
                    }
                    // Frames of a stream that was replaced are read by nobody.
                    if self.streams.used.get(&(to, from)) == Some(&stream) {
                        self.frame(from, to, load);
                    }
                }
                Flow::Wait(until) => self.at(until, What::Flow { stream, way }),
                Flow::Broken => self.broken(stream),
                Flow::Idle => {}
            },
            What::Broken { stream } => self.broken(stream),
            What::Alarm { node } => {
                if self.nodes[node].alarm == Some(self.now) {
                    self.nodes[node].alarm = None;
                    if self.nodes[node].stalled.is_none() {
                        self.input(node, Input::Timer);
                    }
                }
            }
            What::Exit { node, life } => {
                if self.nodes[node].incarnation == life {
                    self.kill(node, false);
                }
            }
            What::Wake { node } => {
                if self.nodes[node].stalled.take_if(|until| *until <= self.now).is_some() {
                    // The worst order: first the timers, then what came in meanwhile.
                    self.input(node, Input::Timer);
                    while let Some(waiting) = self.nodes[node].waiting.pop_front() {
                        match waiting {
                            Waiting::Input(input) => self.input(node, input),
                            Waiting::Frame(from, load) => self.frame(from, node, load),
                        }
                    }
                }
            }
        }
    }

    fn frame(&mut self, from: usize, to: usize, load: Load) {
        if self.nodes[to].stalled.is_some() {
            return self.nodes[to].waiting.push_back(Waiting::Frame(from, load));
        }
        let (peer, frame) = (self.nodes[from].id, load.frame());
        self.input(to, Input::Frame { peer, frame });
    }

    fn dialed(&mut self, from: usize, life: u64, to: usize) {
        let (peer_of_from, peer_of_to) = (self.nodes[to].id, self.nodes[from].id);
        if self.nodes[from].incarnation != life || !self.is_up(from) {
            return;
        }
        if !self.is_up(to) || !self.net.reaches(from, to) || !self.net.reaches(to, from) {
            return self.input(from, Input::Disconnected { peer: peer_of_from });
        }
        let stream = self.streams.open(from, to);
        for (end, other) in [(from, to), (to, from)] {
            if let Some(replaced) = self.streams.used.insert((end, other), stream) {
                self.at(self.now + self.net.delay, What::Broken { stream: replaced });
            }
        }
        let hello = |node: usize| self.nodes[node].cluster.as_ref().expect("it is up").hello();
        let (hello_from, hello_to) = (hello(from), hello(to));
        self.input(to, Input::Connected { peer: peer_of_to, hello: hello_from });
        self.input(from, Input::Connected { peer: peer_of_from, hello: hello_to });
    }

    fn broken(&mut self, stream: u64) {
        for (end, other) in self.streams.close(stream) {
            let peer = self.nodes[other].id;
            self.input(end, Input::Disconnected { peer });
        }
    }

    /// Carries out what a node wants, and sets its alarm.
    fn settle(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].cluster.as_mut().and_then(Cluster::poll) {
            self.output(node, output);
        }
        let it = &self.nodes[node];
        let deadline = it.cluster.as_ref().and_then(Cluster::deadline).map(|d| d.saturating_sub(it.mono_ahead));
        if let Some(deadline) = deadline.map(|d| d.max(self.now)).filter(|d| it.alarm.is_none_or(|alarm| *d < alarm)) {
            self.nodes[node].alarm = Some(deadline);
            self.at(deadline, What::Alarm { node });
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].incarnation;
        match output {
            Output::Connect { peer, .. } => {
                let to = self.index[&peer];
                let after = self.net.segment() * HANDSHAKE;
                self.at(self.now + after, What::Dialed { from: node, life, to });
            }
            Output::Disconnect { peer } => {
                let to = self.index[&peer];
                if let Some(stream) = self.streams.used.remove(&(node, to)) {
                    self.at(self.now + self.net.delay, What::Broken { stream });
                }
            }
            Output::Send { peer, frame } => {
                self.sent.1 += 1;
                let to = self.index[&peer];
                let is_later = self.nodes[node].protocol.end() > PROTOCOL.end();
                let frames = if is_later { sent_later(&frame) } else { vec![frame] };
                for frame in frames {
                    if let Some((stream, way, at)) = self.streams.send(self.now, &mut self.net, node, to, frame) {
                        self.at(at, What::Flow { stream, way });
                    }
                }
            }
            Output::SendSwim { peer, datagram, .. } => {
                self.sent.0 += 1;
                let to = self.index[&peer];
                if let Some(transit) = self.net.packet(node, to) {
                    let at = self.now + transit + self.net.delay * HANDSHAKE;
                    let input = Box::new(Input::Swim { peer: self.nodes[node].id, datagram: datagram.into() });
                    let life = self.nodes[to].incarnation;
                    self.at(at, What::Input { to, life, input });
                }
            }
            Output::Change(change) => {
                let now = self.now;
                if let Some(watch) = self.watch.as_mut().filter(|watch| watch.change == change) {
                    watch.seen[node].get_or_insert(now);
                }
            }
            Output::Event(Event::Dead(who)) => self.nodes[node].deaths.push((self.now, who.node)),
            Output::Event(Event::Suspected(_) | Event::Cleared(_) | Event::Returned(_)) => {}
            Output::Event(event) => self.nodes[node].events.push((self.now, event)),
            Output::SaveRoster => {
                self.nodes[node].roster_saved = true;
                self.nodes[node].saved.roster = Vec::new();
            }
            Output::SaveIncarnation(incarnation) => self.nodes[node].incarnation = incarnation,
            Output::NotPut { key, error } => panic!("node {node} could not put {key:?}: {error}"),
            Output::SaveObjects => {
                let cluster = self.nodes[node].cluster.as_ref().expect("it speaks");
                self.nodes[node].saved.objects = cluster.objects().all().collect();
            }
            Output::ObjectNotPut { kind, id, error } => panic!("node {node} could not put {kind:?} {id}: {error}"),
            Output::Left => self.at(self.now + Duration::from_millis(50), What::Exit { node, life }),
            // The daemon verifies what a denial says; here it is always right.
            Output::ObjectChanged { kind: Kind::Denied, id, value: Some(_) } => {
                self.input(node, Input::Evict(id.parse().expect("a node's id")));
            }
            Output::ObjectChanged { .. } | Output::MemberChanged(_) | Output::MemberForgotten(_) => {}
        }
    }
}

/// The record that each node has.
fn record(node: usize) -> NodeRecord {
    let [_, b, c, d] = (node as u32 + 1).to_be_bytes();
    NodeRecord {
        name: format!("n{node}"),
        address: IpAddr::from(Ipv4Addr::new(10, b, c, d)),
        control_port: PORT,
        version: "sim".to_owned(),
        signer: false,
    }
}
