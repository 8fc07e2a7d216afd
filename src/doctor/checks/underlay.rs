//! The way between VTEPs: what it carries, what stands in it, what it damages.

use super::super::Finding;
use super::super::facts::{Daemon, Firewall, Network, Obstacle, Path};
use super::or_ok;

pub(super) fn check(daemon: &Daemon, paths: &[Path]) -> Vec<Finding> {
    [reachability(paths), path_mtu(paths), remotes(daemon), checksums(daemon)].concat()
}

/// The host's own packet filter.
pub(super) fn firewall(firewall: &Firewall) -> Vec<Finding> {
    const NAME: &str = "firewall";
    if let Some(why) = &firewall.unread {
        return vec![Finding::unknown(
            NAME,
            format!("the packet filter cannot be read: {why}"),
            "run `weft doctor` as root",
        )];
    }
    let rule = |Obstacle { rule, stops }: &Obstacle| {
        Finding::fail(
            NAME,
            format!("the rule `{rule}` stops {stops}"),
            "take it away, or accept weft's packets before it",
        )
    };
    let chain = |Obstacle { rule, stops }: &Obstacle| {
        let seen = format!("{rule} drops what no rule accepts, and none accepts {stops}");
        Finding::warn(
            NAME,
            seen,
            "accept that port from the other nodes, new datagrams too: answers come from other ports",
        )
    };
    let found = firewall.in_the_way.iter().map(rule).chain(firewall.closed.iter().map(chain)).collect();
    or_ok(found, NAME, "no rule of this host is in the way")
}

fn reachability(paths: &[Path]) -> Vec<Finding> {
    const NAME: &str = "reachable";
    let judge = |path: &Path| {
        let finding = if let Some(why) = &path.no_route {
            Finding::fail(NAME, format!("there is no way to it: {why}"), "look at `ip route` and `ip addr`")
        } else if path.no_neighbour {
            let seen = "nobody on the link has that address: it does not answer to ARP";
            Finding::fail(NAME, seen, "look whether that host is up, and whether the address is right")
        } else {
            return None;
        };
        Some(finding.about(&path.name))
    };
    or_ok(paths.iter().filter_map(judge).collect(), NAME, format!("there is a way to all {} VTEPs", paths.len()))
}

fn path_mtu(paths: &[Path]) -> Vec<Finding> {
    const NAME: &str = "path-mtu";
    let judge = |path: &Path| {
        let Path { needed, .. } = path;
        let lower = path.known_mtu.filter(|mtu| *mtu < u32::from(*needed));
        let finding = match (path.small, path.large, lower, path.largest) {
            _ if path.no_route.is_some() || path.no_neighbour => return None,
            (.., Some(mtu), _) => Finding::fail(
                NAME,
                format!("the way carries packets of {mtu} bytes, and the networks need {needed}"),
                "raise the underlay's MTU, or make the networks anew with a smaller --mtu",
            ),
            (true, true, ..) => return None,
            (true, false, None, largest) => {
                let passes = largest.map(|size| format!("; {size} still pass")).unwrap_or_default();
                Finding::fail(
                    NAME,
                    format!("a black hole: packets of {needed} bytes are lost without a word{passes}"),
                    "raise the MTU on the way and let ICMP \"fragmentation needed\" pass, or make the networks with a smaller \
                     --mtu",
                )
            }
            (false, ..) => Finding::unknown(
                NAME,
                "it answers no ping, so that the way cannot be measured",
                "let ICMP echo pass between the nodes",
            ),
        };
        Some(finding.about(&path.name))
    };
    or_ok(paths.iter().filter_map(judge).collect(), NAME, format!("{} ways carry what the networks need", paths.len()))
}

fn remotes(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "remotes";
    let silent = |network: &&Network| !network.remotes.is_empty();
    let found = daemon.networks.iter().filter(silent).flat_map(|network| {
        let unheard = network.remotes.iter().filter(|remote| !network.heard.contains(remote));
        unheard.map(|remote| {
            let seen =
                format!("nothing has come from it in the network {} for as long as addresses are kept", network.name);
            let remedy = format!(
                "see that it is a VTEP of VNI {} on UDP port {} and has this node as a remote",
                network.vni, daemon.vxlan_port
            );
            Finding::warn(NAME, seen, remedy).about(remote.to_string())
        })
    });
    let all: usize = daemon.networks.iter().map(|network| network.remotes.len()).sum();
    or_ok(found.collect(), NAME, format!("all {all} static remotes have been heard"))
}

fn checksums(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "checksums";
    let count = daemon.recent_checksum_errors;
    vec![if count == 0 {
        Finding::ok(NAME, "no datagram came with a wrong checksum lately")
    } else {
        let window = daemon.window_seconds.max(1);
        let seen = format!("{count} UDP datagrams came with a wrong checksum in the last {window} s, and were lost");
        let remedy = "an interface's checksum offload is broken, here or on the sender, or the wire damages: try `ethtool -K IF \
                      tx off rx off` on the underlay's";
        Finding::fail(NAME, seen, remedy)
    }]
}
