//! weft's overlay on a lab: a daemon on each host, one plain network with every other host as a static remote.

use std::path::Path;

use anyhow::{Context, Result};
use weft_vtep::addr::Vni;

use super::{Daemon, Host, Lab};

/// The subnets that [`super::Container`]s have their addresses from.
pub const SUBNETS: [&str; 2] = ["10.77.0.0/16", "fd77::/64"];

/// Starts a daemon on every host and attaches every container to the network `name`.
pub fn weft(lab: &Lab, binary: &Path, name: &str, vni: Vni) -> Result<Vec<Daemon>> {
    let daemons = lab.hosts.iter().map(|host| Daemon::start(binary, host, &[])).collect::<Result<Vec<_>>>()?;
    for (daemon, host) in daemons.iter().zip(&lab.hosts) {
        join(lab, daemon, host, name, vni)
            .with_context(|| format!("cannot join {} to the network {name}", host.name))?;
    }
    Ok(daemons)
}

/// Makes the network on one host, with all other hosts as remotes, and attaches the host's containers.
pub fn join(lab: &Lab, daemon: &Daemon, host: &Host, name: &str, vni: Vni) -> Result<()> {
    let (vni, remotes) = (vni.to_string(), lab.peers_of(host));
    let remotes: Vec<String> = remotes.iter().map(ToString::to_string).collect();
    let mut create = vec!["network", "create", name, "--plain", "--vni", &vni];
    create.extend(SUBNETS.iter().flat_map(|subnet| ["--subnet", subnet]));
    for remote in &remotes {
        create.extend(["--remote", remote]);
    }
    daemon.json(host, &create)?;
    for container in &host.containers {
        daemon.attach(host, name, container, &[container.v4.to_string(), container.v6.to_string()])?;
    }
    Ok(())
}
