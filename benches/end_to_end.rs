//! weft, plain and sealed, and what else there is, side by side: two hosts in namespaces, one container on each.
//!
//! The short form of the race beside this file, for everyday questions. See README.md.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use support::contestant::Kind;
use support::machine;
use support::rounds::{self, Common, Plan};
use support::trial::Trial;
use weft::lab::{self, Underlay};

const ALL: &str = "weft,sealed,sealed-chacha,kernel,naive,wireguard-go,nebula";

/// Measures weft against the kernel's VXLAN, a naive TAP loop, and other encrypted tunnels.
#[derive(Parser)]
struct Options {
    /// Rounds on each underlay.
    #[arg(long, env = "WEFT_BENCH_ROUNDS", default_value_t = 3)]
    rounds: usize,
    /// Seconds for each throughput measurement.
    #[arg(long, env = "WEFT_BENCH_SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Underlays: soft, wire, wire+gro.
    #[arg(long, env = "WEFT_BENCH_UNDERLAYS", value_delimiter = ',', default_value = "soft,wire,wire+gro")]
    underlays: Vec<Underlay>,
    /// Contestants.
    #[arg(long, env = "WEFT_BENCH_CONTESTANTS", value_delimiter = ',', default_value = ALL)]
    contestants: Vec<Kind>,
    /// Flows of the UDP flood.
    #[arg(long, env = "WEFT_BENCH_FLOWS", default_value_t = 4)]
    flows: usize,
    #[command(flatten)]
    common: Common,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.common.bench {
        (options.rounds, options.seconds, options.underlays) = (1, 0.2, vec![Underlay::Soft]);
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "rounds and seconds must be above zero");
    if let Err(error) = lab::acquire() {
        eprintln!("SKIPPED: the end-to-end bench needs network namespaces and a TUN device: {error:#}");
        return Ok(());
    }
    let congestion = options.common.congestion()?;
    println!("{}, TCP with {congestion}", machine::describe()?);
    for line in rounds::installed(&mut options.contestants) {
        println!("{line}");
    }
    let one: Trial = "tcp".parse()?;
    let plan = Plan {
        contestants: options.contestants,
        trials: &[Trial::Ping, one, Trial::Flood { flows: options.flows }, Trial::Paced],
        rounds: options.rounds,
        time: Duration::from_secs_f64(options.seconds),
        ipv6: options.common.ipv6,
        congestion: &congestion,
        before: options.common.before.as_deref(),
        patience: None,
    };
    for &underlay in &options.underlays {
        let results = rounds::run(&plan, underlay).with_context(|| format!("on the underlay {underlay}"))?;
        println!("{}", results.table());
    }
    Ok(())
}
