//! Medians, spreads and paired ratios.

use std::fmt;

use comfy_table::{Table, presets};
use weft::lab::Underlay;

use crate::contestant::Kind;
use crate::sample::{LOSS, Load, METRICS, Sample};

/// What is compared with what: plain with what there was before, sealed with plain and with other people's.
const RATIOS: [(Kind, Kind); 8] = [
    (Kind::Weft, Kind::Kernel),
    (Kind::Weft, Kind::Before),
    (Kind::Sealed, Kind::SealedBefore),
    (Kind::Weft, Kind::Naive),
    (Kind::Sealed, Kind::Weft),
    (Kind::SealedChacha, Kind::Weft),
    (Kind::Sealed, Kind::WireguardGo),
    (Kind::Sealed, Kind::Nebula),
];

/// All samples from one underlay.
pub(crate) struct Results {
    underlay: Underlay,
    load: Load,
    kinds: Vec<Kind>,
    samples: Vec<Vec<Sample>>,
}

impl Results {
    pub(crate) fn new(underlay: Underlay, load: &Load, kinds: Vec<Kind>) -> Self {
        let samples = kinds.iter().map(|_| Vec::new()).collect();
        Results { underlay, load: *load, kinds, samples }
    }

    pub(crate) fn add(&mut self, contestant: usize, sample: Sample) {
        self.samples[contestant].push(sample);
    }

    fn values(&self, contestant: usize, metric: usize) -> Vec<f64> {
        self.samples[contestant].iter().filter_map(|sample| sample.values[metric]).collect()
    }

    /// One's values over another's, round by round.
    fn ratios(&self, one: Kind, other: Kind, metric: usize) -> Option<Vec<f64>> {
        let position = |kind| self.kinds.iter().position(|k| *k == kind);
        let (one, other) = (position(one)?, position(other)?);
        let (ours, theirs) = (self.values(one, metric), self.values(other, metric));
        (metric != LOSS && !ours.is_empty() && ours.len() == theirs.len())
            .then(|| ours.iter().zip(&theirs).map(|(our, their)| our / their).collect())
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.samples.first().map_or(0, Vec::len);
        let (seconds, flows) = (self.load.tcp.duration.as_secs_f64(), self.load.overload.flows);
        writeln!(
            f,
            "\nunderlay {}: median (least–most) of {rounds} rounds, {seconds} s each, {flows} UDP flows",
            self.underlay
        )?;
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header([""].iter().chain(&METRICS));
        for (contestant, kind) in self.kinds.iter().enumerate() {
            let cells = (0..METRICS.len()).map(|metric| cell(&self.values(contestant, metric)));
            table.add_row([kind.to_string()].into_iter().chain(cells));
        }
        for (one, other) in RATIOS {
            let ratios: Vec<_> = (0..METRICS.len()).map(|metric| self.ratios(one, other, metric)).collect();
            if ratios.iter().any(Option::is_some) {
                let cells = ratios.iter().map(|ratios| ratios.as_deref().map_or("–".into(), cell));
                table.add_row([format!("{one} ÷ {other}")].into_iter().chain(cells));
            }
        }
        write!(f, "{table}")
    }
}

fn cell(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match &sorted[..] {
        [] => "–".into(),
        [one] => number(*one),
        [least, .., most] => format!("{} ({}–{})", number(median(&sorted)), number(*least), number(*most)),
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Three figures.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else if value.abs() >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}
