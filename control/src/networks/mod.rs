//! The networks of a cluster, as this node sees them.
//!
//! What enters: the replicated objects of networks, each with the clock of its last write ([`Registry::set`],
//! [`Registry::remove`]). What leaves: the networks with a name and a VNI that no other has ([`Registry::iter`]),
//! and what changed for the data plane and for the user ([`Registry::poll`]).
//!
//! Two sides of a partition may each make a network with the same name, or with the same VNI. Nothing is deleted
//! then. The view is computed from the set of objects alone, so every node that has the same objects sees the same:
//!
//! * the network with the lowest (clock, id) keeps the name; the others are called `NAME~ID`, which nobody can
//!   choose, since `~` is in no name;
//! * the network with the lowest (clock, id) keeps the VNI; the others move to one that is computed from their id.
//!   A node announces its endpoints there anew, and they find each other again.
//!
//! When the one that kept it is removed, the other gets back what its user asked for. A network that moves leaves
//! its VNI ([`Change::Vacated`]) before any other comes there ([`Change::Placed`]): no data plane ever has two
//! networks on one VNI.

pub mod object;
mod view;
pub mod vni;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use weft_vtep::addr::Vni;

use crate::id::NodeId;
use crate::network::Network;
use view::view;

/// A network as its object says it, with when it was written last and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    clock: u64,
    writer: NodeId,
    network: Network,
}

/// What is new about the networks that this node sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The network has left this VNI: the data plane lets go of it there. Its endpoints are not gone unless
    /// [`Change::Removed`] follows.
    Vacated {
        /// The network's id.
        id: String,
        /// Where it was.
        vni: Vni,
    },
    /// The network is gone.
    Removed(Network),
    /// The network has another name than before, or than its user gave it.
    Renamed {
        /// The network's id.
        id: String,
        /// The name that it had, or was to have.
        from: String,
        /// Its name now.
        to: String,
    },
    /// The network has another VNI than before, or than it was made with. [`Change::Placed`] follows.
    Renumbered {
        /// The network's id.
        id: String,
        /// Its name.
        name: String,
        /// The VNI that it had, or was to have.
        from: Vni,
        /// Its VNI now.
        to: Vni,
    },
    /// The network is to be in the data plane, as it is written here. Nothing else is on its VNI.
    Placed(Network),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Vacated { id, vni } => write!(f, "the network {id} has left the VNI {vni}"),
            Change::Removed(network) => write!(f, "the network `{}` is removed", network.name),
            Change::Renamed { id, from, to } if to.contains(view::RENAMED) => write!(
                f,
                "there are two networks `{from}`, made where the nodes did not see each other: the one with the id {id} \
                 is called `{to}` now; remove one of them"
            ),
            Change::Renamed { from, to, .. } => write!(f, "the network `{from}` is called `{to}` now"),
            Change::Renumbered { id, name, from, to } => {
                write!(f, "the network `{name}` ({id}) has the VNI {to} and not {from}: an older network has that one")
            }
            Change::Placed(network) => write!(f, "the network `{}` has the VNI {}", network.name, network.vni),
        }
    }
}

/// The networks of a cluster.
#[derive(Debug, Default)]
pub struct Registry {
    /// By id.
    objects: BTreeMap<String, Object>,
    /// By id, as they are seen.
    seen: BTreeMap<String, Network>,
    changes: VecDeque<Change>,
    stale: bool,
}

impl Registry {
    /// A cluster without networks.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Takes in a network's object: written at `clock` by `writer`, last of all writers.
    pub fn set(&mut self, clock: u64, writer: NodeId, network: Network) {
        let object = Object { clock, writer, network };
        let old = self.objects.insert(object.network.id.clone(), object.clone());
        self.stale |= old != Some(object);
    }

    /// Takes in that the object with this id has been removed, or has become unreadable.
    pub fn remove(&mut self, id: &str) {
        self.stale |= self.objects.remove(id).is_some();
    }

    /// The next change. All that follow from one another come in an order in which they can be carried out.
    pub fn poll(&mut self) -> Option<Change> {
        if std::mem::take(&mut self.stale) {
            self.look_again();
        }
        self.changes.pop_front()
    }

    /// The networks as they are seen, all changes up to the last [`Registry::poll`] included.
    pub fn iter(&self) -> impl Iterator<Item = &Network> + Clone {
        self.seen.values()
    }

    /// The network with this id, as it is seen.
    pub fn get(&self, id: &str) -> Option<&Network> {
        self.seen.get(id)
    }

    /// Who wrote the object of the network with this id, and when, by the hybrid clock.
    pub fn written(&self, id: &str) -> Option<(u64, NodeId)> {
        self.objects.get(id).map(|o| (o.clock, o.writer))
    }

    fn look_again(&mut self) {
        let now = view(self.objects.values().map(|o| (o.clock, &o.network)));
        let before = std::mem::take(&mut self.seen);
        // A network that was written anew with another content counts as one that moved.
        let same_place = |a: &Network, b: &Network| {
            Network { name: String::new(), ..a.clone() } == Network { name: String::new(), ..b.clone() }
        };
        let stays = |n: &Network| now.get(&n.id).is_some_and(|new| same_place(n, new));
        let was_here = |n: &Network| before.get(&n.id).is_some_and(|old| same_place(n, old));

        let leaving = before.values().filter(|n| !stays(n));
        self.changes.extend(leaving.map(|n| Change::Vacated { id: n.id.clone(), vni: n.vni }));
        let removed = before.values().filter(|n| !now.contains_key(&n.id));
        self.changes.extend(removed.cloned().map(Change::Removed));
        // Those that give a name up come before those that take it.
        let mut renamed: Vec<_> = now.values().filter_map(|n| self.renamed(&before, n)).collect();
        renamed.sort_by_key(|(to, _)| !to.contains(view::RENAMED));
        self.changes.extend(renamed.into_iter().map(|(_, change)| change));
        for network in now.values().filter(|n| !was_here(n)) {
            let expected = before.get(&network.id).or(self.objects.get(&network.id).map(|o| &o.network));
            if let Some(from) = expected.map(|n| n.vni).filter(|vni| *vni != network.vni) {
                let (id, name, to) = (network.id.clone(), network.name.clone(), network.vni);
                self.changes.push_back(Change::Renumbered { id, name, from, to });
            }
        }
        let placed = now.values().filter(|n| !was_here(n));
        self.changes.extend(placed.cloned().map(Change::Placed));
        self.seen = now;
    }

    fn renamed(&self, before: &BTreeMap<String, Network>, network: &Network) -> Option<(String, Change)> {
        let expected = before.get(&network.id).or(self.objects.get(&network.id).map(|o| &o.network))?;
        let (id, from, to) = (network.id.clone(), expected.name.clone(), network.name.clone());
        (from != to).then(|| (to.clone(), Change::Renamed { id, from, to }))
    }
}

#[cfg(test)]
mod tests;
