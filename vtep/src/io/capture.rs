//! Captures of the running data plane: begun, read and ended beside the workers.
//!
//! A capture is a part of the workers' view: they see a new one with their next turn, and have let go of one that is over
//! when [`Tail`]'s drop returns. Between those two only the rings are shared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::shared::Shared;
use super::{GRACE, Vtep};
use crate::capture::ring::{Batch, Record};
use crate::capture::{Capture, MOST, Selection};

/// As many captures run as may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} captures run already, which is the most: end one first")]
pub struct TooMany;

/// The reading end of a capture. Dropping it ends the capture, and waits for the workers' next turn.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<Shared>,
    capture: Arc<Capture>,
    batches: Vec<Batch>,
    /// Nanoseconds since 1970 at which the workers' clock began.
    epoch_ns: u64,
}

impl Vtep {
    /// Begins a capture: when this returns, what passes is seen. Takes [`MEMORY`](crate::capture::ring::MEMORY) for each
    /// worker.
    ///
    /// # Errors
    /// [`TooMany`]; nothing has changed.
    pub fn capture(&self, selection: Selection) -> Result<Tail, TooMany> {
        let shared = self.shared.clone();
        let workers = shared.workers.len();
        let capture = Arc::new(Capture::new(selection, workers));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_ns = (since_1970.as_nanos() as u64).saturating_sub(shared.now().ns);
        shared.view.update(|view| {
            if view.captures.len() == MOST {
                return Err(TooMany);
            }
            view.captures.push(capture.clone());
            Ok(())
        })?;
        shared.synchronize(GRACE);
        let batches = (0..workers).map(|_| Batch::default()).collect();
        Ok(Tail { shared, capture, batches, epoch_ns })
    }
}

impl Tail {
    /// Hands over what was seen since the last time, by the time of it: the moment in nanoseconds since 1970, what is known
    /// of the frame, and what was kept of it.
    pub fn read(&mut self, mut take: impl FnMut(u64, &Record, &[u8])) {
        for (worker, batch) in self.batches.iter_mut().enumerate() {
            self.capture.take(worker, batch);
        }
        let mut heads: Vec<_> = self.batches.iter().map(|batch| batch.frames().peekable()).collect();
        // Each worker's frames are in order: the earliest is one of the first.
        loop {
            let at = |(n, head): (usize, &mut std::iter::Peekable<_>)| {
                let (record, _): &(&Record, &[u8]) = head.peek()?;
                Some((record.at_ns, n))
            };
            let Some((_, earliest)) = heads.iter_mut().enumerate().filter_map(at).min() else { break };
            if let Some((record, bytes)) = heads[earliest].next() {
                take(self.epoch_ns + record.at_ns, record, bytes);
            }
        }
    }

    /// Frames that were to be seen and that there was no room for, since the start.
    pub fn lost(&self) -> u64 {
        self.capture.lost()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let Ok(()) = self.shared.view.update(|view| {
            view.captures.retain(|other| !Arc::ptr_eq(other, &self.capture));
            Ok::<_, Infallible>(())
        });
        // The last to let go frees the rings: that shall not be a worker.
        self.shared.synchronize(GRACE);
    }
}
