//! How the network behaves between two nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use weft_control::membership::random::SplitMix;

/// The network.
pub(crate) struct Net {
    /// One way, before jitter.
    pub(crate) delay: Duration,
    /// Up to so much more, evenly: datagrams overtake each other.
    pub(crate) jitter: Duration,
    /// Of packets.
    pub(crate) loss: f64,
    /// Who does not reach whom, by index. One direction each.
    blocked: BTreeSet<(usize, usize)>,
    /// On which side of a partition each node is.
    sides: Vec<u8>,
    random: SplitMix,
}

impl Net {
    pub(crate) fn new(nodes: usize, seed: u64) -> Net {
        Net {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(1),
            loss: 0.0,
            blocked: BTreeSet::new(),
            sides: vec![0; nodes],
            random: SplitMix::new(seed),
        }
    }

    /// Nodes of different sides reach each other no more.
    pub(crate) fn partition(&mut self, side: impl Fn(usize) -> u8) {
        self.sides.iter_mut().enumerate().for_each(|(node, s)| *s = side(node));
    }

    /// All reach all again.
    pub(crate) fn heal(&mut self) {
        self.sides.fill(0);
        self.blocked.clear();
    }

    /// What `from` sends does not reach `to`.
    pub(crate) fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        self.sides[from] == self.sides[to] && !self.blocked.contains(&(from, to))
    }

    /// How long one packet takes, or that it is lost.
    pub(crate) fn packet(&mut self, from: usize, to: usize) -> Option<Duration> {
        let lost = self.random.chance(self.loss);
        (self.reaches(from, to) && !lost).then(|| self.transit())
    }

    /// How long a segment of a stream takes, which TCP sends until it arrives (RFC 6298: 200 ms at least in practice, doubled each time).
    pub(crate) fn segment(&mut self) -> Duration {
        let mut waited = Duration::ZERO;
        let mut timeout = Duration::from_millis(200);
        while self.random.chance(self.loss) && waited < Duration::from_secs(10) {
            waited += timeout;
            timeout *= 2;
        }
        waited + self.transit()
    }

    fn transit(&mut self) -> Duration {
        self.delay + self.jitter.mul_f64(self.random.below(1024) as f64 / 1024.0)
    }
}
