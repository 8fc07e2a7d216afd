//! The cluster as this node sees it: members, keys, tables, clocks, certificates.

use super::super::Finding;
use super::super::facts::{Daemon, Peer};
use super::or_ok;

/// A certificate that ends in less than this should have been renewed long ago: it is, at half of 30 days.
const SOON: u64 = 7 * 86_400;
/// Clocks that are kept by NTP differ by milliseconds.
const CLOCK_WARN_MS: u64 = 5_000;
/// Certificates are made with an hour's slack, of which this is half.
const CLOCK_FAIL_MS: u64 = 30 * 60_000;
/// Tables agree within two seconds of a change. For less long, a difference is news on its way.
const ON_ITS_WAY: u64 = 2;
/// From here on it is none.
const STUCK: u64 = 10;

pub(super) fn check(daemon: &Daemon, now: u64) -> Vec<Finding> {
    if !daemon.in_cluster {
        return vec![Finding::ok("cluster", "this node stands alone")];
    }
    let parts = [
        members(daemon),
        control_ports(daemon),
        sessions(daemon),
        tables(daemon),
        certificate(daemon, now),
        clocks(daemon),
    ];
    let mut findings = parts.concat();
    findings.push(signers(daemon));
    findings
}

fn members(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "members";
    let judge = |peer: &Peer| match peer.state.as_str() {
        "dead" => Some(Finding::fail(
            NAME,
            "it is dead: it answers no probe",
            "look whether its host and daemon run and its control port is open; `weft members rm NODE` if it never returns",
        )),
        "suspect" => Some(Finding::warn(
            NAME,
            "it is suspect: it answered no probe lately",
            "ask again in some seconds; a host that is overloaded or paused does this",
        )),
        _ => None,
    };
    let found = daemon.peers.iter().filter_map(|peer| Some(judge(peer)?.about(&peer.name))).collect();
    or_ok(
        found,
        NAME,
        format!("{} alive, this node included", 1 + daemon.peers.iter().filter(|p| p.is_active()).count()),
    )
}

fn control_ports(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "control-port";
    let judge = |peer: &Peer| {
        let why = peer.unreachable.as_ref()?;
        let seen = format!("TCP {} takes no call from here: {why}", peer.control);
        let remedy =
            "open that port towards this host, on the way and on the other host; `weft doctor` there names its rules";
        Some(Finding::fail(NAME, seen, remedy).about(&peer.name))
    };
    let found = daemon.peers.iter().filter_map(judge).collect();
    or_ok(found, NAME, format!("all {} other members can be reached over TCP", daemon.peers.len()))
}

fn sessions(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "sessions";
    let wanting = |peer: &&Peer| peer.is_active() && peer.shares_sealed && !peer.has_session;
    let found = daemon.peers.iter().filter(wanting).map(|peer| {
        let seen = "there is no session with it: nothing of the sealed networks that both are on can be sent";
        let remedy =
            format!("keys are agreed over its control port, {}: see that it can be reached from here", peer.control);
        Finding::fail(NAME, seen, remedy).about(&peer.name)
    });
    let with = daemon.peers.iter().filter(|peer| peer.has_session).count();
    or_ok(found.collect(), NAME, format!("keys with {with} peers, and with all that share a sealed network"))
}

fn tables(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "tables";
    let differing = |peer: &Peer| {
        let seconds = peer.tables_differ_seconds.filter(|seconds| *seconds >= ON_ITS_WAY)?;
        let seen = format!("its tables have been other than this node's for {seconds} s");
        let remedy = "its control port, or the way to it, loses data: see the findings about it, and its daemon's load";
        let finding =
            if seconds < STUCK { Finding::warn(NAME, seen, remedy) } else { Finding::fail(NAME, seen, remedy) };
        Some(finding.about(&peer.name))
    };
    or_ok(daemon.peers.iter().filter_map(differing).collect(), NAME, "those of the neighbours are this node's")
}

fn certificate(daemon: &Daemon, now: u64) -> Vec<Finding> {
    const NAME: &str = "certificate";
    let Some((begin, end)) = daemon.certificate else {
        return vec![Finding::unknown(
            NAME,
            "the daemon did not say when its certificate ends",
            "restart it with this version",
        )];
    };
    let days = |seconds: u64| format!("{:.1} days", seconds as f64 / 86_400.0);
    vec![if now >= end {
        let seen = format!("it ended {} ago: no member lets this node in", days(now - end));
        let remedy = "see that the clock is right and a signer's control port can be reached: it is renewed within 10 s then; \
                      else join anew with another --state-dir";
        Finding::fail(NAME, seen, remedy)
    } else if now < begin {
        let seen = format!("it begins in {}: this host's clock is behind that of the signer", days(begin - now));
        Finding::fail(NAME, seen, "set the clock (chrony, systemd-timesyncd)")
    } else if end - now < SOON {
        let seen = format!("it ends in {}, and should have been renewed at half its life", days(end - now));
        Finding::warn(NAME, seen, "see that a signer's control port can be reached: `weft members` shows who is one")
    } else {
        Finding::ok(NAME, format!("it is good for {}", days(end - now)))
    }]
}

/// Where all others' clocks differ by the same, it is this host's that is off: the finding is about it then.
fn clocks(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "clock";
    let read = || daemon.peers.iter().filter_map(|peer| Some((peer, peer.clock_offset_ms?)));
    let judge = |about: &str, ahead: i64| {
        let off = ahead.unsigned_abs();
        if off < CLOCK_WARN_MS {
            return None;
        }
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        let seen = format!("its clock is {} {way} the others'", span(off));
        let remedy = "set it, and keep it right with chrony or systemd-timesyncd: certificates begin and end by it";
        let finding =
            if off < CLOCK_FAIL_MS { Finding::warn(NAME, seen, remedy) } else { Finding::fail(NAME, seen, remedy) };
        Some(finding.about(about))
    };
    let offsets: Vec<i64> = read().map(|(_, offset)| offset).collect();
    let right = median(&offsets);
    let here = judge(&daemon.node, -right);
    let others = read().filter_map(|(peer, offset)| judge(&peer.name, offset - right));
    let most = offsets.iter().map(|offset| offset.unsigned_abs()).max();
    let seen = most.map_or_else(
        || "no other member's clock was read".to_owned(),
        |most| format!("all are within {} of this host's", span(most)),
    );
    or_ok(here.into_iter().chain(others).collect(), NAME, seen)
}

/// The median of all clocks, this host's included: one wrong clock among three does not move it. Of two, this host's is
/// taken for right.
fn median(offsets: &[i64]) -> i64 {
    let mut all = [offsets, &[0]].concat();
    all.sort_unstable();
    let middle = [all[(all.len() - 1) / 2], all[all.len() / 2]];
    middle.into_iter().min_by_key(|offset| offset.unsigned_abs()).unwrap_or(0)
}

fn span(ms: u64) -> String {
    match ms {
        0..2_000 => format!("{ms} ms"),
        2_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{:.1} h", ms as f64 / 3.6e6),
    }
}

fn signers(daemon: &Daemon) -> Finding {
    const NAME: &str = "signers";
    if daemon.signers >= 2 || daemon.peers.is_empty() {
        return Finding::ok(NAME, format!("{} members hold the CA's key", daemon.signers));
    }
    let seen = format!("{} member holds the CA's key: with it joins and renewals are lost", daemon.signers);
    Finding::warn(NAME, seen, "add another with `weft signer add NODE`")
}
