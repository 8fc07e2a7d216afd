//! Looking: at the host, at its packet filter, at the ways to the peers, and at what the daemon says.
//!
//! Nothing here changes anything. A TAP device that is made for a try lives in a namespace of its own, for a moment.

mod daemon;
mod firewall;
mod host;
mod paths;

use std::net::IpAddr;

use tonic::transport::Channel;
use weft_vtep::path::mtu::underlay_mtu;

use self::firewall::Wanted;
use super::facts::{Daemon, Facts, Network};
use crate::node::config::VXLAN_PORT;
use crate::node::state::CONTROL_PORT;

/// Looks at everything. `channel` is the way to the daemon, or why there is none.
pub async fn gather(channel: Result<Channel, String>) -> Facts {
    let asked = match channel {
        Ok(channel) => daemon::ask(channel).await,
        Err(why) => Err(why),
    };
    let (daemon, no_daemon) = match asked {
        Ok(daemon) => (Some(daemon), None),
        Err(why) => (None, Some(why)),
    };
    let wanted = wanted(daemon.as_ref());
    let ways = daemon.as_ref().map(ways).unwrap_or_default();
    let looked = tokio::task::spawn_blocking(move || (host::look(&wanted), paths::measure(ways))).await;
    let (host, paths) = looked.unwrap_or_default();
    Facts { host, daemon, no_daemon, paths }
}

/// What the packet filter has to let pass.
fn wanted(daemon: Option<&Daemon>) -> Wanted {
    let Some(daemon) = daemon else { return Wanted { udp: VXLAN_PORT, tcp: Some(CONTROL_PORT), others: Vec::new() } };
    let members = daemon.peers.iter().filter_map(|peer| peer.vtep);
    let remotes = daemon.networks.iter().flat_map(|network| network.remotes.iter().copied());
    Wanted {
        udp: daemon.vxlan_port,
        tcp: Some(daemon.control_port).filter(|port| *port != 0),
        others: members.chain(remotes).collect(),
    }
}

/// The ways to measure: to each member that is there, and to each remote.
fn ways(daemon: &Daemon) -> Vec<paths::Way> {
    let needed = |network: &Network, to: IpAddr| underlay_mtu(network.mtu, to.is_ipv6(), network.sealed).unwrap_or(0);
    let members = daemon.peers.iter().filter(|peer| peer.is_active()).filter_map(|peer| {
        let to = peer.vtep?;
        let needed = daemon.networks.iter().map(|network| needed(network, to)).max().unwrap_or(0);
        Some(paths::Way { name: peer.name.clone(), to, remote: false, needed })
    });
    let mut ways: Vec<_> = members.collect();
    for network in &daemon.networks {
        for to in network.remotes.iter().copied() {
            let needed = needed(network, to);
            match ways.iter_mut().find(|way| way.to == to) {
                Some(way) => way.needed = way.needed.max(needed),
                None => ways.push(paths::Way { name: to.to_string(), to, remote: true, needed }),
            }
        }
    }
    ways
}
