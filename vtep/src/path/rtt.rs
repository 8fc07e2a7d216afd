//! How long a path takes: what the echoes of the last minutes say.
//!
//! Enters: round trips. Leaves: a smoothed figure (RFC 6298 section 2), and of the samples kept the least and the 99th
//! percentile.

use std::time::Duration;

/// Samples kept: about six minutes of echoes, 0.5 KB.
const KEPT: usize = 128;
/// What a new sample weighs in the smoothed figure: one part of so many (RFC 6298: alpha = 1/8).
const WEIGHT: u32 = 8;

/// Upper bounds of a histogram's classes in microseconds: from a switch's width to a continent's. What takes longer is in
/// one more.
pub const BOUNDS_US: [u32; 11] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000];

/// How many round trips of one path took how long, since its first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// By class: up to each of [`BOUNDS_US`] and above the one before, and at last what took longer.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    fn add(&mut self, micros: u32) {
        let class = BOUNDS_US.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_US.len());
        self.counts[class] += 1;
        self.sum_us += u64::from(micros);
    }
}

/// The round trips of one path, in microseconds.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    smoothed: f64,
    kept: [u32; KEPT],
    histogram: Histogram,
    /// How many there were, those included that are not kept any more.
    count: usize,
}

/// What the round trips of one path come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Smoothed.
    pub rtt: Duration,
    /// The least of the samples kept.
    pub min: Duration,
    /// Of a hundred samples kept, one took longer.
    pub p99: Duration,
}

impl Default for RoundTrips {
    fn default() -> Self {
        RoundTrips { smoothed: 0.0, kept: [0; KEPT], histogram: Histogram::default(), count: 0 }
    }
}

impl RoundTrips {
    /// Takes a sample.
    pub fn add(&mut self, sample: Duration) {
        let micros = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        self.kept[self.count % KEPT] = micros;
        self.count += 1;
        self.histogram.add(micros);
        let sample = f64::from(micros);
        self.smoothed =
            if self.count == 1 { sample } else { self.smoothed + (sample - self.smoothed) / f64::from(WEIGHT) };
    }

    /// How many took how long.
    pub fn histogram(&self) -> Histogram {
        self.histogram
    }

    /// What they come to; `None` before the first.
    pub fn latency(&self) -> Option<Latency> {
        let mut kept = self.kept;
        let kept = &mut kept[..self.count.min(KEPT)];
        kept.sort_unstable();
        let micros = |n: u32| Duration::from_micros(n.into());
        let min = micros(*kept.first()?);
        // The nearest rank: the least sample that 99 of 100 do not exceed.
        let rank = (kept.len() * 99).div_ceil(100);
        Some(Latency { rtt: micros(self.smoothed.round() as u32), min, p99: micros(kept[rank - 1]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: impl IntoIterator<Item = u64>) -> Option<Latency> {
        let mut trips = RoundTrips::default();
        samples.into_iter().for_each(|micros| trips.add(Duration::from_micros(micros)));
        trips.latency()
    }

    fn latency(rtt: u64, min: u64, p99: u64) -> Option<Latency> {
        let [rtt, min, p99] = [rtt, min, p99].map(Duration::from_micros);
        Some(Latency { rtt, min, p99 })
    }

    #[test]
    fn a_few_samples_say_what_they_can() {
        assert_eq!(of([]), None);
        assert_eq!(of([80]), latency(80, 80, 80));
        assert_eq!(of([80, 160]), latency(90, 80, 160));
    }

    #[test]
    fn one_bad_sample_of_a_hundred_is_not_the_p99_and_two_are() {
        let bad = |count: usize| of((0..100).map(|n| if n < count { 9_000 } else { 100 })).unwrap().p99;
        assert_eq!((bad(1), bad(2)), (Duration::from_micros(100), Duration::from_micros(9_000)));
    }

    #[test]
    fn a_sample_is_in_the_first_class_that_holds_it_and_none_is_lost() {
        let mut trips = RoundTrips::default();
        for micros in [100, 101, 500_000, 500_001, 4_000_000] {
            trips.add(Duration::from_micros(micros));
        }
        let Histogram { counts, sum_us } = trips.histogram();
        assert_eq!((counts[0], counts[1], counts[10], counts[11]), (1, 1, 1, 2));
        assert_eq!((counts.iter().sum::<u64>(), sum_us), (5, 5_000_202));
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let samples = std::iter::repeat_n(5, 10).chain(std::iter::repeat_n(900, 200));
        assert_eq!(of(samples).unwrap().min, Duration::from_micros(900));
    }
}
