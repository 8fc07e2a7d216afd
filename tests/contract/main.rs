//! The promises of the command line: what it prints, how it ends, and that a refusal leaves nothing behind.

#[path = "../harness/mod.rs"]
mod harness;

mod configuration;
mod documents;
mod endpoints;
mod listening;
mod local;
mod progress;
mod readiness;
mod refusals;
mod restart;
mod starting;
mod usage;

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;
use weft::lab::{Daemon, Host, Lab, LabSpec};

/// A host with two containers, and a weft on it.
struct Node {
    daemon: Daemon,
    lab: Lab,
}

impl Node {
    fn start() -> Node {
        let lab = Lab::build(LabSpec { containers: 2, ..LabSpec::new(2) }).unwrap();
        Node { daemon: Daemon::start(harness::weft(), &lab.hosts[0], &[]).unwrap(), lab }
    }

    fn host(&self) -> &Host {
        &self.lab.hosts[0]
    }

    /// The path of a container's namespace.
    fn netns(&self, container: usize) -> String {
        self.host().containers[container].netns_arg()
    }

    fn run(&self, line: &str) -> Output {
        self.daemon.weft(self.host(), &words(line)).unwrap()
    }

    /// What it says of itself, without what changes by itself.
    fn status(&self) -> Value {
        let mut status = self.json("status");
        status["uptime_seconds"].take();
        status
    }

    /// Runs a command that must succeed, and returns its document.
    fn json(&self, line: &str) -> Value {
        self.daemon.json(self.host(), &words(line)).unwrap()
    }

    /// Runs a command that must succeed, and returns its text.
    fn text(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "`weft {line}`: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must be refused, and returns the line that says why.
    fn refused(&self, line: &str) -> String {
        refusal(line, &self.run(line))
    }

    /// Ends the daemon as a crash does and starts it again, with only the flags that it needs anew.
    fn crash_and_restart(self) -> Node {
        let Node { daemon, lab } = self;
        daemon.crash().unwrap();
        Node { daemon: Daemon::start(harness::weft(), &lab.hosts[0], &[]).unwrap(), lab }
    }

    fn state_of(&self, endpoint: &str) -> String {
        let network = self.json("network inspect blue");
        let endpoints = network["endpoints"].as_array().unwrap();
        let found = endpoints.iter().find(|e| e["endpoint"] == endpoint).unwrap();
        found["state"].as_str().unwrap().to_owned()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Checks that a command was refused as the contract says, and returns the line that says why.
fn refusal(line: &str, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "`weft {line}` ended with {}: {stderr}", output.status);
    assert!(output.stdout.is_empty(), "`weft {line}` printed a document");
    assert_eq!(stderr.lines().count(), 1, "`weft {line}` said: {stderr}");
    assert!(stderr.starts_with("weft: ") && stderr.ends_with('\n'), "{stderr}");
    stderr
}

/// The names of a document's fields.
fn fields(document: &Value) -> BTreeSet<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}
