//! Metrics for Prometheus: what a node knows of itself, as a page that is read every few seconds.
//!
//! [`serve`] answers for it over HTTP. For each request [`Figures`] are taken from the node, and
//! [`page`] writes them in Prometheus' text format (version 0.0.4); `process` adds those of the process. Nothing is
//! counted here: the counters are the data plane's and the control plane's, and the figures are a copy of them, so a node
//! that nobody reads pays nothing.
//!
//! The page's size is bounded: it has a series for each drop reason and each member state, and up to [`MOST`] networks
//! and as many peers. What is left out beyond is counted in `weft_metrics_omitted`.

mod figures;
pub mod page;
mod paths;
mod process;
pub mod serve;

pub use figures::{Figures, NetworkFigures, PeerFigures};

/// The most networks, and the most peers, that have series of their own.
pub const MOST: usize = 1024;
