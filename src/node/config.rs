//! What a node is told when it starts, and what of it the state directory remembers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use weft_proto::limits;
use weft_vtep::seal::suite::Suite;

use super::state::{CONTROL_PORT, Identity, Mode};
use super::{new_id, underlay};
use crate::docker;
use crate::http::Listen;

/// The port that IANA assigned to VXLAN (RFC 7348 section 8).
pub const VXLAN_PORT: u16 = 4789;

/// How a node comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// As the state directory remembers.
    Remembered,
    /// Alone.
    Standalone,
    /// As the first of a new cluster.
    Bootstrap {
        /// Where to write the first join token.
        token_out: Option<PathBuf>,
    },
    /// As one more of a cluster that there is.
    Join {
        /// A member: a name or address, and a port unless it is the usual one.
        host: String,
        /// Where the join token is.
        token_file: PathBuf,
    },
}

impl Start {
    fn mode(&self) -> Option<Mode> {
        match self {
            Start::Remembered => None,
            Start::Standalone => Some(Mode::Standalone),
            Start::Bootstrap { .. } | Start::Join { .. } => Some(Mode::Cluster),
        }
    }
}

/// How the daemon is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the node keeps what it remembers. Made if it is missing.
    pub state_dir: PathBuf,
    /// Where it is asked. The directory is made if it is missing.
    pub socket: PathBuf,
    /// Its name; `None` for the remembered one, else the host's.
    pub name: Option<String>,
    /// The address that tunnels end at; `None` for the remembered one, else one that fits.
    pub advertise: Option<IpAddr>,
    /// The UDP port of VXLAN; `None` for the remembered one, else the cluster's, else 4789.
    pub vxlan_port: Option<u16>,
    /// The TCP port of the control plane; `None` for the remembered one, else 7956.
    pub control_port: Option<u16>,
    /// How it starts.
    pub start: Start,
    /// Transmit workers, and as many receive workers; `None` for as many as the cores allow.
    pub workers: Option<usize>,
    /// The suite that it likes best; `None` for what its CPU is best at. Two nodes that differ take ChaCha20-Poly1305.
    pub suite: Option<Suite>,
    /// How Docker is served.
    pub docker: docker::Config,
    /// Where metrics are served; `None` for where they were.
    pub metrics: Option<Listen>,
    /// Where the page is served; `None` for where it was.
    pub page: Option<Listen>,
    /// Where session keys are written down; `None`: nowhere.
    pub key_log: Option<PathBuf>,
    /// Whether the log is JSON. Whoever began it has seen to that: it is here to be compared.
    pub log_json: bool,
    /// End when standard input ends.
    pub until_stdin_closes: bool,
}

impl Config {
    /// How the node lives.
    pub fn mode(&self, remembered: Option<&Identity>) -> Result<Mode> {
        let dir = self.state_dir.display();
        match (self.start.mode(), remembered.map(|r| r.mode)) {
            (None, None) => bail!(
                "{dir} remembers no node, so say how this one starts: with --bootstrap, --join HOST --token-file F, or \
                 --standalone"
            ),
            (Some(said), Some(mode)) if said != mode => bail!(
                "{dir} remembers a node that {}, which a restart does not change: leave the flag out, or choose another \
                 --state-dir",
                if mode == Mode::Standalone { "stands alone" } else { "is a member of a cluster" }
            ),
            (said, mode) => Ok(said.or(mode).unwrap_or(Mode::Standalone)),
        }
    }

