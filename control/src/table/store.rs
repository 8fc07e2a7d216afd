//! Where the records of all origins lie: each once, found by its key.
//!
//! A million records have to be cheap (at most 120 bytes each, see `tests/table_memory.rs`), so a record lies in a
//! slab, and everything else names it by its slot, 4 bytes: the index by key here, the order of a log in
//! [`log`](super::log). Records of one key by several origins, its *claims*, are chained.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::entry::{Key, Value};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// Records in one piece of the slab. Pieces are never moved, so that growing copies and doubles nothing.
const CHUNK: usize = 1024;

/// What a log last said of a key.
#[derive(Debug)]
pub(super) enum Op {
    /// The key has this value.
    Live(Value),
    /// The key is gone. What is left is the mobility sequence that it had, which the next claim goes on from.
    Dead { sequence: u32 },
}

impl Op {
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Op::Live(value) => Some(value),
            Op::Dead { .. } => None,
        }
    }

    /// The mobility sequence, of the living and the dead.
    pub(super) fn sequence(&self) -> u32 {
        match self {
            Op::Live(Value::Mac(mobility)) => mobility.sequence,
            Op::Live(_) => 0,
            Op::Dead { sequence } => *sequence,
        }
    }
}

/// One origin's record of one key.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) op: Op,
    pub(super) seq: u64,
    /// Index of the origin.
    pub(super) source: u32,
    /// The next claim of the key, or the next free slot.
    next: u32,
}

const _: () = assert!(size_of::<Record>() <= 64);

/// The slab and the index by key.
pub(super) struct Store {
    chunks: Vec<Vec<Record>>,
    /// The first claim of each key. What an origin says of itself is a key of its own.
    index: HashTable<u32>,
    hasher: RandomState,
    free: u32,
    len: usize,
}

impl Store {
    pub(super) fn new() -> Self {
        Store { chunks: Vec::new(), index: HashTable::new(), hasher: RandomState::new(), free: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, slot: u32) -> &Record {
        let slot = slot as usize;
        &self.chunks[slot / CHUNK][slot % CHUNK]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Record {
        let slot = slot as usize;
        &mut self.chunks[slot / CHUNK][slot % CHUNK]
    }

    /// The first claim of `key`; for what an origin says of itself, that of `source`.
    pub(super) fn head(&self, key: &Key, source: u32) -> Option<u32> {
        let hash = hash(&self.hasher, key, source);
        self.index.find(hash, |slot| self.is(*slot, key, source)).copied()
    }

    /// The claims that are chained from `head` on.
    pub(super) fn claims(&self, head: Option<u32>) -> impl Iterator<Item = (u32, &Record)> {
        let mut slot = head.unwrap_or(NONE);
        std::iter::from_fn(move || {
            let here = (slot != NONE).then_some(slot)?;
            let record = self.get(here);
            slot = record.next;
            Some((here, record))
        })
    }

    /// The slot of the origin's own claim.
    pub(super) fn claim(&self, head: Option<u32>, source: u32) -> Option<u32> {
        self.claims(head).find(|(_, record)| record.source == source).map(|(slot, _)| slot)
    }

    /// True if other origins have the key as well.
    pub(super) fn is_shared(&self, slot: u32) -> bool {
        let record = self.get(slot);
        record.next != NONE || (!record.key.is_own() && self.head(&record.key, record.source) != Some(slot))
    }

    /// Adds a claim that is not there yet.
    pub(super) fn insert(&mut self, key: Key, op: Op, seq: u64, source: u32) -> u32 {
        let hash = hash(&self.hasher, &key, source);
        let head = self.head(&key, source);
        let slot = self.place(Record { key, op, seq, source, next: NONE });
        match head {
            // Behind the first one, which the index keeps.
            Some(head) => {
                self.get_mut(slot).next = self.get(head).next;
                self.get_mut(head).next = slot;
            }
            None => {
                let (chunks, hasher) = (&self.chunks, &self.hasher);
                self.index.insert_unique(hash, slot, |slot| {
                    let record = &chunks[*slot as usize / CHUNK][*slot as usize % CHUNK];
                    self::hash(hasher, &record.key, record.source)
                });
            }
        }
        slot
    }

    /// Takes a claim out.
    pub(super) fn remove(&mut self, slot: u32) -> Record {
        let record = self.get(slot);
        let next = record.next;
        let hash = hash(&self.hasher, &record.key, record.source);
        let head = self.head(&record.key, record.source);
        if head == Some(slot) {
            if let Ok(entry) = self.index.find_entry(hash, |at| *at == slot) {
                if next == NONE {
                    entry.remove();
                } else {
                    *entry.into_mut() = next;
                }
            }
        } else {
            let before = self.claims(head).find(|(_, claim)| claim.next == slot).map(|(at, _)| at);
            if let Some(before) = before {
                self.get_mut(before).next = next;
            }
        }
        let vacant = Record { key: Key::Node, op: Op::Dead { sequence: 0 }, seq: 0, source: NONE, next: self.free };
        self.free = slot;
        self.len -= 1;
        std::mem::replace(self.get_mut(slot), vacant)
    }

    /// All records, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Record)> {
        let slots = self.chunks.iter().flatten().zip(0u32..);
        slots.filter(|(record, _)| record.source != NONE).map(|(record, slot)| (slot, record))
    }

    fn place(&mut self, record: Record) -> u32 {
        self.len += 1;
        if self.free != NONE {
            let slot = self.free;
            self.free = self.get(slot).next;
            *self.get_mut(slot) = record;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let pieces = self.chunks.len() - 1;
        let chunk = &mut self.chunks[pieces];
        chunk.push(record);
        // `Limits::keys` is far below 2^32.
        (pieces * CHUNK + chunk.len() - 1) as u32
    }

    fn is(&self, slot: u32, key: &Key, source: u32) -> bool {
        let record = self.get(slot);
        record.key == *key && (!key.is_own() || record.source == source)
    }
}

fn hash(hasher: &RandomState, key: &Key, source: u32) -> u64 {
    // The hasher is keyed at random: peers choose the keys.
    if key.is_own() { hasher.hash_one((key, source)) } else { hasher.hash_one((key, NONE)) }
}
