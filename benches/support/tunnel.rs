//! Other people's encrypted tunnels, between the hosts of a lab: WireGuard in userspace, and Nebula.
//!
//! Both carry IP packets, not frames: the generator's sockets are on the hosts, at the addresses of the tunnel.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use weft::lab::{Host, Lab, cpu_time};
use weft::sandbox::{devices, link};

/// Largest inner packet over an underlay of 1,500 bytes: WireGuard's own choice. Nebula's is 1,300, for any underlay
/// at all; it gets as much.
const MTU: u32 = 1420;
pub(crate) const PORT: u16 = 51820;
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a program until its own standard input closes, so that the program ends with this process, however that ends.
const LEASH: &str = r#""$@" </dev/null >"$LOG" 2>&1 & echo $!; exec >&-; read _; kill $!; wait"#;

/// One end of a tunnel: the running program. It ends with this value.
pub(crate) struct Tunnel {
    leash: Child,
    pid: u32,
}

impl Tunnel {
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&format!("/proc/{}/stat", self.pid))
    }

    /// Starts it on the host and waits for its device.
    pub(crate) fn start(host: &Host, device: &str, log: &Path, program: &[&OsStr]) -> Result<Self> {
        let tunnel = Tunnel::run(host, log, program)?;
        let deadline = Instant::now() + PATIENCE;
        while link::lookup_name(&host.netns, device)?.is_none() {
            if Instant::now() > deadline {
                bail!("{:?} on {} makes no device: {}", program[0], host.name, fs::read_to_string(log)?.trim());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(tunnel)
    }

    /// Starts it on the host.
    pub(crate) fn run(host: &Host, log: &Path, program: &[&OsStr]) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "sh"]).args(program).env("LOG", log);
        let mut leash = host.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut pid = String::new();
        BufReader::new(leash.stdout.take().context("no standard output")?).read_line(&mut pid)?;
        Ok(Tunnel { leash, pid: pid.trim().parse().context("the shell said no process id")? })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}

/// What a program says when it is asked for its version, on one line; `None` where it is not installed.
pub(crate) fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// wireguard-go on every host, each the peer of all others.
pub(crate) fn wireguard_go(lab: &Lab) -> Result<Vec<Tunnel>> {
    const DEVICE: &str = "wg0";
    let dir = tempfile::tempdir()?;
    let keys = lab.hosts.iter().map(|host| key_pair(dir.path(), host)).collect::<Result<Vec<_>>>()?;
    let mut tunnels = Vec::new();
    for (n, host) in lab.hosts.iter().enumerate() {
        let log = dir.path().join(format!("{}.log", host.name));
        let program = ["wireguard-go", "-f", DEVICE].map(OsStr::new);
        tunnels.push(Tunnel::start(host, DEVICE, &log, &program)?);
        let mut set = Command::new("wg");
        set.args(["set", DEVICE, "listen-port", &PORT.to_string(), "private-key"]).arg(&keys[n].0);
        for (peer, (_, public)) in lab.hosts.iter().zip(&keys).filter(|(peer, _)| peer.address != host.address) {
            let inner = format!("{}/32", peer.containers[0].ip());
            let outer = SocketAddr::new(peer.address, PORT).to_string();
            set.args(["peer", public, "allowed-ips", &inner, "endpoint", &outer]);
        }
        let deadline = Instant::now() + PATIENCE;
        // The device is there a little before the socket on which it is told.
        while let Err(error) = host.output(&mut set).map_err(Into::into).and_then(succeeded) {
            if Instant::now() > deadline {
                return Err(error);
            }
            sleep(Duration::from_millis(20));
        }
        devices::mtu(&host.netns, DEVICE, MTU)?;
        devices::address(&host.netns, DEVICE, host.containers[0].v4.into())?;
        devices::up(&host.netns, DEVICE)?;
    }
    Ok(tunnels)
}

/// A new private key's file, and the public key.
fn key_pair(dir: &Path, host: &Host) -> Result<(PathBuf, String)> {
    let path = dir.join(format!("{}.key", host.name));
    let private = succeeded(Command::new("wg").arg("genkey").output()?)?;
    File::create(&path)?.write_all(&private.stdout)?;
    let public = succeeded(Command::new("wg").arg("pubkey").stdin(File::open(&path)?).output()?)?;
    Ok((path, String::from_utf8(public.stdout)?.trim().to_owned()))
}

/// Nebula on every host, without a lighthouse: each is told where the others are.
pub(crate) fn nebula(lab: &Lab) -> Result<Vec<Tunnel>> {
    const DEVICE: &str = "nebula1";
    let dir = tempfile::tempdir()?;
    certify(&dir, &["ca", "-name", "bench"])?;
    let mut tunnels = Vec::new();
    for host in &lab.hosts {
        let (name, at) = (&host.name, dir.path().display());
        certify(&dir, &["sign", "-name", name, "-ip", &host.containers[0].v4.to_string()])?;
        let others = lab.hosts.iter().filter(|peer| peer.address != host.address);
        let others = others
            .map(|peer| format!("\"{}\": [\"{}\"]", peer.containers[0].ip(), SocketAddr::new(peer.address, PORT)));
        let config = format!(
            "pki: {{ca: {at}/ca.crt, cert: {at}/{name}.crt, key: {at}/{name}.key}}\n\
             static_host_map: {{{map}}}\n\
             lighthouse: {{am_lighthouse: false, hosts: []}}\n\
             listen: {{host: \"{local}\", port: {PORT}}}\n\
             cipher: aes\n\
             tun: {{dev: {DEVICE}, mtu: {MTU}}}\n\
             firewall:\n  \
               outbound: [{{port: any, proto: any, host: any}}]\n  \
               inbound: [{{port: any, proto: any, host: any}}]\n",
            map = others.collect::<Vec<_>>().join(", "),
            local = host.address,
        );
        let path = dir.path().join(format!("{name}.yml"));
        fs::write(&path, config)?;
        let log = dir.path().join(format!("{name}.log"));
        let program = [OsStr::new("nebula"), OsStr::new("-config"), path.as_os_str()];
        tunnels.push(Tunnel::start(host, DEVICE, &log, &program)?);
    }
    Ok(tunnels)
}

fn certify(dir: &TempDir, args: &[&str]) -> Result<()> {
    succeeded(Command::new("nebula-cert").args(args).current_dir(dir).output()?).map(drop)
}

pub(crate) fn succeeded(output: Output) -> Result<Output> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output)
}
