//! Names of endpoints: those of this node, told to the cluster, and those of all, to be looked up.
//!
//! In: what an engine calls its containers. Out: records of the replicated table, one for each name of a network with
//! the addresses of all endpoints here that have it; and an index of what the merged table says, which is read for each
//! question of a container ([`Names`]).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use weft_control::table::Limits;
use weft_vtep::addr::Vni;

use super::tables::{Live, Tables};
use super::{Node, NodeError};

/// The names of the cluster and their addresses, by network. It is as large as the table's share of them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    zones: RwLock<HashMap<Vni, Zone>>,
}

#[derive(Debug, Default)]
struct Zone {
    addresses: HashMap<Box<str>, Vec<IpAddr>>,
    names: HashMap<IpAddr, BTreeSet<Box<str>>>,
}

impl Names {
    /// A name has these addresses now; none: nobody has it.
    pub(super) fn set(&self, vni: Vni, name: Box<str>, addresses: Vec<IpAddr>) {
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        let zone = zones.entry(vni).or_default();
        for old in zone.addresses.remove(&name).unwrap_or_default() {
            if let Some(names) = zone.names.get_mut(&old) {
                names.remove(&name);
                if names.is_empty() {
                    zone.names.remove(&old);
                }
            }
        }
        for address in &addresses {
            zone.names.entry(*address).or_default().insert(name.clone());
        }
        if !addresses.is_empty() {
            zone.addresses.insert(name, addresses);
        } else if zone.addresses.is_empty() {
            zones.remove(&vni);
        }
    }

    /// The addresses of a name, written small; `None`: nobody of the network has it.
    pub(crate) fn addresses(&self, vni: Vni, name: &str) -> Option<Vec<IpAddr>> {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        zones.get(&vni)?.addresses.get(name).cloned()
    }

    /// The name of an address: of several the one that is most its own, before an alias that others share, and before
    /// the beginning of a container's id.
    pub(crate) fn name_of(&self, vni: Vni, address: IpAddr) -> Option<String> {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        let zone = zones.get(&vni)?;
        let sharers = |name: &str| zone.addresses.get(name).map_or(0, Vec::len);
        let names = zone.names.get(&address)?.iter();
        names.min_by_key(|name| (sharers(name), is_short_id(name), *name)).map(ToString::to_string)
    }
}

/// Docker calls a container also by the first twelve digits of its id.
fn is_short_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Tables {
    /// The addresses of the endpoints here that have a name on a network, less one that does not count.
    pub(super) fn addresses_named(&self, network: &str, name: &str, without: Option<&str>) -> Vec<IpAddr> {
        let has = |live: &&Live| {
            let named = live.endpoint.lent.as_ref().is_some_and(|lent| lent.names.contains(name));
            named && live.port.is_some() && Some(live.endpoint.id.as_str()) != without
        };
        let endpoints = self.endpoints_of(network).filter(has);
        let mut addresses: Vec<_> = endpoints.flat_map(|live| live.endpoint.ips.iter().map(|ip| ip.addr())).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(Limits::default().addresses);
        addresses
    }
}

impl Node {
    /// Names a lent endpoint, in place of the names that it had. Blocks; the caller has the turn.
    pub(crate) fn set_names(&self, id: &str, names: &BTreeSet<String>) -> Result<(), NodeError> {
        let (network, touched) = {
            let mut tables = self.tables_mut();
            let Some(live) = tables.endpoints.get_mut(id) else { return Ok(()) };
            let Some(lent) = live.endpoint.lent.as_mut().filter(|lent| lent.names != *names) else { return Ok(()) };
            let touched: Vec<_> = lent.names.symmetric_difference(names).cloned().collect();
            lent.names.clone_from(names);
            (live.endpoint.network.clone(), touched)
        };
        // A full disk is no reason to keep a name from others: after a restart the engine says it again.
        let vni = self.network(&network)?.vni;
        self.tell_names_of(vni, &network, touched.iter(), None);
        Ok(self.dir.save(&self.state())?)
    }

    /// Tells the cluster the names that were here before a restart.
    pub(super) fn restore_names(&self) {
        let endpoints: Vec<_> = self.tables().endpoints.values().map(|live| live.endpoint.clone()).collect();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.lent.is_some()) {
            if let Ok(network) = self.network(&endpoint.network) {
                self.tell_names(network.vni, endpoint, None);
            }
        }
    }

    /// Whether this is a member of a cluster: names that one says that stands alone nobody else would hear.
    pub(crate) fn is_member(&self) -> bool {
        self.membership.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 1, 0, last].into()
    }

    #[test]
    fn a_name_leads_to_addresses_and_an_address_to_its_own_name() {
        let (names, vni, other) = (Names::default(), Vni::new(5000).unwrap(), Vni::new(5001).unwrap());
        names.set(vni, "web".into(), vec![ip(1), ip(2)]);
        names.set(vni, "left".into(), vec![ip(1)]);
        names.set(vni, "0123456789ab".into(), vec![ip(1)]);
        assert_eq!(names.addresses(vni, "web"), Some(vec![ip(1), ip(2)]));
        assert_eq!(names.addresses(other, "web"), None);
        assert_eq!(names.name_of(vni, ip(1)).as_deref(), Some("left"));
        assert_eq!(names.name_of(vni, ip(2)).as_deref(), Some("web"));
        names.set(vni, "web".into(), vec![ip(3)]);
        assert_eq!(names.name_of(vni, ip(2)), None);
        assert_eq!(names.name_of(vni, ip(3)).as_deref(), Some("web"));
    }

    #[test]
    fn what_is_gone_leaves_nothing() {
        let (names, vni) = (Names::default(), Vni::new(5000).unwrap());
        names.set(vni, "web".into(), vec![ip(1)]);
        names.set(vni, "web".into(), Vec::new());
        names.set(vni, "never".into(), Vec::new());
        assert!(names.zones.read().unwrap().is_empty());
    }
}
