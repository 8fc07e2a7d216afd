//! What a node is told when it starts, and what of it the state directory remembers.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use weft_proto::limits;

use super::state::{Identity, Mode};
use super::{new_id, underlay};

/// The port that IANA assigned to VXLAN (RFC 7348 section 8).
pub const VXLAN_PORT: u16 = 4789;

/// How the daemon is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the node keeps what it remembers. Made if it is missing.
    pub state_dir: PathBuf,
    /// Where it is asked. The directory is made if it is missing.
    pub socket: PathBuf,
    /// Its name; `None` for the remembered one, else the host's.
    pub name: Option<String>,
    /// The address that tunnels end at; `None` for the remembered one, else the only one there is.
    pub advertise: Option<IpAddr>,
    /// The UDP port of VXLAN; `None` for the remembered one, else 4789.
    pub vxlan_port: Option<u16>,
    /// How it starts; `None` for what is remembered.
    pub mode: Option<Mode>,
    /// Transmit workers, and as many receive workers; `None` for as many as the cores allow.
    pub workers: Option<usize>,
    /// End when standard input ends.
    pub until_stdin_closes: bool,
}

impl Config {
    /// The node's identity: what is remembered, changed by what was said this time.
    ///
    /// Name, address and port may be changed by a restart, since a standalone node owes them to nobody.
    pub fn identity(&self, remembered: Option<&Identity>) -> Result<Identity> {
        let Some(mode) = self.mode.or(remembered.map(|r| r.mode)) else {
            let dir = self.state_dir.display();
            bail!("{dir} remembers no node, so say how this one starts: with --standalone");
        };
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
        let advertise = match self.advertise.or(remembered.map(|r| r.advertise)) {
            Some(address) => address,
            None => underlay::only_global_address()?,
        };
        Ok(Identity {
            id: remembered.map_or_else(new_id, |r| r.id.clone()),
            name,
            mode,
            advertise,
            vxlan_port: self.vxlan_port.or(remembered.map(|r| r.vxlan_port)).unwrap_or(VXLAN_PORT),
        })
    }
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
            mode: Some(Mode::Standalone),
            workers: None,
            until_stdin_closes: false,
        }
    }

    #[test]
    fn what_was_said_once_is_remembered_and_may_be_said_anew() {
        let first = Config { vxlan_port: Some(4790), ..config() }.identity(None).unwrap();
        let silent = Config { name: None, advertise: None, mode: None, ..config() };
        assert_eq!(silent.identity(Some(&first)).unwrap(), first);
        let moved = Config { advertise: Some("192.0.2.9".parse().unwrap()), ..silent };
        let moved = moved.identity(Some(&first)).unwrap();
        assert_eq!((moved.advertise.to_string().as_str(), moved.id, moved.vxlan_port), ("192.0.2.9", first.id, 4790));
    }

    #[test]
    fn a_first_start_must_say_how() {
        let error = Config { mode: None, ..config() }.identity(None).unwrap_err().to_string();
        assert!(error.contains("--standalone"), "{error}");
    }

    #[test]
    fn a_name_is_printable_and_short() {
        for bad in ["", "a\nb", &"x".repeat(65)] {
            assert!(Config { name: Some(bad.to_owned()), ..config() }.identity(None).is_err(), "{bad:?}");
        }
    }
}
