//! The tables: what is known, as rows of cells.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::flows::Flows;
use super::model::Model;
use super::state::{Order, State, Tab};
use crate::cli::print::up;
use crate::cli::style::Tone;
use crate::cli::view;

/// A column.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: &'static str,
    /// Its values are numbers: to the right, and the largest first.
    pub(super) number: bool,
}

const fn text(name: &'static str) -> Head {
    Head { name, number: false }
}

const fn number(name: &'static str) -> Head {
    Head { name, number: true }
}

/// A value as it is shown, and as it is sorted by.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    value: Option<f64>,
    pub(super) tone: Tone,
}

impl Cell {
    fn text(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    fn count(value: impl Into<Option<u64>>) -> Cell {
        let value = value.into();
        Cell {
            text: value.map(|count| count.to_string()).unwrap_or_default(),
            value: value.map(|n| n as f64),
            ..Cell::default()
        }
    }

    fn rate(value: Option<f64>, unit: &str) -> Cell {
        Cell { text: value.map(|value| scaled(value, unit)).unwrap_or_default(), value, ..Cell::default() }
    }

    /// A state: `alive`, `up` and the like.
    fn state(state: &str) -> Cell {
        Cell { tone: Tone::of(state), ..Cell::text(state) }
    }

    fn doubtful(self, doubtful: bool) -> Cell {
        if doubtful { Cell { tone: Tone::Doubt, ..self } } else { self }
    }
}

/// The columns of a table.
pub(super) fn heads(tab: Tab) -> &'static [Head] {
    const NODES: &[Head] = &[
        text("NAME"),
        text("STATE"),
        number("UP"),
        text("ADDRESS"),
        number("STATIONS"),
        number("LATENCY"),
        number("SEALED/S"),
        number("OPENED/S"),
        number("REFUSED"),
        text("SUITE"),
        number("KEY AGE"),
        number("PATH MTU"),
        text("VERSION"),
    ];
    const ENDPOINTS: &[Head] =
        &[text("NETWORK"), text("ADDRESSES"), text("MAC"), text("NODE"), text("KIND"), text("ENDPOINT"), text("STATE")];
    const NETWORKS: &[Head] = &[
        text("NAME"),
        text("DRIVER"),
        text("MODE"),
        number("VNI"),
        number("MTU"),
        number("HERE"),
        number("STATIONS"),
        text("SUBNETS"),
    ];
    const FLOWS: &[Head] = &[text("FLOW"), text("NETWORK"), text("WAY"), number("FRAMES/S"), number("BITS/S")];
    const DROPS: &[Head] = &[text("REASON"), number("FRAMES"), number("A SECOND")];
    const EVENTS: &[Head] = &[number("NUMBER"), text("TIME"), text("KIND"), text("WHAT HAPPENED")];
    match tab {
        Tab::Nodes => NODES,
        Tab::Endpoints => ENDPOINTS,
        Tab::Networks => NETWORKS,
        Tab::Flows => FLOWS,
        Tab::Drops => DROPS,
        Tab::Events => EVENTS,
    }
}

/// How a table is sorted until somebody says otherwise.
pub(super) fn order(tab: Tab) -> Order {
    let (column, falling) = match tab {
        Tab::Nodes | Tab::Endpoints | Tab::Networks => (0, false),
        Tab::Flows => (4, true),
        Tab::Drops => (1, true),
        Tab::Events => (0, true),
    };
    Order { column, falling }
}

/// The rows of the chosen table, filtered and sorted as chosen.
pub(super) fn rows(state: &State, model: &Model, flows: &Flows) -> Vec<Vec<Cell>> {
    let mut rows = match state.tab {
        Tab::Nodes => nodes(model),
        Tab::Endpoints => endpoints(model),
        Tab::Networks => networks(model),
        Tab::Flows => flows_by_rate(flows),
        Tab::Drops => drops(model),
        Tab::Events => events(model),
    };
    let filter = state.filter.to_lowercase();
    let words: Vec<_> = filter.split_whitespace().collect();
    rows.retain(|row| {
        let line = row.iter().map(|cell| cell.text.to_lowercase()).collect::<Vec<_>>().join(" ");
        words.iter().all(|word| line.contains(word))
    });
    let Order { column, falling } = state.order();
    rows.sort_by(|a, b| {
        let order = compare(&a[column], &b[column]);
        if falling { order.reverse() } else { order }
    });
    rows
}

fn compare(a: &Cell, b: &Cell) -> Ordering {
    match (a.value, b.value) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, None) => natural(&a.text, &b.text),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Names in the order in which people count: node9 before node10.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let at = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
        let digits = text[at..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| at + end);
        (text[..at].to_owned(), text[at..digits].parse::<u64>().ok(), text[digits..].to_owned())
    };
    let (a_parts, b_parts) = (parts(a), parts(b));
    a_parts.cmp(&b_parts)
}

