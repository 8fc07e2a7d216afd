//! The race: all that weft is good for against all that can be had, on a machine that has nothing else to do.
//!
//! It takes its time: all of it more than an hour. Tables, pictures and every value go into a folder.

#[path = "support/mod.rs"]
mod support;

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;
use support::contestant::Kind;
use support::rounds::{self, Common, Plan};
use support::trial::Trial;
use support::{machine, plot};
use weft::lab::{self, Underlay};

const ALL: &str = "veth,kernel,weft,sealed,sealed-chacha,wireguard-go,nebula,vpncloud,fastd,openvpn,open-vswitch,naive";
/// How often a disturbed measurement is tried again.
const PATIENCE: u32 = 5;

/// Races weft against other overlays.
#[derive(Parser)]
struct Options {
    /// Rounds on each underlay.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds for each throughput measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Underlays: soft, wire, wire+gro.
    #[arg(long, value_delimiter = ',', default_value = "soft,wire,wire+gro")]
    underlays: Vec<Underlay>,
    /// Contestants; those whose program is not installed are left out.
    #[arg(long, value_delimiter = ',', default_value = ALL)]
    contestants: Vec<Kind>,
    /// Trials.
    #[arg(long, value_delimiter = ',', default_value = Trial::ALL)]
    trials: Vec<Trial>,
    /// Report what was measured even if somebody else used the machine meanwhile; the report says so.
    #[arg(long)]
    noisy: bool,
    /// Where the results go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/race"))]
    results: PathBuf,
    #[command(flatten)]
    common: Common,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.common.bench {
        (options.rounds, options.seconds, options.underlays) = (1, 0.1, vec![Underlay::Soft]);
        options.contestants = vec![Kind::Veth, Kind::Kernel, Kind::Weft];
        options.trials = "tcp-both,flood8,lossfree8,udp1400,imix,ping-loaded,calls16"
            .split(',')
            .map(str::parse)
            .collect::<Result<_>>()?;
        options.noisy = true;
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "rounds and seconds must be above zero");
    if let Err(error) = lab::acquire() {
        eprintln!("SKIPPED: the race needs network namespaces and a TUN device: {error:#}");
        return Ok(());
    }
    let versions = rounds::installed(&mut options.contestants);
    let congestion = options.common.congestion()?;
    let mut text = format!("# Race\n\n{}, TCP with {congestion}\n", machine::describe()?);
    for line in &versions {
        let _ = writeln!(text, "- {line}");
    }
    if options.noisy {
        text += "\n**Nobody looked whether the machine was quiet meanwhile.**\n";
    }
    println!("{text}");
    let plan = Plan {
        contestants: options.contestants,
        trials: &options.trials,
        rounds: options.rounds,
        time: Duration::from_secs_f64(options.seconds),
        ipv6: options.common.ipv6,
        congestion: &congestion,
        before: options.common.before.as_deref(),
        patience: (!options.noisy).then_some(PATIENCE),
    };
    fs::create_dir_all(&options.results)
        .with_context(|| format!("cannot make the folder {}", options.results.display()))?;
    let mut values = Vec::new();
    for &underlay in &options.underlays {
        let results = rounds::run(&plan, underlay).with_context(|| format!("on the underlay {underlay}"))?;
        let tables = results.tables();
        println!("{tables}");
        let picture = format!("{}.svg", underlay.to_string().replace('+', "-"));
        fs::write(options.results.join(&picture), plot::svg(&results))?;
        let _ = write!(text, "{tables}\n![underlay {underlay}]({picture})\n");
        values.push(results.json());
        // After each underlay: what is measured is not lost with what is not.
        fs::write(options.results.join("race.md"), &text)?;
        fs::write(options.results.join("race.json"), serde_json::to_string_pretty(&json!(values))?)?;
    }
    println!("The results are in {}.", options.results.display());
    Ok(())
}
