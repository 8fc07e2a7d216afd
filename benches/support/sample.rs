//! One measurement of one contestant.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};
use weft::traffic::ping::{self, PingSpec};
use weft::traffic::tcp::{self, TcpSpec};
use weft::traffic::udp::{self, FloodSpec};

use crate::contestant::Contestant;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) tcp: TcpSpec,
    pub(crate) overload: FloodSpec,
    pub(crate) paced: FloodSpec,
    pub(crate) ping: PingSpec,
}

impl Load {
    pub(crate) fn new(duration: Duration, flows: usize) -> Self {
        let overload = FloodSpec { duration, flows, ..FloodSpec::default() };
        Load {
            tcp: TcpSpec { duration, ..TcpSpec::default() },
            overload,
            paced: FloodSpec { rate: Some(150_000), ..overload },
            // Without a pause: after one, most of the time is the processor's waking up.
            ping: PingSpec { count: 1000, interval: Duration::ZERO, ..PingSpec::default() },
        }
    }
}

/// The metrics, in the order of [`Sample::values`].
pub(crate) const METRICS: [&str; 7] = [
    "TCP Gb/s",
    "CPU-s/GB machine",
    "CPU-s/GB overlay",
    "64 B UDP k/s",
    "lost at 150 k/s %",
    "ping p50 µs",
    "ping p99 µs",
];

/// The metric that no ratio is made of: the good value is zero.
pub(crate) const LOSS: usize = 4;

/// What one contestant did in one round.
pub(crate) struct Sample {
    pub(crate) values: [Option<f64>; METRICS.len()],
}

/// Measures each metric once.
pub(crate) fn measure(contestant: &Contestant, load: &Load) -> Result<Sample> {
    let [(a, _), (b, address)] = contestant.ends();
    let reached = ping::once(a, address, Duration::from_secs(5))?;
    ensure!(reached.is_some(), "{}: the ends do not reach each other", contestant.kind);
    let rtt = ping::ping(a, address, &load.ping)?;
    let percentile = |p| rtt.percentile(p).map(|rtt| rtt.as_secs_f64() * 1e6);
    let (machine, own) = (machine_time()?, contestant.cpu_time()?);
    let stream = tcp::stream(a, b, address, &load.tcp)?;
    let gigabytes = stream.total_bytes as f64 / 1e9;
    let machine = (machine_time()?.saturating_sub(machine)).as_secs_f64() / gigabytes;
    let own = contestant.cpu_time()?.zip(own).map(|(after, before)| (after - before).as_secs_f64() / gigabytes);
    let overload = udp::flood(a, b, address, &load.overload)?;
    let paced = udp::flood(a, b, address, &load.paced)?;
    let values = [
        Some(stream.gbit_per_s()),
        Some(machine),
        own,
        Some(overload.received_per_s() / 1e3),
        Some(paced.loss() * 100.0),
        percentile(50.0),
        percentile(99.0),
    ];
    Ok(Sample { values })
}

/// Time that all of this machine's CPUs have been busy. It is fair to the kernel's overlay, whose work is in no process;
/// it includes the generator, the same for all.
fn machine_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        anyhow::bail!("/proc/stat has no CPU times: {line}");
    };
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|hz| u32::try_from(hz).ok()).context("no clock tick")?;
    Ok(Duration::from_secs(user + nice + system + irq + softirq) / per_second)
}