fn nodes(model: &Model) -> Vec<Vec<Cell>> {
    let Some(last) = &model.last else { return Vec::new() };
    let sessions: HashMap<_, _> = last.status.sessions.iter().map(|session| (&session.address, session)).collect();
    let mut stations: HashMap<&str, u64> = HashMap::new();
    for entry in &model.tables.fdb {
        *stations.entry(entry.vtep.as_ref().unwrap_or(&last.status.advertise)).or_default() += 1;
    }
    let row = |member: &view::Member| {
        let session = sessions.get(&member.address);
        let rates = model.rates.peers.get(&member.address).copied();
        let path = session.map(|session| &session.path);
        let latency = match path {
            Some(path) if path.path_silent => Cell { tone: Tone::Bad, ..Cell::text("no answer") },
            _ => {
                let rtt = path.and_then(|path| path.rtt_us);
                Cell { text: rtt.map(micros).unwrap_or_default(), value: rtt.map(|n| n as f64), ..Cell::default() }
            }
        };
        let refused = session.map(|session| session.rejected.values().sum::<u64>());
        let uptime = member.uptime_seconds();
        let mtu = path.and_then(|path| path.path_mtu);
        let narrow = path.is_some_and(|path| path.path_mtu.is_some_and(|mtu| mtu < path.path_mtu_needed));
        let name = if member.id == last.status.id { format!("{} *", member.name) } else { member.name.clone() };
        vec![
            Cell::text(name),
            Cell::state(member.state),
            Cell { text: up(uptime), ..Cell::count(uptime) },
            Cell::text(&member.address),
            Cell::count(stations.get(member.address.as_str()).copied().unwrap_or(0)),
            latency,
            Cell::rate(rates.map(|[sealed, _]| sealed), ""),
            Cell::rate(rates.map(|[_, opened]| opened), ""),
            Cell::count(refused).doubtful(refused.is_some_and(|count| count > 0)),
            Cell::text(session.map(|session| session.suite.as_str()).unwrap_or_default()),
            Cell::count(session.map(|session| session.age_seconds)),
            Cell::count(mtu.map(u64::from)).doubtful(narrow),
            Cell::text(&member.version),
        ]
    };
    last.members.iter().map(row).collect()
}

fn endpoints(model: &Model) -> Vec<Vec<Cell>> {
    let Some(last) = &model.last else { return Vec::new() };
    let names: HashMap<_, _> = last.members.iter().map(|member| (&member.address, &member.name)).collect();
    let mut addresses: HashMap<(u32, &str), Vec<&str>> = HashMap::new();
    for neighbor in &model.tables.neighbors {
        addresses.entry((neighbor.vni, &neighbor.mac)).or_default().push(&neighbor.ip);
    }
    let row = |network: &str, ips: String, mac: &str, node: &str, kind: &str, endpoint: &str, state: &str| {
        let cells = [network, &ips, mac, node, kind, endpoint].map(Cell::text);
        cells.into_iter().chain([Cell::state(state)]).collect::<Vec<_>>()
    };
    let own: HashMap<_, _> =
        model.tables.networks.iter().flat_map(|network| &network.endpoints).map(|e| (&e.endpoint, e)).collect();
    let mut rows = Vec::new();
    for network in &model.tables.networks {
        // What is lost, or of a network of this host, is in no forwarding table.
        let overlay = network.driver == "overlay";
        for endpoint in network.endpoints.iter().filter(|endpoint| !overlay || endpoint.state != "up") {
            let kind = if overlay { "local" } else { &network.driver };
            let ips = bare(&endpoint.ips);
            rows.push(row(
                &network.name,
                ips,
                &endpoint.mac,
                &last.status.node,
                kind,
                &endpoint.endpoint,
                endpoint.state,
            ));
        }
    }
    for entry in &model.tables.fdb {
        let endpoint = entry.port.as_ref().and_then(|port| own.get(port));
        let ips = match (addresses.get(&(entry.vni, entry.mac.as_str())), endpoint) {
            (Some(ips), _) => ips.join(" "),
            (None, Some(endpoint)) => bare(&endpoint.ips),
            (None, None) => String::new(),
        };
        let node = match &entry.vtep {
            Some(vtep) => names.get(vtep).map_or(vtep.as_str(), |name| name),
            None => &last.status.node,
        };
        let port = entry.port.as_deref().unwrap_or_default();
        let state = endpoint.map(|endpoint| endpoint.state).unwrap_or_default();
        rows.push(row(&entry.network, ips, &entry.mac, node, entry.kind, port, state));
    }
    rows
}

/// Addresses without the lengths of their prefixes.
fn bare(cidrs: &[String]) -> String {
    cidrs.iter().map(|cidr| cidr.split('/').next().unwrap_or(cidr)).collect::<Vec<_>>().join(" ")
}

