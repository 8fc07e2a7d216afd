//! What metrics and the doctor see of a member that nothing else shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use weft_control::cluster::Cluster;
use weft_control::id::NodeId;
use weft_control::network::Mode;
use weft_control::table::Key;
use weft_proto::v1;
use weft_vtep::addr::Vni;
use weft_vtep::seal::table::Direction;

use super::Membership;
use super::paths::to_wire;
use crate::node::Node;

/// How long a peer's control port may take to take a connection.
const KNOCK: Duration = Duration::from_secs(2);

impl Node {
    /// When the node's certificate begins and ends; nothing on a node that stands alone.
    pub(in crate::node) fn certificate_life(&self) -> Option<(SystemTime, SystemTime)> {
        let credentials = self.membership.as_ref()?.trust.credentials();
        Some((credentials.not_before(), credentials.not_after()))
    }

    /// The neighbours whose tables are other than this node's at the moment.
    pub(in crate::node) fn differing(&self) -> Vec<NodeId> {
        self.membership.as_ref().map(|m| m.core.look(|cluster| cluster.differing())).unwrap_or_default()
    }

    /// The other members, and whether their control ports can be reached.
    pub(in crate::node) async fn examine_peers(&self) -> Vec<v1::ExaminedPeer> {
        let Some(membership) = &self.membership else { return Vec::new() };
        let sealed: Vec<Vni> = {
            let tables = self.tables();
            tables.networks.values().filter(|n| n.mode == Mode::Sealed).map(|n| n.vni).collect()
        };
        let rows = self.vtep.session_rows();
        let sending: BTreeSet<u64> =
            rows.iter().filter(|row| row.direction == Direction::Send).map(|row| row.peer.0).collect();
        let mut peers = membership.core.look(|cluster| known(cluster, membership, &sealed));
        let mut heard: BTreeMap<u64, Duration> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.direction == Direction::Receive) {
            let Some(idle) = row.idle else { continue };
            heard.entry(row.peer.0).and_modify(|least| *least = idle.min(*least)).or_insert(idle);
        }
        let (paths, differing) = (self.paths(), self.differing());
        let mut knocks = JoinSet::new();
        for (node, peer) in peers.iter().filter(|(_, peer)| peer.state != "left") {
            let (node, address, membership) = (*node, peer.control.clone(), Arc::clone(membership));
            knocks.spawn(async move { (node, knock(&membership, node, &address).await) });
        }
        let mut answers: BTreeMap<NodeId, Knocked> = knocks.join_all().await.into_iter().collect();
        for (node, peer) in &mut peers {
            match answers.remove(node) {
                Some(Ok(offset)) => peer.clock_offset_ms = offset,
                Some(Err(why)) => peer.unreachable = Some(why),
                None => {}
            }
            peer.heard_seconds = heard.get(&node.0).map(Duration::as_secs);
            peer.path = peer.vtep.parse().ok().and_then(|vtep: IpAddr| paths.get(&vtep)).map(to_wire);
            peer.has_session = sending.contains(&node.0);
            // The samples may not have seen yet that they agree again.
            peer.tables_differ_seconds = self.differs_seconds(*node).filter(|_| differing.contains(node));
        }
        peers.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Addresses that several stations have, and MAC addresses that are frozen.
    pub(in crate::node) fn contested(&self) -> Vec<v1::Contested> {
        let Some(membership) = &self.membership else { return Vec::new() };
        let names: HashMap<_, _> = self.tables().networks.values().map(|n| (n.vni, n.name.clone())).collect();
        let network = |vni: Vni| names.get(&vni).cloned().unwrap_or_else(|| format!("VNI {vni}"));
        let now = membership.core.now().mono;
        membership.core.look(|cluster| {
            let table = cluster.table();
            let name = |node: NodeId| table.node(node).map_or_else(|| node.to_string(), |record| record.name.clone());
            let twice = table.contested(now).into_iter().filter_map(|(key, nodes)| {
                let (vni, address) = match key {
                    Key::Mac(vni, mac) => (vni, mac.to_string()),
                    Key::Ip(vni, ip) => (vni, ip.to_string()),
                    _ => return None,
                };
                let nodes = nodes.into_iter().map(name).collect();
                Some(v1::Contested { network: network(vni), address, nodes, frozen: false })
            });
            let frozen = table.frozen(now).map(|(vni, mac)| v1::Contested {
                network: network(vni),
                address: mac.to_string(),
                nodes: table.owner(vni, mac).into_iter().map(name).collect(),
                frozen: true,
            });
            twice.chain(frozen).collect()
        })
    }
}

/// The other members, as far as the core knows them.
fn known(cluster: &Cluster, membership: &Membership, sealed: &[Vni]) -> Vec<(NodeId, v1::ExaminedPeer)> {
    let table = cluster.table();
    let common = |node: NodeId| {
        sealed.iter().any(|vni| {
            let mut members = table.members(*vni).filter(|member| *member == node || *member == membership.me);
            members.next().is_some() && members.next().is_some()
        })
    };
    let others = cluster.members().filter(|member| member.node != membership.me);
    let peer = |member: weft_control::cluster::Member| {
        let record = table.node(member.node);
        let peer = v1::ExaminedPeer {
            name: member.name.clone().unwrap_or_else(|| member.node.to_string()),
            id: member.node.to_string(),
            vtep: record.map_or(member.address.ip(), |record| record.address).to_string(),
            control: member.address.to_string(),
            state: member.state.to_string(),
            shares_sealed: common(member.node),
            ..Default::default()
        };
        (member.node, peer)
    };
    others.map(peer).collect()
}

/// By how much a peer's clock is ahead, where it says so, or why it does not take a call.
type Knocked = Result<Option<i64>, String>;

/// Knocks at a peer's control port, and asks for the time.
async fn knock(membership: &Membership, node: NodeId, address: &str) -> Knocked {
    match timeout(KNOCK, TcpStream::connect(address)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", KNOCK.as_secs())),
    }
    match membership.clock_offset(node).await {
        Ok(offset) => Ok(Some(offset)),
        // An earlier version does not know the question.
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(status.message().to_owned()),
    }
}
