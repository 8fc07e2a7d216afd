//! What the tests that need devices share: the right to make them, a weft to test, and peers made by hand.
//!
//! A test that needs namespaces begins with [`privileged!`]. As root it just runs. Otherwise the test runs itself again
//! inside a user namespace, in which it is root; where the system allows neither, it says so and is skipped, or fails
//! if `WEFT_REQUIRE_DEVICES` is set, as it is in CI. [`needs!`] does the same for a program that may not be installed.
//!
//! Nothing here measures time. What must happen is waited for, long; that something did not happen is known once a
//! later frame of the same way has arrived.
#![allow(dead_code, unused_imports, unused_macros)] // each test binary uses its part

pub(crate) mod content;
pub(crate) mod engine;
pub(crate) mod frames;
pub(crate) mod node;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod secrets;
pub(crate) mod vtep;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weft::sandbox::Netns;

/// Set: a test that cannot have its devices fails and is not skipped.
const REQUIRE: &str = "WEFT_REQUIRE_DEVICES";

/// Set in the process that already is inside a user namespace.
const INSIDE: &str = "WEFT_TEST_IN_USERNS";

/// Returns from the test unless it may make namespaces and devices; see the module's documentation.
macro_rules! privileged {
    () => {
        if !$crate::harness::may_go_on({
            fn here() {}
            std::any::type_name_of_val(&here)
        }) {
            return;
        }
    };
}
pub(crate) use privileged;

/// Returns from the test unless these programs are installed; see the module's documentation.
macro_rules! needs {
    ($($program:literal),+) => {
        if !$crate::harness::has(&[$($program),+]) {
            return;
        }
    };
}
pub(crate) use needs;

/// How long a test waits for what must happen: far longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `done`.
pub(crate) fn eventually(what: &str, done: impl FnMut() -> bool) {
    within(PATIENCE, what, done);
}

/// Waits until `done`, where that takes its time.
pub(crate) fn within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command of `ip`, which must succeed, in a namespace, and returns what it prints.
pub(crate) fn ip(netns: &Netns, line: &str) -> String {
    let output = netns.run(|| Command::new("ip").args(line.split_whitespace()).output()).unwrap().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The binary under test.
pub(crate) fn weft() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_weft"))
}

/// Decides for the test whose inner function is called `here`.
pub(crate) fn may_go_on(here: &str) -> bool {
    match able() {
        Ok(()) => true,
        Err(why) if std::env::var_os(INSIDE).is_some() => skip(&why),
        Err(why) => again_in_user_namespace(here, &why),
    }
}

/// Why this process could not run a lab, if it could not.
fn able() -> Result<(), String> {
    Netns::anonymous().map_err(|error| error.to_string())?;
    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    tun.map(drop).map_err(|error| format!("cannot open /dev/net/tun: {error}"))
}

fn again_in_user_namespace(here: &str, why: &str) -> bool {
    // `binary::module::test::here`: libtest's name of the test is without the first and the last part.
    let name = here.split_once("::").and_then(|(_, path)| path.rsplit_once("::")).map_or(here, |(path, _)| path);
    let binary = std::env::current_exe().expect("the test binary has a path");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--"]).arg(binary);
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1").stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => false,
        // unshare itself ends with 1 where it is refused; a failed test ends with 101.
        Ok(status) if status.code() == Some(1) => skip(&format!("{why}, and a user namespace is refused")),
        Ok(status) => panic!("{name} failed inside a user namespace: {status}"),
        Err(error) => skip(&format!("{why}, and cannot run unshare: {error}")),
    }
}

/// True when all of `programs` are installed.
pub(crate) fn has(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let missing: Vec<_> = programs.iter().copied().filter(|program| !installed(program)).collect();
    missing.is_empty() || skip_for(&format!("needs {} in the PATH", missing.join(" and ")))
}

fn skip(why: &str) -> bool {
    skip_for(&format!("needs network namespaces and a TUN device: {why}"))
}

fn skip_for(need: &str) -> bool {
    assert!(std::env::var_os(REQUIRE).is_none(), "this test {need} ({REQUIRE} is set)");
    eprintln!("SKIPPED: {need}");
    false
}
