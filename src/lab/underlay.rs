//! What an underlay does to the packets that cross it.

use std::fmt;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::sandbox::Netns;

/// How like a real wire the links between hosts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Underlay {
    /// veth as the kernel makes it: super-frames of up to 64 KB cross unsegmented and unchecksummed.
    Soft,
    /// All offloads off: every packet crosses at the MTU, checksummed, and arrives as it was sent.
    Wire,
    /// As `Wire`, but the receiving side coalesces (GRO), as a network card's driver does.
    WireGro,
}

impl Underlay {
    /// All kinds.
    pub const ALL: [Underlay; 3] = [Underlay::Soft, Underlay::Wire, Underlay::WireGro];

    /// Gives the link its offloads. Both ends of a veth pair need it.
    pub fn shape(self, netns: &Netns, device: &str) -> Result<()> {
        let gro = match self {
            Underlay::Soft => return Ok(()),
            Underlay::Wire => "off",
            Underlay::WireGro => "on",
        };
        let off = ["tso", "gso", "tx", "rx", "tx-udp-segmentation"];
        let settings = off.iter().flat_map(|feature| [*feature, "off"]).chain(["gro", gro]);
        let output =
            netns.run(|| Command::new("ethtool").args(["-K", device]).args(settings).stdin(Stdio::null()).output())?;
        let output =
            output.context("cannot run ethtool, which sets the offloads of a wire-like underlay: install it")?;
        if !output.status.success() {
            bail!("ethtool refused the offloads of {device}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl fmt::Display for Underlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Underlay::Soft => "soft",
            Underlay::Wire => "wire",
            Underlay::WireGro => "wire+gro",
        })
    }
}

impl FromStr for Underlay {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Underlay::ALL.into_iter().find(|kind| kind.to_string() == text);
        found.with_context(|| format!("`{text}` is not an underlay: use soft, wire or wire+gro"))
    }
}
