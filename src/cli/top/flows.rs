//! Flows by rate: counted from a capture of the frames' headers, for as long as somebody looks.

use std::collections::HashMap;
use std::time::Instant;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use weft_proto::v1;
use weft_vtep::frame;

/// More flows than this in one turn are counted together: nobody reads so many lines.
const MOST: usize = 4096;

/// What passed of one flow.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Passed {
    pub(super) frames: f64,
    pub(super) bytes: f64,
}

/// A flow's rates in the last turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) network: String,
    pub(super) flow: String,
    /// As the endpoint of this node sees it: `in` or `out`.
    pub(super) way: &'static str,
    pub(super) rate: Passed,
}

/// Flows, one turn after the other.
#[derive(Debug, Default)]
pub(super) struct Flows {
    counting: HashMap<(u32, String, &'static str), Passed>,
    interfaces: Vec<String>,
    lost: u64,
    since: Option<Instant>,
    /// What passed in a second of the last turn.
    pub(super) rows: Vec<Row>,
    /// Frames of the last turn that came too fast to be counted.
    pub(super) uncounted: u64,
}

impl Flows {
    /// Counts what was captured.
    pub(super) fn take(&mut self, batch: &v1::CaptureBatch) {
        self.interfaces.extend(batch.interfaces.iter().map(|interface| interface.network.clone()));
        self.lost += batch.lost;
        let mut data = batch.data.as_slice();
        for captured in &batch.frames {
            let (bytes, rest) = data.split_at(data.len().min(captured.kept as usize));
            data = rest;
            let way = if captured.way() == v1::CaptureWay::In { "in" } else { "out" };
            let mut key = (captured.interface, flow_of(bytes), way);
            if self.counting.len() >= MOST && !self.counting.contains_key(&key) {
                key.1 = "others".to_owned();
            }
            let passed = self.counting.entry(key).or_default();
            passed.bytes += f64::from(captured.length);
            passed.frames += f64::from(segments(captured));
        }
    }

    /// Ends a turn: what was counted in it is shown from now on.
    pub(super) fn turn(&mut self, now: Instant) {
        let seconds = self.since.map_or(1.0, |since| now.saturating_duration_since(since).as_secs_f64());
        if seconds < 0.05 {
            return;
        }
        self.since = Some(now);
        let mut sums: HashMap<(String, String, &'static str), Passed> = HashMap::new();
        for ((interface, flow, way), passed) in self.counting.drain() {
            let network = self.interfaces.get(interface as usize).cloned().unwrap_or_default();
            let sum = sums.entry((network, flow, way)).or_default();
            sum.frames += passed.frames / seconds;
            sum.bytes += passed.bytes / seconds;
        }
        let row = |((network, flow, way), rate)| Row { network, flow, way, rate };
        self.rows = sums.into_iter().map(row).collect();
        self.uncounted = std::mem::take(&mut self.lost);
    }
}

/// How many frames a super-frame becomes on the wire.
fn segments(captured: &v1::CapturedFrame) -> u32 {
    if captured.cut == 0 { 1 } else { captured.length.div_ceil(captured.cut).max(1) }
}

/// Who talks to whom, and how.
fn flow_of(bytes: &[u8]) -> String {
    let ethernet =
        || format!("{} > {} type 0x{:04x}", frame::source(bytes), frame::destination(bytes), frame::ethertype(bytes));
    if bytes.len() < frame::ETH_LEN {
        return "too short".to_owned();
    }
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return ethernet() };
    let (from, to, protocol) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            (header.source_addr().to_string(), header.destination_addr().to_string(), ip.payload().ip_number.0)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let [from, to] = [header.source_addr(), header.destination_addr()].map(|address| format!("[{address}]"));
            (from, to, ip.payload().ip_number.0)
        }
        _ => return ethernet(),
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => format!("TCP {from}:{} > {to}:{}", tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => format!("UDP {from}:{} > {to}:{}", udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Icmpv4(_)) => format!("ICMP {from} > {to}"),
        Some(TransportSlice::Icmpv6(_)) => format!("ICMPv6 {from} > {to}"),
        _ => format!("protocol {protocol} {from} > {to}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::PacketBuilder;

    use super::*;

    fn batch(frames: &[(&[u8], u32, u32)]) -> v1::CaptureBatch {
        let captured = |(bytes, length, cut): &(&[u8], u32, u32)| v1::CapturedFrame {
            kept: bytes.len() as u32,
            length: *length,
            cut: *cut,
            way: v1::CaptureWay::Out.into(),
            ..v1::CapturedFrame::default()
        };
        v1::CaptureBatch {
            frames: frames.iter().map(captured).collect(),
            data: frames.iter().flat_map(|(bytes, ..)| bytes.to_vec()).collect(),
            ..v1::CaptureBatch::default()
        }
    }

    #[test]
    fn a_flow_s_frames_add_up_and_super_frames_count_as_their_segments() {
        let mut tcp = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        builder.tcp(1000, 80, 1, 2).write(&mut tcp, &[]).unwrap();
        let (mut flows, start) = (Flows::default(), Instant::now());
        flows.turn(start);
        let mut first = batch(&[(&tcp, 14_500, 1450), (&tcp, 54, 0), (&[1; 5], 5, 0)]);
        first.interfaces = vec![v1::CaptureInterface { network: "blue".into(), ..v1::CaptureInterface::default() }];
        first.lost = 7;
        flows.take(&first);
        flows.turn(start + Duration::from_secs(2));
        flows.rows.sort_by(|a, b| b.flow.cmp(&a.flow));
        let [_, row] = &flows.rows[..] else { panic!("{:?}", flows.rows) };
        assert_eq!(
            (row.flow.as_str(), row.network.as_str(), row.way),
            ("TCP 10.0.0.1:1000 > 10.0.0.2:80", "blue", "out")
        );
        assert_eq!(row.rate, Passed { frames: 5.5, bytes: 7277.0 });
        assert_eq!(flows.uncounted, 7);
        flows.turn(start + Duration::from_secs(3));
        assert_eq!((flows.rows.len(), flows.uncounted), (0, 0));
    }

    #[test]
    fn hostile_frames_are_some_flow_and_many_flows_become_one_line() {
        let mut flows = Flows::default();
        for n in 0..2 * MOST as u32 {
            let bytes = [&[2; 12][..], &[0x88, 0xb5], &n.to_be_bytes()].concat();
            let mut bytes = bytes;
            bytes[2..6].copy_from_slice(&n.to_be_bytes());
            flows.take(&batch(&[(&bytes, 18, 0)]));
        }
        flows.turn(Instant::now());
        assert_eq!(flows.rows.len(), MOST + 1);
    }
}
