//! Medians, spreads and paired ratios, as tables.

use std::fmt::{Display, Write};
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};
use weft::lab::Underlay;

use super::trial::{Column, Topic};

/// All samples of some contestants from one underlay.
pub(crate) struct Results<K: 'static> {
    pub(crate) underlay: Underlay,
    pub(crate) kinds: Vec<K>,
    pub(crate) columns: Vec<Column>,
    /// Whose values are divided by whose.
    ratios: &'static [(K, K)],
    time: Duration,
    /// For each contestant, for each round, a value for each column.
    samples: Vec<Vec<Vec<Option<f64>>>>,
}

impl<K: Copy + PartialEq + Display> Results<K> {
    pub(crate) fn new(
        underlay: Underlay,
        columns: Vec<Column>,
        kinds: Vec<K>,
        ratios: &'static [(K, K)],
        time: Duration,
    ) -> Self {
        let samples = kinds.iter().map(|_| Vec::new()).collect();
        Results { underlay, kinds, columns, ratios, time, samples }
    }

    pub(crate) fn add(&mut self, contestant: usize, sample: Vec<Option<f64>>) {
        self.samples[contestant].push(sample);
    }

    /// A contestant's values in a column, in the order of the rounds.
    pub(crate) fn values(&self, contestant: usize, column: usize) -> Vec<f64> {
        self.samples[contestant].iter().filter_map(|sample| sample[column]).collect()
    }

    /// One's values over another's, round by round.
    fn ratios_of(&self, one: K, other: K, column: usize) -> Option<Vec<f64>> {
        let position = |kind| self.kinds.iter().position(|k| *k == kind);
        let (one, other) = (position(one)?, position(other)?);
        let (ours, theirs) = (self.values(one, column), self.values(other, column));
        (self.columns[column].ratio && !ours.is_empty() && ours.len() == theirs.len())
            .then(|| ours.iter().zip(&theirs).map(|(our, their)| our / their).collect())
    }

    /// All columns in one table, under a line that says what it is.
    pub(crate) fn table(&self) -> String {
        self.render(&(0..self.columns.len()).collect::<Vec<_>>())
    }

    /// A table for each topic that has columns.
    pub(crate) fn tables(&self) -> String {
        let of = |topic| (0..self.columns.len()).filter(|c| self.columns[*c].topic == topic).collect::<Vec<_>>();
        let tables = [Topic::Tcp, Topic::Packets, Topic::Latency].map(of);
        tables.iter().filter(|columns| !columns.is_empty()).map(|columns| self.render(columns) + "\n").collect()
    }

    fn render(&self, columns: &[usize]) -> String {
        let rounds = self.samples.first().map_or(0, Vec::len);
        let mut text = String::new();
        let _ = writeln!(
            text,
            "\nunderlay {}: median (least–most) of {rounds} rounds, {} s each\n",
            self.underlay,
            self.time.as_secs_f64(),
        );
        let mut table = Table::new();
        let names = columns.iter().map(|column| self.columns[*column].name.as_str());
        table.load_preset(presets::ASCII_MARKDOWN).set_header([""].into_iter().chain(names));
        for (contestant, kind) in self.kinds.iter().enumerate() {
            let cells = columns.iter().map(|column| cell(&self.values(contestant, *column)));
            table.add_row([kind.to_string()].into_iter().chain(cells));
        }
        for (one, other) in self.ratios {
            let ratios: Vec<_> = columns.iter().map(|column| self.ratios_of(*one, *other, *column)).collect();
            if ratios.iter().any(Option::is_some) {
                let cells = ratios.iter().map(|ratios| ratios.as_deref().map_or("–".into(), cell));
                table.add_row([format!("{one} ÷ {other}")].into_iter().chain(cells));
            }
        }
        let _ = writeln!(text, "{table}");
        text
    }

    /// Every value that was measured, for those who want to calculate by themselves.
    pub(crate) fn json(&self) -> Value {
        let contestants = self.kinds.iter().enumerate().map(|(contestant, kind)| {
            let values =
                (0..self.columns.len()).map(|c| (self.columns[c].name.clone(), json!(self.values(contestant, c))));
            (kind.to_string(), values.collect())
        });
        json!({
            "underlay": self.underlay.to_string(),
            "seconds": self.time.as_secs_f64(),
            "values": contestants.collect::<serde_json::Map<String, Value>>(),
        })
    }
}

/// Median and spread in one cell.
pub(crate) fn cell(values: &[f64]) -> String {
    match spread(values) {
        None => "–".into(),
        Some((one, _, _)) if values.len() == 1 => number(one),
        Some((median, least, most)) => format!("{} ({}–{})", number(median), number(least), number(most)),
    }
}

/// The median, the least and the most.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    Some((median, least, most))
}

/// Three figures.
pub(crate) fn number(value: f64) -> String {
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
