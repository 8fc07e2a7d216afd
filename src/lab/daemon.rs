//! A real `weft up --standalone` on a host of a lab.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Container, Host, UPLINK, cpu_time};

/// The daemon's state and socket, in the host's private /run.
const STATE_DIR: &str = "/run/weft/state";
const SOCKET: &str = "/run/weft/weft.sock";
const TOKEN_FILE: &str = "/run/weft/token";

/// How long a daemon may take to say "ready", and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running daemon. It ends when this value is dropped, and, since it watches its standard input, when this process
/// dies.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    binary: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts `binary up --standalone` on the host, with further arguments, and waits until it says that it is ready.
    pub fn start(binary: &Path, host: &Host, more: &[&str]) -> Result<Self> {
        Self::up(binary, host, &[&["--standalone"], more].concat())
    }

    /// Starts `binary up --bootstrap` on the host: the first node of a new cluster.
    pub fn bootstrap(binary: &Path, host: &Host, more: &[&str]) -> Result<Self> {
        Self::up(binary, host, &[&["--bootstrap"], more].concat())
    }

    /// Starts `binary up --join` on the host: one more node of the cluster that `member` is in.
    pub fn join(binary: &Path, host: &Host, member: &Host, token: &str, more: &[&str]) -> Result<Self> {
        let written = host.run(|| fs::create_dir_all("/run/weft").and_then(|()| fs::write(TOKEN_FILE, token)))?;
        written.with_context(|| format!("cannot write {TOKEN_FILE} on {}", host.name))?;
        let member = member.address.to_string();
        Self::up(binary, host, &[&["--join", &member, "--token-file", TOKEN_FILE], more].concat())
    }

    /// A new join token of the cluster.
    pub fn token(&self, host: &Host) -> Result<String> {
        let document = self.json(host, &["token", "create"])?;
        document["token"].as_str().map(str::to_owned).context("`weft token create` printed no token")
    }

    /// Starts `binary up` on the host, with further arguments, and waits until it says that it is ready.
    pub fn up(binary: &Path, host: &Host, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["up", "--until-stdin-closes", "--state-dir", STATE_DIR, "--socket", SOCKET]);
        command.args(["--name", &host.name, "--advertise", &host.address.to_string()]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Its own process group: a Ctrl-C is for this process, which then ends its daemons in order.
        command.process_group(0);
        let spawned = host.run(|| fs::create_dir_all("/run/weft").and_then(|()| command.spawn()))?;
        let mut child = spawned.with_context(|| format!("cannot start {}", binary.display()))?;
        let stderr = child.stderr.take().context("the daemon has no standard error")?;
        let log = Arc::default();
        let (ready, is_ready) = channel();
        thread::spawn({
            let log = Arc::clone(&log);
            move || listen(stderr, &log, &ready)
        });
        let mut daemon = Daemon { child, binary: binary.to_owned(), log };
        daemon.wait_ready(&is_ready).with_context(|| format!("the daemon of {} did not start", host.name))?;
        Ok(daemon)
    }

    fn wait_ready(&mut self, is_ready: &Receiver<()>) -> Result<()> {
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("not ready after {PATIENCE:?}; its log:\n{}", self.log())),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                Err(anyhow!("it ended with {status}; its log:\n{}", self.log()))
            }
        }
    }

    /// Runs the client with these arguments on the host, against this daemon.
    pub fn weft(&self, host: &Host, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(["--socket", SOCKET]).args(args).stdin(Stdio::null());
        host.output(&mut command).with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// Runs the client with `--json` and these arguments; anything but success is an error with what it said.
    pub fn json(&self, host: &Host, args: &[&str]) -> Result<serde_json::Value> {
        let output = self.weft(host, &[&["--json"], args].concat())?;
        if !output.status.success() {
            bail!("`weft {}` on {}: {}", args.join(" "), host.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("`weft {}` printed no JSON: {text}", args.join(" ")))
    }

    /// Attaches the container to a network as eth0, with these addresses.
    pub fn attach(
        &self,
        host: &Host,
        network: &str,
        container: &Container,
        ips: &[String],
    ) -> Result<serde_json::Value> {
        let netns = container.netns_arg();
        let mut args = vec!["attach", network, "--netns", &netns, "--ifname", UPLINK];
        for ip in ips {
            args.extend(["--ip", ip]);
        }
        self.json(host, &args)
    }

    /// The path of the daemon's socket as seen from this process.
    pub fn socket(&self) -> PathBuf {
        format!("/proc/{}/root{SOCKET}", self.pid()).into()
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// CPU time that the daemon has used so far, user and system.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&format!("/proc/{}/stat", self.pid()))
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().try_into()?), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// Asks the daemon to end and waits for it.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end()
    }

    /// Ends the daemon as a crash does, with SIGKILL, and waits for it.
    pub fn crash(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        Ok(self.child.wait()?)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        bail!(
            "the daemon did not end within {PATIENCE:?} of SIGTERM and was killed ({status}); its log:\n{}",
            self.log()
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

/// Keeps the daemon's log, and says when it is ready. Dropping `ready` says that it has closed its standard error.
fn listen(stderr: ChildStderr, log: &Mutex<Vec<String>>, ready: &Sender<()>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let is_ready = line.trim() == "ready";
        log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        if is_ready {
            // Nobody listens any more after the first time.
            let _ = ready.send(());
        }
    }
}
