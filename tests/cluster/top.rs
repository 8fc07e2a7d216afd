//! `weft top` in a terminal: what it shows of a real cluster, what keys do, and how it leaves the terminal.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weft::lab::{Daemon, Host, Lab, LabSpec, overlay};
use weft::traffic::udp::{self, FloodSpec};

use crate::harness::{PATIENCE, needs, privileged, weft};

/// A terminal of 140 columns and 40 lines in which `weft top` runs.
struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Terminal {
    fn open(host: &Host) -> Terminal {
        let command = format!("stty rows 40 cols 140; exec {} top --interval 0.2", weft().display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]).env("TERM", "xterm");
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = host.spawn(&mut script).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = stdout.read(&mut bytes) {
                if count == 0 || send.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, output, screen: vt100::Parser::new(40, 140, 0) }
    }

    fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen is as wanted.
    fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.screen.screen().contents()) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}\n{}", self.screen.screen().contents());
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(50)) {
                self.screen.process(&bytes);
            }
        }
    }

    /// A line that has all these words.
    fn line(&mut self, words: &[&str]) {
        self.wait(&words.join(" "), |screen| screen.lines().any(|line| words.iter().all(|word| line.contains(word))));
    }

    /// Waits for the end. The terminal is as it was: the screen of before, with its cursor.
    fn end(mut self) {
        let status = self.child.wait().unwrap();
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(5)) {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that has failed leaves nobody behind; one that has passed finds nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn top_shows_nodes_endpoints_flows_and_drops_as_they_change() {
    privileged!();
    needs!("script", "stty");
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let mut daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    let host = &lab.hosts[0];
    let mut terminal = Terminal::open(host);
    terminal.line(&["node2", "alive", "s  192.0.2.2", "aes-256-gcm", env!("CARGO_PKG_VERSION")]);
    terminal.press("2");
    terminal.line(&["blue", "10.77.0.2", "node2", "remote"]);
    terminal.press("/10.77.0.1\r");
    terminal
        .wait("only what the filter leaves", |screen| screen.contains("10.77.0.1") && !screen.contains("10.77.0.2"));
    terminal.press("/\u{1b}");
    // With a key at once behind it, Escape would be that key's Alt.
    terminal.wait("no filter", |screen| screen.contains("10.77.0.2") && screen.contains("q quit"));

    let (from, to) = (&lab.hosts[0].containers[0], &lab.hosts[1].containers[0]);
    thread::scope(|scope| {
        let flood = FloodSpec { flows: 1, rate: Some(2000), duration: Duration::from_secs(3), ..FloodSpec::default() };
        scope.spawn(move || udp::flood(&from.netns, &to.netns, to.ip(), &flood).unwrap());
        terminal.press("4");
        terminal.line(&["UDP 10.77.0.1:", "10.77.0.2:", "blue", "out", " k"]);
    });
    terminal.press("5");
    terminal.line(&["storm_limit", "0"]);
    terminal.press("6");
    terminal.line(&["member_joined", "node2"]);

    // The daemon goes, and comes back.
    terminal.press("1");
    daemons.remove(0).crash().unwrap();
    terminal.line(&["no answer"]);
    let again = Daemon::up(weft(), host, &[]).unwrap();
    terminal.line(&["node2", "alive"]);
    terminal.wait("there is an answer", |screen| !screen.contains("no answer"));

    // One that hangs does not hold the user up.
    again.signal(Signal::SIGSTOP).unwrap();
    terminal.line(&["no answer", "silent"]);
    terminal.press("q");
    terminal.end();
    again.signal(Signal::SIGCONT).unwrap();
}

#[test]
fn top_is_for_a_terminal_and_says_what_scripts_ask() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let daemon = Daemon::start(weft(), &lab.hosts[0], &[]).unwrap();
    let output = daemon.weft(&lab.hosts[0], &["top"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("weft --json status") && said.contains("--once"), "{said}");

    let once = |table: &str| {
        let output = daemon.weft(&lab.hosts[0], &["top", "--once", "--interval", "0.2", "--table", table]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let nodes = once("nodes");
    assert!(nodes.starts_with("node1 192.0.2.1 standalone") && nodes.contains("alive"), "{nodes}");
    assert!(!nodes.contains('\u{1b}') && nodes.lines().all(|line| line.trim_end() == line), "{nodes:?}");
    assert!(once("drops").lines().any(|line| line.split_whitespace().eq(["storm_limit", "0", "0"])));
    assert!(once("flows").contains("FRAMES/S"));
}
