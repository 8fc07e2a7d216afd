//! The page: figures in, Prometheus' text format out.
//!
//! Names follow Prometheus' conventions: base units, counters end in `_total` (which the encoder adds), a label for what
//! one sums over and no other. `promtool check metrics` has nothing to say about the page (`tests/metrics`).

use std::fmt;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use weft_vtep::drops::DropReason;
use weft_vtep::seal::suite::Suite;

use super::process::Process;
use super::{Figures, MOST};

/// What the page calls itself in the answer's head.
pub use prometheus_text::CONTENT_TYPE;

/// Writes the page of a node, with what the kernel says of this process.
pub fn page(figures: Figures) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    registry.register_collector(Box::new(Process::read()));
    let mut text = String::new();
    // A string takes all that is written to it, and the encoders have no error of their own.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// Writes families of one kind after another.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter with a series for each of `rows`.
    pub(super) fn counter<S: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (S, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A gauge with a series for each of `rows`.
    pub(super) fn gauge<S: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (S, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A histogram with series for each of `rows`: labels, sum, and how many are in each class up to its bound.
    pub(super) fn histogram<S: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (S, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, classes) in rows {
            let count = classes.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &classes, None)?;
        }
        Ok(())
    }
}

/// The labels of a series that is alone in its family.
pub(super) type Alone = [(&'static str, &'static str); 0];

/// The one row of such a family.
pub(super) fn alone<V>(value: V) -> [(Alone, V); 1] {
    [([], value)]
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.node(&mut page)?;
        self.data_plane(&mut page)?;
        self.cluster(&mut page)?;
        self.networks(&mut page)?;
        self.peers(&mut page)?;
        self.paths(&mut page)
    }
}

