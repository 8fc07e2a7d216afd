//! Rounds: each contestant in turn is put to each trial, on a machine that has nothing else to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use weft::lab::{Family, LabSpec, Underlay};
use weft::traffic::ping;

use super::contestant::{Contestant, Kind, RATIOS};
use super::machine::{self, Watch};
use super::report::Results;
use super::trial::{Subject, Trial};
use super::tunnel;

/// The options that the end-to-end benches have in common.
#[derive(Args)]
pub(crate) struct Common {
    /// The weft binary of another build, for the contestants before and sealed-before.
    #[arg(long, env = "WEFT_BENCH_BEFORE")]
    pub(crate) before: Option<PathBuf>,
    /// The underlay's address family is IPv6.
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// The congestion control of the generator's TCP sockets, for all contestants alike. Without it, the machine's own.
    #[arg(long)]
    congestion: Option<String>,
    /// Given by `cargo bench`; without it, as from `cargo test`, only a short run shows that the bench works.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// Filters are for other benches.
    #[arg(hide = true)]
    filters: Vec<String>,
}

impl Common {
    /// The congestion control of the generator's TCP sockets.
    pub(crate) fn congestion(&self) -> Result<String> {
        self.congestion.clone().map_or_else(machine::congestion, Ok)
    }
}

/// What is to be measured.
pub(crate) struct Plan<'a> {
    pub(crate) contestants: Vec<Kind>,
    pub(crate) trials: &'a [Trial],
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) ipv6: bool,
    pub(crate) congestion: &'a str,
    pub(crate) before: Option<&'a Path>,
    /// How often a disturbed measurement is tried again before the run is given up; `None`: nobody looks.
    pub(crate) patience: Option<u32>,
}

/// Leaves out whose program is not installed, and says which version of somebody else's is measured.
pub(crate) fn installed(contestants: &mut Vec<Kind>) -> Vec<String> {
    let mut said = Vec::new();
    contestants.retain(|kind| {
        let Some((program, flag)) = kind.needs() else { return true };
        let version = tunnel::version(program, flag);
        said.push(match &version {
            Some(version) => format!("{kind}: {version}"),
            None => format!("{kind} is left out: {program} is not installed"),
        });
        version.is_some()
    });
    said
}

/// Measures on one underlay. All contestants stand ready at once, and each round takes them in turning order: what
/// disturbs the machine disturbs all, and the ratios are of values from the same round.
pub(crate) fn run(plan: &Plan<'_>, underlay: Underlay) -> Result<Results<Kind>> {
    let family = if plan.ipv6 { Family::V6 } else { Family::V4 };
    let spec = LabSpec { underlay, family, ..LabSpec::new(2) };
    let make =
        |kind: &Kind| Contestant::make(*kind, &spec, plan.before).with_context(|| format!("cannot set up {kind}"));
    let contestants = plan.contestants.iter().map(make).collect::<Result<Vec<_>>>()?;
    for (netns, _) in contestants.iter().flat_map(Contestant::ends) {
        machine::set_congestion(netns, plan.congestion)?;
    }
    let columns = plan.trials.iter().flat_map(|trial| trial.columns()).collect();
    let mut results = Results::new(underlay, columns, plan.contestants.clone(), RATIOS, plan.time);
    for round in 0..plan.rounds {
        for turn in 0..contestants.len() {
            let which = (round + turn) % contestants.len();
            let contestant = &contestants[which];
            eprintln!("{underlay}: round {} of {}: {}", round + 1, plan.rounds, contestant.kind);
            let [(a, _), (_, address)] = contestant.ends();
            let reached = ping::once(a, address, Duration::from_secs(5))?;
            ensure!(reached.is_some(), "{}: the ends do not reach each other", contestant.kind);
            let mut sample = Vec::new();
            for trial in plan.trials {
                let values = undisturbed(plan, contestant, *trial);
                sample.extend(values.with_context(|| format!("{}: {trial}", contestant.kind))?);
            }
            results.add(which, sample);
        }
    }
    Ok(results)
}

/// One trial, again if somebody else has used the machine meanwhile.
fn undisturbed(plan: &Plan<'_>, contestant: &Contestant, trial: Trial) -> Result<Vec<Option<f64>>> {
    let mut attempts = 0;
    loop {
        let watch = Watch::begin()?;
        let values = trial.run(contestant, plan.time)?;
        let (Some(patience), Some(disturbance)) = (plan.patience, watch.disturbance()?) else { return Ok(values) };
        if attempts == patience {
            bail!("the machine was not quiet: {disturbance}. End that and begin again, or say --noisy");
        }
        attempts += 1;
        eprintln!("  again, the machine was not quiet: {disturbance}");
    }
}
