//! weft and Docker's own overlay under the same engines: two of them, each on a host of its own, joined to a Swarm.
//!
//! Everything is measured between containers that `docker run` made. See docker/README.md for what came of it.

#[path = "../tests/harness/mod.rs"]
mod harness;
#[path = "support/mod.rs"]
mod support;
#[path = "support/swarm.rs"]
mod swarm;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use support::machine;
use support::report::Results;
use support::trial::{Column, Topic, Trial};
use swarm::{Kind, Network, PINGS, Swarm};
use weft::lab::{self, Lab, LabSpec, Underlay};

const RATIOS: &[(Kind, Kind)] = &[
    (Kind::Plain, Kind::Overlay),
    (Kind::Sealed, Kind::Overlay),
    (Kind::Sealed, Kind::Plain),
    (Kind::Sealed, Kind::Encrypted),
];

/// Measures weft and Docker's own overlay, both as networks of real engines.
#[derive(Parser)]
struct Options {
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each throughput measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// The underlay: soft, wire, wire+gro.
    #[arg(long, default_value = "soft")]
    underlay: Underlay,
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
        (options.rounds, options.seconds) = (1, 0.2);
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "rounds and seconds must be above zero");
    if !harness::engine::has_engine() {
        return Ok(());
    }
    lab::acquire()?;
    let lab = Lab::build(LabSpec { containers: 0, underlay: options.underlay, ..LabSpec::new(2) })?;
    let swarm = Swarm::form(&lab)?;
    println!("# Docker's overlay and weft\n\n{}, Docker {}\n", machine::describe()?, swarm.version());

    let mut networks = Vec::new();
    println!("Pings from host to host that were answered, of {PINGS}:\n");
    for kind in Kind::ALL {
        let network = swarm.network(kind)?;
        let answered = network.answered()?;
        println!("- {kind}: {answered}");
        if kind == Kind::Encrypted && answered == 0 {
            println!("  ({}; it is left out below)", swarm::esp(&lab.hosts[0])?);
            continue;
        }
        ensure!(answered == usize::from(PINGS), "{kind}: {answered} of {PINGS} pings were answered");
        networks.push(network);
    }
    println!("{}", measure(&networks, &options)?.table());
    Ok(())
}

/// Each network in turn is put to each trial, in turning order: what disturbs the machine disturbs all.
fn measure(networks: &[Network<'_>], options: &Options) -> Result<Results<Kind>> {
    let trials = ["tcp", "flood4", "ping"].into_iter().map(str::parse).collect::<Result<Vec<Trial>>>()?;
    let time = Duration::from_secs_f64(options.seconds);
    let mut columns: Vec<_> = trials.iter().flat_map(|trial| trial.columns()).collect();
    columns.push(Column { name: "docker run to first answer ms".into(), topic: Topic::Latency, ratio: true });
    let kinds = networks.iter().map(|network| network.kind).collect();
    let mut results = Results::new(options.underlay, columns, kinds, RATIOS, time);
    for round in 0..options.rounds {
        for turn in 0..networks.len() {
            let which = (round + turn) % networks.len();
            let network = &networks[which];
            eprintln!("round {} of {}: {}", round + 1, options.rounds, network.kind);
            let mut sample = Vec::new();
            for trial in &trials {
                let values = trial.run(network, time);
                sample.extend(values.with_context(|| format!("{}: {trial}", network.kind))?);
            }
            sample.push(Some(network.first_answer()?.as_secs_f64() * 1e3));
            results.add(which, sample);
        }
    }
    Ok(results)
}
