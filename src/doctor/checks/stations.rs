//! Endpoints, and the addresses that they have.

use super::super::Finding;
use super::super::facts::{Contested, Daemon, Endpoint};
use super::or_ok;

pub(super) fn check(daemon: &Daemon) -> Vec<Finding> {
    [endpoints(daemon), addresses(daemon)].concat()
}

fn endpoints(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "endpoints";
    let judge = |endpoint: &Endpoint| {
        let Endpoint { id, ifname, netns, .. } = endpoint;
        let mtu = daemon.networks.iter().find(|n| n.name == endpoint.network).map(|n| u32::from(n.mtu));
        let finding = match (endpoint.attached, endpoint.link_up, endpoint.link_mtu.zip(mtu)) {
            (false, ..) => Finding::fail(
                NAME,
                format!("it is lost: its namespace {netns} or its interface {ifname} has ended"),
                format!("`weft detach {id}` frees its addresses; then attach again"),
            ),
            (true, Some(false), _) => Finding::fail(
                NAME,
                format!("its interface {ifname} is down"),
                format!("set it up inside: `nsenter --net={netns} ip link set {ifname} up`"),
            ),
            (true, _, Some((has, should))) if has > should => Finding::fail(
                NAME,
                format!("its interface {ifname} has an MTU of {has}, its network {should}: large packets are lost"),
                format!("`nsenter --net={netns} ip link set {ifname} mtu {should}`"),
            ),
            _ => return None,
        };
        Some(finding.about(format!("{id} on {}", endpoint.network)))
    };
    let found = daemon.endpoints.iter().filter_map(judge).collect();
    or_ok(found, NAME, format!("all {} are up", daemon.endpoints.len()))
}

fn addresses(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "duplicates";
    let judge = |contested: &Contested| {
        let Contested { network, address, nodes, frozen } = contested;
        let nodes = nodes.join(" and ");
        let (seen, remedy) = if *frozen {
            (
                format!("{address} of {network} moved five times within three minutes: it is frozen on {nodes}"),
                "find who else uses that address; it may move again after 180 s without another try",
            )
        } else {
            (
                format!("{address} of {network} is there more than once: on {nodes}; frames go to the first"),
                "detach one of the endpoints, and attach it with another address",
            )
        };
        Finding::fail(NAME, seen, remedy).about(address)
    };
    or_ok(daemon.contested.iter().map(judge).collect(), NAME, "no address is there twice, none moves too often")
}
