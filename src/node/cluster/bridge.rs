//! From the replicated table to the data plane: which VTEP a station is behind, who is on a flood list, who answers for
//! an address.
//!
//! The table names nodes, the data plane addresses of VTEPs: the [`Directory`] knows which node has which. What is said
//! of a network before the network is here means nothing to the data plane, so everything is told again when it comes
//! ([`all_of`]).

use std::collections::HashMap;
use std::net::IpAddr;

use weft_control::cluster::Cluster;
use weft_control::id::NodeId;
use weft_control::table::{Change, Key};
use weft_vtep::addr::Vni;
use weft_vtep::switch::update::Update;

/// The VTEPs' addresses, as they were last told to the data plane.
#[derive(Debug, Default)]
pub(super) struct Directory {
    addresses: HashMap<NodeId, IpAddr>,
}

impl Directory {
    /// What a change means for the data plane, appended to `updates`.
    pub(super) fn translate(&mut self, cluster: &Cluster, change: &Change, updates: &mut Vec<Update>) {
        let me = cluster.table().me().node;
        match *change {
            Change::Mac { vni, mac, owner } => {
                let vtep = owner.filter(|node| *node != me).and_then(|node| self.addresses.get(&node));
                updates.push(match vtep {
                    Some(vtep) => Update::Station { vni, mac, vtep: *vtep },
                    None => Update::NoStation { vni, mac },
                });
            }
            Change::Ip { vni, ip, holder } => updates.push(match holder {
                Some((mac, _)) => Update::Neighbor { vni, ip, mac },
                None => Update::NoNeighbor { vni, ip },
            }),
            Change::Member { vni, node, present } if node != me => {
                updates.extend(self.member(cluster, vni, node, present));
            }
            Change::Node { node, ref record } if node != me => {
                let Some(address) = record.as_ref().map(|record| record.address) else { return };
                let old = self.addresses.insert(node, address);
                if old != Some(address) {
                    self.moved(cluster, node, old, updates);
                }
            }
            _ => {}
        }
    }

    fn member(&self, cluster: &Cluster, vni: Vni, node: NodeId, present: bool) -> Option<Update> {
        let vtep = *self.addresses.get(&node)?;
        if present {
            return Some(Update::Member { vni, vtep });
        }
        // A node that took the place of another one, on its host and with its address, stays on the list.
        let another = |other: NodeId| other != node && self.addresses.get(&other) == Some(&vtep);
        (!cluster.table().members(vni).any(another)).then_some(Update::NoMember { vni, vtep })
    }

    /// A node has its VTEP elsewhere: all that it has is there.
    fn moved(&self, cluster: &Cluster, node: NodeId, old: Option<IpAddr>, updates: &mut Vec<Update>) {
        let table = cluster.table();
        for (_, key, _) in table.records(node) {
            match *key {
                Key::Mac(vni, mac) if table.owner(vni, mac) == Some(node) => {
                    updates.extend(self.addresses.get(&node).map(|vtep| Update::Station { vni, mac, vtep: *vtep }));
                }
                Key::Member(vni) if table.members(vni).any(|member| member == node) => {
                    let shared = |other: NodeId| other != node && self.addresses.get(&other).copied() == old;
                    if let Some(vtep) = old.filter(|_| !table.members(vni).any(shared)) {
                        updates.push(Update::NoMember { vni, vtep });
                    }
                    updates.extend(self.addresses.get(&node).map(|vtep| Update::Member { vni, vtep: *vtep }));
                }
                _ => {}
            }
        }
    }
}

/// All that the data plane has to know of a network that is new to it.
pub(super) fn all_of(cluster: &Cluster, vni: Vni) -> Vec<Update> {
    let table = cluster.table();
    let me = table.me().node;
    let vtep = |node: NodeId| table.node(node).map(|record| record.address);
    let members = table.members(vni).filter(|node| *node != me).filter_map(vtep);
    let mut updates: Vec<_> = members.map(|vtep| Update::Member { vni, vtep }).collect();
    updates.extend(
        table
            .stations()
            .filter(|(of, _, node)| *of == vni && *node != me)
            .filter_map(|(vni, mac, node)| Some(Update::Station { vni, mac, vtep: vtep(node)? })),
    );
    let neighbors = table.neighbors().filter(|(of, ..)| *of == vni);
    updates.extend(neighbors.map(|(vni, ip, mac, _)| Update::Neighbor { vni, ip, mac }));
    updates
}
