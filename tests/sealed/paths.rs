//! What a node's echoes find out about its paths.

use std::net::IpAddr;
use std::time::Duration;

use weft::lab::{Family, Host, Lab, LabSpec, Underlay};
use weft::sandbox::devices;
use weft_vtep::path::probe::{PathNews, PathRow};
use weft_vtep::seal::suite::Suite;

use crate::harness::content::{self, Talk};
use crate::harness::{eventually, needs, privileged};
use crate::{Node, lab, open_session, pair};

fn path(node: &Node<'_>, to: &Host) -> Option<PathRow> {
    node.vtep.paths().into_iter().find(|path| path.vtep == to.address)
}

#[test]
fn latency_and_mtu_of_a_path_appear() {
    privileged!();
    for (family, workers) in [(Family::V4, 2), (Family::V6, 1)] {
        let lab = lab(2, 1, family);
        let nodes = pair(&lab, workers, Suite::Aes256Gcm);
        for (node, to) in nodes.iter().zip([&lab.hosts[1], &lab.hosts[0]]) {
            let known = |path: PathRow| path.latency.is_some() && path.mtu.is_some();
            eventually("latency and MTU are known", || path(node, to).is_some_and(known));
            let PathRow { latency, mtu, needed, silent, .. } = path(node, to).unwrap();
            let rtt = latency.unwrap().rtt;
            assert!(Duration::from_micros(1) < rtt && rtt < Duration::from_secs(1), "{rtt:?}");
            assert_eq!((mtu, needed, silent), (Some(1500), 1500, false));
            assert_eq!(node.vtep.path_news(), [], "a good path is no news");
            let totals = node.vtep.stats();
            assert_eq!(totals.drops.iter().sum::<u64>(), 0, "{:?}", node.drops());
        }
    }
}

/// A switch on the way has a smaller MTU than the hosts, and drops what is larger without a word.
#[test]
fn a_black_hole_is_found_and_measured() {
    privileged!();
    needs!("ethtool");
    let lab = Lab::build(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(3) }).unwrap();
    let switch = lab.switch.as_ref().unwrap();
    devices::mtu(switch, "p2", 1400).unwrap();
    let hosts = &lab.hosts;
    let remotes: Vec<&Host> = hosts.iter().collect();
    let nodes = [0, 1, 2].map(|n: usize| Node::start(&hosts[n], 1, &remotes, true));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        open_session(&nodes[from], &nodes[to], Suite::Aes256Gcm, (3 * from + to) as u8);
    }
    let mut news: Vec<(IpAddr, PathNews)> = Vec::new();
    let mut told = |what: PathNews| {
        eventually("it is told", || {
            news.extend(nodes[0].vtep.path_news());
            news.contains(&(hosts[1].address, what))
        });
        assert_eq!(std::mem::take(&mut news), [(hosts[1].address, what)], "nothing else is");
    };
    told(PathNews::Narrow { mtu: 1400, needed: 1500 });
    let found = |n: usize| path(&nodes[0], &hosts[n]).and_then(|path| path.mtu);
    assert_eq!((found(1), found(2)), (Some(1400), Some(1500)));
    assert!(path(&nodes[0], &hosts[1]).unwrap().latency.is_some(), "small echoes come through");
    eventually("the other side has found it too", || path(&nodes[1], &hosts[0]).is_some_and(|p| p.mtu == Some(1400)));
    // Senders are told of it, so that TCP goes on in smaller segments and does not stall.
    let [from, to] = [0, 1].map(|n: usize| &hosts[n].containers[0]);
    content::tcp(&from.netns, &to.netns, to.ip(), Talk { write: 60_000, writes: 20 });
    content::tcp(&from.netns, &to.netns, to.ip6(), Talk { write: 60_000, writes: 20 });
    devices::mtu(switch, "p2", 1500).unwrap();
    open_session(&nodes[0], &nodes[1], Suite::Aes256Gcm, 9);
    told(PathNews::Wide { mtu: 1500 });
}
