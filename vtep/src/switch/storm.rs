//! A limit on how often something may happen.
//!
//! Enters: nanoseconds on a clock that never goes back. Leaves: yes or no. Each port owns one bucket for broadcast,
//! unknown-unicast and multicast frames, which the switch multiplies, and one for ICMP answers (RFC 1812 section
//! 4.3.2.8); a loop or a storm then costs the other ports a bounded share.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A token bucket: `rate_per_s` on average, and up to `burst` at once.
///
/// It counts in time, not in tokens (the generic cell rate algorithm of ITU-T I.371): one number says until when the
/// allowance is used up, so that nothing is rounded away however often it is asked, and several workers may ask at once.
#[derive(Debug)]
pub struct Bucket {
    /// What one event costs.
    cost_ns: u64,
    /// How far ahead of the clock `used_until_ns` may run.
    ahead_ns: u64,
    used_until_ns: AtomicU64,
}

impl Bucket {
    /// A full bucket. A rate or a burst of 0 allows nothing; a rate is rounded to whole nanoseconds per event, in favour
    /// of the asker.
    pub const fn new(rate_per_s: u32, burst: u32) -> Self {
        if rate_per_s == 0 || burst == 0 {
            return Bucket { cost_ns: 1, ahead_ns: 0, used_until_ns: AtomicU64::new(0) };
        }
        let cost_ns = SECOND / rate_per_s as u64;
        Bucket { cost_ns, ahead_ns: cost_ns * burst as u64, used_until_ns: AtomicU64::new(0) }
    }

    /// True if one event may happen at `now_ns`, which is then paid for. One that is refused costs nothing.
    #[inline]
    pub fn allow(&self, now_ns: u64) -> bool {
        self.allow_all(now_ns, 1)
    }

    /// As [`Bucket::allow`], for `count` events, all of them or none. More than a burst never happen at once.
    #[inline]
    pub fn allow_all(&self, now_ns: u64, count: u64) -> bool {
        let cost_ns = self.cost_ns.saturating_mul(count);
        let pay = |used_until_ns: u64| {
            let from_ns = used_until_ns.max(now_ns);
            let allowed = (from_ns - now_ns).saturating_add(cost_ns) <= self.ahead_ns;
            allowed.then(|| from_ns.saturating_add(cost_ns))
        };
        // Nothing else is published by it.
        self.used_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed(bucket: &Bucket, times: impl IntoIterator<Item = u64>) -> usize {
        times.into_iter().filter(|now_ns| bucket.allow(*now_ns)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let bucket = Bucket::new(1_000, 50);
        assert_eq!(allowed(&bucket, [7 * SECOND; 500]), 50);
        // A storm of a million frames in one second, right after the burst.
        assert_eq!(allowed(&bucket, (1..=1_000_000).map(|us| 7 * SECOND + us * 1_000)), 1_000);
    }

    #[test]
    fn silence_fills_it_up_to_the_burst_and_no_further() {
        let bucket = Bucket::new(10, 5);
        assert_eq!(allowed(&bucket, [0; 9]), 5);
        assert_eq!(allowed(&bucket, [SECOND / 5; 9]), 2);
        assert_eq!(allowed(&bucket, [3_600 * SECOND; 9]), 5);
    }

    #[test]
    fn many_at_once_pay_for_each() {
        let bucket = Bucket::new(1_000, 50);
        assert!(!bucket.allow_all(0, 51) && !bucket.allow_all(0, u64::MAX), "more than a burst");
        assert!(bucket.allow_all(0, 44) && !bucket.allow_all(0, 44) && bucket.allow_all(0, 6) && !bucket.allow(0));
        assert!(bucket.allow_all(44_000_000, 44) && !bucket.allow(44_000_000));
    }

    #[test]
    fn a_steady_sender_below_the_rate_is_never_refused() {
        let bucket = Bucket::new(1_000, 1);
        assert_eq!(allowed(&bucket, (0..10_000).map(|ms| ms * 1_000_000)), 10_000);
    }

    #[test]
    fn nothing_at_all_can_be_asked_for() {
        for bucket in [Bucket::new(0, 10), Bucket::new(10, 0)] {
            assert_eq!(allowed(&bucket, (0..100).map(|s| s * SECOND)), 0);
            assert!(!bucket.allow(u64::MAX));
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let slow = Bucket::new(1, u32::MAX);
        assert!(slow.allow(0) && slow.allow(u64::MAX));
        let fast = Bucket::new(u32::MAX, u32::MAX);
        assert_eq!(allowed(&fast, [0; 1_000]), 1_000);
    }

    proptest! {
        /// Over any span of time, no more than burst + rate × span; asked all the time, no less than the rate.
        #[test]
        fn it_keeps_between_its_bounds(
            rate in 1..100_000_u32,
            burst in 1..1_000_u32,
            start: u32,
            gaps in prop::collection::vec(0..2_000_000_u64, 1..400),
        ) {
            let bucket = Bucket::new(rate, burst);
            let mut now = u64::from(start);
            let mut times = Vec::new();
            for gap in gaps {
                now += gap;
                if bucket.allow(now) {
                    times.push(now);
                }
            }
            let cost = SECOND / u64::from(rate);
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let most = u64::from(burst) + (to - from) / cost;
                    prop_assert!(((last - first) as u64) < most);
                }
            }
            prop_assert!(!times.is_empty(), "a full bucket refused");
        }
    }
}
