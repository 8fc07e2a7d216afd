//! What needs no daemon, and nothing of the system: these run for everybody.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::{harness::weft, refusal, words};

fn run(line: &str) -> Output {
    Command::new(weft()).args(words(line)).env_remove("WEFT_SOCKET").output().unwrap()
}

#[test]
fn wrong_usage_is_status_2_and_prints_no_document() {
    for line in [
        "",
        "nothing",
        "network",
        "network create",
        "network create blue --vni 0",
        "network create blue --vni 16777216",
        "network create blue --mtu many",
        "network create blue --subnet 10.1.0.0/33",
        "network create blue --ip-range 10.1.0",
        "network create blue --gateway 10.1.0.0/16",
        "network create blue --remote nowhere",
        "network create blue --driver=",
        "attach blue",
        "attach --netns c1",
        "attach blue --netns c1 --mac 02:00",
        "attach blue --netns c1 --ip somewhere",
        "attach blue --netns c1 --ifname=",
        "detach",
        "up --standalone --bootstrap",
        "up --join somewhere",
        "up --standalone --advertise nowhere",
        "up --standalone --vxlan-port 0",
        "up --standalone --docker sometimes",
        "status --no-such-flag",
    ] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(2), "`weft {line}`");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "`weft {line}`");
    }
}

#[test]
fn help_and_version_are_status_0() {
    for line in ["--help", "--version", "up --help", "network create --help"] {
        let output = run(line);
        assert!(output.status.success() && !output.stdout.is_empty(), "`weft {line}`");
    }
}

#[test]
fn without_a_daemon_every_command_says_so_on_one_line() {
    for line in ["status", "members", "network ls", "network rm x", "attach x --netns c1", "detach x", "fdb", "stats"] {
        for line in [format!("--socket /no/such.sock {line}"), format!("{line} --json --socket /no/such.sock")] {
            let said = refusal(&line, &run(&line));
            assert!(said.contains("/no/such.sock") && said.contains("weft up"), "{said}");
        }
    }
    let by_variable = Command::new(weft()).arg("status").env("WEFT_SOCKET", "/no/other.sock").output().unwrap();
    assert!(refusal("status", &by_variable).contains("/no/other.sock"));
}

#[test]
fn without_privileges_the_daemon_does_not_start_and_makes_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let (state, socket) = (dir.path().join("state"), dir.path().join("weft.sock"));
    // By its open file, since whoever has no privileges may not be allowed to walk to where it was built.
    let binary = File::open(weft()).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.args(["up", "--standalone", "--advertise", "127.0.0.1"]);
    command.arg("--state-dir").arg(&state).arg("--socket").arg(&socket);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let said = refusal("up", &command.output().unwrap());
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("root"), "{said}");
    assert!(!state.exists() && !socket.exists());
}
