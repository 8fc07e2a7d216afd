//! weft's overlay on a lab: a daemon on each host, and one network on all: a cluster's, or a plain one between standalone
//! nodes with every other host as a static remote.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weft_vtep::addr::Vni;

use super::{Daemon, Host, Lab};

/// The subnets that [`super::Container`]s have their addresses from.
pub const SUBNETS: [&str; 2] = ["10.77.0.0/16", "fd77::/64"];

/// Addresses that no container has.
const GATEWAYS: [&str; 2] = ["10.77.255.254", "fd77::ffff:fffe"];

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

/// How long the tables of a cluster may take to be equal.
const CONVERGENCE: Duration = Duration::from_secs(15);

/// Starts a cluster: a daemon on every host, the first one's cluster joined by all others.
pub fn cluster(lab: &Lab, binary: &Path, more: &[&str]) -> Result<Vec<Daemon>> {
    let (first, others) = lab.hosts.split_first().context("a lab without hosts")?;
    let mut daemons = vec![Daemon::bootstrap(binary, first, more)?];
    let token = daemons[0].token(first)?;
    for host in others {
        daemons.push(Daemon::join(binary, host, first, &token, more)?);
    }
    Ok(daemons)
}

/// Makes a network of the cluster on the first host, and attaches every container of every host to it with the address
/// that is meant for it. `more` are further arguments of `weft network create`.
pub fn share(lab: &Lab, daemons: &[Daemon], name: &str, more: &[&str]) -> Result<()> {
    let (first, host) = daemons.first().zip(lab.hosts.first()).context("a lab without daemons")?;
    // Nothing leads out of a lab, and the first addresses are for containers.
    let mut create = vec!["network", "create", name, "--internal"];
    create.extend(GATEWAYS.iter().flat_map(|gateway| ["--gateway", gateway]));
    create.extend(SUBNETS.iter().flat_map(|subnet| ["--subnet", subnet]));
    first.json(host, &[&create[..], more].concat())?;
    converge(lab, daemons)?;
    for (daemon, host) in daemons.iter().zip(&lab.hosts) {
        for container in &host.containers {
            daemon.attach(host, name, container, &[container.v4.to_string(), container.v6.to_string()])?;
        }
    }
    converge(lab, daemons)
}

/// Waits until every node says that all others' tables are its own.
pub fn converge(lab: &Lab, daemons: &[Daemon]) -> Result<()> {
    let deadline = Instant::now() + CONVERGENCE;
    for (daemon, host) in daemons.iter().zip(&lab.hosts) {
        loop {
            let status = daemon.json(host, &["status"])?;
            let alive = &status["members_alive"];
            let (compared, agreeing) = (&status["members_compared"], &status["members_agreeing"]);
            if *alive == daemons.len() && agreeing == compared {
                break;
            }
            if Instant::now() > deadline {
                let (name, all) = (&host.name, daemons.len());
                bail!("{name} sees {alive} nodes of {all}, and {agreeing} of {compared} agree with it");
            }
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
