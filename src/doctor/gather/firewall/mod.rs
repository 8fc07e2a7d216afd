//! The host's packet filter: which of its rules stop something of weft's.
//!
//! Rules come in as `nft -j` and `iptables-save` write them; out come those that drop or refuse weft's ports or its peers,
//! and chains that drop all else and accept neither. It is a reading, not a simulation: a rule that stands behind one that
//! accepts is named all the same, with its text, and whoever reads it can tell.

mod iptables;
mod nft;

use std::net::IpAddr;
use std::process::{Command, Stdio};

use ipnet::IpNet;

use super::super::facts::{Firewall, Obstacle};

/// What has to pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// The port of VXLAN.
    pub(super) udp: u16,
    /// The control port.
    pub(super) tcp: Option<u16>,
    /// The addresses of other VTEPs.
    pub(super) others: Vec<IpAddr>,
}

/// What a rule asks of a packet, as far as it is of interest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Conditions {
    /// `udp` or `tcp`; nothing for any.
    protocol: Option<String>,
    /// Ranges of destination ports; `None` for any.
    ports: Option<Vec<(u16, u16)>>,
    /// Networks of the other end; `None` for any.
    others: Option<Vec<IpNet>>,
    /// It asks for something that weft's packets need not have: another interface, state or kind.
    narrow: bool,
}

impl Conditions {
    fn names_port(&self, protocol: &str, port: u16) -> bool {
        let of_protocol = self.protocol.as_deref().is_none_or(|named| named == protocol);
        of_protocol && self.ports.as_ref().is_some_and(|ranges| ranges.iter().any(|(a, b)| (*a..=*b).contains(&port)))
    }

    /// What of weft's such packets may be; nothing if none.
    fn stops(&self, wanted: &Wanted) -> Option<String> {
        let peer = match &self.others {
            None => None,
            Some(nets) => Some(wanted.others.iter().find(|ip| nets.iter().any(|net| net.contains(*ip)))?),
        };
        let towards = peer.map(|ip| format!(" with {ip}")).unwrap_or_default();
        if self.names_port("udp", wanted.udp) {
            return Some(format!("UDP {}{towards}", wanted.udp));
        }
        if let Some(port) = wanted.tcp.filter(|port| self.names_port("tcp", *port)) {
            return Some(format!("TCP {port}{towards}"));
        }
        let any_of_peer = peer.is_some() && self.ports.is_none() && !self.narrow;
        any_of_peer.then(|| format!("{}{towards}", self.protocol.as_deref().unwrap_or("all traffic")))
    }

    /// Whether every packet is meant.
    fn is_all(&self) -> bool {
        *self == Conditions::default()
    }

    /// Whether a rule that accepts such packets lets this port in from somewhere.
    fn accepts(&self, protocol: &str, port: u16) -> bool {
        let of_protocol = self.protocol.as_deref().is_none_or(|named| named == protocol);
        self.names_port(protocol, port) || (of_protocol && self.ports.is_none() && !self.narrow)
    }
}

/// Those of weft's ports that no rule accepts.
fn not_accepted(accepting: &[Conditions], wanted: &Wanted) -> Vec<String> {
    let ports = [Some(("udp", wanted.udp)), wanted.tcp.map(|port| ("tcp", port))];
    let ports = ports.into_iter().flatten();
    let shut = ports.filter(|(protocol, port)| !accepting.iter().any(|rule| rule.accepts(protocol, *port)));
    shut.map(|(protocol, port)| format!("{} {port}", protocol.to_uppercase())).collect()
}

/// Reads the rules of this network namespace.
pub(super) fn read(wanted: &Wanted) -> Firewall {
    let mut firewall = Firewall::default();
    let tables = ["iptables-save", "ip6tables-save"].map(|program| run(program, &[]));
    let by_iptables = tables.iter().any(Result::is_ok);
    for text in tables.iter().flatten() {
        merge(&mut firewall, iptables::read(text, wanted));
    }
    match run("nft", &["-j", "list", "ruleset"]) {
        Ok(text) => merge(&mut firewall, nft::read(&text, wanted, by_iptables)),
        Err(_) if by_iptables => {}
        Err(why) => firewall.unread = Some(why),
    }
    firewall
}

fn merge(into: &mut Firewall, more: Firewall) {
    into.in_the_way.extend(more.in_the_way);
    into.closed.extend(more.closed);
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
