//! Two real Docker Engines that are a Swarm, with a weft beside each: networks of both kinds, and a container of each
//! network on each host.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weft::lab::{Daemon, Host, Lab};
use weft::sandbox::Netns;
use weft::traffic::ping::{self, PingSpec};

use crate::harness::engine::{Engine, IMAGE};
use crate::support::trial::{End, Subject};

/// The engine's own overlay has 4789.
const FLAGS: [&str; 4] = ["--docker", "on", "--vxlan-port", "4790"];
/// How long a network may take until its first packet comes through.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pings by which is told whether a network carries anything.
pub(crate) const PINGS: u16 = 5;

/// What kind of network the containers are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Docker's own overlay: the kernel's VXLAN.
    Overlay,
    /// The same with `-o encrypted`: IPsec around it.
    Encrypted,
    /// weft, unsealed.
    Plain,
    /// weft as it is unless told otherwise.
    Sealed,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Overlay, Kind::Encrypted, Kind::Plain, Kind::Sealed];

    /// The network's name.
    fn name(self) -> &'static str {
        match self {
            Kind::Overlay => "overlay",
            Kind::Encrypted => "encrypted",
            Kind::Plain => "plain",
            Kind::Sealed => "sealed",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Kind::Plain | Kind::Sealed)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Overlay => "Docker's overlay",
            Kind::Encrypted => "Docker's overlay, encrypted",
            Kind::Plain => "weft, plain",
            Kind::Sealed => "weft, sealed",
        })
    }
}

/// The engines and the daemons beside them. The engines end first: they ask the daemons to take their networks down.
pub(crate) struct Swarm<'a> {
    engines: [Engine<'a>; 2],
    daemons: [Daemon; 2],
}

impl<'a> Swarm<'a> {
    /// Starts all of it on the two hosts of a lab.
    pub(crate) fn form(lab: &'a Lab) -> Result<Self> {
        let [a, b] = &lab.hosts[..] else { bail!("a Swarm of two needs two hosts") };
        let binary = Path::new(env!("CARGO_BIN_EXE_weft"));
        let first = Daemon::bootstrap(binary, a, &FLAGS)?;
        let second = Daemon::join(binary, b, a, &first.token(a)?, &FLAGS)?;
        let engines = [Engine::start(a), Engine::start(b)];
        engines[0].run(&format!("swarm init --advertise-addr {}", a.address));
        let token = engines[0].run("swarm join-token --quiet worker");
        engines[1].run(&format!("swarm join --token {token} --advertise-addr {} {}:2377", b.address, a.address));
        Ok(Swarm { engines, daemons: [first, second] })
    }

    /// Which Docker it is.
    pub(crate) fn version(&self) -> String {
        self.engines[0].run("version --format '{{.Server.Version}}'")
    }

    /// Makes the network, and a container of it on each host.
    pub(crate) fn network(&self, kind: Kind) -> Result<Network<'_>> {
        let name = kind.name();
        let ours = |more: &str| format!("network create -d weft --ipam-driver weft -o network={name} {more} {name}");
        match kind {
            Kind::Overlay => drop(self.engines[0].run(&format!("network create -d overlay --attachable {name}"))),
            Kind::Encrypted => {
                self.engines[0].run(&format!("network create -d overlay --attachable -o encrypted {name}"));
            }
            Kind::Plain | Kind::Sealed => {
                let subnet = if kind == Kind::Plain { "10.81.0.0/24" } else { "10.82.0.0/24" };
                let plain = if kind == Kind::Plain { "-o plain" } else { "" };
                self.engines[0].run(&ours(&format!("--subnet {subnet} {plain}")));
                let bind = ours(&format!("--ipam-opt network={name}"));
                crate::harness::eventually("the network is known on the other host", || {
                    self.engines[1].docker(&bind).status.success()
                });
            }
        }
        let [one, other] = [0, 1].map(|n| self.container(n, name));
        Ok(Network { kind, swarm: self, ends: [one?, other?] })
    }

    /// A container that lives until the end: its namespace, and its address on the network.
    fn container(&self, host: usize, network: &str) -> Result<(Netns, IpAddr)> {
        let engine = &self.engines[host];
        engine.run(&format!("run --detach --name {network} --network {network} {IMAGE} sleep 100000"));
        let of_network = format!("(index .NetworkSettings.Networks \"{network}\").IPAddress");
        let said = engine.run(&format!("inspect --format '{{{{.State.Pid}}}} {{{{{of_network}}}}}' {network}"));
        let (pid, address) = said.split_once(' ').context("no process and address of the container")?;
        let netns = Netns::open_path(Path::new(&format!("/proc/{pid}/ns/net")))?;
        Ok((netns, address.parse().with_context(|| format!("`{address}` is no address"))?))
    }
}

/// A network with a container on each host.
pub(crate) struct Network<'a> {
    pub(crate) kind: Kind,
    swarm: &'a Swarm<'a>,
    ends: [(Netns, IpAddr); 2],
}

impl Network<'_> {
    /// How many of [`PINGS`] are answered, once the first one was or [`PATIENCE`] is over.
    pub(crate) fn answered(&self) -> Result<usize> {
        let [(from, _), (_, address)] = self.ends();
        let deadline = Instant::now() + PATIENCE;
        while ping::once(from, address, Duration::from_secs(1))?.is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(100));
        }
        let spec = PingSpec { count: PINGS, timeout: Duration::from_secs(1), ..PingSpec::default() };
        Ok(ping::ping(from, address, &spec)?.rtts.len())
    }

    /// From `docker run` on one host until the new container has an answer from the one on the other host.
    pub(crate) fn first_answer(&self) -> Result<Duration> {
        let (name, [_, (_, address)]) = (self.kind.name(), self.ends());
        let start = Instant::now();
        let asks = format!("'ping -c 1 -W 5 {address} >/dev/null && echo answered'");
        let mut run = self.swarm.engines[0].spawn(&format!("run --rm --network {name} {IMAGE} sh -c {asks}"));
        let mut line = String::new();
        let read = run.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let took = start.elapsed();
        let status = run.wait()?;
        read.context("no standard output")??;
        ensure!(line.trim() == "answered", "`docker run` ended with {status} and had no answer from {address}");
        Ok(took)
    }
}

impl Subject for Network<'_> {
    fn ends(&self) -> [End<'_>; 2] {
        self.ends.each_ref().map(|(netns, address)| (netns, *address))
    }

    fn cpu_time(&self) -> Result<Option<Duration>> {
        if !self.kind.is_ours() {
            return Ok(None);
        }
        let used = self.swarm.daemons.iter().map(Daemon::cpu_time).collect::<Result<Vec<_>>>()?;
        Ok(Some(used.iter().sum()))
    }
}

/// Whether this kernel has what Docker's encrypted overlay stands on, ESP with AES-GCM, in its own words.
pub(crate) fn esp(host: &Host) -> Result<String> {
    let state = "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode transport aead rfc4106(gcm(aes))";
    let mut command = Command::new("ip");
    command.args(state.split(' ')).args([&format!("0x{}", "5a".repeat(20)), "128"]).stdin(Stdio::null());
    let scratch = Netns::anonymous()?;
    let output = host.run(|| scratch.run(|| command.output()))???;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(if output.status.success() {
        "this kernel has what it needs, IPsec's ESP".to_owned()
    } else {
        format!("it needs IPsec's ESP, of which this kernel says: {said}")
    })
}
