//! Faults made on purpose in clusters of real daemons: `weft doctor` names each in one run.
//!
//! A cluster without faults comes first: who accuses the healthy is believed by nobody. Faults that leave no trace share
//! a cluster, one after the other, each healed before the next.

#[path = "../harness/mod.rs"]
mod harness;

mod archive;
mod clock;
mod cluster;
mod keys;
mod standalone;
mod tables;

use std::process::Command;

use serde_json::Value;
use weft::lab::{Container, Daemon, Host, Lab, LabSpec, overlay};

use harness::{eventually, program, weft};

/// What a run of the doctor says.
struct Diagnosis {
    findings: Vec<Value>,
    well: bool,
}

impl Diagnosis {
    /// Runs the doctor on a host.
    fn of(host: &Host, daemon: &Daemon) -> Diagnosis {
        let output = daemon.weft(host, &["doctor", "--json"]).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
        });
        let well = report["well"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!well)), "{report:#}");
        Diagnosis { findings: report["findings"].as_array().unwrap().clone(), well }
    }

    /// Whether a check that is not content says all these words.
    fn names(&self, check: &str, words: &[&str]) -> bool {
        self.findings.iter().any(|finding| {
            let text = finding.to_string();
            let bad = finding["state"] == "fail" || finding["state"] == "warn";
            finding["check"] == check && bad && words.iter().all(|word| text.contains(word))
        })
    }

    /// Fails unless a check that is not content says all these words.
    #[track_caller]
    fn must_name(&self, check: &str, words: &[&str]) {
        assert!(self.names(check, words), "{check} does not say {words:?}:\n{:#?}", self.complaints());
    }

    /// Fails if this check is not content.
    #[track_caller]
    fn must_not_name(&self, check: &str) {
        assert!(!self.names(check, &[]), "{:#?}", self.complaints());
    }

    /// What is not content.
    fn complaints(&self) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["state"] != "ok").collect()
    }
}

/// Runs a command on a host that must succeed.
fn on(host: &Host, line: &str) -> String {
    program::run(host, &line.split_whitespace().collect::<Vec<_>>(), &[])
}

/// A host's rule against what comes in, until it is dropped.
struct Rule<'a> {
    host: &'a Host,
}

impl<'a> Rule<'a> {
    fn new(host: &'a Host, rule: &str) -> Rule<'a> {
        on(host, "nft add table inet fault");
        on(host, "nft add chain inet fault in { type filter hook input priority -200 ; }");
        on(host, &format!("nft add rule inet fault in {rule}"));
        Rule { host }
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        on(self.host, "nft delete table inet fault");
    }
}
