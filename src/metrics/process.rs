//! What the kernel says of this process, under the names that Prometheus' own libraries use (proc(5)).

use std::fmt;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{Page, alone};

/// One reading. A figure that cannot be read is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    cpu_seconds: Option<f64>,
    start_seconds: Option<f64>,
}

impl Process {
    /// Reads `/proc/self`.
    pub(super) fn read() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
        let fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // The reading itself has one open.
        Process {
            open_fds: fds.map(|n| n.saturating_sub(1)),
            max_fds: max_fds(&limits),
            ..parse(&status, &stat, &boot, hertz)
        }
    }
}

/// The soft limit.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn parse(status: &str, stat: &str, boot: &str, hertz: f64) -> Process {
    let of_status = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    // The second field is the name, in parentheses, and may hold anything: fields are counted behind it, from the third.
    let fields: Vec<_> =
        stat.rsplit_once(')').map(|(_, behind)| behind.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text: &&str| text.parse::<u64>().ok());
    let booted = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    Process {
        resident_bytes: of_status("VmRSS").map(|kib| kib * 1024),
        virtual_bytes: of_status("VmSize").map(|kib| kib * 1024),
        threads: of_status("Threads"),
        cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) as f64 / hertz),
        start_seconds: booted.zip(ticks(22)).map(|(boot, start)| boot as f64 + start as f64 / hertz),
        ..Process::default()
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let row = |value: Option<u64>| value.into_iter().flat_map(alone);
        page.gauge("process_resident_memory_bytes", "Resident memory", row(self.resident_bytes))?;
        page.gauge("process_virtual_memory_bytes", "Virtual memory", row(self.virtual_bytes))?;
        page.gauge("process_threads", "Threads", row(self.threads))?;
        page.gauge("process_open_fds", "Open file descriptors", row(self.open_fds))?;
        page.gauge("process_max_fds", "The most file descriptors that may be open", row(self.max_fds))?;
        let cpu = self.cpu_seconds.into_iter().flat_map(alone);
        page.counter("process_cpu_seconds", "CPU time, user and system", cpu)?;
        let start = self.start_seconds.into_iter().flat_map(alone);
        page.gauge("process_start_time_seconds", "When the process started, in Unix time", start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_their_own_fields() {
        let status = "Name:\tweft\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t7\n";
        let mut stat = vec!["0"; 50];
        (stat[0], stat[11], stat[12], stat[19]) = ("S", "150", "50", "1000");
        let read = parse(status, &format!("42 (a) b) {}", stat.join(" ")), "cpu 1\nbtime 1700000000\n", 100.0);
        assert_eq!((read.resident_bytes, read.virtual_bytes, read.threads), (Some(1 << 20), Some(2 << 20), Some(7)));
        assert_eq!((read.cpu_seconds, read.start_seconds), (Some(2.0), Some(1_700_000_010.0)));
    }

    #[test]
    fn this_process_can_be_read() {
        let read = Process::read();
        assert!(read.resident_bytes.unwrap() > 0 && read.open_fds.unwrap() > 2, "{read:?}");
        assert!(read.open_fds < read.max_fds && read.start_seconds.unwrap() > 1_600_000_000.0, "{read:?}");
    }
}
