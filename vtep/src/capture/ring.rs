//! A worker's copies on their way to a reader: two buffers, exchanged.
//!
//! The worker fills one; the reader exchanges it for its own, which is empty, under a lock that is held for as long as
//! that takes. A worker that finds the lock taken, or the buffer full, counts the frame as lost and goes on. So what a
//! capture costs is bounded by the size of a buffer and by how often the reader comes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::{Peer, Seen, Way};

/// Bytes of frames in one buffer.
pub const BYTES: usize = 2 << 20;
/// Frames in one buffer.
pub const FRAMES: usize = 16_384;
/// What a ring of one worker takes, both of its buffers together.
pub const MEMORY: usize = 2 * (BYTES + FRAMES * size_of::<Record>());

/// A frame that was copied.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// What is known of it.
    pub seen: Seen,
    /// The worker's moment, in nanoseconds of its clock.
    pub at_ns: u64,
    /// Bytes of the whole frame.
    pub len: u32,
    /// Those of them that were kept: a range of the batch's bytes.
    kept: (u32, u32),
}

/// One buffer.
#[derive(Debug)]
pub struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    records: Vec<Record>,
}

impl Default for Batch {
    /// All of the memory is touched now: a page fault would be the worker's.
    fn default() -> Self {
        let seen =
            Seen { vni: None, port: None, way: Way::In, peer: Peer::Nobody, dropped: None, cut: 0, unfinished: false };
        let mut records = vec![Record { seen, at_ns: u64::MAX, len: 0, kept: (0, 0) }; FRAMES];
        records.clear();
        Batch { bytes: vec![0xff; BYTES].into(), used: 0, records }
    }
}

impl Batch {
    /// The frames and what was kept of them, in the order in which they came.
    pub fn frames(&self) -> impl Iterator<Item = (&Record, &[u8])> {
        self.records.iter().map(|record| {
            let (at, len) = (record.kept.0 as usize, record.kept.1 as usize);
            (record, &self.bytes[at..at + len])
        })
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.records.clear();
    }

    fn push<'a>(
        &mut self,
        seen: &Seen,
        at_ns: u64,
        snap_len: usize,
        len: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let kept = len.min(snap_len);
        if self.records.len() == FRAMES || kept > BYTES - self.used {
            return false;
        }
        let (at, end) = (self.used, self.used + kept);
        for piece in pieces {
            let room = &mut self.bytes[self.used..end];
            let taken = piece.len().min(room.len());
            room[..taken].copy_from_slice(&piece[..taken]);
            self.used += taken;
        }
        self.records.push(Record { seen: *seen, at_ns, len: len as u32, kept: (at as u32, kept as u32) });
        true
    }
}

/// What one worker and the reader share.
#[derive(Debug, Default)]
pub(super) struct Ring {
    filling: Mutex<Batch>,
    lost: AtomicU64,
}

impl Ring {
    /// Copies a frame of `len` bytes, given in pieces, or counts it as lost. For the worker.
    pub(super) fn offer<'a>(
        &self,
        seen: &Seen,
        at_ns: u64,
        snap_len: usize,
        len: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) {
        let taken = match self.filling.try_lock() {
            Ok(mut batch) => batch.push(seen, at_ns, snap_len, len, pieces),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().push(seen, at_ns, snap_len, len, pieces),
            Err(TryLockError::WouldBlock) => false,
        };
        if !taken {
            // The worker alone writes it.
            self.lost.store(self.lost.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Exchanges the buffers. For the reader.
    pub(super) fn swap(&self, batch: &mut Batch) {
        std::mem::swap(&mut *self.filling.lock().unwrap_or_else(PoisonError::into_inner), batch);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}
