//! Real Docker Engines on a lab's hosts, each with its own data, sockets and containers in the host's private /run.
//!
//! What needs an engine is skipped where none is installed, unless `WEFT_REQUIRE_DOCKER` is set, as it is in CI. An engine
//! that is not installed is taken from the directory `WEFT_DOCKERD_DIR`; `tests/docker/newer-engine.sh` fills one. The image
//! is made here of a static busybox: nothing is pulled.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempPath;
use weft::lab::Host;

use super::PATIENCE;
use super::program::Program;

/// Set: a test that has no Docker Engine fails and is not skipped.
const REQUIRE: &str = "WEFT_REQUIRE_DOCKER";

/// A directory with programs of an engine, which go before those that are installed.
const DIRECTORY: &str = "WEFT_DOCKERD_DIR";

/// What a test with engines needs, with the Debian packages that have it.
const NEEDED: [(&str, &str); 4] =
    [("dockerd", "docker.io"), ("docker", "docker.io"), ("busybox", "busybox-static"), ("tar", "tar")];

/// The name of the image.
pub(crate) const IMAGE: &str = "box";

/// Commands of the image.
const APPLETS: [&str; 9] = ["sh", "ip", "ping", "wget", "httpd", "sleep", "cat", "nslookup", "nc"];

/// Where the engine of a host listens.
pub(crate) const SOCKET: &str = "unix:///run/docker.sock";
const PID_FILE: &str = "/run/docker.pid";
const PID_FILES: [&str; 2] = [PID_FILE, "/run/docker/containerd/containerd.pid"];

/// Where the engine's programs are looked for.
pub(crate) fn path() -> OsString {
    let own = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let installed = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&installed))).unwrap()
}

/// True when engines can be run here; says why if not.
pub(crate) fn has_engine() -> bool {
    let path = path();
    let there = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let missing: Vec<_> = NEEDED.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect();
    // An engine mounts and makes control groups, which a user namespace does not give.
    let root =
        nix::unistd::geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_real(&map));
    let why = match (missing.is_empty(), root) {
        (true, true) => return true,
        (false, _) => format!("needs the packages {}", missing.join(", ")),
        (true, false) => "needs to be root, outside of a user namespace".to_owned(),
    };
    assert!(std::env::var_os(REQUIRE).is_none(), "this test {why} ({REQUIRE} is set)");
    eprintln!("SKIPPED: {why}");
    false
}

fn is_real(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// An engine on a host. Its containers end with it.
pub(crate) struct Engine<'a> {
    host: &'a Host,
    program: Option<Program>,
    log: TempPath,
}

impl<'a> Engine<'a> {
    /// Starts an engine, and gives it the image.
    pub(crate) fn start(host: &'a Host) -> Engine<'a> {
        let log = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let engine = Engine { host, program: Some(run(host, &log)), log };
        engine.wait();
        engine.import();
        engine
    }

    /// Runs `docker` with these words. Text within `'` is one word.
    pub(crate) fn docker(&self, line: &str) -> Output {
        self.host.output(&mut client(line)).unwrap()
    }

    /// Starts `docker` with these words, with what it prints for whoever calls.
    pub(crate) fn spawn(&self, line: &str) -> Child {
        self.host.spawn(client(line).stdout(Stdio::piped())).unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.docker(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`docker {line}` on {}: {said}", self.host.name);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs a command that must be refused, and returns what it said.
    pub(crate) fn refused(&self, line: &str) -> String {
        let output = self.docker(line);
        assert!(!output.status.success(), "`docker {line}` on {} was not refused", self.host.name);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Ends the engine, as a crash does if `crash`, and starts it again.
    pub(crate) fn restart(&mut self, crash: bool) {
        self.end(crash);
        self.begin();
    }

    /// Ends the engine, as a crash does if `crash`.
    pub(crate) fn end(&mut self, crash: bool) {
        if crash {
            let pid = self.host.run(|| fs::read_to_string(PID_FILE)).unwrap().unwrap();
            kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
        }
        self.program = None;
    }

    /// Starts an engine that has ended.
    pub(crate) fn begin(&mut self) {
        self.launch();
        self.wait();
    }

    /// Starts an engine that has ended, and does not wait until it answers.
    pub(crate) fn launch(&mut self) {
        // Its containerd dies with it, and may lie unburied under the process id that the next engine finds here.
        self.host.run(|| PID_FILES.map(|file| fs::remove_file(file).ok())).unwrap();
        self.program = Some(run(self.host, &self.log));
    }

    /// Waits until the engine answers.
    pub(crate) fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.docker("version").status.success() {
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < deadline, "the engine does not answer; its log:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn import(&self) {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let busybox = std::env::split_paths(&path).map(|d| d.join("busybox")).find(|p| p.is_file()).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let archive = root.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&archive).arg("bin").status();
        assert!(packed.unwrap().success());
        self.run(&format!("import {} {IMAGE}", archive.display()));
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        // Containers outlive an engine that is told to end while they start.
        let all = self.docker("ps --all --quiet");
        let ids = String::from_utf8_lossy(&all.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        if !ids.is_empty() {
            self.docker(&format!("rm --force {ids}"));
        }
    }
}

fn run(host: &Host, log: &Path) -> Program {
    let command = [
        "dockerd",
        "--data-root=/run/docker-data",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        "--host=unix:///run/docker.sock",
        "--storage-driver=vfs",
    ];
    Program::start(host, &command, &[("PATH", Path::new(&path()))], log)
}

fn client(line: &str) -> Command {
    let mut command = Command::new("docker");
    command.args(["--host", SOCKET]).args(words(line)).stdin(Stdio::null()).env("DOCKER_CONFIG", "/run/docker-cli");
    command.env("PATH", path());
    command
}

/// Splits a line at spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
