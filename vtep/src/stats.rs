//! Counters: each worker writes its own block, readers add the blocks up.
//!
//! A block has one writer, so a count is a load and a store, not a locked instruction, and no cache line is
//! shared between two writers. Counts are of inner Ethernet frames as they would stand on a wire: a super-frame
//! counts as its segments.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::drops::DropReason;

/// One worker's counters.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    tx_frames: AtomicU64,
    tx_bytes: AtomicU64,
    rx_frames: AtomicU64,
    rx_bytes: AtomicU64,
    unlearned: AtomicU64,
    damaged: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            tx_frames: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            rx_frames: AtomicU64::new(0),
            rx_bytes: AtomicU64::new(0),
            unlearned: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            drops: [const { AtomicU64::new(0) }; DropReason::COUNT],
        }
    }
}

/// Adds without a locked instruction: right only because each block has one writer.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Counters {
    /// Counts frames that left in a tunnel.
    #[inline]
    pub fn sent(&self, frames: u64, bytes: u64) {
        add(&self.tx_frames, frames);
        add(&self.tx_bytes, bytes);
    }

    /// Counts frames that were delivered to a local endpoint out of a tunnel.
    #[inline]
    pub fn received(&self, frames: u64, bytes: u64) {
        add(&self.rx_frames, frames);
        add(&self.rx_bytes, bytes);
    }

    /// Counts frames whose source address was not learned.
    #[inline]
    pub fn unlearned(&self, frames: u64) {
        add(&self.unlearned, frames);
    }

    /// Counts frames out of tunnels whose inner checksum is wrong.
    #[inline]
    pub fn damaged(&self, frames: u64) {
        add(&self.damaged, frames);
    }

    /// Counts `frames` frames that ended here.
    #[inline]
    pub fn dropped(&self, reason: DropReason, frames: u64) {
        add(&self.drops[reason as usize], frames);
    }
}

/// A sum over all workers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Frames sent into tunnels.
    pub tx_frames: u64,
    /// Bytes of those frames, Ethernet header included, tunnel headers not.
    pub tx_bytes: u64,
    /// Frames delivered out of tunnels.
    pub rx_frames: u64,
    /// Bytes of those frames.
    pub rx_bytes: u64,
    /// Frames that went on though their source address was not learned: the forwarding table is full.
    pub unlearned: u64,
    /// Frames out of tunnels whose inner transport checksum is wrong: delivered as they are, for the endpoint to refuse.
    pub damaged: u64,
    /// Frames dropped, by [`DropReason`] as an index.
    pub drops: [u64; DropReason::COUNT],
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            tx_frames: 0,
            tx_bytes: 0,
            rx_frames: 0,
            rx_bytes: 0,
            unlearned: 0,
            damaged: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Snapshot {
    /// Adds one worker's counts.
    pub fn add(&mut self, counters: &Counters) {
        self.tx_frames += counters.tx_frames.load(Relaxed);
        self.tx_bytes += counters.tx_bytes.load(Relaxed);
        self.rx_frames += counters.rx_frames.load(Relaxed);
        self.rx_bytes += counters.rx_bytes.load(Relaxed);
        self.unlearned += counters.unlearned.load(Relaxed);
        self.damaged += counters.damaged.load(Relaxed);
        for (sum, count) in self.drops.iter_mut().zip(&counters.drops) {
            *sum += count.load(Relaxed);
        }
    }

    /// The count of one reason.
    pub fn drops_of(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}
