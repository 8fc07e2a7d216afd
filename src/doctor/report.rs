//! The report: one JSON document, or lines that people read.

use std::fmt::Write;

use serde::Serialize;

use super::{Finding, State};
use crate::cli::style::{Style, Tone};

/// The JSON document of `weft doctor`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// Nothing failed.
    pub well: bool,
    /// What each check found; the worst comes last.
    pub findings: &'a [Finding],
}

/// The report for people: what is well on one line each, what is not with what to do.
pub fn text(findings: &[Finding], style: Style) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let about = finding.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
        let state = word(finding.state, style);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{state}  {:width$}  {about}{}", finding.check, finding.seen);
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "{:8}{:width$}→ {}", "", "", finding.remedy);
        }
    }
    text + &summary(findings)
}

fn summary(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (ok, unknown, warn, fail) = (count(State::Ok), count(State::Unknown), count(State::Warn), count(State::Fail));
    format!("\n{ok} ok, {unknown} unknown, {warn} to look at, {fail} failed\n")
}

fn word(state: State, style: Style) -> String {
    let (word, tone) = match state {
        State::Ok => ("ok  ", Tone::Good),
        State::Unknown => ("?   ", Tone::Faint),
        State::Warn => ("warn", Tone::Doubt),
        State::Fail => ("FAIL", Tone::Bad),
    };
    style.paint(word, tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let fail = Finding::fail("path-mtu", "a black hole", "raise the MTU").about("b");
        vec![Finding::ok("tun", "all is there"), fail]
    }

    #[test]
    fn people_read_aligned_lines_and_what_to_do() {
        let text = text(&findings(), Style::PLAIN);
        let expected = "ok    tun       all is there\nFAIL  path-mtu  b: a black hole\n                → raise the MTU\n\n1 ok, 0 \
                        unknown, 0 to look at, 1 failed\n";
        assert_eq!(text, expected);
        assert!(super::text(&findings(), Style { coloured: true }).contains("\u{1b}[31mFAIL\u{1b}[0m"));
    }

    #[test]
    fn scripts_read_json() {
        let findings = findings();
        let report = serde_json::to_value(Report { well: false, findings: &findings }).unwrap();
        assert_eq!(report["well"], false);
        let second = &report["findings"][1];
        assert_eq!(
            (&second["check"], &second["state"], &second["about"]),
            (&"path-mtu".into(), &"fail".into(), &"b".into())
        );
        assert_eq!(second["do"], "raise the MTU");
        assert!(report["findings"][0].get("about").is_none());
    }
}
