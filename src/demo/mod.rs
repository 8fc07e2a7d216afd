//! `weft demo`: a whole overlay on one machine, in namespaces that vanish with it.
//!
//! Enter: a number of nodes and of seconds. Leave: progress on standard error, tables on standard output, and an exit
//! status that is 0 only if every pair of containers reached each other, traffic went through, and every daemon ended
//! well. The nodes are real daemons of this very binary, driven through its own command line.

mod report;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::lab;
use work::Session;

/// The most nodes of a demo: each has a daemon, and each pair is pinged.
const MAX_NODES: u32 = 64;

/// The longest measurement.
const MAX_SECONDS: u32 = 3600;

/// What the demo shall show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemoOptions {
    /// Nodes, from 2 to 64.
    pub nodes: u32,
    /// Without encryption.
    pub plain: bool,
    /// Seconds of each throughput measurement, above zero.
    pub seconds: u32,
}

impl Default for DemoOptions {
    fn default() -> Self {
        DemoOptions { nodes: 3, plain: false, seconds: 3 }
    }
}

impl DemoOptions {
    fn check(self) -> Result<Self> {
        ensure!(self.nodes > 1, "a demo of {} node(s) has nobody to talk to: use --nodes 2 to {MAX_NODES}", self.nodes);
        ensure!(
            self.nodes <= MAX_NODES,
            "{} nodes are too many for one machine: use --nodes 2 to {MAX_NODES}",
            self.nodes
        );
        ensure!(self.seconds > 0, "nothing can be measured in 0 seconds: use --seconds 1 to {MAX_SECONDS}");
        ensure!(self.seconds <= MAX_SECONDS, "{} seconds are too long: use --seconds 1 to {MAX_SECONDS}", self.seconds);
        Ok(self)
    }

    fn measure_for(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// Why the demo stopped.
enum Ending {
    Finished(Result<bool>),
    Signalled(SignalKind),
}

/// Runs the demo. Call it before the process has a second thread: see [`lab::acquire`].
pub fn run(options: DemoOptions) -> Result<ExitCode> {
    let options = options.check()?;
    lab::acquire()?;
    let session = Arc::new(Session::default());
    let ending = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime")?
        .block_on(work_or_signal(options, Arc::clone(&session)));
    // Whatever happened, every daemon is ended before this process does: that is what takes everything away.
    let removed = session.end();
    match ending? {
        Ending::Finished(passed) => {
            let passed = passed?;
            removed?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Ending::Signalled(kind) => {
            eprintln!("interrupted: everything is removed");
            removed?;
            // As a shell reports a process that a signal has ended.
            let status = u8::try_from(128 + kind.as_raw_value()).unwrap_or(1);
            Ok(ExitCode::from(status))
        }
    }
}

/// Works on a thread of its own, so that a signal is served at once, in the middle of a measurement too.
async fn work_or_signal(options: DemoOptions, session: Arc<Session>) -> Result<Ending> {
    let watch = |kind| signal(kind).context("cannot watch for signals");
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hang_up = watch(SignalKind::hangup())?;
    let (done, finished) = oneshot::channel();
    // Nobody listens after a signal.
    thread::spawn(move || done.send(work::show(options, &session)));
    Ok(tokio::select! {
        outcome = finished => Ending::Finished(outcome.unwrap_or_else(|_| Err(anyhow!("the demo's thread panicked")))),
        _ = interrupt.recv() => Ending::Signalled(SignalKind::interrupt()),
        _ = terminate.recv() => Ending::Signalled(SignalKind::terminate()),
        _ = hang_up.recv() => Ending::Signalled(SignalKind::hangup()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demos_that_show_nothing_are_refused_with_the_reason() {
        let refused = |nodes, seconds| {
            let options = DemoOptions { nodes, seconds, plain: true };
            options.check().unwrap_err().to_string()
        };
        assert!(refused(0, 1).contains("--nodes 2 to 64"));
        assert!(refused(1, 1).contains("nobody to talk to"));
        assert!(refused(65, 1).contains("too many"));
        assert!(refused(2, 0).contains("0 seconds"));
        assert!(refused(2, 3601).contains("too long"));
        assert!(DemoOptions::default().check().is_ok());
    }
}
