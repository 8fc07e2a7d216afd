//! The hand-over of sessions from the control side to the workers, tried in many orders of their steps (shuttle).
//!
//! `cargo test -p weft-vtep --features model --lib seal::model`
//!
//! Two nodes, each with two workers that follow the published sessions between datagrams, as those of the I/O shell do;
//! a control side that makes new keys meanwhile. Whatever the order: each datagram that was sealed is opened, once, by the
//! one worker that has its lane, and no nonce comes twice under a key. Told in the wrong order, it fails.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

use super::PeerId;
use super::handshake::{SessionKeys, Terms};
use super::suite::Suite;
use super::table::Sessions;
use super::worker::Seals;
use crate::switch::view::Published;
use crate::sync::{AtomicU64, Mutex};
use crate::wire::sealed::{Header, Kind, OVERHEAD};

/// Orders that are tried by chance, and as many by giving threads precedence, which changes a few times (PCT).
const RUNS: usize = 1_000;
const CHANGES: usize = 3;
const EPOCHS: u8 = 3;
/// Datagrams of each sending worker.
const DATAGRAMS: usize = 5;
const WORKERS: usize = 2;
const NOW: Duration = Duration::from_secs(1);

/// When the sender hears of new keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Once every worker of the receiver can open with them.
    InOrder,
    /// As soon as they are published there.
    TooEarly,
}

/// One node: what its façade shares with its workers.
#[derive(Default)]
struct Node {
    sessions: Published<Sessions>,
    /// The generation that each worker holds.
    seen: [AtomicU64; WORKERS],
}

impl Node {
    /// The façade's part: publishes a change, and waits for the workers as `Shared::synchronize` does.
    fn publish(&self, wait: bool, change: impl FnOnce(&mut Sessions)) {
        let changed = self.sessions.update(|sessions| {
            change(sessions);
            Ok::<_, ()>(())
        });
        changed.unwrap();
        let target = self.sessions.generation();
        while wait && self.seen.iter().any(|seen| seen.load(Ordering::Acquire) < target) {
            thread::yield_now();
        }
    }
}

/// A worker's hold on the sessions, as `Held`.
struct Worker {
    index: usize,
    seals: Seals,
    generation: u64,
}

impl Worker {
    fn new(index: usize) -> Worker {
        Worker { index, seals: Seals::new(index, WORKERS, 7), generation: 0 }
    }

    /// The beginning of a turn.
    fn refresh(&mut self, node: &Node) {
        if node.sessions.generation() != self.generation {
            let (generation, sessions) = node.sessions.load();
            self.generation = generation;
            self.seals.adopt(&sessions);
            node.seen[self.index].store(generation, Ordering::Release);
        }
    }
}

#[derive(Default)]
struct World {
    sender: Node,
    receiver: Node,
    /// Datagrams on their way to each worker of the receiver.
    wire: [Mutex<VecDeque<Vec<u8>>>; WORKERS],
    opened: AtomicU64,
    /// Threads that may still seal, or still wait for others to follow.
    busy: AtomicU64,
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn make_keys(world: &World, told: Told) {
    for epoch in 1..=EPOCHS {
        let terms =
            Terms { sender: PeerId(1), receiver: PeerId(2), suite: Suite::ChaCha20Poly1305, lanes: WORKERS as u16 };
        let keys = SessionKeys::derive(terms, &[epoch; 32], &[!epoch; 32]).unwrap();
        let index = u32::from(epoch);
        world.receiver.publish(told == Told::InOrder, |sessions| {
            sessions.install_receive(NOW, address(1), &keys, index, WORKERS).unwrap();
        });
        world.sender.publish(true, |sessions| {
            sessions.install_send(NOW, address(2), &keys, index, &[0..1, 1..2]).unwrap();
        });
        // The ageing thread's part: old keys have 30 s more.
        world.receiver.publish(false, |sessions| {
            sessions.tick(NOW + Duration::from_secs(1));
        });
    }
    world.busy.fetch_sub(1, Ordering::AcqRel);
}

fn seal(world: &World, index: usize) {
    let mut worker = Worker::new(index);
    let mut left = DATAGRAMS;
    while left > 0 {
        worker.refresh(&world.sender);
        let mut datagram = vec![0; OVERHEAD + 8];
        let Some(mut sealer) = worker.seals.sealer(address(2)) else {
            thread::yield_now();
            continue;
        };
        sealer.seal(0, Kind::Data, &mut datagram, 1).unwrap();
        world.wire[index].lock().unwrap().push_back(datagram);
        left -= 1;
    }
    // It follows what is published for as long as there is somebody to wait for it.
    world.busy.fetch_sub(1, Ordering::AcqRel);
    while world.busy.load(Ordering::Acquire) > 0 {
        worker.refresh(&world.sender);
        thread::yield_now();
    }
}

fn open(world: &World, index: usize) {
    let mut worker = Worker::new(index);
    let mut seen = HashSet::new();
    loop {
        let over = world.busy.load(Ordering::Acquire) == 0;
        worker.refresh(&world.receiver);
        // A batch: whatever has come by now.
        let next = || world.wire[index].lock().unwrap().pop_front();
        while let Some(mut datagram) = next() {
            let header = Header::parse(&datagram).unwrap();
            let opened = worker.seals.open(&mut datagram, 1);
            assert!(opened.is_ok(), "a datagram is lost: {opened:?}, {header:?}");
            assert!(seen.insert((header.index, header.nonce())), "a nonce twice: {header:?}");
            world.opened.fetch_add(1, Ordering::Relaxed);
        }
        if over {
            return;
        }
        thread::yield_now();
    }
}

fn hand_over(told: Told) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let run = move || {
        let world = Arc::new(World { busy: AtomicU64::new(1 + WORKERS as u64), ..World::default() });
        let spawn = |work: fn(&World, usize), index| {
            let world = Arc::clone(&world);
            thread::spawn(move || work(&world, index))
        };
        let workers: Vec<_> = (0..WORKERS).flat_map(|n| [spawn(seal, n), spawn(open, n)]).collect();
        make_keys(&world, told);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(world.opened.load(Ordering::Relaxed), (WORKERS * DATAGRAMS) as u64);
    };
    Runner::new(RandomScheduler::new(RUNS), config.clone()).run(run);
    Runner::new(PctScheduler::new(CHANGES, RUNS), config).run(run);
}

#[test]
fn new_keys_lose_nothing_in_whatever_order_the_threads_run() {
    hand_over(Told::InOrder);
}

/// That the model can fail: a sender that hears of keys before every worker can open with them loses datagrams.
#[test]
#[should_panic(expected = "a datagram is lost: Err(UnknownIndex)")]
fn a_sender_that_is_told_too_early_loses_datagrams() {
    hand_over(Told::TooEarly);
}
