//! The metrics page: what it is made of, what it costs, and how it is served.

#[path = "../harness/mod.rs"]
mod harness;

mod grammar;
mod page;
mod prometheus;
mod rules;
mod serving;

use std::io::Write;
use std::process::{Command, Stdio};

/// Has `promtool` judge what it reads from standard input, where it is installed.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("NOT RUN: promtool {}, which is not installed", arguments.join(" "));
        return;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    assert!(!said.contains("error") && !said.contains("FAILED"), "promtool {}: {said}", arguments.join(" "));
}
