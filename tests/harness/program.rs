//! Other programs on a lab's hosts, which end with the test.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use weft::lab::Host;

/// Keeps the program on a leash: it ends when standard input does, as it does when this process dies.
const LEASH: &str = r#""$@" & child=$!; read -r _; kill "$child"; wait "$child""#;

/// A running program.
pub(crate) struct Program {
    shell: Child,
}

impl Program {
    /// Starts `command` with its arguments on the host; its output goes to `log`.
    pub(crate) fn start(host: &Host, command: &[&str], environment: &[(&str, &Path)], log: &Path) -> Program {
        let log = File::create(log).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", LEASH, "sh"]).args(command).envs(environment.iter().copied());
        shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        Program { shell: host.spawn(&mut shell).unwrap() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // How it ended is nobody's business: it was told to.
        let _ = self.shell.wait();
    }
}

/// Runs a command on the host that must succeed, and returns what it printed.
pub(crate) fn run(host: &Host, command: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = host
        .output(Command::new(command[0]).args(&command[1..]).envs(environment.iter().copied()).stdin(Stdio::null()));
    let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", command[0]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {said}", command.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
