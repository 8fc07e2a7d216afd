//! What the tests that need devices share: the right to make them, and a weft to test.
//!
//! A test that needs namespaces begins with [`privileged!`]. As root it just runs. Otherwise the test runs itself again
//! inside a user namespace, in which it is root; where the system allows neither, it says so and is skipped, or fails
//! if `WEFT_REQUIRE_DEVICES` is set, as it is in CI.
#![allow(dead_code)] // each test binary uses its part

use std::path::Path;
use std::process::{Command, Stdio};

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

fn skip(why: &str) -> bool {
    assert!(std::env::var_os(REQUIRE).is_none(), "this test needs devices and {REQUIRE} is set: {why}");
    eprintln!("SKIPPED: this test needs network namespaces and a TUN device: {why}");
    false
}
