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
    /// Whether the source may try.
    pub(crate) fn allows(&mut self, source: Source, now: Instant) -> bool {
        let key = self.key(source, now);
        self.spent.get_mut(&key).is_none_or(|(spent, since)| {
            forgive(spent, since, now);
            *spent < BURST
        })
    }

    /// The source has tried and was refused.
    pub(crate) fn charge(&mut self, source: Source, now: Instant) {
        let key = self.key(source, now);
        let (spent, since) = self.spent.entry(key).or_insert((0, now));
        forgive(spent, since, now);
        *spent = (*spent + 1).min(BURST);
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

    /// A try that fails, if it is allowed.
    fn fail(throttle: &mut Throttle, host: u32, now: Instant) -> bool {
        let allowed = throttle.allows(source(host), now);
        if allowed {
            throttle.charge(source(host), now);
        }
        allowed
    }

    #[test]
    fn a_source_that_fails_has_to_wait_and_others_do_not() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..BURST {
            assert!(fail(&mut throttle, 1, start));
        }
        assert!(!fail(&mut throttle, 1, start));
        assert!(fail(&mut throttle, 2, start));
        assert!(!fail(&mut throttle, 1, start + REFILL - Duration::from_millis(1)));
        assert!(fail(&mut throttle, 1, start + REFILL));
        assert!(!fail(&mut throttle, 1, start + REFILL));
        let later = start + REFILL * 100;
        for _ in 0..BURST {
            assert!(fail(&mut throttle, 1, later));
        }
        assert!(!fail(&mut throttle, 1, later));
    }

    #[test]
    fn endless_sources_share_one_allowance_and_cost_bounded_memory() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let allowed = (0..10 * REMEMBERED as u32).filter(|host| fail(&mut throttle, *host, start)).count();
        assert!(allowed <= REMEMBERED + BURST as usize, "{allowed}");
        assert!(throttle.spent.len() <= REMEMBERED + 1);
        assert!(throttle.allows(source(u32::MAX), start + REFILL * 2));
    }
}
