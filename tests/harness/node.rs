//! A weft on a host of a lab, spoken to by its command line as a user would.

use std::collections::BTreeMap;

use serde_json::Value;
use weft::lab::{Container, Daemon, Host};
use weft_vtep::addr::Mac;

/// A weft and the host that it runs on.
pub(crate) struct Node<'a> {
    pub(crate) host: &'a Host,
    pub(crate) daemon: Daemon,
    more: Vec<&'a str>,
}

impl<'a> Node<'a> {
    /// Starts a weft with one worker, so that what enters first is counted first.
    pub(crate) fn start(host: &'a Host) -> Node<'a> {
        Node::with(host, &["--workers", "1"])
    }

    /// Starts a weft with further arguments of `weft up`.
    pub(crate) fn with(host: &'a Host, more: &[&'a str]) -> Node<'a> {
        let daemon = Daemon::start(super::weft(), host, more).unwrap();
        Node { host, daemon, more: more.to_vec() }
    }

    /// A weft that was started otherwise, such as a member of a cluster.
    pub(crate) fn of(host: &'a Host, daemon: Daemon) -> Node<'a> {
        Node { host, daemon, more: Vec::new() }
    }

    /// Runs a command that must succeed, and returns its document.
    pub(crate) fn run(&self, line: &str) -> Value {
        self.daemon.json(self.host, &line.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    /// Makes a plain network with the subnets of a lab's containers and these remotes.
    pub(crate) fn network(&self, name: &str, vni: u32, remotes: &[&Host], more: &str) {
        let remotes: String = remotes.iter().map(|host| format!(" --remote {}", host.address)).collect();
        let subnets = "--subnet 10.77.0.0/16 --subnet fd77::/64";
        self.run(&format!("network create {name} --plain --vni {vni} {subnets}{remotes} {more}"));
    }

    /// Attaches a container with its addresses, and returns the MAC that its eth0 has.
    pub(crate) fn attach(&self, network: &str, container: &Container) -> Mac {
        let ips = [container.v4.to_string(), container.v6.to_string()];
        let endpoint = self.daemon.attach(self.host, network, container, &ips).unwrap();
        endpoint["mac"].as_str().unwrap().parse().unwrap()
    }

    /// The counters.
    pub(crate) fn stats(&self) -> Stats {
        let stats = self.run("stats");
        let numbers = |of: &str| {
            let map = stats[of].as_object().unwrap();
            map.iter().map(|(name, number)| (name.clone(), number.as_u64().unwrap())).collect()
        };
        Stats { totals: numbers("totals"), drops: numbers("drops") }
    }

    /// The forwarding table: where each station of each network lives.
    pub(crate) fn fdb(&self) -> BTreeMap<(u64, Mac), Row> {
        let rows = self.run("fdb");
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| {
            let place = text(row, "port") + &text(row, "vtep");
            ((row["vni"].as_u64().unwrap(), text(row, "mac").parse().unwrap()), Row { kind: text(row, "kind"), place })
        };
        rows.as_array().unwrap().iter().map(row).collect()
    }

    /// Ends the daemon as a crash does, and starts it again.
    pub(crate) fn crash_and_restart(self) -> Node<'a> {
        let Node { host, daemon, more } = self;
        daemon.crash().unwrap();
        Node::again(host, &more)
    }

    /// Starts a weft that the state directory remembers.
    pub(crate) fn again(host: &'a Host, more: &[&'a str]) -> Node<'a> {
        let daemon = Daemon::up(super::weft(), host, more).unwrap();
        Node { host, daemon, more: more.to_vec() }
    }

    /// Checks that the daemon lives and has nothing bad to say.
    pub(crate) fn is_well(&self) {
        self.run("status");
        let log = self.daemon.log();
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

/// A row of the forwarding table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) kind: String,
    /// The endpoint, or the VTEP's address.
    pub(crate) place: String,
}

impl Row {
    /// The row of a station that was seen behind this host's VTEP.
    pub(crate) fn learned(host: &Host) -> Row {
        Row { kind: "learned".into(), place: host.address.to_string() }
    }
}

/// What `weft stats` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stats {
    totals: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
}

impl Stats {
    /// One of the totals, such as `rx_frames`.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.totals[name]
    }

    /// How many frames were dropped for this reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.drops[reason]
    }

    /// The reasons for which frames were dropped since `before` (`default()` is the start), and how many.
    pub(crate) fn drops_since(&self, before: &Stats) -> BTreeMap<String, u64> {
        let earlier = |reason: &str| before.drops.get(reason).copied().unwrap_or(0);
        let more = |(reason, count): (&String, &u64)| (reason.clone(), count - earlier(reason));
        self.drops.iter().map(more).filter(|(_, count)| *count > 0).collect()
    }
}
