//! Throughput in the units of networks: frames and bits per second, where criterion says elements and bytes.

use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};

/// Wall time, with throughput in frames/s and Gb/s.
pub(crate) struct Rates(WallTime);

/// Criterion, measuring so, with times that let all benches end within minutes.
pub(crate) fn criterion() -> Criterion<Rates> {
    weft_vtep::io::sys::cpu::accelerate(); // as the data plane does when it starts
    Criterion::default()
        .with_measurement(Rates(WallTime))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}

/// `frames` frames of together `bytes` bytes in each iteration.
pub(crate) fn frames(frames: usize, bytes: usize) -> Throughput {
    Throughput::ElementsAndBytes { elements: frames as u64, bytes: bytes as u64 }
}

impl Measurement for Rates {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        self.0.start()
    }

    fn end(&self, start: Instant) -> Duration {
        self.0.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        self.0.add(a, b)
    }

    fn zero(&self) -> Duration {
        self.0.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Rates {
    fn scale_values(&self, typical_ns: f64, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_values(typical_ns, values)
    }

    fn scale_throughputs(&self, typical_ns: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        match throughput {
            // Nanoseconds to millions a second, and to gigabits a second.
            Throughput::Elements(frames) => {
                values.iter_mut().for_each(|ns| *ns = *frames as f64 * 1e3 / *ns);
                "Mframe/s"
            }
            Throughput::Bytes(bytes) => {
                values.iter_mut().for_each(|ns| *ns = *bytes as f64 * 8.0 / *ns);
                "Gb/s"
            }
            other => self.0.formatter().scale_throughputs(typical_ns, other, values),
        }
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_for_machines(values)
    }
}
