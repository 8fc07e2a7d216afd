//! The last minute: what was counted lately, as against since the start.
//!
//! A sample of the counters is taken every second and kept for a minute. What somebody asks about tonight should not be
//! answered with what happened last week.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use weft_control::id::NodeId;
use weft_vtep::drops::DropReason;
use weft_vtep::stats::Snapshot;

use super::Node;

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(1);
/// How many are kept: a minute, and the one that it is counted from.
const KEPT: usize = 61;

/// Samples of the last minute, and since when tables differ.
#[derive(Debug)]
pub(super) struct Recent {
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    samples: VecDeque<Sample>,
    differ: HashMap<NodeId, Instant>,
}

/// The counters at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    totals: Snapshot,
    checksum_errors: u64,
}

/// What was counted in the last minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastMinute {
    /// How long it was: less after a start.
    pub(super) window: Duration,
    /// Frames sent and delivered.
    pub(super) frames: (u64, u64),
    /// Drops, those with a count alone.
    pub(super) drops: Vec<(DropReason, u64)>,
    /// The host's UDP datagrams with a wrong checksum.
    pub(super) checksum_errors: u64,
    /// Frames out of tunnels with a wrong inner checksum.
    pub(super) damaged: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Recent { started: Instant::now(), inner: Mutex::default() }
    }
}

impl Recent {
    /// Since the daemon's start.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, at: Instant, totals: Snapshot, checksum_errors: u64, differing: &[NodeId]) {
        let mut inner = self.inner();
        inner.differ.retain(|node, _| differing.contains(node));
        for node in differing {
            inner.differ.entry(*node).or_insert(at);
        }
        if inner.samples.len() == KEPT {
            inner.samples.pop_front();
        }
        inner.samples.push_back(Sample { at, totals, checksum_errors });
    }

    /// What was counted until now, since the oldest sample.
    fn since(&self, now: Instant, totals: &Snapshot, checksum_errors: u64) -> LastMinute {
        let inner = self.inner();
        let Some(oldest) = inner.samples.front() else { return LastMinute::default() };
        let more = |reason: &DropReason| {
            let count = totals.drops_of(*reason).saturating_sub(oldest.totals.drops_of(*reason));
            (count > 0).then_some((*reason, count))
        };
        LastMinute {
            window: now.saturating_duration_since(oldest.at),
            frames: (totals.tx_frames - oldest.totals.tx_frames, totals.rx_frames - oldest.totals.rx_frames),
            drops: DropReason::ALL.iter().filter_map(more).collect(),
            checksum_errors: checksum_errors.saturating_sub(oldest.checksum_errors),
            damaged: totals.damaged.saturating_sub(oldest.totals.damaged),
        }
    }

    /// For how long the tables of a node have been other than this one's.
    pub(super) fn differs_for(&self, now: Instant, node: NodeId) -> Option<Duration> {
        self.inner().differ.get(&node).map(|since| now.saturating_duration_since(*since))
    }
}

impl Node {
    /// Takes samples, for as long as the daemon lives.
    pub(super) async fn keep_samples(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let differing = self.differing();
            self.recent.record(Instant::now(), self.vtep.stats(), checksum_errors(), &differing);
        }
    }

    /// What was counted in the last minute.
    pub(super) fn last_minute(&self) -> LastMinute {
        self.recent.since(Instant::now(), &self.vtep.stats(), checksum_errors())
    }
}

/// The kernel's count of UDP datagrams with a wrong checksum in this network namespace, over IPv4 and IPv6.
fn checksum_errors() -> u64 {
    let v4 = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/self/net/snmp6").unwrap_or_default();
    of_snmp(&v4) + of_snmp6(&v6)
}

/// Two lines for each protocol: names, then values.
fn of_snmp(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "InCsumErrors").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn of_snmp6(text: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix("Udp6InCsumErrors"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(sent: u64, unknown_vni: u64) -> Snapshot {
        let mut totals = Snapshot { tx_frames: sent, ..Snapshot::default() };
        totals.drops[DropReason::UnknownVni as usize] = unknown_vni;
        totals
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let (recent, start) = (Recent::default(), Instant::now());
        let second = |n: u64| start + Duration::from_secs(n);
        for n in 0..100 {
            // Ten frames of an unknown network in the third second, and later two.
            recent.record(second(n), totals(n, if n < 3 { 0 } else { 10 }), n, &[]);
        }
        let minute = recent.since(second(100), &totals(100, 12), 100);
        assert_eq!(minute.drops, [(DropReason::UnknownVni, 2)]);
        assert_eq!((minute.window, minute.frames, minute.checksum_errors), (Duration::from_secs(61), (61, 0), 61));
    }

    #[test]
    fn tables_differ_since_the_first_look_that_saw_it_and_no_longer_than_they_do() {
        let (recent, start, node) = (Recent::default(), Instant::now(), NodeId(7));
        let second = |n: u64| start + Duration::from_secs(n);
        recent.record(second(0), totals(0, 0), 0, &[]);
        assert_eq!(recent.differs_for(second(1), node), None);
        for n in 1..5 {
            recent.record(second(n), totals(0, 0), 0, &[node]);
        }
        assert_eq!(recent.differs_for(second(5), node), Some(Duration::from_secs(4)));
        recent.record(second(5), totals(0, 0), 0, &[]);
        assert_eq!(recent.differs_for(second(6), node), None);
    }

    #[test]
    fn the_kernel_s_count_is_found_by_its_name() {
        let text = "Tcp: A InCsumErrors\nTcp: 1 9\nUdp: InDatagrams NoPorts InCsumErrors IgnoredMulti\nUdp: 5 6 7 8\n";
        assert_eq!(of_snmp(text), 7);
        assert_eq!(of_snmp6("Ip6InReceives 4\nUdp6InCsumErrors             \t3\n"), 3);
        assert_eq!((of_snmp(""), of_snmp6("")), (0, 0));
    }
}
