//! What the kernel says of a process in its `stat` file (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// A process, or a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its name, of at most 15 bytes.
    pub name: String,
    /// Its parent's number.
    pub parent: u32,
    /// User and system time that it has used.
    pub cpu_time: Duration,
}

impl Stat {
    /// From a `stat` file under /proc, of a process or of a thread.
    pub fn read(path: &str) -> Result<Stat> {
        let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        // The second field is the name, in parentheses, and may hold anything: fields are counted behind it.
        let (before, behind) = stat.rsplit_once(')').context("no name in stat")?;
        let (_, name) = before.split_once('(').context("no name in stat")?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let parent = number(4).and_then(|parent| parent.try_into().ok()).context("no parent in stat")?;
        let used = number(14).zip(number(15)).map(|(user, system)| user + system).context("no times in stat")?;
        Ok(Stat { name: name.to_owned(), parent, cpu_time: ticks(used)? })
    }
}

/// User and system time from a `stat` file under /proc.
pub fn cpu_time(path: &str) -> Result<Duration> {
    Ok(Stat::read(path)?.cpu_time)
}

/// So many of the kernel's clock ticks, in which /proc counts time.
pub fn ticks(count: u64) -> Result<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|hz| u32::try_from(hz).ok()).context("no clock tick")?;
    Ok(Duration::from_secs(count) / per_second)
}
