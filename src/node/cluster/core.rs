//! The member: the pure core of the control plane behind a lock, and the task that does what the core asks for.
//!
//! Whoever has something to say to the core (a stream, a call, an attach) says it under the lock and goes on; the task
//! then takes the core's outputs in their order. Nothing waits while it holds the lock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use weft_control::cluster::{Cluster, Input, Now, Output};

/// The core, and when to look at it.
pub(in crate::node) struct Core {
    cluster: Mutex<Cluster>,
    started: Instant,
    work: Notify,
}

impl Core {
    pub(super) fn new(cluster: Cluster, started: Instant) -> Core {
        Core { cluster: Mutex::new(cluster), started, work: Notify::new() }
    }

    /// The moment, as the core counts it.
    pub(super) fn now(&self) -> Now {
        now(self.started)
    }

    /// Tells the core something.
    pub(in crate::node) fn tell(&self, input: Input) {
        self.with(|cluster, now| cluster.handle(now, input));
        self.work.notify_one();
    }

    /// Tells the core several things at once: nobody sees only some of them.
    pub(in crate::node) fn tell_all(&self, inputs: impl IntoIterator<Item = Input>) {
        self.with(|cluster, now| inputs.into_iter().for_each(|input| cluster.handle(now, input)));
        self.work.notify_one();
    }

    /// Looks at the core.
    pub(in crate::node) fn look<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        self.with(|cluster, _| look(cluster))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Cluster, Now) -> T) -> T {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut cluster, self.now())
    }

    /// Waits until the core has something to do, or was told something.
    pub(super) async fn outputs(&self) -> Vec<Output> {
        loop {
            let (outputs, deadline) = self.with(|cluster, now| {
                if cluster.deadline().is_some_and(|at| at <= now.mono) {
                    cluster.handle(now, Input::Timer);
                }
                let outputs: Vec<_> = std::iter::from_fn(|| cluster.poll()).collect();
                (outputs, cluster.deadline())
            });
            if !outputs.is_empty() {
                return outputs;
            }
            let wait = deadline.map_or(IDLE, |at| at.saturating_sub(self.now().mono).max(GRAIN));
            // A time-out is as good a reason to look as any.
            let _ = tokio::time::timeout(wait, self.work.notified()).await;
        }
    }
}

/// How long to wait where nothing is planned.
const IDLE: Duration = Duration::from_secs(1);
/// The runtime's timers are no finer.
const GRAIN: Duration = Duration::from_millis(1);

pub(super) fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Now { mono: started.elapsed(), wall_ms: u64::try_from(wall).unwrap_or(u64::MAX) }
}
