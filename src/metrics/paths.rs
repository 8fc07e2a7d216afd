//! The part of the page on the paths to peers, as sealed echoes find them.

use std::fmt;

use weft_vtep::path::probe::PathRow;
use weft_vtep::path::rtt::BOUNDS_US;

use super::page::Page;
use super::{Figures, MOST};

/// The labels of a peer's series.
type Labels<'a> = [(&'static str, &'a str); 2];

impl Figures {
    pub(super) fn paths(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows = || {
            let peers = self.peers.iter().take(MOST);
            peers.filter_map(|p| Some(([("peer", p.name.as_str()), ("address", p.address.as_str())], p.path?)))
        };
        let silent = |(labels, path): (_, PathRow)| (labels, u64::from(path.silent));
        page.gauge("weft_path_silent", "1 while the latest echoes to the peer had no answer", rows().map(silent))?;
        page.counter(
            "weft_path_echoes",
            "Echoes that the peer was asked for, one each few seconds",
            rows().map(|(labels, path)| (labels, path.echoes.0)),
        )?;
        page.counter(
            "weft_path_echoes_lost",
            "Echoes that the peer did not answer",
            rows().map(|(labels, path)| (labels, path.echoes.1)),
        )?;
        page.gauge(
            "weft_path_mtu_bytes",
            "The largest outer IP packet that comes through, up to what the networks need",
            rows().filter_map(|(labels, path)| Some((labels, path.mtu?))).map(|(labels, mtu)| (labels, u32::from(mtu))),
        )?;
        let needed = rows().filter(|(_, path)| path.needed > 0);
        page.gauge(
            "weft_path_mtu_needed_bytes",
            "The largest outer IP packet that the networks of this node make",
            needed.map(|(labels, path)| (labels, u32::from(path.needed))),
        )?;
        page.histogram(
            "weft_path_round_trip_seconds",
            "How long echoes through the tunnel take",
            rows().map(|(labels, path)| classes(labels, &path)),
        )
    }
}

fn classes<'a>(labels: Labels<'a>, path: &PathRow) -> (Labels<'a>, f64, Vec<(f64, u64)>) {
    let bounds = BOUNDS_US.iter().map(|micros| f64::from(*micros) / 1e6).chain([f64::INFINITY]);
    (labels, path.histogram.sum_us as f64 / 1e6, bounds.zip(path.histogram.counts).collect())
}
