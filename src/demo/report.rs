//! The demo's tables, and whether it passed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use comfy_table::{Table, presets};

use crate::traffic::tcp::TcpReport;
use crate::traffic::udp::FloodReport;

/// What one node's container reached.
pub(super) struct NodeRow {
    pub(super) name: String,
    pub(super) underlay: IpAddr,
    pub(super) container: IpAddr,
    /// Of the containers that answered, rising.
    pub(super) rtts: Vec<Duration>,
    /// The nodes whose containers did not answer.
    pub(super) unreached: Vec<String>,
}

impl Default for NodeRow {
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        NodeRow { name: String::new(), underlay: nowhere, container: nowhere, rtts: Vec::new(), unreached: Vec::new() }
    }
}

/// All that the demo found out.
#[derive(Default)]
pub(super) struct Report {
    pub(super) nodes: Vec<NodeRow>,
    pub(super) tcp: Option<TcpReport>,
    pub(super) udp: Option<FloodReport>,
    pub(super) daemons_ended_well: bool,
}

impl Report {
    /// True if nothing failed and nothing was left out.
    pub(super) fn passed(&self) -> bool {
        let others = self.nodes.len().saturating_sub(1);
        let all_reached = self.nodes.iter().all(|row| row.rtts.len() == others && row.unreached.is_empty());
        let streamed = self.tcp.is_some_and(|tcp| tcp.bytes > 0);
        let flooded = self.udp.is_some_and(|udp| udp.received > 0);
        others > 0 && all_reached && streamed && flooded && self.daemons_ended_well
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = table(&["node", "underlay", "container", "reached", "first ping, median"]);
        for row in &self.nodes {
            let mut reached = format!("{} of {}", row.rtts.len(), row.rtts.len() + row.unreached.len());
            if !row.unreached.is_empty() {
                reached += &format!(", not {}", row.unreached.join(", "));
            }
            let median = row.rtts.get(row.rtts.len() / 2).map_or("–".into(), |rtt| format!("{} µs", rtt.as_micros()));
            nodes.add_row([row.name.clone(), row.underlay.to_string(), row.container.to_string(), reached, median]);
        }
        let mut load = table(&["from node 1 to node 2", "result"]);
        let tcp = self.tcp.map_or("–".into(), |tcp| format!("{:.2} Gb/s", tcp.gbit_per_s()));
        load.add_row(["TCP, 1 stream", &tcp]);
        let udp = self.udp.map_or("–".into(), |udp| {
            format!("{:.0} k/s received of {:.0} k/s sent", udp.received_per_s() / 1e3, udp.sent_per_s() / 1e3)
        });
        load.add_row(["64-byte UDP at overload", &udp]);
        writeln!(f, "{nodes}\n{load}")?;
        f.write_str(if self.passed() { "passed: everything reached, everything removed" } else { "FAILED" })
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let row = || NodeRow { rtts: vec![Duration::from_micros(90)], ..NodeRow::default() };
        let tcp = TcpReport { bytes: 1, elapsed: Duration::from_secs(1), total_bytes: 1 };
        let udp = FloodReport { sent: 2, received: 1, reordered: 0, elapsed: Duration::from_secs(1) };
        Report { nodes: vec![row(), row()], tcp: Some(tcp), udp: Some(udp), daemons_ended_well: true }
    }

    #[test]
    fn whatever_is_missing_fails_it() {
        assert!(good().passed());
        assert!(!Report::default().passed());
        let spoil: [fn(&mut Report); 7] = [
            |report| report.nodes[1].rtts.clear(),
            |report| report.nodes[1].unreached.push("node1".into()),
            |report| report.nodes.truncate(1),
            |report| report.tcp = None,
            |report| report.tcp.as_mut().unwrap().bytes = 0,
            |report| report.udp.as_mut().unwrap().received = 0,
            |report| report.daemons_ended_well = false,
        ];
        for (n, spoil) in spoil.into_iter().enumerate() {
            let mut report = good();
            spoil(&mut report);
            assert!(!report.passed() && report.to_string().contains("FAILED"), "{n}");
        }
    }
}
