//! The documents as people read them: aligned columns without borders, as Docker prints them.

use comfy_table::Cell;

use super::style::{Style, Tone, number, toned};
use super::view;

/// `weft status`.
pub fn status(status: &view::Status, style: Style) -> String {
    let agreeing = format!("{} of {}", status.members_agreeing, status.members_compared);
    let differ = status.members_agreeing < status.members_compared;
    let clock_is_off = status.clock_ahead_ms.is_some_and(|ahead| ahead.unsigned_abs() >= 1000);
    let clock = status.clock_ahead_ms.map_or("not compared".to_owned(), clock);
    style.pairs([
        ("node", Cell::new(&status.node)),
        ("id", Cell::new(&status.id)),
        ("version", Cell::new(&status.version)),
        ("mode", Cell::new(status.mode)),
        ("ready", toned(status.ready, if status.ready { Tone::Good } else { Tone::Doubt })),
        ("uptime", Cell::new(span(status.uptime_seconds))),
        ("advertise", Cell::new(&status.advertise)),
        ("vxlan port", Cell::new(status.vxlan_port)),
        ("members alive", Cell::new(status.members_alive)),
        ("tables agreeing", toned(agreeing, Tone::doubt(differ))),
        ("networks", Cell::new(status.networks)),
        ("endpoints", Cell::new(status.endpoints)),
        ("clock", toned(clock, Tone::doubt(clock_is_off))),
    ]) + &sessions(&status.sessions, style)
}

/// A time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// How long a daemon is up, where that is known.
pub(crate) fn up(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), span)
}

/// How a clock is off from the others'.
fn clock(ahead_ms: i64) -> String {
    match (ahead_ms.unsigned_abs() / 1000, ahead_ms > 0) {
        (0, _) => "within a second of the others'".to_owned(),
        (seconds, true) => format!("{seconds} s ahead of the others'"),
        (seconds, false) => format!("{seconds} s behind the others'"),
    }
}

fn sessions(sessions: &[view::Session], style: Style) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let row = |s: &view::Session| {
        let rejected: u64 = s.rejected.values().sum();
        let names = [&s.peer, &s.address, &s.suite].map(Cell::new);
        let numbers = [s.epoch, s.age_seconds, s.sealed, s.opened].map(Cell::new);
        let path = [toned(rejected, Tone::doubt(rejected > 0)), round_trip(&s.path), path_mtu(&s.path)];
        names.into_iter().chain(numbers).chain(path).collect()
    };
    let head = ["PEER", "ADDRESS", "SUITE", "EPOCH", "AGE (S)", "SEALED", "OPENED", "REJECTED", "RTT (US)", "PATH MTU"];
    format!("\n{}", style.table(&head, sessions.iter().map(row)))
}

fn round_trip(path: &view::Path) -> Cell {
    match path.rtt_us {
        _ if path.path_silent => toned("no answer", Tone::Bad),
        Some(rtt) => Cell::new(rtt),
        None => Cell::new("-"),
    }
}

fn path_mtu(path: &view::Path) -> Cell {
    let needed = path.path_mtu_needed;
    match path.path_mtu {
        Some(mtu) if mtu < needed => toned(format!("{mtu}, needed {needed}"), Tone::Bad),
        Some(mtu) => Cell::new(mtu),
        None => Cell::new("-"),
    }
}

/// `weft members`.
pub fn members(members: &[view::Member], style: Style) -> String {
    let row = |m: &view::Member| {
        let (state, signer) = (toned(m.state, Tone::of(m.state)), if m.signer { "signer" } else { "" });
        let [name, id, address, version] = [&m.name, &m.id, &m.address, &m.version].map(Cell::new);
        vec![name, id, address, state, Cell::new(up(m.uptime_seconds())), Cell::new(signer), version]
    };
    style.table(&["NAME", "ID", "ADDRESS", "STATE", "UP", "ROLE", "VERSION"], members.iter().map(row))
}

/// `weft neigh`.
pub fn neighbors(neighbors: &[view::Neighbor], style: Style) -> String {
    let row = |n: &view::Neighbor| {
        let [network, ip, mac, node, vtep] = [&n.network, &n.ip, &n.mac, &n.node, &n.vtep].map(Cell::new);
        vec![network, Cell::new(n.vni), ip, mac, node, vtep]
    };
    style.table(&["NETWORK", "VNI", "IP", "MAC", "NODE", "VTEP"], neighbors.iter().map(row))
}

/// The kinds of events are not longer.
const KIND_WIDTH: usize = 20;

/// One of `weft events`, on one line. With colours it is for a terminal, where kinds are a column, too.
pub fn event(event: &view::Event, style: Style) -> String {
    let width = if style.coloured { KIND_WIDTH } else { 0 };
    let (time, kind) = (style.paint(&event.time, Tone::Faint), format!("{:width$}", event.kind));
    format!("{time}  {}  {}\n", style.paint(&kind, kind_tone(&event.kind)), event.text)
}

fn kind_tone(kind: &str) -> Tone {
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["dead", "silent", "narrow", "not_saved"]) {
        Tone::Bad
    } else if has(&["suspect", "refused", "conflict", "duplicate", "frozen", "few_", "lost", "not_", "clock"]) {
        Tone::Doubt
    } else {
        Tone::Plain
    }
}

