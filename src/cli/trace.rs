//! `weft trace`: what would become of a frame.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::Cell;
use serde::Serialize;
use weft_proto::v1;
use weft_vtep::addr::Mac;

use super::client::{Client, answer};
use super::style::{Style, Tone, toned};

/// `weft trace`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("probe").multiple(false)))]
pub struct TraceArgs {
    /// The network
    pub network: String,
    /// The endpoint of this node that the frame would come from
    #[arg(long, value_name = "ENDPOINT")]
    pub from: String,
    /// Whom it would be for: an IP address, which the endpoint asks for first, or a MAC address
    #[arg(long, value_name = "MAC|IP")]
    pub to: String,
    /// A TCP connection's first packet, to this port
    #[arg(long, value_name = "PORT", group = "probe", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,
    /// An ICMP echo request, which is the default
    #[arg(long, group = "probe")]
    pub icmp: bool,
    /// Bytes of the IP packet [default: its headers alone]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16))]
    pub size: Option<u16>,
    /// Send from this MAC address [default: the endpoint's own]
    #[arg(long, value_name = "MAC")]
    pub source_mac: Option<Mac>,
}

/// The document.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// `arrives`, `leaves` (for a VTEP outside of the cluster), `unknown` or `ends`.
    pub outcome: &'static str,
    /// What became of it, and what to do.
    pub text: String,
    /// Why it would be dropped, by the name of its counter; null where it would not.
    pub reason: Option<String>,
    /// What each node does, in the order in which the frame comes to them.
    pub nodes: Vec<Leg>,
}

/// What one node does.
#[derive(Debug, Serialize)]
pub struct Leg {
    /// The node's name.
    pub node: String,
    /// Its VTEP.
    pub address: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct Step {
    /// A word such as `destination`.
    pub step: String,
    /// Whether the frame goes on.
    pub ok: bool,
    /// What was looked at, and what was found.
    pub text: String,
    /// Why the frame ends here; null where it goes on, or no counter counts it.
    pub reason: Option<String>,
}

/// Asks, and says whether the frame is known not to be lost.
pub(super) async fn ask(client: &mut Client, args: TraceArgs) -> Result<(Trace, ExitCode)> {
    let request = v1::TraceRequest {
        network: args.network,
        endpoint: args.from,
        to: args.to,
        tcp_port: args.tcp.map(u32::from),
        size: args.size.map_or(0, u32::from),
        source_mac: args.source_mac.map(|mac| mac.octets().to_vec()).unwrap_or_default(),
    };
    let trace = Trace::from(answer(client.trace(request).await)?);
    let good = matches!(trace.outcome, "arrives" | "leaves");
    Ok((trace, if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

impl From<v1::TraceResponse> for Trace {
    fn from(wire: v1::TraceResponse) -> Self {
        let outcome = match wire.outcome() {
            v1::TraceOutcome::Arrives => "arrives",
            v1::TraceOutcome::Leaves => "leaves",
            v1::TraceOutcome::Ends => "ends",
            v1::TraceOutcome::Unknown | v1::TraceOutcome::Unspecified => "unknown",
        };
        let named = |reason: String| Some(reason).filter(|reason| !reason.is_empty());
        let step = |s: v1::TraceStep| Step { step: s.name, ok: !s.ends, text: s.text, reason: named(s.reason) };
        let leg = |leg: v1::TraceLeg| Leg {
            node: leg.node,
            address: leg.address,
            steps: leg.steps.into_iter().map(step).collect(),
        };
        Trace { outcome, text: wire.text, reason: named(wire.reason), nodes: wire.legs.into_iter().map(leg).collect() }
    }
}

/// The steps as people read them, node by node; the last line says what became of it.
pub(super) fn text(trace: &Trace, style: Style) -> String {
    let row = |step: &Step| {
        let ok = if step.ok { "ok" } else { "ENDS" };
        let reason = step.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        vec![Cell::new(&step.step), toned(ok, Tone::of(ok)), Cell::new(format!("{}{reason}", step.text))]
    };
    let leg = |leg: &Leg| {
        let head = [leg.node.to_uppercase(), "".to_owned(), leg.address.clone()];
        style.table(&head.each_ref().map(String::as_str), leg.steps.iter().map(row))
    };
    let legs: Vec<_> = trace.nodes.iter().map(leg).collect();
    format!("{}\n{}\n", legs.join("\n"), trace.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_that_ends_it_is_seen_at_a_glance() {
        let step = |name: &str, ends: bool| v1::TraceStep {
            name: name.into(),
            text: "what was found".into(),
            ends,
            reason: if ends { "unknown_vni".into() } else { String::new() },
        };
        let leg = |node: &str, steps| v1::TraceLeg { node: node.into(), address: "192.0.2.1".into(), steps };
        let trace = Trace::from(v1::TraceResponse {
            outcome: v1::TraceOutcome::Ends.into(),
            text: "it is dropped".into(),
            reason: "unknown_vni".into(),
            legs: vec![leg("a", vec![step("source", false)]), leg("b", vec![step("network", true)])],
        });
        let shown = text(&trace, Style::PLAIN);
        assert!(shown.lines().any(|line| line.starts_with("network   ENDS   what was found (unknown_vni)")), "{shown}");
        assert!(
            shown.lines().any(|line| line.starts_with("source") && line.ends_with("ok   what was found")),
            "{shown}"
        );
        assert!(shown.ends_with("\n\nit is dropped\n"), "{shown}");
    }
}
