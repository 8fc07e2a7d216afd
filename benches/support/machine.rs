//! What the machine does meanwhile: how busy it is, and whether somebody else makes it so.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weft::lab::{Stat, ticks};
use weft::sandbox::Netns;

/// Others may take this part of one CPU's time before a measurement counts as disturbed.
const OTHERS: f64 = 0.05;

/// Which machine this is, in a line of a report.
pub(crate) fn describe() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, m)| m);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = std::thread::available_parallelism()?;
    Ok(format!("{cpus} CPUs, {model}, Linux {}, weft {}", release.trim(), env!("CARGO_PKG_VERSION")))
}

/// The congestion control of new TCP sockets in a network namespace (tcp(7)).
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// The congestion control that this machine's TCP sockets have unless told otherwise.
pub(crate) fn congestion() -> Result<String> {
    let name = fs::read_to_string(CONGESTION).with_context(|| format!("cannot read {CONGESTION}"))?;
    Ok(name.trim().to_owned())
}

/// Gives the TCP sockets that are made in a namespace from now on this congestion control.
pub(crate) fn set_congestion(netns: &Netns, name: &str) -> Result<()> {
    netns.run(|| fs::write(CONGESTION, name))?.with_context(|| {
        format!("cannot have the congestion control {name}: it must be one of net.ipv4.tcp_allowed_congestion_control")
    })
}

/// Time that all of this machine's CPUs have been busy. It is fair to the kernel's overlay, whose work is in no process;
/// it includes the generator, the same for all.
pub(crate) fn busy() -> Result<Duration> {
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = times()?;
    ticks(user + nice + system + irq + softirq)
}

/// The fields of `cpu` in /proc/stat; the eighth is the time that other virtual machines took.
fn times() -> Result<[u64; 8]> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    match fields.first_chunk() {
        Some(times) => Ok(*times),
        None => bail!("/proc/stat has no CPU times: {line}"),
    }
}

/// A look at the processes that have nothing to do with this one, to be compared with a later one.
pub(crate) struct Watch {
    start: Instant,
    stolen: Duration,
    others: HashMap<u32, Stat>,
}

impl Watch {
    /// Looks for the first time.
    pub(crate) fn begin() -> Result<Watch> {
        let [.., stolen] = times()?;
        Ok(Watch { start: Instant::now(), stolen: ticks(stolen)?, others: others()? })
    }

    /// Who has taken more of the time since then than is borne, and how much of one CPU; `None` on a quiet machine.
    pub(crate) fn disturbance(&self) -> Result<Option<String>> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let now = Watch::begin()?;
        let stolen = (now.stolen.saturating_sub(self.stolen)).as_secs_f64() / elapsed;
        let mut used: Vec<_> = now
            .others
            .iter()
            .map(|(pid, process)| {
                let before = self.others.get(pid).map_or(Duration::ZERO, |before| before.cpu_time);
                (process.cpu_time.saturating_sub(before).as_secs_f64() / elapsed, pid, &process.name)
            })
            .collect();
        used.sort_by(|a, b| b.0.total_cmp(&a.0));
        let sum: f64 = used.iter().map(|(part, ..)| part).sum();
        if sum + stolen <= OTHERS {
            return Ok(None);
        }
        let most: Vec<_> = used
            .iter()
            .take(3)
            .filter(|(part, ..)| *part > 0.0)
            .map(|(part, pid, name)| format!("{name} (process {pid}) took {:.0} %", part * 100.0))
            .chain((stolen > 0.0).then(|| format!("other virtual machines took {:.0} %", stolen * 100.0)))
            .collect();
        Ok(Some(most.join(", ")))
    }
}

/// All processes but this one, those that it has started, and the kernel's threads, which work for all.
fn others() -> Result<HashMap<u32, Stat>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended by now.
        if let Ok(process) = Stat::read(&format!("/proc/{pid}/stat")) {
            all.insert(pid, process);
        }
    }
    // Above it as well: whoever started the bench waits for it.
    let own: HashSet<_> = all.keys().copied().filter(|pid| descends(&all, *pid, std::process::id())).collect();
    all.retain(|pid, process| !own.contains(pid) && *pid != 2 && process.parent != 2);
    Ok(all)
}

fn descends(all: &HashMap<u32, Stat>, mut pid: u32, from: u32) -> bool {
    // A process that is made while the others are read may close a circle of numbers; no chain is longer than this.
    for _ in 0..64 {
        if pid == from {
            return true;
        }
        match all.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    false
}