/// `weft token ls`.
pub fn tokens(tokens: &[view::Token], style: Style) -> String {
    let row = |t: &view::Token| {
        let uses = t.uses_left.map_or_else(|| "any".to_owned(), |n| n.to_string());
        vec![
            Cell::new(&t.id),
            Cell::new(&t.created),
            Cell::new(&t.expires),
            toned(uses, Tone::doubt(t.uses_left == Some(0))),
        ]
    };
    style.table(&["TOKEN ID", "CREATED", "EXPIRES", "USES LEFT"], tokens.iter().map(row))
}

/// `weft network ls`.
pub fn networks(networks: &[view::Network], style: Style) -> String {
    let row = |n: &view::Network| {
        let subnets: Vec<_> = n.subnets.iter().map(|s| s.subnet.as_str()).collect();
        let lost = n.endpoints.iter().any(|endpoint| endpoint.state == "lost");
        let [id, name, driver] = [&n.id, &n.name, &n.driver].map(Cell::new);
        let endpoints = toned(n.endpoints.len(), Tone::doubt(lost));
        // What is not sealed everybody on the underlay reads.
        let mode = toned(n.mode, Tone::doubt(n.mode == "plain"));
        vec![id, name, driver, Cell::new(n.vni), mode, Cell::new(n.mtu), endpoints, Cell::new(subnets.join(","))]
    };
    let head = ["NETWORK ID", "NAME", "DRIVER", "VNI", "MODE", "MTU", "ENDPOINTS", "SUBNETS"];
    style.table(&head, networks.iter().map(row))
}

/// JSON for people, as Docker prints it where one thing is inspected: whoever does that wants every field.
pub fn json(pretty: &str, style: Style) -> String {
    let line = |line: &str| match line.split_once("\":") {
        Some((name, value)) => {
            let start = name.len() - name.trim_start().len();
            format!("{}{}{value}\n", &name[..start], style.paint(&format!("{}\":", &name[start..]), Tone::Faint))
        }
        None => format!("{line}\n"),
    };
    pretty.lines().map(line).collect()
}

/// `weft attach`: id, MAC address and addresses on one line.
pub fn attached(endpoint: &view::Attached) -> String {
    let words: Vec<_> = [endpoint.endpoint.as_str(), endpoint.mac.as_str()].into_iter().collect();
    let ips = endpoint.ips.join(",");
    format!("{}\n", [words.join(" "), ips].join(" ").trim_end())
}

/// `weft fdb`.
pub fn fdb(entries: &[view::FdbEntry], style: Style) -> String {
    let row = |e: &view::FdbEntry| {
        let place = e.port.clone().or_else(|| e.vtep.clone()).unwrap_or_default();
        let kind = toned(e.kind, if e.kind == "local" { Tone::Good } else { Tone::Plain });
        vec![Cell::new(&e.network), Cell::new(e.vni), Cell::new(&e.mac), kind, Cell::new(place)]
    };
    style.table(&["NETWORK", "VNI", "MAC", "KIND", "PORT OR VTEP"], entries.iter().map(row))
}

/// `weft stats`.
pub fn stats(stats: &view::Stats, style: Style) -> String {
    let totals = &stats.totals;
    let named = [
        ("tx_frames", totals.tx_frames),
        ("tx_bytes", totals.tx_bytes),
        ("rx_frames", totals.rx_frames),
        ("rx_bytes", totals.rx_bytes),
    ];
    let named = named.into_iter().map(|(name, count)| vec![Cell::new(name), number(count, Tone::Plain)]);
    let drops = stats.drops.iter().map(|(reason, count)| {
        let tone = if *count > 0 { Tone::Doubt } else { Tone::Faint };
        vec![toned(format!("drop {reason}"), tone), number(count, tone)]
    });
    style.table(&["COUNTER", "COUNT"], named.chain(drops))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let member = |name: &str| view::Member {
            name: name.to_owned(),
            id: "00ff".to_owned(),
            address: "192.0.2.1".to_owned(),
            state: "alive",
            signer: false,
            version: "0.1.0".to_owned(),
            started: None,
        };
        let text = members(&[member("a"), member("long-name")], Style::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        let at = lines[0].find("ADDRESS").unwrap();
        assert!(lines[1..].iter().all(|line| line.find("192.0.2.1") == Some(at)), "{text}");
        assert!(lines.iter().all(|line| line.trim_end() == *line), "{text:?}");
    }

    #[test]
    fn a_time_is_told_in_two_units() {
        let spans = [59, 61, 3 * 3600 + 59, 86_400 * 30 + 3600].map(span);
        assert_eq!(spans, ["59s", "1m 1s", "3h 0m", "30d 1h"]);
    }

    #[test]
    fn an_endpoint_without_addresses_is_still_one_line() {
        let mut endpoint = view::Attached {
            endpoint: "e1".into(),
            network: "blue".into(),
            mac: "02:00:00:00:00:01".into(),
            ips: Vec::new(),
            ifname: "eth0".into(),
        };
        assert_eq!(attached(&endpoint), "e1 02:00:00:00:00:01\n");
        endpoint.ips = vec!["10.1.0.1/16".into(), "fd00::1/64".into()];
        assert_eq!(attached(&endpoint), "e1 02:00:00:00:00:01 10.1.0.1/16,fd00::1/64\n");
    }
}
