//! The way between VTEPs: what it carries, what stands in it, what it damages.

use super::super::Finding;
use super::super::facts::{Daemon, Firewall, Network, Obstacle, Path, Peer};
use super::or_ok;

/// A peer asks for an echo each three seconds; one that was heard longer ago is not heard.
const LATELY: u64 = 10;

/// What to do about a path that loses large packets without a word.
const BLACK_HOLE: &str = "raise the MTU on the way and let ICMP \"fragmentation needed\" pass, or make the networks with a \
                          smaller --mtu";

pub(super) fn check(daemon: &Daemon, paths: &[Path]) -> Vec<Finding> {
    [reachability(paths), udp_port(daemon), path_mtu(daemon, paths), remotes(daemon), checksums(daemon)].concat()
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

/// Echoes are asked and answered sealed, on the way that frames take. Each node asks, so that questions of a peer that
/// arrive tell which direction is shut.
fn udp_port(daemon: &Daemon) -> Vec<Finding> {
    const NAME: &str = "udp-port";
    let port = daemon.vxlan_port;
    let judge = |peer: &Peer| {
        let silent = peer.is_active() && peer.echoes?.silent;
        let arrives = peer.heard_seconds.is_some_and(|seconds| seconds < LATELY);
        let finding = match (silent, arrives) {
            (false, _) => return None,
            (true, true) => Finding::fail(
                NAME,
                format!(
                    "UDP {port} is shut towards it: its datagrams arrive here, and what this node sends is not answered"
                ),
                format!("let UDP {port} in on that host and on the way to it; `weft doctor` there names its rules"),
            ),
            (true, false) => Finding::fail(
                NAME,
                format!("nothing comes from it: UDP {port} is shut towards this host, or both ways"),
                format!(
                    "let UDP {port} in here, from any source port; see the finding on the firewall, and look on the way"
                ),
            ),
        };
        Some(finding.about(&peer.name))
    };
    let answering = daemon.peers.iter().filter(|peer| peer.echoes.is_some_and(|echoes| echoes.rtt_us.is_some()));
    let seen = format!("{} peers answer through the tunnel", answering.count());
    or_ok(daemon.peers.iter().filter_map(judge).collect(), NAME, seen)
}

/// What pings found, and where they say nothing what sealed echoes did.
fn path_mtu(daemon: &Daemon, paths: &[Path]) -> Vec<Finding> {
    const NAME: &str = "path-mtu";
    let judge = |path: &Path| {
        let Path { needed, .. } = path;
        let peer = daemon.peers.iter().find(|peer| peer.vtep == path.to);
        let echoes = peer.and_then(|peer| peer.echoes).filter(|echoes| echoes.mtu.is_some() && !echoes.silent);
        let narrow = echoes.filter(|echoes| echoes.mtu < Some(echoes.needed));
        let lower = path.known_mtu.filter(|mtu| *mtu < u32::from(*needed));
        let finding = match (path.small, path.large, lower, path.largest) {
            _ if path.no_route.is_some() || path.no_neighbour => return None,
            (.., Some(mtu), _) => Finding::fail(
                NAME,
                format!("the way carries packets of {mtu} bytes, and the networks need {needed}"),
                "raise the underlay's MTU, or make the networks anew with a smaller --mtu",
            ),
            _ if narrow.is_some() && path.largest.is_none() => Finding::fail(
                NAME,
                format!(
                    "a black hole: sealed datagrams above {} bytes are lost without a word, and the networks need {needed}",
                    narrow.and_then(|echoes| echoes.mtu).unwrap_or_default()
                ),
                BLACK_HOLE,
            ),
            (true, true, ..) => return None,
            (false, ..) if echoes.is_some() => return None,
            (true, false, None, largest) => {
                let passes = largest.map(|size| format!("; {size} still pass")).unwrap_or_default();
                Finding::fail(
                    NAME,
                    format!("a black hole: packets of {needed} bytes are lost without a word{passes}"),
                    BLACK_HOLE,
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
    let (outer, inner) = (daemon.recent_checksum_errors, daemon.recent_damaged_frames);
    let window = daemon.window_seconds.max(1);
    let outer = (outer > 0).then(|| {
        let seen = format!("{outer} UDP datagrams came with a wrong checksum in the last {window} s, and were lost");
        let remedy = "an interface's checksum offload is broken, here or on the sender, or the wire damages: try `ethtool -K IF \
                      tx off rx off` on the underlay's";
        Finding::fail(NAME, seen, remedy)
    });
    let inner = (inner > 0).then(|| {
        let seen = format!("{inner} frames came out of tunnels with a wrong inner checksum in the last {window} s");
        let remedy = "who sent them left checksums undone: `ethtool -K IF tx off` on the sending container's or host's interface \
                      shows it";
        Finding::fail(NAME, seen, remedy)
    });
    or_ok(outer.into_iter().chain(inner).collect(), NAME, format!("none was wrong in the last {window} s"))
}
