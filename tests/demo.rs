//! `weft demo` keeps what the README promises: it shows an overlay, tells the truth, and leaves nothing behind.

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{privileged, weft};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A variable that marks a demo and whatever it starts.
const TAG: &str = "WEFT_TEST_TAG";

/// The running processes that have `tag` in their environment, as all that a tagged demo starts have.
///
/// A zombie, which waits for its new parent to look at it, has ended and has no environment any more.
fn tagged(tag: &str) -> Vec<String> {
    let line = format!("{TAG}={tag}\0").into_bytes();
    let has_it = |process: &fs::DirEntry| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.windows(line.len()).any(|window| window == line)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(has_it);
    processes.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a long demo and waits until it measures.
fn measuring(tag: &str) -> Child {
    let mut command = Command::new(weft());
    command.env(TAG, tag);
    command.args(["demo", "--nodes", "2", "--seconds", "60"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut demo = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(demo.stderr.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("TCP")), "the demo did not come to its measurement");
    assert_eq!(tagged(tag).len(), 3, "the demo and its two daemons");
    demo
}

#[test]
fn a_demo_passes_and_leaves_no_file() {
    privileged!();
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(weft());
    command.args(["demo", "--seconds", "1"]).env("TMPDIR", temp.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let (tables, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{progress}\n{tables}");
    for word in ["node3", "10.77.0.3", "2 of 2", "Gb/s", "received", "passed"] {
        assert!(tables.contains(word), "no {word} in:\n{tables}");
    }
    assert!(progress.contains("one sealed network on all"), "{progress}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_ends_the_demo_and_its_daemons_at_once() {
    privileged!();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut demo = measuring("signal");
        kill(Pid::from_raw(demo.id().try_into().unwrap()), signal).unwrap();
        let start = Instant::now();
        assert_eq!(demo.wait().unwrap().code(), Some(128 + signal as i32));
        assert!(start.elapsed() < Duration::from_secs(5), "{signal} took {:?}", start.elapsed());
        assert_eq!(tagged("signal"), [""; 0], "{signal} left a daemon");
    }
}

#[test]
fn a_killed_demo_takes_its_daemons_with_it() {
    privileged!();
    let mut demo = measuring("kill");
    demo.kill().unwrap();
    demo.wait().unwrap();
    within(Duration::from_secs(5), "the daemons end", || tagged("kill").is_empty());
}

#[test]
fn a_demo_that_fails_says_why_and_leaves_no_daemon() {
    privileged!();
    // Not enough open files for eight nodes: some daemons start, then something is refused.
    let script = "ulimit -n 45; exec \"$0\" demo --nodes 8";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(weft()).env(TAG, "failure").stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(tagged("failure"), [""; 0]);
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("weft: ") && last.contains("Too many open files"), "{told}");
}

#[test]
fn demos_that_show_nothing_are_refused() {
    for (args, reason) in [
        (["--nodes", "0"], "nobody to talk to"),
        (["--nodes", "1"], "nobody to talk to"),
        (["--nodes", "65"], "too many"),
        (["--seconds", "0"], "0 seconds"),
    ] {
        let output = Command::new(weft()).arg("demo").args(args).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains(reason) && told.lines().count() == 1, "{args:?}: {told}");
    }
}
