//! The checks: facts in, findings out. Each says at least one thing, so that a report shows what was looked at.

mod cluster;
mod host;
mod stations;
#[cfg(test)]
mod tests;
mod traffic;
mod underlay;

use super::facts::{Daemon, Facts};
use super::{Finding, State};

/// Judges all that was seen. The worst comes last, where a terminal shows it.
pub fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = host::check(&facts.host, facts.daemon.as_ref());
    findings.push(daemon(facts));
    findings.extend(underlay::firewall(&facts.host.firewall));
    if let Some(daemon) = &facts.daemon {
        findings.extend(cluster::check(daemon, facts.host.now));
        findings.extend(underlay::check(daemon, &facts.paths));
        findings.extend(stations::check(daemon));
        findings.extend(traffic::check(daemon));
    }
    findings.sort_by_key(|finding| finding.state);
    findings
}

fn daemon(facts: &Facts) -> Finding {
    const NAME: &str = "daemon";
    match (&facts.daemon, &facts.no_daemon) {
        (Some(Daemon { ready: false, .. }), _) => Finding::fail(
            NAME,
            "it has not become ready: it is restoring its endpoints",
            "wait a moment; if that does not help, its log says what it waits for",
        ),
        (Some(daemon), _) => Finding::ok(NAME, format!("{} runs weft {} and is ready", daemon.node, daemon.version)),
        (None, why) => Finding::fail(
            NAME,
            why.clone().unwrap_or_else(|| "no daemon answers".to_owned()),
            "only the host was looked at: ask again when the daemon runs",
        ),
    }
}

/// The findings, or that there is nothing to find.
fn or_ok(findings: Vec<Finding>, name: &'static str, seen: impl Into<String>) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::ok(name, seen)] } else { findings }
}

/// True unless something failed.
pub fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state != State::Fail)
}
