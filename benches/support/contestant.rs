//! The overlays that are measured, each on a lab of its own.

use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weft::lab::{Daemon, Lab, LabSpec, Underlay, kernel, overlay};
use weft::sandbox::Netns;
use weft_vtep::addr::Vni;
use weft_vtep::seal::suite::Suite;

use super::bare::Bare;
use super::naive::Naive;
use super::trial::{End, Subject};
use super::tunnel::{self, Tunnel};
use super::{openvswitch, taps, watched};

/// What kind of overlay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Kind {
    /// This project's daemon, as built for release: a plain network.
    Weft,
    /// The same, while `weft capture` shows all of it on both hosts.
    Captured,
    /// The same, with 500 endpoints more on each node, and metrics.
    Crowded,
    /// The daemon of another build, to tell what a change is worth: a plain network.
    Before,
    /// A cluster of this build's daemons, and a network sealed by AES-256-GCM.
    Sealed,
    /// The same, sealed by ChaCha20-Poly1305.
    SealedChacha,
    /// As [`Kind::Sealed`], of the other build's daemons.
    SealedBefore,
    /// The kernel's VXLAN device and a bridge, as Docker's overlay driver builds it.
    Kernel,
    /// This build's daemon on the one host, the kernel's VXLAN device on the other.
    ToKernel,
    /// A blocking read/send_to loop on a plain TAP.
    Naive,
    /// The system calls of a VTEP alone; on `soft` only.
    Bare,
    /// WireGuard in userspace.
    WireguardGo,
    /// Nebula, which seals by AES-256-GCM too.
    Nebula,
    /// VpnCloud, with a TAP.
    Vpncloud,
    /// fastd, with a TAP.
    Fastd,
    /// OpenVPN without its kernel module, with a TAP.
    Openvpn,
    /// Open vSwitch's userspace datapath, with its own VXLAN.
    OpenVswitch,
    /// No overlay at all: between the hosts themselves.
    Veth,
}

impl Kind {
    /// The program that it needs and this project does not bring, and the flag that makes it say its version.
    pub(crate) fn needs(self) -> Option<(&'static str, &'static str)> {
        match self {
            Kind::WireguardGo => Some(("wireguard-go", "--version")),
            Kind::Nebula => Some(("nebula", "-version")),
            Kind::Vpncloud => Some(("vpncloud", "--version")),
            Kind::Fastd => Some(("fastd", "--version")),
            Kind::Openvpn => Some(("openvpn", "--version")),
            Kind::OpenVswitch => Some(("ovs-vswitchd", "--version")),
            _ => None,
        }
    }

    /// True for this project's.
    pub(crate) fn is_ours(self) -> bool {
        matches!(
            self,
            Kind::Weft
                | Kind::Captured
                | Kind::Crowded
                | Kind::ToKernel
                | Kind::Before
                | Kind::Sealed
                | Kind::SealedChacha
                | Kind::SealedBefore
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Weft => "weft",
            Kind::Captured => "captured",
            Kind::Crowded => "crowded",
            Kind::Before => "before",
            Kind::Sealed => "sealed",
            Kind::SealedBefore => "sealed-before",
            Kind::SealedChacha => "sealed-chacha",
            Kind::Kernel => "kernel",
            Kind::ToKernel => "to-kernel",
            Kind::Naive => "naive",
            Kind::Bare => "bare",
            Kind::WireguardGo => "wireguard-go",
            Kind::Nebula => "nebula",
            Kind::Vpncloud => "vpncloud",
            Kind::Fastd => "fastd",
            Kind::Openvpn => "openvpn",
            Kind::OpenVswitch => "open-vswitch",
            Kind::Veth => "veth",
        })
    }
}

/// What is compared with what: plain with what there was before, sealed with plain and with other people's.
pub(crate) const RATIOS: &[(Kind, Kind)] = &[
    (Kind::Weft, Kind::Kernel),
    (Kind::Weft, Kind::Before),
    (Kind::ToKernel, Kind::Kernel),
    (Kind::Captured, Kind::Weft),
    (Kind::Crowded, Kind::Weft),
    (Kind::Sealed, Kind::SealedBefore),
    (Kind::Weft, Kind::Naive),
    (Kind::Weft, Kind::Bare),
    (Kind::Bare, Kind::Kernel),
    (Kind::Weft, Kind::OpenVswitch),
    (Kind::Sealed, Kind::Weft),
    (Kind::Sealed, Kind::Kernel),
    (Kind::Sealed, Kind::WireguardGo),
    (Kind::Sealed, Kind::Nebula),
    (Kind::Sealed, Kind::Vpncloud),
    (Kind::Sealed, Kind::Fastd),
    (Kind::Sealed, Kind::Openvpn),
    (Kind::SealedChacha, Kind::Weft),
    (Kind::SealedChacha, Kind::WireguardGo),
];

const NO_BUILD: &str = "which build is meant? Say it with --before PATH";

/// An overlay that is ready to be measured.
pub(crate) struct Contestant {
    pub(crate) kind: Kind,
    lab: Lab,
    // Before the daemons, of which some are clients.
    tunnels: Vec<Tunnel>,
    daemons: Vec<Daemon>,
    loops: Vec<Naive>,
    bare: Vec<Bare>,
    crowd: Vec<Netns>,
}

