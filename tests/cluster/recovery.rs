//! How soon sealed traffic flows again when a node was killed under load and is back.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use weft::lab::{Container, LabSpec};
use weft::traffic::tcp::{self, TcpSpec};

use crate::Cluster;
use crate::harness::{PATIENCE, privileged};

/// What is promised, of 99 in 100 returns.
const BOUND: Duration = Duration::from_secs(1);
/// How long it stays away, by turns: not missed, suspected, dead.
const AWAY: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// Datagrams each millisecond from one container to another, and when the latest came.
struct Flow<'a> {
    from: &'a Container,
    to: &'a Container,
    came: Mutex<Option<Instant>>,
}

impl<'a> Flow<'a> {
    fn new(from: &'a Container, to: &'a Container) -> Flow<'a> {
        Flow { from, to, came: Mutex::default() }
    }

    fn run(&self, enough: &AtomicBool) {
        let hears = self.to.netns.run(|| UdpSocket::bind((self.to.ip(), 0))).unwrap().unwrap();
        hears.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let says = self.from.netns.run(|| UdpSocket::bind((IpAddr::from([0; 4]), 0))).unwrap().unwrap();
        let target = hears.local_addr().unwrap();
        scope(|scope| {
            scope.spawn(|| {
                while !enough.load(Ordering::Acquire) {
                    // While the daemon is away the interface has no carrier, and the kernel says so.
                    let _ = says.send_to(&[7; 200], target);
                    sleep(Duration::from_millis(1));
                }
            });
            while !enough.load(Ordering::Acquire) {
                if hears.recv(&mut [0; 200]).is_ok() {
                    *self.came.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
            }
        });
    }

    /// Waits for a datagram that comes after `moment`, and says how long after.
    fn comes_after(&self, moment: Instant) -> Duration {
        loop {
            let came = *self.came.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(after) = came.and_then(|came| came.checked_duration_since(moment)) {
                return after;
            }
            assert!(moment.elapsed() < PATIENCE, "no datagram has come again");
            sleep(Duration::from_millis(1));
        }
    }
}

/// `WEFT_RECOVERY_ROUNDS` for more rounds than the few that a gate has time for.
#[test]
fn traffic_flows_again_within_a_second_of_a_killed_node_s_return() {
    privileged!();
    let rounds = std::env::var("WEFT_RECOVERY_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut cluster = Cluster::shared(LabSpec { containers: 2, ..LabSpec::new(3) }, &[]);
    let mut gaps = Vec::new();
    for round in 0..rounds {
        gaps.push(killed_under_load(&mut cluster, AWAY[round % AWAY.len()]));
        cluster.converge();
    }
    let mut all = gaps.concat();
    all.sort_unstable();
    let p99 = all[(all.len() * 99).div_ceil(100) - 1];
    let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
    eprintln!("{} flows after {rounds} kills: median {median:?}, p99 {p99:?}, worst {worst:?}", all.len());
    assert!(p99 <= BOUND, "by round, towards and from the node: {gaps:?}");
}

/// How long after its return datagrams reach the node, and leave it.
fn killed_under_load(cluster: &mut Cluster, away: Duration) -> Vec<Duration> {
    let enough = AtomicBool::new(false);
    let load = TcpSpec { duration: Duration::from_secs(2) + away, ..TcpSpec::default() };
    // Only namespaces and addresses of the lab: the daemons are for the one that kills.
    let Cluster { lab, daemons } = cluster;
    let [here, there] = [0, 2].map(|n: usize| &lab.hosts[n].containers);
    let flows = [Flow::new(&here[0], &there[0]), Flow::new(&there[0], &here[0])];
    scope(|scope| {
        for flow in &flows {
            scope.spawn(|| flow.run(&enough));
        }
        for (from, to) in [(&here[1], &there[1]), (&there[1], &here[1])] {
            scope.spawn(move || tcp::stream(&from.netns, &to.netns, to.ip(), &load));
        }
        let begin = Instant::now();
        for flow in &flows {
            flow.comes_after(begin);
        }
        sleep(Duration::from_millis(500));
        daemons[2].take().unwrap().crash().unwrap();
        sleep(away);
        daemons[2] = Some(weft::lab::Daemon::up(crate::harness::weft(), &lab.hosts[2], &[]).unwrap());
        let up = Instant::now();
        let gaps = flows.iter().map(|flow| flow.comes_after(up)).collect();
        enough.store(true, Ordering::Release);
        gaps
    })
}
