//! A host whose clock is an hour fast.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::harness::{needs, privileged};

/// Stands before the C library's clock: the time of day is an hour later, other clocks are as they were.
const FAST: &str = r"
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec += 3600;
    return done;
}
";

/// A weft for which it is an hour later.
fn fast_weft(dir: &Path) -> PathBuf {
    let (source, library, program) = (dir.join("fast.c"), dir.join("fast.so"), dir.join("weft"));
    std::fs::write(&source, FAST).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(compiled.success());
    let script = format!("#!/bin/sh\nLD_PRELOAD={} exec {} \"$@\"\n", library.display(), weft().display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn a_clock_that_is_an_hour_fast_is_named_on_all_hosts() {
    privileged!();
    needs!("cc");
    let lab = Lab::build(LabSpec::new(3)).unwrap();
    let [a, b, c] = &lab.hosts[..] else { unreachable!() };
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::bootstrap(weft(), a, &[]).unwrap();
    let token = first.token(a).unwrap();
    let second = Daemon::join(weft(), b, a, &token, &[]).unwrap();
    let fast = Daemon::join(&fast_weft(dir.path()), c, a, &token, &[]).unwrap();
    for (host, daemon) in [(a, &first), (b, &second), (c, &fast)] {
        let mut last = None;
        eventually("the clock is named", || {
            let diagnosis = Diagnosis::of(host, daemon);
            let named = diagnosis.names("clock", &["\"about\":\"node3\"", "60 min ahead"]);
            last = Some(diagnosis);
            named
        });
        // Nobody else is accused.
        let diagnosis = last.unwrap();
        let accused = diagnosis.findings.iter().filter(|f| f["check"] == "clock" && f["state"] != "ok").count();
        assert!(accused == 1 && !diagnosis.well, "{:#?}", diagnosis.complaints());
    }
    // Nobody has to ask: the node itself and those beside it say so, once.
    for (host, daemon, said) in [
        (a, &first, "the clock of node node3 ("),
        (b, &second, "the clock of node node3 ("),
        (c, &fast, "this node's clock is 3600 s ahead of the others'"),
    ] {
        let events = || daemon.json(host, &["events"]).unwrap().as_array().unwrap().clone();
        let told = || events().into_iter().filter(|event| event["kind"] == "clock_off").collect::<Vec<_>>();
        eventually("the clock is told of", || !told().is_empty());
        let told = told();
        assert!(told.len() == 1 && told[0]["text"].as_str().unwrap().contains(said), "{told:?}");
    }
    let ahead = fast.json(c, &["status"]).unwrap()["clock_ahead_ms"].as_i64().unwrap();
    assert!((3_595_000..3_605_000).contains(&ahead), "{ahead}");
    // And it goes on: its containers reach others at the first try.
    let daemons = [first, second, fast];
    weft::lab::overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    for (from, to) in [(c, a), (b, c)] {
        let to = to.containers[0].ip();
        let rtt = weft::traffic::ping::once(&from.containers[0].netns, to, crate::harness::PATIENCE).unwrap();
        assert!(rtt.is_some(), "{to} is not reached from {}", from.name);
    }
}