impl Contestant {
    /// `before` is the daemon of the other build.
    pub(crate) fn make(kind: Kind, spec: &LabSpec, before: Option<&Path>) -> Result<Self> {
        let vni = Vni::new(77).context("77 is a VNI")?;
        let binary = Path::new(env!("CARGO_BIN_EXE_weft"));
        let lab = Lab::build(spec.clone())?;
        let (mut daemons, mut loops, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tunnels, mut crowd) = (Vec::new(), Vec::new());
        match kind {
            Kind::Weft => daemons = overlay::weft(&lab, binary, "bench", vni)?,
            Kind::Captured => {
                daemons = overlay::weft(&lab, binary, "bench", vni)?;
                tunnels = watched::capture(&lab, &daemons, binary)?;
            }
            Kind::Crowded => (daemons, crowd) = watched::crowded(&lab, binary, "bench", vni)?,
            Kind::Before => daemons = overlay::weft(&lab, before.context(NO_BUILD)?, "bench", vni)?,
            Kind::Sealed => daemons = sealed(&lab, binary, Suite::Aes256Gcm)?,
            Kind::SealedBefore => daemons = sealed(&lab, before.context(NO_BUILD)?, Suite::Aes256Gcm)?,
            Kind::SealedChacha => daemons = sealed(&lab, binary, Suite::ChaCha20Poly1305)?,
            Kind::Kernel => kernel::overlay(&lab, vni)?,
            Kind::ToKernel => {
                let [ours, theirs] = &lab.hosts[..] else { bail!("a tunnel has two ends") };
                daemons.push(Daemon::start(binary, ours, &[])?);
                overlay::join(&lab, &daemons[0], ours, "bench", vni)?;
                kernel::attach_host(theirs, vni, spec.inner_mtu(), &lab.peers_of(theirs))?;
            }
            Kind::Naive => {
                for host in &lab.hosts {
                    loops.push(Naive::start(host, lab.peers_of(host)[0], vni, spec.inner_mtu())?);
                }
            }
            Kind::Bare => {
                ensure!(
                    spec.underlay == Underlay::Soft,
                    "bare calls carry nothing where messages are taken apart: only on soft"
                );
                for host in &lab.hosts {
                    bare.push(Bare::start(host, lab.peers_of(host)[0], spec.inner_mtu())?);
                }
            }
            Kind::WireguardGo => tunnels = tunnel::wireguard_go(&lab)?,
            Kind::Nebula => tunnels = tunnel::nebula(&lab)?,
            Kind::Vpncloud => tunnels = taps::vpncloud(&lab)?,
            Kind::Fastd => tunnels = taps::fastd(&lab)?,
            Kind::Openvpn => tunnels = taps::openvpn(&lab)?,
            Kind::OpenVswitch => tunnels = openvswitch::overlay(&lab, vni)?,
            Kind::Veth => {}
        }
        Ok(Contestant { kind, lab, tunnels, daemons, loops, bare, crowd })
    }
}

impl Subject for Contestant {
    /// The containers, or the hosts where the tunnel's device is there.
    fn ends(&self) -> [End<'_>; 2] {
        [0, 1].map(|n: usize| {
            let (host, container) = (&self.lab.hosts[n], &self.lab.hosts[n].containers[0]);
            match self.kind {
                Kind::Veth => (&host.netns, host.address),
                Kind::WireguardGo | Kind::Nebula | Kind::Vpncloud | Kind::Fastd | Kind::Openvpn => {
                    (&host.netns, container.ip())
                }
                _ => (&container.netns, container.ip()),
            }
        })
    }

    fn cpu_time(&self) -> Result<Option<Duration>> {
        let daemons = self.daemons.iter().map(Daemon::cpu_time);
        let loops = self.loops.iter().map(Naive::cpu_time);
        let bare = self.bare.iter().map(Bare::cpu_time);
        let tunnels = self.tunnels.iter().map(Tunnel::cpu_time);
        let used = daemons.chain(loops).chain(bare).chain(tunnels).collect::<Result<Vec<_>>>()?;
        Ok((!used.is_empty()).then(|| used.iter().sum()))
    }

    fn scrape(&self) -> Result<Option<Duration>> {
        if self.kind != Kind::Crowded {
            return Ok(None);
        }
        let times = self.lab.hosts.iter().map(watched::scrape).collect::<Result<Vec<_>>>()?;
        Ok(times.into_iter().max())
    }
}

/// A cluster with a sealed network. What seals is not taken on trust: the nodes say it.
fn sealed(lab: &Lab, binary: &Path, suite: Suite) -> Result<Vec<Daemon>> {
    let daemons = overlay::cluster(lab, binary, &["--suite", suite.name()])?;
    overlay::share(lab, &daemons, "bench", &[])?;
    let deadline = Instant::now() + Duration::from_secs(5);
    for (daemon, host) in daemons.iter().zip(&lab.hosts) {
        loop {
            let status = daemon.json(host, &["status"])?;
            let sealing = &status["sessions"][0]["suite"];
            if *sealing == suite.name() {
                break;
            }
            ensure!(Instant::now() < deadline, "{} seals by {sealing}, not by {}", host.name, suite.name());
            sleep(Duration::from_millis(20));
        }
    }
    Ok(daemons)
}
