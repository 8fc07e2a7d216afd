//! A day of two nodes in virtual time: calls that are lost, outages, restarts, keys that wear out by age and by count.

use super::*;

/// As the daemon's: the longest wait before a peer is asked again, and what chance adds.
const BACK_OFF: Duration = Duration::from_secs(5);
const JITTER: Duration = Duration::from_millis(50);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Steps while nothing is asked, and while something is.
const STEP: Duration = Duration::from_secs(1);
const FINE: Duration = Duration::from_millis(50);

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn number(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// One node.
struct End {
    id: PeerId,
    address: IpAddr,
    sessions: Sessions,
    workers: Vec<Seals>,
    /// It asks its peer for a session: when next, and how long it waits then.
    asking: Option<(Duration, Duration)>,
    /// The peer has begun another life, and this node hears of it then.
    greeted_at: Option<Duration>,
    /// When its peer has opened something last, or there was a reason for which it could not.
    excused: Duration,
    /// The peer cannot open what this node seals: one of them has forgotten its keys.
    cut: bool,
    sent: u64,
    /// Receive sessions that were seen replaced, and when.
    replaced: HashMap<u32, Duration>,
}

impl End {
    fn new(id: PeerId, address: IpAddr, now: Duration) -> End {
        End {
            id,
            address,
            sessions: Sessions::default(),
            workers: (0..2).map(|worker| Seals::new(worker, 2, 7)).collect(),
            asking: None,
            greeted_at: None,
            excused: now,
            cut: true,
            sent: 0,
            replaced: HashMap::new(),
        }
    }

    fn adopt(&mut self) {
        self.workers.iter_mut().for_each(|seals| seals.adopt(&self.sessions));
    }

    fn ask(&mut self, now: Duration) {
        self.asking.get_or_insert((now, FIRST_WAIT));
    }

    /// Something came under `index`: sessions that are older are replaced.
    fn replace_others(&mut self, index: u32, now: Duration) {
        let newest =
            self.sessions.receiving().find(|session| session.index == index).map_or(0, |session| session.epoch);
        for session in self.sessions.receiving().filter(|session| session.epoch < newest) {
            self.replaced.entry(session.index).or_insert(now);
        }
    }
}

struct World {
    now: Duration,
    ends: [End; 2],
    chance: Chance,
    /// No call comes through until then.
    outage: Duration,
    sessions: u32,
    nonces: HashSet<(u32, [u8; 12])>,
    longest_gap: Duration,
    lost_calls: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let now = STEP;
        World {
            now,
            ends: [End::new(ME, here(), now), End::new(PEER, there(), now)],
            chance: Chance(seed),
            outage: now,
            sessions: 0,
            nonces: HashSet::new(),
            longest_gap: Duration::ZERO,
            lost_calls: 0,
        }
    }

    /// A call by which `from` asks for a session. Request or answer may be lost.
    fn call(&mut self, from: usize) -> bool {
        let now = self.now;
        let (request_lost, answer_lost) = (self.chance.number(5) == 0, self.chance.number(5) == 0);
        if now < self.outage || request_lost {
            return false;
        }
        self.sessions += 1;
        let [sender, receiver] = [from, 1 - from].map(|n| (self.ends[n].id, self.ends[n].address));
        let terms = Terms { sender: sender.0, receiver: receiver.0, suite: Suite::Aes256Gcm, lanes: LANES };
        let mut contribution = [0; 32];
        contribution[..4].copy_from_slice(&self.sessions.to_be_bytes());
        let keys = SessionKeys::derive(terms, &contribution, &[7; 32]).unwrap();
        // Unlike any other, and spread out, as the receiver's random number is.
        let index = self.sessions.wrapping_mul(0x9e37_79b1);
        self.ends[1 - from].sessions.install_receive(now, sender.1, &keys, index, 2).unwrap();
        self.ends[1 - from].adopt();
        if answer_lost {
            return false;
        }
        self.ends[from].sessions.install_send(now, receiver.1, &keys, index, &[0..5, 5..LANES]).unwrap();
        self.ends[from].adopt();
        // From here on there is no excuse, but that this node still waits to hear of its peer's new life.
        self.ends[from].cut = self.ends[from].greeted_at.is_some();
        true
    }

    /// One datagram from `from`, on the lane whose turn it is.
    fn send(&mut self, from: usize) {
        let now = self.now;
        let [a, b] = &mut self.ends;
        let (end, peer) = if from == 0 { (a, b) } else { (b, a) };
        let lane = (end.sent % u64::from(LANES)) as usize;
        end.sent += 1;
        let (worker, own) = if lane < 5 { (0, lane) } else { (1, lane - 5) };
        let mut datagram = vec![0; LEN + 30 + TAG];
        let opened = match end.workers[worker].sealer(peer.address) {
            Some(mut sealer) => {
                sealer.seal(own, Kind::Data, &mut datagram, now.as_nanos() as u64).unwrap();
                let header = Header::parse(&datagram).unwrap();
                assert!(self.nonces.insert((header.index, header.nonce())), "a nonce twice at {now:?}");
                let opened = peer.workers[lane % 2].open(&mut datagram, now.as_nanos() as u64).is_ok();
                if opened {
                    peer.replace_others(header.index, now);
                }
                opened
            }
            None => {
                end.ask(now);
                false
            }
        };
        assert!(opened || end.cut, "at {now:?} a datagram is lost, and nobody was restarted");
        let gap = now - end.excused;
        if opened {
            (end.cut, end.excused) = (end.greeted_at.is_some(), now);
        }
        self.longest_gap = self.longest_gap.max(gap);
        assert!(gap <= BACK_OFF + JITTER + STEP, "at {now:?} nothing could be sent for {gap:?}");
    }

    fn restart(&mut self, n: usize) {
        let (id, address, sent) = (self.ends[n].id, self.ends[n].address, self.ends[n].sent);
        self.ends[n] = End { sent, ..End::new(id, address, self.now) };
        let hears = self.now + Duration::from_millis(self.chance.number(2_000));
        let peer = &mut self.ends[1 - n];
        (peer.cut, peer.greeted_at, peer.excused) = (true, Some(hears), self.now);
    }

    /// A lane has sealed as much as one key should.
    fn wear_out(&mut self, n: usize) {
        if let Some(session) = self.ends[n].sessions.sending().next() {
            session.tally(1).done(session.suite.soft_limit(), self.now.as_nanos() as u64);
        }
    }

    /// What daemon and ageing thread do.
    fn look_after(&mut self, n: usize) {
        let (now, other) = (self.now, self.ends[1 - n].id);
        let end = &mut self.ends[n];
        if end.greeted_at.take_if(|at| *at <= now).is_some() {
            end.sessions.drop_send(other);
            end.adopt();
            end.ask(now);
            end.excused = now;
        }
        if end.sessions.due(now).next().is_some() {
            end.ask(now);
        }
        if let Some((_, wait)) = end.asking.take_if(|(at, _)| *at <= now)
            && !self.call(n)
        {
            self.lost_calls += 1;
            let jitter = Duration::from_millis(self.chance.number(JITTER.as_millis() as u64));
            let end = &mut self.ends[n];
            (end.asking, end.excused) = (Some((now + wait + jitter, (2 * wait).min(BACK_OFF))), now);
        }
        let end = &mut self.ends[n];
        end.sessions.tick(now);
        end.adopt();
        end.replaced.retain(|index, _| end.sessions.receiving().any(|session| session.index == *index));
        let limit = GRACE + 2 * STEP;
        assert!(end.replaced.values().all(|since| now - *since <= limit), "at {now:?} an old key is still there");
        assert!(end.sessions.receiving().count() <= MOST_OF_A_PEER);
    }

    fn run(&mut self) {
        while self.now < DAY {
            // Each about once in two hours. An outage is shorter than a key lives after it is due.
            match self.chance.number(9_600) {
                n @ (0 | 1) => self.restart(n as usize),
                n @ (2 | 3) => self.wear_out(n as usize - 2),
                4 => self.outage = self.now + Duration::from_secs(self.chance.number(1_500)),
                _ => {}
            }
            for n in [0, 1] {
                self.look_after(n);
            }
            for n in [0, 1] {
                self.send(n);
            }
            let busy = self.ends.iter().any(|end| end.asking.is_some() || end.greeted_at.is_some());
            self.now += if busy && self.now >= self.outage { FINE } else { STEP };
        }
    }
}

/// Never a nonce twice; no datagram lost but where a node has forgotten its keys, and then for no longer than the back-off;
/// no key that is still there 30 s after the next one was used.
#[test]
fn days_with_lost_calls_and_restarts() {
    for seed in [1, 2, 3] {
        let mut world = World::new(seed);
        world.run();
        let World { sessions, lost_calls, longest_gap, ends, .. } = &world;
        println!("day {seed}: {sessions} sessions, {lost_calls} lost calls, longest silence {longest_gap:?}");
        assert!(*sessions > 60 && *lost_calls > 20, "{sessions} sessions, {lost_calls} lost calls: a quiet day");
        assert!(ends.iter().all(|end| end.sent > 80_000));
    }
}
