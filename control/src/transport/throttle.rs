//! How many join tokens one source may try.
//!
//! A token's secret cannot be guessed; this bounds what trying costs: work, and lines in the log. Five refused tries
//! are free, then one is allowed every five seconds. A join that succeeds does not count, so that a rack of nodes
//! behind one address joins as fast as it likes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::listener::Source;

/// Refused tries before a source has to wait.
const BURST: u32 = 5;
/// How long it takes until one more is allowed.
const REFILL: Duration = Duration::from_secs(5);
/// How many sources are remembered; while more of them misbehave, those beyond share one allowance.
const REMEMBERED: usize = 1024;

/// The tries of all sources.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// How many tries each source has spent, and since when they are being forgiven.
    spent: HashMap<Option<Source>, (u32, Instant)>,
}

impl Throttle {
    /// Takes a try; false if the source has none left. One that succeeds is to be given [back](Self::give_back).
    pub(crate) fn take(&mut self, source: Source, now: Instant) -> bool {
        let key = self.key(source, now);
        let (spent, since) = self.spent.entry(key).or_insert((0, now));
        forgive(spent, since, now);
        let allowed = *spent < BURST;
        *spent += u32::from(allowed);
        allowed
    }

    /// A try was a good one.
    pub(crate) fn give_back(&mut self, source: Source) {
        let key = if self.spent.contains_key(&Some(source)) { Some(source) } else { None };
        if let Some((spent, _)) = self.spent.get_mut(&key) {
            *spent = spent.saturating_sub(1);
            if *spent == 0 {
                self.spent.remove(&key);
            }
        }
    }

    fn key(&mut self, source: Source, now: Instant) -> Option<Source> {
        if self.spent.len() >= REMEMBERED && !self.spent.contains_key(&Some(source)) {
            self.spent.retain(|_, (spent, since)| {
                forgive(spent, since, now);
                *spent > 0
            });
            if self.spent.len() >= REMEMBERED {
                return None;
            }
        }
        Some(source)
    }
}

fn forgive(spent: &mut u32, since: &mut Instant, now: Instant) {
    while *spent > 0 && now.duration_since(*since) >= REFILL {
        *spent -= 1;
        *since += REFILL;
    }
    // Time without a debt does not pay for later ones.
    if *spent == 0 {
        *since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(host: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(host).into())
    }

    #[test]
    fn a_source_that_fails_has_to_wait_and_others_do_not() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..BURST {
            assert!(throttle.take(source(1), start));
        }
        assert!(!throttle.take(source(1), start));
        assert!(throttle.take(source(2), start));
        assert!(!throttle.take(source(1), start + REFILL - Duration::from_millis(1)));
        assert!(throttle.take(source(1), start + REFILL));
        assert!(!throttle.take(source(1), start + REFILL));
        let later = start + REFILL * 100;
        for _ in 0..BURST {
            assert!(throttle.take(source(1), later));
        }
        assert!(!throttle.take(source(1), later));
    }

    #[test]
    fn good_tries_are_free() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..100 {
            assert!(throttle.take(source(1), start));
            throttle.give_back(source(1));
        }
        assert!(throttle.spent.is_empty());
    }

    #[test]
    fn endless_sources_share_one_allowance_and_cost_bounded_memory() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let allowed = (0..10 * REMEMBERED as u32).filter(|host| throttle.take(source(*host), start)).count();
        assert!(allowed <= REMEMBERED + BURST as usize, "{allowed}");
        assert!(throttle.spent.len() <= REMEMBERED + 1);
        assert!(throttle.take(source(u32::MAX), start + REFILL * 2));
    }
}
