//! What happened: the latest events, for whoever asks, and new ones as they come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use weft_proto::v1::Event;

/// How many events are kept, and how many a follower may be behind before it misses some.
const KEPT: usize = 1024;

/// The events of a daemon's life.
#[derive(Debug)]
pub(super) struct Events {
    kept: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
    /// How often each kind happened, those included that are not kept any more.
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Default for Events {
    fn default() -> Self {
        Events { kept: Mutex::default(), live: broadcast::Sender::new(KEPT), counts: Mutex::default() }
    }
}

impl Events {
    /// Records that something happened. `kind` is a word, `text` one line.
    pub(super) fn record(&self, kind: &str, text: String) {
        tracing::info!(event = kind, "{text}");
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.to_owned()).or_default() += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.back().map_or(1, |last| last.number + 1);
        let event = Event { number, time: time.try_into().unwrap_or(u64::MAX), kind: kind.to_owned(), text };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Under the lock, so that a follower gets each event once: among those kept, or from here. Nobody may listen.
        let _ = self.live.send(event);
    }

    /// How often each kind happened.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest `count` events, the oldest first.
    pub(super) fn latest(&self, count: usize) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().skip(kept.len().saturating_sub(count)).cloned().collect()
    }

    /// The latest events, the oldest first, and those to come.
    pub(super) fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_a_follower_gets_each_once() {
        let events = Events::default();
        for n in 0..KEPT + 10 {
            events.record("test", format!("{n}"));
        }
        assert_eq!(events.counts()["test"], KEPT as u64 + 10);
        let (kept, mut live) = events.subscribe();
        assert_eq!((kept.len(), kept[0].text.as_str(), kept[0].number), (KEPT, "10", 11));
        events.record("test", "next".to_owned());
        let next = live.try_recv().unwrap();
        assert_eq!((next.text.as_str(), next.number), ("next", KEPT as u64 + 11));
        assert!(live.try_recv().is_err());
    }
}
