//! Which seeds a test runs, and what it says when one fails.

use std::env;

/// Runs `test` with a few fixed seeds, or as the environment says.
pub(crate) fn each(count: u64, mut test: impl FnMut(u64)) {
    let seeds = match number("WEFT_SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WEFT_SIM_RUNS").unwrap_or(count),
    };
    for seed in seeds {
        let told = Told(seed);
        test(seed);
        drop(told);
    }
}

/// How many nodes the promises are kept for: 1,000, unless the environment says otherwise.
pub(crate) fn many() -> usize {
    number("WEFT_SIM_NODES").unwrap_or(1000) as usize
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed: WEFT_SIM_SEED={0} runs it again", self.0);
        }
    }
}
