//! Other people's overlays that carry frames between TAP devices: VpnCloud, fastd, OpenVPN.
//!
//! Each has its device on the hosts, with the address there: a bridge and a container behind it would only slow them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use weft::lab::{Host, Lab, UPLINK};
use weft::sandbox::devices;

use super::tunnel::{PORT, Tunnel, succeeded};

/// Fits into an underlay of 1,500 bytes with each one's overhead.
const MTU: u32 = 1400;

/// VpnCloud on every host, with a password in common; it chooses AES or ChaCha by what is faster here.
pub(crate) fn vpncloud(lab: &Lab) -> Result<Vec<Tunnel>> {
    const DEVICE: &str = "vpncloud0";
    for host in &lab.hosts {
        // It finds its own address by the way to the Internet, and ends where there is none.
        let mut route = Command::new("ip");
        succeeded(host.output(route.args(["route", "add", "default", "dev", UPLINK]))?)?;
    }
    start(lab, DEVICE, |_, host, peer| {
        let (listen, peer) = (format!("{}:{PORT}", host.address), format!("{}:{PORT}", peer.address));
        let program = ["vpncloud", "--type", "tap", "--device", DEVICE, "--listen", &listen, "--peer", &peer];
        let rest = ["--password", "a bench's", "--no-port-forwarding"];
        Ok(program.iter().chain(&rest).map(ToString::to_string).collect())
    })
}

/// fastd on every host, with the method that its documentation recommends.
pub(crate) fn fastd(lab: &Lab) -> Result<Vec<Tunnel>> {
    const DEVICE: &str = "fastd0";
    let pair = |_| -> Result<_> {
        let output = succeeded(Command::new("fastd").arg("--generate-key").output()?)?;
        let text = String::from_utf8(output.stdout)?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim().to_owned()).with_context(|| format!("fastd said no {name}"))
        };
        Ok((field("Secret:")?, field("Public:")?))
    };
    let keys = (0..lab.hosts.len()).map(pair).collect::<Result<Vec<_>>>()?;
    let index = |host: &Host| lab.hosts.iter().position(|other| other.address == host.address).unwrap_or_default();
    start(lab, DEVICE, |dir, host, peer| {
        let config = format!(
            "mode tap; interface \"{DEVICE}\"; mtu {MTU}; method \"salsa2012+umac\"; bind {local}:{PORT};\n\
             secret \"{secret}\"; peer \"other\" {{ key \"{public}\"; remote {remote} port {PORT}; }}\n",
            local = host.address,
            remote = peer.address,
            secret = keys[index(host)].0,
            public = keys[index(peer)].1,
        );
        let path = dir.join(format!("{}.conf", host.name));
        fs::write(&path, config)?;
        Ok(["fastd", "--config", &path.display().to_string()].map(String::from).into())
    })
}

/// OpenVPN between two hosts, each knowing the other by its certificate's fingerprint.
pub(crate) fn openvpn(lab: &Lab) -> Result<Vec<Tunnel>> {
    const DEVICE: &str = "ovpn0";
    let keys = tempfile::tempdir()?;
    let file = |host: &Host, what: &str| keys.path().join(format!("{}.{what}", host.name)).display().to_string();
    let mut fingerprints = Vec::new();
    for host in &lab.hosts {
        let (key, cert) = (file(host, "key"), file(host, "crt"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        succeeded(make.args(["-subj", "/CN=bench", "-keyout", &key, "-out", &cert]).output()?)?;
        let mut show = Command::new("openssl");
        let shown = succeeded(show.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &cert]).output()?)?;
        let shown = String::from_utf8(shown.stdout)?;
        let (_, fingerprint) = shown.trim().split_once('=').context("openssl said no fingerprint")?;
        fingerprints.push(fingerprint.to_owned());
    }
    let (first, port) = (lab.hosts[0].address, PORT.to_string());
    start(lab, DEVICE, |_, host, peer| {
        let server = host.address == first;
        let (local, remote) = (host.address.to_string(), peer.address.to_string());
        let (role, theirs) = if server { ("--tls-server", 1) } else { ("--tls-client", 0) };
        let mut program: Vec<_> = ["openvpn", "--dev", DEVICE, "--dev-type", "tap", "--proto", "udp", "--port", &port]
            .into_iter()
            .chain(["--local", &local, "--remote", &remote, role, "--data-ciphers", "AES-256-GCM", "--verb", "1"])
            .chain(["--cert", &file(host, "crt"), "--key", &file(host, "key"), "--disable-dco"])
            .chain(["--peer-fingerprint", &fingerprints[theirs]])
            .map(String::from)
            .collect();
        if server {
            program.extend(["--dh", "none"].map(String::from));
        }
        Ok(program)
    })
    // The programs have read their keys when their devices are there.
}

/// Starts on each host what `program` says for it and its peer, and gives the device an address.
fn start(lab: &Lab, device: &str, program: impl Fn(&Path, &Host, &Host) -> Result<Vec<String>>) -> Result<Vec<Tunnel>> {
    let dir = tempfile::tempdir()?;
    let mut tunnels = Vec::new();
    for host in &lab.hosts {
        let peer = lab.hosts.iter().find(|peer| peer.address != host.address).context("nobody to talk to")?;
        let program = program(dir.path(), host, peer)?;
        let program: Vec<_> = program.iter().map(OsStr::new).collect();
        tunnels.push(Tunnel::start(host, device, &dir.path().join(format!("{}.log", host.name)), &program)?);
        devices::mtu(&host.netns, device, MTU)?;
        devices::address(&host.netns, device, host.containers[0].v4.into())?;
        devices::up(&host.netns, device)?;
    }
    Ok(tunnels)
}
