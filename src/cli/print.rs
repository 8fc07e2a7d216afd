//! The documents as people read them: aligned columns without borders, as Docker prints them.

use comfy_table::{CellAlignment, Table, presets};

use super::view;

/// Rows under a head, in aligned columns, without trailing blanks.
pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    lines(&table)
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names and values, one to a line.
fn pairs(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).add_rows(rows.into_iter().map(|(name, value)| [name, value]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    lines(&table)
}

/// `weft status`.
pub fn status(status: &view::Status) -> String {
    let pair = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
    pairs([
        pair("node", &status.node),
        pair("id", &status.id),
        pair("version", &status.version),
        pair("mode", &status.mode),
        pair("ready", &status.ready),
        pair("advertise", &status.advertise),
        pair("vxlan port", &status.vxlan_port),
        pair("members alive", &status.members_alive),
        pair("tables agreeing", &format!("{} of {}", status.members_agreeing, status.members_compared)),
        pair("networks", &status.networks),
        pair("endpoints", &status.endpoints),
        pair("clock", &status.clock_ahead_ms.map_or("not compared".to_owned(), clock)),
    ]) + &sessions(&status.sessions)
}

/// How a clock is off from the others'.
fn clock(ahead_ms: i64) -> String {
    match (ahead_ms.unsigned_abs() / 1000, ahead_ms > 0) {
        (0, _) => "within a second of the others'".to_owned(),
        (seconds, true) => format!("{seconds} s ahead of the others'"),
        (seconds, false) => format!("{seconds} s behind the others'"),
    }
}

fn sessions(sessions: &[view::Session]) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let row = |s: &view::Session| {
        let rejected: u64 = s.rejected.values().sum();
        let numbers = [s.epoch, s.age_seconds, s.sealed, s.opened, rejected].map(|n| n.to_string());
        let names = vec![s.peer.clone(), s.address.clone(), s.suite.clone()];
        [names, numbers.into(), vec![round_trip(&s.path), path_mtu(&s.path)]].concat()
    };
    let head = ["PEER", "ADDRESS", "SUITE", "EPOCH", "AGE (S)", "SEALED", "OPENED", "REJECTED", "RTT (US)", "PATH MTU"];
    format!("\n{}", table(&head, sessions.iter().map(row)))
}

fn round_trip(path: &view::Path) -> String {
    match path.rtt_us {
        _ if path.path_silent => "no answer".to_owned(),
        Some(rtt) => rtt.to_string(),
        None => "-".to_owned(),
    }
}

fn path_mtu(path: &view::Path) -> String {
    let needed = path.path_mtu_needed;
    match path.path_mtu {
        Some(mtu) if mtu < needed => format!("{mtu}, needed {needed}"),
        Some(mtu) => mtu.to_string(),
        None => "-".to_owned(),
    }
}

/// `weft members`.
pub fn members(members: &[view::Member]) -> String {
    let row = |m: &view::Member| {
        let signer = if m.signer { "signer" } else { "" };
        let (name, id, address) = (m.name.clone(), m.id.clone(), m.address.clone());
        vec![name, id, address, m.state.to_owned(), signer.to_owned(), m.version.clone()]
    };
    table(&["NAME", "ID", "ADDRESS", "STATE", "ROLE", "VERSION"], members.iter().map(row))
}

/// `weft neigh`.
pub fn neighbors(neighbors: &[view::Neighbor]) -> String {
    let row = |n: &view::Neighbor| {
        vec![n.network.clone(), n.vni.to_string(), n.ip.clone(), n.mac.clone(), n.node.clone(), n.vtep.clone()]
    };
    table(&["NETWORK", "VNI", "IP", "MAC", "NODE", "VTEP"], neighbors.iter().map(row))
}

/// One of `weft events`, on one line.
pub fn event(event: &view::Event) -> String {
    format!("{}  {}  {}\n", event.time, event.kind, event.text)
}

/// `weft token ls`.
pub fn tokens(tokens: &[view::Token]) -> String {
    let row = |t: &view::Token| {
        let uses = t.uses_left.map_or_else(|| "any".to_owned(), |n| n.to_string());
        vec![t.id.clone(), t.created.clone(), t.expires.clone(), uses]
    };
    table(&["TOKEN ID", "CREATED", "EXPIRES", "USES LEFT"], tokens.iter().map(row))
}

/// `weft network ls`.
pub fn networks(networks: &[view::Network]) -> String {
    let row = |n: &view::Network| {
        let subnets: Vec<_> = n.subnets.iter().map(|s| s.subnet.as_str()).collect();
        let endpoints = n.endpoints.len().to_string();
        let (id, name, driver) = (n.id.clone(), n.name.clone(), n.driver.clone());
        vec![id, name, driver, n.vni.to_string(), n.mode.to_owned(), n.mtu.to_string(), endpoints, subnets.join(",")]
    };
    let head = ["NETWORK ID", "NAME", "DRIVER", "VNI", "MODE", "MTU", "ENDPOINTS", "SUBNETS"];
    table(&head, networks.iter().map(row))
}

/// `weft attach`: id, MAC address and addresses on one line.
pub fn attached(endpoint: &view::Attached) -> String {
    let words: Vec<_> = [endpoint.endpoint.as_str(), endpoint.mac.as_str()].into_iter().collect();
    let ips = endpoint.ips.join(",");
    format!("{}\n", [words.join(" "), ips].join(" ").trim_end())
}

/// `weft fdb`.
pub fn fdb(entries: &[view::FdbEntry]) -> String {
    let row = |e: &view::FdbEntry| {
        let place = e.port.clone().or_else(|| e.vtep.clone()).unwrap_or_default();
        vec![e.network.clone(), e.vni.to_string(), e.mac.clone(), e.kind.to_owned(), place]
    };
    table(&["NETWORK", "VNI", "MAC", "KIND", "PORT OR VTEP"], entries.iter().map(row))
}

/// `weft stats`.
pub fn stats(stats: &view::Stats) -> String {
    let totals = &stats.totals;
    let named = [
        ("tx_frames", totals.tx_frames),
        ("tx_bytes", totals.tx_bytes),
        ("rx_frames", totals.rx_frames),
        ("rx_bytes", totals.rx_bytes),
    ];
    let named = named.into_iter().map(|(name, count)| vec![name.to_owned(), count.to_string()]);
    let drops = stats.drops.iter().map(|(reason, count)| vec![format!("drop {reason}"), count.to_string()]);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["COUNTER", "COUNT"]).add_rows(named.chain(drops));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 3));
        if index == 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines(&table)
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
        };
        let text = members(&[member("a"), member("long-name")]);
        let lines: Vec<_> = text.lines().collect();
        let at = lines[0].find("ADDRESS").unwrap();
        assert!(lines[1..].iter().all(|line| line.find("192.0.2.1") == Some(at)), "{text}");
        assert!(lines.iter().all(|line| line.trim_end() == *line), "{text:?}");
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
