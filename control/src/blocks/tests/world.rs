//! Many nodes that share out one network: a table that is replicated with delay, calls that take time or get lost, and
//! partitions. All of it under virtual time and from one seed.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use weft_proto::request::AskedAddress;

use super::super::*;
use super::network;
use super::replica::{Event, Gathering, Log, Replica};
use super::weather::Weather;

const TICK: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) blocks: Blocks,
    pub(super) replica: Replica,
    pub(super) requests: HashMap<u64, (Request, Gathering)>,
    pub(super) endpoints: Vec<(String, Vec<IpAddr>)>,
    pub(super) reported: BTreeSet<IpAddr>,
    pub(super) evicted: bool,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) rng: RefCell<StdRng>,
    pub(super) nodes: Vec<Node>,
    network: Network,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: HashMap<u64, Event>,
    serial: u64,
    /// Which side each node is on.
    pub(super) side: Vec<u8>,
    pub(super) epoch: u64,
    weather: Weather,
    busy_until: Duration,
    /// Blocks that two nodes had at once, if only for a moment.
    pub(super) claimed_twice: BTreeSet<IpNet>,
    pub(super) finished: HashMap<u64, bool>,
    pub(super) trace: Rc<RefCell<Vec<String>>>,
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let subnets = [&["10.1.0.0/24"][..], &["10.1.0.0/27"], &["10.1.0.0/26", "fd00::/64"], &["10.1.0.0/28"]];
        let network = network(subnets[rng.random_range(0..subnets.len())]);
        let ids: BTreeSet<_> = (0..rng.random_range(2..9)).map(|_| NodeId(rng.random())).collect();
        let all: Vec<_> = ids.into_iter().collect();
        let node = |id: &NodeId| Node {
            id: *id,
            blocks: Blocks::new(*id, &network),
            replica: Replica { me: Some(*id), all: all.clone(), ..Replica::default() },
            requests: HashMap::new(),
            endpoints: Vec::new(),
            reported: BTreeSet::new(),
            evicted: false,
        };
        let nodes: Vec<_> = all.iter().map(node).collect();
        let mut world = World {
            now: Duration::from_secs(1000),
            rng: RefCell::new(rng),
            side: vec![0; nodes.len()],
            nodes,
            network,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            serial: 0,
            epoch: 0,
            weather,
            busy_until: Duration::ZERO,
            claimed_twice: BTreeSet::new(),
            finished: HashMap::new(),
            trace: Rc::default(),
        };
        for node in 0..world.nodes.len() {
            let offset = world.some_ms(1000);
            world.after(offset, Event::Tick(node));
        }
        world
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many endpoints the network has room for.
    pub(super) fn usable(&self) -> usize {
        let grid = Grid::new(&self.network.subnets[0]);
        grid.addresses(grid.range(), None).count()
    }

    pub(super) fn some_ms(&self, most: u64) -> Duration {
        Duration::from_millis(self.rng.borrow_mut().random_range(0..most))
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.serial += 1;
        self.events.insert(self.serial, event);
        self.queue.push(Reverse((self.now + delay, self.serial)));
    }

    pub(super) fn until(&mut self, end: Duration) {
        while let Some(Reverse((at, serial))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= end) {
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.events.remove(&serial) {
                self.handle(event);
            }
        }
        self.now = end;
    }

    /// Lets endpoints come and go for so many seconds.
    pub(super) fn run(&mut self, seconds: u64) {
        self.busy_until = self.now + Duration::from_secs(seconds);
        self.after(Duration::ZERO, Event::Life);
        let end = self.busy_until + Duration::from_secs(30);
        self.until(end);
    }

    pub(super) fn connected(&self, a: usize, b: usize) -> bool {
        self.side[a] == self.side[b] && !self.nodes[a].evicted && !self.nodes[b].evicted
    }

    pub(super) fn index(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|n| n.id == id).unwrap()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(node) => {
                self.after(TICK, Event::Tick(node));
                let n = &mut self.nodes[node];
                for conflict in n.blocks.tick(self.now, &n.replica) {
                    self.trace.borrow_mut().push(format!("{:?} {}: {conflict}", self.now, n.id));
                    if let Conflict::Address { address, .. } = conflict {
                        n.reported.insert(address);
                    }
                }
                self.publish_blocks(node);
            }
            Event::Step(node, request) => self.step(node, request),
            Event::Table { to, origin, log } => {
                if self.connected(to, self.index(origin)) {
                    let known = self.nodes[to].replica.logs.entry(origin).or_default();
                    if log.version > known.version {
                        *known = log;
                    }
                }
            }
            Event::AskClaim { to, from, request, round, block } => {
                if self.connected(to, from) {
                    let (now, asker) = (self.now, self.nodes[from].id);
                    let n = &mut self.nodes[to];
                    let verdict = n.blocks.judge_claim(now, &n.replica, asker, block);
                    let granted = verdict == ClaimVerdict::Granted;
                    let answer = if granted { ClaimAnswer::Granted } else { ClaimAnswer::Denied };
                    let from_id = n.id;
                    let delay = self.some_ms(30);
                    self.after(delay, Event::AnswerClaim { to: from, from: from_id, request, round, answer });
                }
            }
            Event::AnswerClaim { to, from, request, round, answer } => {
                // The time-out of a call comes from nowhere, an answer must find its way.
                if answer != ClaimAnswer::Silent && !self.connected(to, self.index(from)) {
                    return;
                }
                let n = &mut self.nodes[to];
                let Some((req, gathering)) = n.requests.get_mut(&request) else { return };
                if gathering.round != round || !gathering.open.remove(&from) {
                    return;
                }
                gathering.answers.push((from, answer));
                if gathering.open.is_empty() {
                    let answers = std::mem::take(&mut gathering.answers);
                    n.blocks.claimed(req, answers);
                    self.step(to, request);
                }
            }
            Event::AskTake { to, from, request, round, address } => {
                if self.connected(to, from) {
                    let (now, asker) = (self.now, self.nodes[from].id);
                    let n = &mut self.nodes[to];
                    let answer = match n.blocks.judge_take(now, &n.replica, asker, address) {
                        TakeVerdict::Granted => TakeAnswer::Granted,
                        TakeVerdict::NotMine => TakeAnswer::Denied(String::new()),
                        TakeVerdict::Denied { holder } => TakeAnswer::Denied(holder),
                    };
                    let delay = self.some_ms(30);
                    self.after(delay, Event::AnswerTake { to: from, request, round, answer });
                }
            }
            Event::AnswerTake { to, request, round, answer } => {
                let n = &mut self.nodes[to];
                let Some((req, gathering)) = n.requests.get_mut(&request) else { return };
                if gathering.round == round {
                    gathering.round += 1;
                    n.blocks.taken(&n.replica, req, answer);
                    self.step(to, request);
                }
            }
            Event::Announce { node, address } => {
                // It may be detached again by now.
                if self.nodes[node].endpoints.iter().any(|(_, ips)| ips.contains(&address)) {
                    self.change(node, |log| {
                        log.ips.insert(address);
                    });
                }
            }
            Event::Died { at, node, epoch } if epoch == self.epoch => {
                self.nodes[at].replica.dead.insert(node);
            }
            Event::Risen { at, node, epoch } if epoch == self.epoch => {
                self.nodes[at].replica.dead.remove(&node);
                let log = self.nodes[at].replica.logs.get(&self.nodes[at].id).cloned().unwrap_or_default();
                let (to, origin) = (self.index(node), self.nodes[at].id);
                let delay = self.some_ms(500);
                self.after(delay, Event::Table { to, origin, log });
            }
            Event::Died { .. } | Event::Risen { .. } => {}
            Event::Life => self.live(),
            Event::Attach { node, wanted } => {
                let asked = AskedAddress { address: IpAddr::from([10, 1, 0, wanted]), prefix: None };
                let asked = [asked];
                self.begin(node, if wanted < 32 { &asked } else { &[] });
            }
        }
    }

    fn live(&mut self) {
        if self.now >= self.busy_until {
            return;
        }
        let delay = self.some_ms(300);
        self.after(delay, Event::Life);
        let (node, chance) = {
            let mut rng = self.rng.borrow_mut();
            (rng.random_range(0..self.nodes.len()), rng.random_range(0..100))
        };
        match chance {
            // All at once, and a few of them want the same address.
            0..8 => {
                let wanted = self.rng.borrow_mut().random_range(0..64);
                for node in 0..self.nodes.len() {
                    let jitter = self.some_ms(60);
                    self.after(jitter, Event::Attach { node, wanted });
                }
            }
            8..55 => {
                self.attach(node);
            }
            55..97 => self.detach_some(node),
            _ if self.weather == Weather::Partitions => self.partition(),
            _ => {}
        }
    }

    fn attach(&mut self, node: usize) -> u64 {
        let mut asked = Vec::new();
        {
            let mut rng = self.rng.borrow_mut();
            if self.busy_until > Duration::ZERO && rng.random_range(0..3) == 0 {
                asked.push(AskedAddress { address: IpAddr::from([10, 1, 0, rng.random_range(0..32)]), prefix: None });
            }
        }
        self.begin(node, &asked)
    }

    fn begin(&mut self, node: usize, asked: &[AskedAddress]) -> u64 {
        self.serial += 1;
        let serial = self.serial;
        let n = &mut self.nodes[node];
        match n.blocks.request(&format!("e{serial}"), asked) {
            Ok(request) => {
                n.requests.insert(serial, (request, Gathering::default()));
                self.step(node, serial);
            }
            Err(_) => {
                self.finished.insert(serial, false);
            }
        }
        serial
    }

    /// Attaches an endpoint and waits until that is decided and known to all.
    pub(super) fn attach_and_wait(&mut self, node: usize) -> bool {
        let request = self.attach(node);
        while !self.finished.contains_key(&request) {
            let end = self.now + Duration::from_millis(10);
            self.until(end);
        }
        let end = self.now + Duration::from_millis(300);
        self.until(end);
        self.finished[&request]
    }

    fn step(&mut self, node: usize, serial: u64) {
        let now = self.now;
        let n = &mut self.nodes[node];
        let Some((request, gathering)) = n.requests.get_mut(&serial) else { return };
        let step = n.blocks.step(now, &n.replica, request);
        gathering.round += 1;
        let round = gathering.round;
        match step {
            Step::Done(ips) => {
                n.requests.remove(&serial);
                let ips: Vec<_> = ips.iter().map(IpNet::addr).collect();
                n.endpoints.push((format!("e{serial}"), ips.clone()));
                self.finished.insert(serial, true);
                for address in ips {
                    let delay = self.some_ms(200);
                    self.after(delay, Event::Announce { node, address });
                }
            }
            Step::Refused(error) => {
                self.trace.borrow_mut().push(format!("{now:?} {}: {error}", n.id));
                n.requests.remove(&serial);
                self.finished.insert(serial, false);
            }
            Step::Pause(time) => self.after(time, Event::Step(node, serial)),
            Step::Claim { block, ask } => {
                gathering.open = ask.iter().copied().collect();
                for id in ask {
                    let (to, delay) = (self.index(id), self.some_ms(30));
                    self.after(delay, Event::AskClaim { to, from: node, request: serial, round, block });
                    let answer = ClaimAnswer::Silent;
                    self.after(CALL_TIMEOUT, Event::AnswerClaim { to: node, from: id, request: serial, round, answer });
                }
            }
            Step::Take { owner, address } => {
                let (to, delay) = (self.index(owner), self.some_ms(30));
                self.after(delay, Event::AskTake { to, from: node, request: serial, round, address });
                let answer = TakeAnswer::Silent;
                self.after(CALL_TIMEOUT, Event::AnswerTake { to: node, request: serial, round, answer });
            }
        }
        self.publish_blocks(node);
    }

    fn detach_some(&mut self, node: usize) {
        let count = self.nodes[node].endpoints.len();
        if count > 0 {
            let index = self.rng.borrow_mut().random_range(0..count);
            self.detach(node, index);
        }
    }

    fn detach(&mut self, node: usize, index: usize) {
        let (holder, ips) = self.nodes[node].endpoints.swap_remove(index);
        self.nodes[node].blocks.release(&holder);
        self.change(node, |log| log.ips.retain(|ip| !ips.contains(ip)));
        self.publish_blocks(node);
    }

    fn publish_blocks(&mut self, node: usize) {
        while let Some(record) = self.nodes[node].blocks.poll_record() {
            let others = || self.nodes.iter().enumerate().filter(|(other, n)| *other != node && !n.evicted);
            if let Record::Put(block) = record
                && others().any(|(_, n)| n.blocks.owned().any(|owned| owned == block))
            {
                self.claimed_twice.insert(block);
            }
            self.change(node, |log| match record {
                Record::Put(block) => {
                    log.blocks.insert(block);
                }
                Record::Remove(block) => {
                    log.blocks.remove(&block);
                }
            });
        }
    }

    /// Changes a node's own log, which the others learn of a little later.
    fn change(&mut self, node: usize, change: impl FnOnce(&mut Log)) {
        let origin = self.nodes[node].id;
        let log = self.nodes[node].replica.logs.entry(origin).or_default();
        change(log);
        log.version += 1;
        let log = log.clone();
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let delay = self.some_ms(100);
            self.after(delay, Event::Table { to, origin, log: log.clone() });
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.until(end);
    }

    pub(super) fn detach_all_and_wait(&mut self) {
        for node in 0..self.nodes.len() {
            while !self.nodes[node].endpoints.is_empty() {
                self.detach(node, 0);
            }
        }
        let end = self.now + KEEP_EMPTY + HAND_OVER + Duration::from_secs(10);
        self.until(end);
    }
}
