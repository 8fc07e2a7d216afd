//! Curves: how values change with a size, as a table and as a picture.

use std::fmt::Write;

use comfy_table::{Table, presets};

use super::report::{cell, number, spread};

/// The picture's panels, one for each column, in its own units.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 180.0;
/// Around each panel: room for the values and sizes.
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 30.0;
const RIGHT: f64 = 30.0;

/// All samples of one curve.
pub(crate) struct Curve {
    what: &'static str,
    columns: &'static [&'static str],
    sizes: &'static [u32],
    /// For each size, for each round, a value for each column.
    samples: Vec<Vec<Vec<Option<f64>>>>,
}

impl Curve {
    /// `what` grows as `sizes` say.
    pub(crate) fn new(what: &'static str, columns: &'static [&'static str], sizes: &'static [u32]) -> Self {
        Curve { what, columns, sizes, samples: vec![Vec::new(); sizes.len()] }
    }

    pub(crate) fn add(&mut self, size: usize, sample: Vec<Option<f64>>) {
        self.samples[size].push(sample);
    }

    fn values(&self, size: usize, column: usize) -> Vec<f64> {
        self.samples[size].iter().filter_map(|sample| sample[column]).collect()
    }

    /// A row for each size: median, least and most.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header([""].iter().chain(self.columns));
        for (size, count) in self.sizes.iter().enumerate() {
            let cells = (0..self.columns.len()).map(|column| cell(&self.values(size, column)));
            table.add_row([count.to_string()].into_iter().chain(cells));
        }
        let rounds = self.samples.first().map_or(0, Vec::len);
        format!("\n{}: median (least–most) of {rounds} rounds\n\n{table}\n", self.what)
    }

    /// A panel for each column: sizes to the right on a logarithmic axis, medians upwards from zero.
    pub(crate) fn svg(&self) -> String {
        let panel = LEFT + WIDTH + RIGHT;
        let (width, height) = (panel * self.columns.len() as f64, TOP + HEIGHT + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        );
        let (first, last) = (self.sizes.first().copied().unwrap_or(1), self.sizes.last().copied().unwrap_or(1));
        let span = (f64::from(last) / f64::from(first)).ln().max(f64::MIN_POSITIVE);
        for (column, name) in self.columns.iter().enumerate() {
            let spreads: Vec<_> = (0..self.sizes.len()).map(|size| spread(&self.values(size, column))).collect();
            let largest = spreads.iter().flatten().map(|(_, _, most)| *most).fold(f64::MIN_POSITIVE, f64::max);
            let x = |size: u32| panel * column as f64 + LEFT + WIDTH * (f64::from(size) / f64::from(first)).ln() / span;
            let y = |value: f64| TOP + HEIGHT * (1.0 - value / largest);
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"20\" font-weight=\"bold\">{name}</text>", x(first));
            let _ = writeln!(svg, "<path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"#a0a0a0\"/>", x(first), y(0.0), x(last));
            let mut line = String::new();
            for (&size, spread) in self.sizes.iter().zip(&spreads) {
                let at = x(size);
                let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\">{size}</text>", y(0.0) + 18.0);
                let Some((median, least, most)) = *spread else { continue };
                let _ = write!(line, "{}{at:.1} {:.1}", if line.is_empty() { "M" } else { "L" }, y(median));
                let _ = writeln!(
                    svg,
                    "<path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"#d04a02\" stroke-width=\"2\"/>\n\
                     <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    y(least),
                    y(most),
                    at + 5.0,
                    y(median) - 5.0,
                    number(median)
                );
            }
            let _ = writeln!(svg, "<path d=\"{line}\" fill=\"none\" stroke=\"#2f7ed8\" stroke-width=\"2\"/>");
        }
        svg + "</svg>\n"
    }
}
