//! Which name and which VNI each network has, computed alike by every node that has the same objects.

use std::collections::{BTreeMap, HashSet};

use weft_proto::limits;
use weft_vtep::addr::Vni;

use super::vni;
use crate::network::Network;

/// What stands between the name and the id of a network that had to give its name up.
pub(super) const RENAMED: char = '~';

/// The networks by id, each with its own name and VNI. They come in with the clock of their last write.
pub(super) fn view<'a>(objects: impl Iterator<Item = (u64, &'a Network)>) -> BTreeMap<String, Network> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by(|(clock, a), (other, b)| (clock, &a.id).cmp(&(other, &b.id)));
    let (mut names, mut vnis) = (HashSet::new(), HashSet::new());
    let mut seen: Vec<Network> = Vec::with_capacity(objects.len());
    let mut displaced = Vec::new();
    for (index, (_, network)) in objects.iter().enumerate() {
        let name =
            if names.insert(network.name.clone()) { network.name.clone() } else { other_name(network, &mut names) };
        if !vnis.insert(network.vni) {
            displaced.push(index);
        }
        seen.push(Network { name, ..(*network).clone() });
    }
    // Only when all that can keep their VNI have it, or a displaced one would take an innocent one's.
    for index in displaced {
        let network = &mut seen[index];
        network.vni = other_vni(network, &mut vnis);
    }
    seen.into_iter().map(|n| (n.id.clone(), n)).collect()
}

fn other_name(network: &Network, names: &mut HashSet<String>) -> String {
    // Short enough to be named in a request.
    let room = limits::NAME_BYTES.saturating_sub(1 + network.id.len());
    let kept = network.name.get(..room).unwrap_or(&network.name);
    // Ids are unique, and no name that a user gives has the sign.
    let name = format!("{kept}{RENAMED}{}", network.id);
    names.insert(name.clone());
    name
}

/// The first of the network's candidates that nobody has. With all VNIs in use it stays where it is: sixteen
/// million networks are not possible, since the objects are bounded.
fn other_vni(network: &Network, vnis: &mut HashSet<Vni>) -> Vni {
    let free = vni::candidates(&network.id).find(|vni| !vnis.contains(vni)).unwrap_or(network.vni);
    vnis.insert(free);
    free
}