    /// The node's identity: what is remembered, changed by what was said this time.
    ///
    /// Name, address and ports may be changed by a restart, a member's VXLAN port excepted, which is its cluster's. How a
    /// node lives may not: its networks belong to that life.
    /// `towards` is a host that the node has to reach, which decides on its address where it has several.
    pub fn identity(&self, remembered: Option<&Identity>, towards: Option<IpAddr>) -> Result<Identity> {
        let mode = self.mode(remembered)?;
        let name = match self.name.clone().or(remembered.map(|r| r.name.clone())) {
            Some(name) => name,
            None => host_name()?,
        };
        if name.is_empty() || name.len() > limits::NAME_BYTES || name.chars().any(|c| c.is_control()) {
            bail!(
                "the node cannot be named `{}`: give --name 1 to {} printable bytes",
                name.escape_debug(),
                limits::NAME_BYTES
            );
        }
        let advertise = match (self.advertise.or(remembered.map(|r| r.advertise)), towards) {
            (Some(address), _) => address,
            (None, Some(host)) => underlay::source_towards(host)?,
            (None, None) => underlay::only_global_address()?,
        };
        if !underlay::is_tunnel_end(advertise) || mode == Mode::Cluster && advertise.is_loopback() {
            bail!("other hosts cannot reach {advertise}: name an address of this host for tunnels with --advertise");
        }
        Ok(Identity {
            id: remembered.map_or_else(new_id, |r| r.id.clone()),
            name,
            mode,
            advertise,
            vxlan_port: self.vxlan_port.or(remembered.map(|r| r.vxlan_port)).unwrap_or(VXLAN_PORT),
            control_port: self.control_port.or(remembered.map(|r| r.control_port)).unwrap_or(CONTROL_PORT),
            incarnation: next_incarnation(remembered.map_or(0, |r| r.incarnation)),
            metrics: self.metrics.map_or(remembered.and_then(|r| r.metrics), Listen::address),
            page: self.page.map_or(remembered.and_then(|r| r.page), Listen::address),
        })
    }
}

/// Higher than the last, even where that could not be saved, as long as the clock goes on.
fn next_incarnation(last: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(now).unwrap_or(0).max(last.saturating_add(1))
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host's name: give one with --name")?;
    name.into_string().ok().context("the host's name is not UTF-8: give one with --name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            state_dir: "/d".into(),
            socket: "/s".into(),
            name: Some("n1".into()),
            advertise: Some("192.0.2.1".parse().unwrap()),
            vxlan_port: None,
            control_port: None,
            start: Start::Standalone,
            workers: None,
            suite: None,
            docker: docker::Config {
                when: docker::When::Off,
                socket: "/p".into(),
                engine: "/e".into(),
                networks: true,
            },
            metrics: None,
            page: None,
            key_log: None,
            log_json: false,
            until_stdin_closes: false,
        }
    }

    #[test]
    fn what_was_said_once_is_remembered_and_may_be_said_anew() {
        let first = Config { vxlan_port: Some(4790), ..config() }.identity(None, None).unwrap();
        let silent = Config { name: None, advertise: None, start: Start::Remembered, ..config() };
        let again = silent.identity(Some(&first), None).unwrap();
        assert!(again.incarnation > first.incarnation);
        assert_eq!(Identity { incarnation: first.incarnation, ..again }, first);
        let moved = Config { advertise: Some("192.0.2.9".parse().unwrap()), ..silent.clone() };
        let moved = moved.identity(Some(&first), None).unwrap();
        let told = Config { metrics: "9469".parse().ok(), ..silent.clone() }.identity(Some(&first), None).unwrap();
        assert_eq!(told.metrics, "127.0.0.1:9469".parse().ok());
        assert_eq!(silent.identity(Some(&told), None).unwrap().metrics, told.metrics);
        let quiet = Config { metrics: Some(Listen::Off), ..silent.clone() }.identity(Some(&told), None).unwrap();
        assert_eq!(quiet.metrics, None);
        assert_eq!((moved.advertise.to_string().as_str(), moved.id, moved.vxlan_port), ("192.0.2.9", first.id, 4790));
    }

    #[test]
    fn an_incarnation_rises_whatever_the_clock_says() {
        let future = u64::MAX / 2;
        assert_eq!(next_incarnation(future), future + 1);
        assert!(next_incarnation(0) > 1_700_000_000_000);
    }

    #[test]
    fn a_first_start_must_say_how_and_a_later_one_cannot_change_it() {
        let error = Config { start: Start::Remembered, ..config() }.identity(None, None).unwrap_err().to_string();
        assert!(error.contains("--standalone") && error.contains("--bootstrap"), "{error}");
        let first = config().identity(None, None).unwrap();
        let other = Config { start: Start::Bootstrap { token_out: None }, ..config() };
        let error = other.identity(Some(&first), None).unwrap_err().to_string();
        assert!(error.contains("stands alone") && error.contains("--state-dir"), "{error}");
    }

    #[test]
    fn a_name_is_printable_and_short() {
        for bad in ["", "a\nb", &"x".repeat(65)] {
            assert!(Config { name: Some(bad.to_owned()), ..config() }.identity(None, None).is_err(), "{bad:?}");
        }
    }
}
