//! Parts of logs for others.
//!
//! A part says all that a log's keys came to in a range of sequence numbers. Since only the latest operation of each
//! key is kept, a key that changed again after the range is named by a later part alone; `head` tells how far the log
//! went, and a receiver has a true picture once it has come that far.

use weft_proto::v1;

use super::Table;
use super::log::Source;
use super::wire;
use crate::id::Origin;

/// What a record costs on the wire besides its names, in bytes.
const RECORD_BYTES: usize = 40;

impl Table {
    /// The part of an origin's log that follows `after`, of about `max_bytes`. If tombstones after that number are
    /// forgotten, it is the first part of a snapshot, from zero on, which goes on with [`Table::snapshot`]. `None` if
    /// nothing follows, or the origin is not known in this life.
    pub fn delta(&self, origin: Origin, after: u64, max_bytes: usize) -> Option<v1::Delta> {
        let source = self.source(origin.node)?;
        let behind = after + 1 < source.log.floor;
        if behind { self.snapshot(origin, 0, max_bytes) } else { self.cut(source, origin, after, false, max_bytes) }
    }

    /// The part of a snapshot that follows `after`: for one who takes a log from zero on and has come so far.
    pub fn snapshot(&self, origin: Origin, after: u64, max_bytes: usize) -> Option<v1::Delta> {
        self.cut(self.source(origin.node)?, origin, after, true, max_bytes)
    }

    /// An empty part which says that the log is complete where it ends: for one who has come that far. `None` if it is
    /// not complete here.
    pub fn marker(&self, origin: Origin) -> Option<v1::Delta> {
        let log = &self.source(origin.node)?.log;
        let settled = log.incarnation == origin.incarnation && log.is_settled();
        settled.then(|| v1::Delta {
            node: origin.node.0,
            incarnation: origin.incarnation,
            after: log.applied,
            to: log.applied,
            records: Vec::new(),
            snapshot: true,
            complete: true,
            floor: log.floor,
            head: log.applied,
        })
    }

    fn cut(&self, source: &Source, origin: Origin, after: u64, snapshot: bool, max: usize) -> Option<v1::Delta> {
        let log = &source.log;
        if log.incarnation != origin.incarnation || after >= log.applied {
            return None;
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut to = log.applied;
        for (seq, slot) in log.order.range(after + 1..) {
            if bytes >= max && !records.is_empty() {
                break;
            }
            let record = self.store.get(*slot);
            bytes += RECORD_BYTES + wire::extra_bytes(&record.key, record.op.value());
            records.push(wire::record_out(*seq, &record.key, record.op.value()));
            to = *seq;
        }
        if log.order.range(to + 1..).next().is_none() {
            to = log.applied;
        }
        let complete = log.is_settled() && to == log.applied;
        let (node, incarnation) = (origin.node.0, origin.incarnation);
        let head = log.head.max(log.applied);
        Some(v1::Delta { node, incarnation, after, to, records, snapshot, complete, floor: log.floor, head })
    }
}
