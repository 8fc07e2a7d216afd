//! The packet filter rules of a bridge: one table for each family, named after the bridge, made and removed as a whole.
//!
//! The rules are given to `nft`, which every distribution has; a table of ours is nobody else's to flush, and rules of
//! others are not touched. That has one limit: where somebody else's table drops forwarded packets, as Docker's does by
//! its policy, no table of ours can let them pass.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use ipnet::IpNet;

use super::DriverError;
use crate::sandbox::Netns;

const FAMILIES: [&str; 2] = ["ip", "ip6"];

/// Sets a bridge's rules, instead of those that there may be: what leaves the host from one of the subnets bears the
/// host's address, or in an internal network nothing passes between the bridge and other interfaces.
pub(super) fn set(host: &Netns, bridge: &str, subnets: &[IpNet], internal: bool) -> Result<(), DriverError> {
    let script: String = FAMILIES.iter().map(|family| table(family, bridge, subnets, internal)).collect();
    said(bridge, run(host, &["-f", "-"], &script)?).map(drop)
}

/// Removes a bridge's rules. Without the program there are none.
pub(super) fn unset(host: &Netns, bridge: &str) -> Result<(), DriverError> {
    let script: String =
        FAMILIES.iter().map(|family| format!("{}{}", made(family, bridge), gone(family, bridge))).collect();
    match run(host, &["-f", "-"], &script) {
        Err(DriverError::NoNft) => Ok(()),
        other => said(bridge, other?).map(drop),
    }
}

/// True if the bridge has its rules.
pub(super) fn has(host: &Netns, bridge: &str) -> Result<bool, DriverError> {
    match run(host, &["list", "tables"], "") {
        Err(DriverError::NoNft) => Ok(false),
        other => {
            let tables = said(bridge, other?)?;
            let ours = |family: &&str| tables.lines().any(|line| line.trim() == format!("table {family} {bridge}"));
            Ok(FAMILIES.iter().all(ours))
        }
    }
}

// To remove what is not there is an error, to add what is there is none: so each table is added, then removed.
fn made(family: &str, bridge: &str) -> String {
    format!("add table {family} {bridge}\n")
}

fn gone(family: &str, bridge: &str) -> String {
    format!("delete table {family} {bridge}\n")
}

fn table(family: &str, bridge: &str, subnets: &[IpNet], internal: bool) -> String {
    let mut text = made(family, bridge) + &gone(family, bridge);
    text += &format!("table {family} {bridge} {{\n");
    if internal {
        text += "chain forward {\ntype filter hook forward priority 0; policy accept;\n";
        text += &format!("iifname \"{bridge}\" oifname != \"{bridge}\" drop\n");
        text += &format!("oifname \"{bridge}\" iifname != \"{bridge}\" drop\n}}\n");
    } else {
        text += "chain postrouting {\ntype nat hook postrouting priority 100; policy accept;\n";
        let of_family = |subnet: &&IpNet| (family == "ip") == matches!(subnet, IpNet::V4(_));
        for subnet in subnets.iter().filter(of_family) {
            text += &format!("{family} saddr {subnet} oifname != \"{bridge}\" masquerade\n");
        }
        text += "}\n";
    }
    text + "}\n"
}

fn run(host: &Netns, arguments: &[&str], input: &str) -> Result<Output, DriverError> {
    let spawned = host.run(|| {
        // Where a service's PATH does not lead to the administrator's programs.
        let candidates = ["nft", "/usr/sbin/nft", "/sbin/nft"].into_iter();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for program in candidates {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
                other => return other,
            }
        }
        Err(last)
    })?;
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => DriverError::NoNft,
        _ => DriverError::Nft { bridge: String::new(), said: error.to_string() },
    };
    let mut child = spawned.map_err(refused)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(refused)
}

fn said(bridge: &str, output: Output) -> Result<String, DriverError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why").trim().to_owned();
    Err(DriverError::Nft { bridge: bridge.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_translates_its_own_subnets() {
        let subnets = ["10.88.0.0/24".parse().unwrap(), "fd88::/64".parse().unwrap()];
        let v4 = table("ip", "wb0", &subnets, false);
        assert!(v4.contains("ip saddr 10.88.0.0/24 oifname != \"wb0\" masquerade") && !v4.contains("fd88"), "{v4}");
        let v6 = table("ip6", "wb0", &subnets, false);
        assert!(v6.contains("ip6 saddr fd88::/64 oifname != \"wb0\" masquerade") && !v6.contains("10.88"), "{v6}");
        let internal = table("ip", "wb0", &subnets, true);
        assert!(!internal.contains("masquerade") && internal.matches("drop").count() == 2, "{internal}");
    }
}
