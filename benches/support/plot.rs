//! The results as pictures: a panel of bars for each column, the median long, a line from the least to the most.

use std::fmt::Write;

use super::contestant::Kind;
use super::report::{Results, number, spread};

const WIDTH: f64 = 760.0;
const LABEL: f64 = 130.0;
const VALUE: f64 = 90.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const HEAD: f64 = 34.0;

/// One picture of all columns of one underlay, as SVG, readable on light and on dark.
pub(crate) fn svg(results: &Results<Kind>) -> String {
    let panel = HEAD + STEP * results.kinds.len() as f64 + 10.0;
    let height = 40.0 + panel * results.columns.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#7f7f7f\">\n<text x=\"8\" y=\"22\" font-size=\"15\">underlay {}</text>\n",
        escape(&results.underlay.to_string())
    );
    for (column, about) in results.columns.iter().enumerate() {
        let top = 40.0 + panel * column as f64;
        let _ = writeln!(svg, "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>", top + 20.0, escape(&about.name));
        let spreads: Vec<_> = (0..results.kinds.len()).map(|kind| spread(&results.values(kind, column))).collect();
        let largest = spreads.iter().flatten().map(|(_, _, most)| *most).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LABEL - VALUE) / largest;
        for (row, (kind, spread)) in results.kinds.iter().zip(&spreads).enumerate() {
            let y = top + HEAD + STEP * row as f64;
            let middle = y + BAR / 2.0;
            let _ = writeln!(svg, "<text x=\"8\" y=\"{}\">{kind}</text>", middle + 4.0);
            let Some((median, least, most)) = spread else { continue };
            let color = if kind.is_ours() { "#2f7ed8" } else { "#a0a0a0" };
            let _ = writeln!(
                svg,
                "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\n\
                 <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#d04a02\" stroke-width=\"2\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                median * scale,
                LABEL + least * scale,
                LABEL + most * scale,
                LABEL + most * scale + 6.0,
                middle + 4.0,
                number(*median)
            );
        }
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
