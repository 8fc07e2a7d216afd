//! weft, plain and sealed, and what else there is, side by side: two hosts in namespaces, one container on each.
//!
//! All contestants stand ready at once, and each round measures them one after the other, in turning order: what
//! disturbs the machine disturbs all, and the ratios are of values from the same round. See README.md beside this file.

#[path = "support/contestant.rs"]
mod contestant;
#[path = "support/naive.rs"]
mod naive;
#[path = "support/report.rs"]
mod report;
#[path = "support/sample.rs"]
mod sample;
#[path = "support/tunnel.rs"]
mod tunnel;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use contestant::{Contestant, Kind};
use report::Results;
use sample::{Load, measure};
use weft::lab::{self, Family, LabSpec, Underlay};

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
    /// The weft binary of another build, for the contestants before and sealed-before.
    #[arg(long, env = "WEFT_BENCH_BEFORE")]
    before: Option<PathBuf>,
    /// Flows of the UDP floods.
    #[arg(long, env = "WEFT_BENCH_FLOWS", default_value_t = 4)]
    flows: usize,
    /// The underlay's address family is IPv6.
    #[arg(long)]
    ipv6: bool,
    /// Given by `cargo bench`; without it, as from `cargo test`, only a short run shows that the bench works.
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for other benches.
    #[arg(hide = true)]
    filters: Vec<String>,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        (options.rounds, options.seconds, options.underlays) = (1, 0.2, vec![Underlay::Soft]);
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "rounds and seconds must be above zero");
    if let Err(error) = lab::acquire() {
        eprintln!("SKIPPED: the end-to-end bench needs network namespaces and a TUN device: {error:#}");
        return Ok(());
    }
    options.contestants.retain(|kind| is_there(*kind));
    let load = Load::new(Duration::from_secs_f64(options.seconds), options.flows);
    for &underlay in &options.underlays {
        let results = run(&options, underlay, &load).with_context(|| format!("on the underlay {underlay}"))?;
        println!("{results}");
    }
    Ok(())
}

/// Says which version of somebody else's program is measured, or that it is not.
fn is_there(kind: Kind) -> bool {
    let Some((program, flag)) = kind.needs() else { return true };
    let version = tunnel::version(program, flag);
    match &version {
        Some(version) => println!("{kind}: {version}"),
        None => println!("{kind} is left out: {program} is not installed"),
    }
    version.is_some()
}

fn run(options: &Options, underlay: Underlay, load: &Load) -> Result<Results> {
    let family = if options.ipv6 { Family::V6 } else { Family::V4 };
    let spec = LabSpec { underlay, family, ..LabSpec::new(2) };
    let make = |kind: &Kind| {
        Contestant::make(*kind, &spec, options.before.as_deref()).with_context(|| format!("cannot set up {kind}"))
    };
    let contestants = options.contestants.iter().map(make).collect::<Result<Vec<_>>>()?;
    let mut results = Results::new(underlay, load, options.contestants.clone());
    for round in 0..options.rounds {
        for turn in 0..contestants.len() {
            let which = (round + turn) % contestants.len();
            eprintln!("{underlay}: round {} of {}: {}", round + 1, options.rounds, contestants[which].kind);
            results.add(which, measure(&contestants[which], load)?);
        }
    }
    Ok(results)
}