impl Figures {
    fn node(&self, page: &mut Page<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)];
        page.gauge("weft_build_info", "The build that runs; always 1", [(build, 1u64)])?;
        let node = [("node", self.node.as_str()), ("id", self.id.as_str()), ("mode", self.mode)];
        page.gauge("weft_node_info", "Which node this is; always 1", [(node, 1u64)])?;
        page.gauge(
            "weft_ready",
            "1 once the state is restored and devices are attached",
            alone(u64::from(self.ready)),
        )?;
        let events = self.events.iter().map(|(kind, count)| ([("kind", kind.as_str())], *count));
        page.counter("weft_events", "Events since the start, by kind (`weft events` has their text)", events)?;
        let omitted = |all: usize| all.saturating_sub(MOST) as u64;
        let omitted = [("network", omitted(self.networks.len())), ("peer", omitted(self.peers.len()))];
        let omitted = omitted.map(|(kind, count)| ([("kind", kind)], count));
        page.gauge("weft_metrics_omitted", "Networks and peers without series of their own: beyond 1,024", omitted)
    }

    fn data_plane(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = &self.totals;
        page.counter("weft_transmit_frames", "Frames sent into tunnels", alone(totals.tx_frames))?;
        page.counter(
            "weft_transmit_bytes",
            "Bytes of the frames sent into tunnels, tunnel headers not counted",
            alone(totals.tx_bytes),
        )?;
        page.counter("weft_receive_frames", "Frames delivered out of tunnels", alone(totals.rx_frames))?;
        page.counter(
            "weft_receive_bytes",
            "Bytes of the frames delivered out of tunnels, tunnel headers not counted",
            alone(totals.rx_bytes),
        )?;
        page.counter(
            "weft_unlearned_frames",
            "Frames whose source was not learned because the forwarding table is full",
            alone(totals.unlearned),
        )?;
        page.counter(
            "weft_damaged_frames",
            "Frames out of tunnels whose inner checksum is wrong; the endpoint's own stack refuses them",
            alone(totals.damaged),
        )?;
        let drops = DropReason::ALL.iter().map(|reason| ([("reason", reason.name())], totals.drops_of(*reason)));
        page.counter("weft_drops", "Frames and datagrams that ended here, by reason", drops)
    }

    fn cluster(&self, page: &mut Page<'_>) -> fmt::Result {
        let members = self.members.iter().map(|(state, count)| ([("state", *state)], *count as u64));
        page.gauge("weft_members", "Nodes that this node knows, itself included, by state", members)?;
        page.gauge(
            "weft_tables_compared",
            "Members whose tables this node compares with its own, itself included",
            alone(self.compared as u64),
        )?;
        page.gauge(
            "weft_tables_agreeing",
            "Members whose tables equal this node's, itself included",
            alone(self.agreeing as u64),
        )?;
        let ends = self.certificate_ends.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let ends = ends.map(|since| ([] as Alone, since.as_secs()));
        page.gauge("weft_certificate_expiry_timestamp_seconds", "When the node's certificate ends, in Unix time", ends)
    }

    fn networks(&self, page: &mut Page<'_>) -> fmt::Result {
        let networks = || self.networks.iter().take(MOST);
        let info =
            networks().map(|n| ([("network", n.name.as_str()), ("driver", n.driver.as_str()), ("mode", n.mode)], 1u64));
        page.gauge("weft_network_info", "A network and how it is carried; always 1", info)?;
        let mtus = networks().filter_map(|n| Some(([("network", n.name.as_str())], n.mtu?)));
        page.gauge("weft_network_mtu_bytes", "The largest inner IP packet", mtus)?;
        let endpoints =
            networks().flat_map(|n| [("up", n.up), ("lost", n.lost)].map(|(state, count)| (n, state, count)));
        let endpoints =
            endpoints.map(|(n, state, count)| ([("network", n.name.as_str()), ("state", state)], count as u64));
        page.gauge(
            "weft_network_endpoints",
            "Endpoints on this node; lost: its namespace or device is gone",
            endpoints,
        )?;
        let entries = networks().flat_map(|n| n.entries.iter().map(move |(kind, count)| (n, *kind, *count)));
        let entries = entries.map(|(n, kind, count)| ([("network", n.name.as_str()), ("kind", kind)], count as u64));
        page.gauge("weft_network_forwarding_entries", "Stations that the forwarding table has, by kind", entries)
    }

    fn peers(&self, page: &mut Page<'_>) -> fmt::Result {
        let suites = Suite::ALL.map(|suite| {
            let count = self.peers.iter().filter(|peer| peer.suite == suite.name()).count();
            ([("suite", suite.name())], count as u64)
        });
        page.gauge("weft_sessions", "Peers that this node has keys with, by suite", suites)?;
        let peers =
            || self.peers.iter().take(MOST).map(|p| ([("peer", p.name.as_str()), ("address", p.address.as_str())], p));
        page.gauge(
            "weft_session_age_seconds",
            "Age of the present sending key",
            peers().map(|(labels, p)| (labels, p.age_seconds)),
        )?;
        page.counter(
            "weft_session_rekeys",
            "How often the sending key was replaced by a new one",
            peers().map(|(labels, p)| (labels, p.epoch.saturating_sub(1))),
        )?;
        page.counter(
            "weft_session_sealed_datagrams",
            "Datagrams sealed for the peer; begins anew with each key",
            peers().map(|(labels, p)| (labels, p.sealed)),
        )?;
        page.counter(
            "weft_session_opened_datagrams",
            "Datagrams of the peer that were opened; begins anew with each key",
            peers().map(|(labels, p)| (labels, p.opened)),
        )?;
        let rejected = self.peers.iter().take(MOST).flat_map(|p| {
            p.rejected.iter().map(move |(reason, count)| {
                let labels = [("peer", p.name.as_str()), ("address", p.address.as_str()), ("reason", reason.as_str())];
                (labels, *count)
            })
        });
        page.counter("weft_session_rejected_datagrams", "Datagrams of the peer's session that were refused", rejected)
    }
}
