//! A sign of life while something takes long: for a person at a terminal, and for nobody else.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use weft::lab::{Host, LabSpec};

use crate::Node;
use crate::harness::{needs, privileged, weft};

/// Runs a command with a terminal for its standard error alone: what it says for programs, and what the terminal shows.
fn at_a_terminal(host: &Host, line: &str) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let (document, shown) = (dir.path().join("document"), dir.path().join("shown"));
    let command = format!("{} {line} > {}", weft().display(), document.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command]).arg(&shown).env("TERM", "xterm");
    let output = host.output(script.stdin(Stdio::null())).unwrap();
    let read = |path| std::fs::read_to_string(path).unwrap();
    // The first line and the last are of `script` itself.
    let shown = read(&shown).lines().filter(|line| !line.starts_with("Script ")).collect::<Vec<_>>().join("\n");
    (output.status.code(), read(&document), shown)
}

#[test]
fn a_command_that_waits_shows_it_at_a_terminal_only() {
    privileged!();
    needs!("script");
    let node = Node::start();
    let status = |more: &str| {
        node.daemon.signal(Signal::SIGSTOP).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(1500));
                node.daemon.signal(Signal::SIGCONT).unwrap();
            });
            at_a_terminal(node.host(), &format!("--socket /run/weft/weft.sock status {more}"))
        })
    };
    let (code, document, shown) = status("");
    assert!(code == Some(0) && document.contains("standalone"), "{document} {shown:?}");
    assert!(shown.contains("waiting for the daemon 1 s") && shown.trim().ends_with("\r\u{1b}[K"), "{shown:?}");
    let (code, document, shown) = status("--json");
    assert_eq!((code, shown.trim()), (Some(0), ""), "{document}");
    assert!(serde_json::from_str::<serde_json::Value>(&document).is_ok(), "{document}");
    // No terminal, no sign: this is how every other test runs commands.
    assert!(node.run("status").stderr.is_empty());
}

#[test]
fn a_join_shows_that_it_goes_on() {
    privileged!();
    needs!("script");
    let lab = weft::lab::Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    // Nobody has this address, so that nothing is answered until the time for a join is over.
    let token = format!("weft1.{}.{}.{}", "aa".repeat(32), "bb".repeat(8), "cc".repeat(32));
    host.run(|| std::fs::create_dir_all("/run/weft").and_then(|()| std::fs::write("/run/weft/token", token)).unwrap())
        .unwrap();
    let up = "up --state-dir /run/weft/state --socket /run/weft/s --docker off --join 192.0.2.77 --token-file /run/weft/token";
    let (code, document, shown) = at_a_terminal(host, up);
    assert_eq!((code, document.as_str()), (Some(1), ""), "{shown:?}");
    assert!(shown.contains("joining the cluster at 192.0.2.77 1 s"), "{shown:?}");
    let last = shown.rsplit("\u{1b}[K").next().unwrap();
    assert!(last.trim_start().starts_with("weft: ") && last.trim().lines().count() == 1, "{shown:?}");
}
