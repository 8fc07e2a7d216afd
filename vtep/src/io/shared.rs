//! What the façade and the workers share: the view, and how each tells the other that it moved on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::probe::Desk;
use super::tap::Tap;
use super::wanted::Outlet;
use crate::engine::Now;
use crate::flow::FlowKey;
use crate::stats::Counters;
use crate::switch::view::{Published, View};

/// The view of this shell: the device of a port is its TAP.
pub(super) type TapView = View<Arc<Tap>>;

/// The part of the shared state that belongs to one worker.
#[derive(Debug)]
pub(super) struct WorkerState {
    /// Written by the façade to wake the worker.
    pub(super) wake: EventFd,
    /// The generation of the view that the worker holds.
    pub(super) seen: AtomicU64,
    /// Written by the worker alone.
    pub(super) counters: Counters,
}

impl WorkerState {
    pub(super) fn new() -> nix::Result<Self> {
        Ok(WorkerState {
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            seen: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }
}

/// Shared by the façade and all workers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) view: Published<TapView>,
    pub(super) workers: Vec<WorkerState>,
    pub(super) stop: AtomicBool,
    pub(super) key: FlowKey,
    /// Random and new at each start: keys the forwarding tables' hashes.
    pub(super) secret: u64,
    /// What the daemon is asked for.
    pub(super) wanted: Outlet,
    /// Echoes to peers, and their answers.
    pub(super) probes: Desk,
    /// The TX lanes of each worker.
    pub(super) lanes: Vec<Range<u16>>,
    start: Instant,
}

impl Shared {
    /// `lanes` are the TX lanes of each worker: there is a worker for each.
    pub(super) fn new(lanes: Vec<Range<u16>>, key: FlowKey, secret: u64) -> nix::Result<Self> {
        Ok(Shared {
            view: Published::default(),
            workers: lanes.iter().map(|_| WorkerState::new()).collect::<Result<_, _>>()?,
            stop: AtomicBool::new(false),
            key,
            secret,
            wanted: Outlet::new()?,
            probes: Desk::default(),
            lanes,
            start: Instant::now(),
        })
    }

    /// The moment, for the tables.
    #[inline]
    pub(super) fn now(&self) -> Now {
        let elapsed = self.start.elapsed();
        // Seconds start at 1: 0 is the tables' "never".
        Now { ns: elapsed.as_nanos() as u64, s: elapsed.as_secs() as u32 + 1 }
    }

    /// True when the workers are to end.
    #[inline]
    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Wakes every worker. A full event counter is a worker that is awake already.
    pub(super) fn wake_all(&self) {
        for worker in &self.workers {
            let _ = worker.wake.write(1);
        }
    }

    /// Waits until every worker holds the present view or a later one; false after `patience`.
    ///
    /// Afterwards no worker uses anything that only an earlier view held: the grace period of RCU.
    pub(super) fn synchronize(&self, patience: Duration) -> bool {
        let target = self.view.generation();
        let deadline = Instant::now() + patience;
        self.wake_all();
        while self.workers.iter().any(|worker| worker.seen.load(Ordering::Acquire) < target) {
            if self.stopping() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }
}

/// A worker's hold on the view.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) view: Arc<TapView>,
    generation: u64,
}

impl Held {
    pub(super) fn new(shared: &Shared) -> Self {
        let (generation, view) = shared.view.load();
        Held { view, generation }
    }

    /// Takes the newest view; true when it is another one. Says so to the façade by [`Held::acknowledge`] later, when
    /// the worker has let go of what it derived from the old one.
    #[inline]
    pub(super) fn refresh(&mut self, shared: &Shared) -> bool {
        if shared.view.generation() == self.generation {
            return false;
        }
        (self.generation, self.view) = shared.view.load();
        true
    }

    /// Tells the façade that nothing older than this view is in use here.
    pub(super) fn acknowledge(&self, worker: &WorkerState) {
        worker.seen.store(self.generation, Ordering::Release);
    }
}