fn networks(model: &Model) -> Vec<Vec<Cell>> {
    let mut stations: HashMap<&str, u64> = HashMap::new();
    for entry in &model.tables.fdb {
        *stations.entry(&entry.network).or_default() += 1;
    }
    let row = |network: &view::Network| {
        let subnets: Vec<_> = network.subnets.iter().map(|subnet| subnet.subnet.as_str()).collect();
        let number = |number: u32| Cell::count(Some(u64::from(number)).filter(|number| *number > 0));
        vec![
            Cell::text(&network.name),
            Cell::text(&network.driver),
            Cell::text(network.mode),
            number(network.vni),
            number(network.mtu),
            Cell::count(network.endpoints.len() as u64),
            Cell::count(stations.get(network.name.as_str()).copied().unwrap_or(0)),
            Cell::text(subnets.join(" ")),
        ]
    };
    model.tables.networks.iter().map(row).collect()
}

fn flows_by_rate(flows: &Flows) -> Vec<Vec<Cell>> {
    let row = |row: &super::flows::Row| {
        vec![
            Cell::text(&row.flow),
            Cell::text(&row.network),
            Cell::text(row.way),
            Cell::rate(Some(row.rate.frames), ""),
            Cell::rate(Some(row.rate.bytes * 8.0), "b"),
        ]
    };
    flows.rows.iter().map(row).collect()
}

fn drops(model: &Model) -> Vec<Vec<Cell>> {
    let Some(last) = &model.last else { return Vec::new() };
    let row = |(reason, count): (&String, &u64)| {
        let rate = model.rates.drops.get(reason).copied();
        let growing = rate.is_some_and(|rate| rate > 0.0);
        vec![Cell::text(reason), Cell::count(*count).doubtful(growing), Cell::rate(rate, "").doubtful(growing)]
    };
    last.stats.drops.iter().map(row).collect()
}

fn events(model: &Model) -> Vec<Vec<Cell>> {
    let row = |event: &view::Event| {
        let time = event.time.split('.').next().unwrap_or(&event.time).trim_end_matches('Z').replace('T', " ");
        vec![Cell::count(event.number), Cell::text(time), Cell::text(&event.kind), Cell::text(&event.text)]
    };
    model.events.iter().map(row).collect()
}

/// Three digits, with a letter for thousands.
pub(super) fn scaled(mut value: f64, unit: &str) -> String {
    let mut step = 0;
    let letters = ["", "k", "M", "G", "T"];
    while value >= 999.5 && step + 1 < letters.len() {
        value /= 1000.0;
        step += 1;
    }
    let decimals = if value == 0.0 || value >= 99.5 { 0 } else { 1 };
    let behind = format!("{}{unit}", letters[step]);
    let space = if behind.is_empty() { "" } else { " " };
    format!("{value:.decimals$}{space}{behind}")
}

fn micros(value: u64) -> String {
    if value < 1000 { format!("{value} µs") } else { format!("{} ms", scaled(value as f64 / 1000.0, "")) }
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::model;
    use super::*;

    fn texts(state: &State) -> Vec<Vec<String>> {
        let rows = rows(state, &model(), &Flows::default());
        rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect()).collect()
    }

    #[test]
    fn nodes_have_their_sessions_and_rates() {
        let rows = texts(&State::default());
        assert_eq!(rows[0][..4], ["node1 *", "alive", "2h 0m", "192.0.2.1"]);
        assert_eq!(rows[1][..7], ["node2", "suspect", "–", "192.0.2.2", "1", "249 µs", "1.0 k"]);
        assert_eq!(rows[1][12], "0.9.0");
    }

    #[test]
    fn what_is_lost_most_comes_first_and_a_filter_leaves_what_has_its_words() {
        let mut state = State { tab: Tab::Drops, ..State::default() };
        assert_eq!(texts(&state)[0], ["storm_limit", "25", "10.0"]);
        state.filter = "REP".into();
        assert_eq!(texts(&state), [["replay", "0", "0"]]);
    }

    #[test]
    fn a_station_elsewhere_is_an_endpoint_of_that_node() {
        let state = State { tab: Tab::Endpoints, ..State::default() };
        assert_eq!(texts(&state), [["blue", "", "02:00:00:00:00:01", "node2", "remote", "", ""]]);
    }

    #[test]
    fn numbers_in_names_count() {
        assert_eq!(natural("node9", "node10"), Ordering::Less);
        assert_eq!(natural("node10a", "node10b"), Ordering::Less);
        assert_eq!(
            (scaled(0.0, ""), scaled(1234.0, "b"), scaled(999.7, "")),
            ("0".into(), "1.2 kb".into(), "1.0 k".into())
        );
    }
}
