//! What is to be done about the engine's networks, for what the node has and what the engine lists.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};
use weft_control::network::Network;

use super::super::engine::is_identifier;
use super::super::network::{is_provisional, provisional_name};
use super::super::wire::nullable;
use super::drivers::Drivers;

/// The label of Docker's networks that were made here; its value is the network's id.
pub(super) const LABEL: &str = "weft.managed";

/// A network as the engine lists it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: String,
    driver: String,
    #[serde(deserialize_with = "nullable")]
    options: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

impl Listed {
    /// The network that it was made for here.
    fn managed(&self, drivers: &Drivers) -> Option<&str> {
        let ours = drivers.have(&self.driver) && is_identifier(&self.id);
        self.labels.get(LABEL).filter(|_| ours).map(String::as_str)
    }
}

/// What this node knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) networks: Vec<Network>,
    /// The engine's networks, and the ids of those that they are here.
    pub(super) bound: Vec<(String, String)>,
    /// Networks that the user of this engine has removed from it.
    pub(super) hidden: BTreeSet<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Networks that were made for the engine's, and the names that those have.
    pub(super) name: Vec<(Network, String)>,
    pub(super) remove: Vec<Listed>,
    pub(super) make: Vec<Network>,
    /// Made here for networks that are there under another name by now.
    pub(super) outdated: Vec<Listed>,
    /// Networks whose name something else has in Docker.
    pub(super) taken: Vec<Network>,
}

impl Due {
    /// Whether something is to be done about the network with this id, the engine's or the node's.
    pub(super) fn concerns(&self, id: &str) -> bool {
        let networks = self.make.iter().chain(&self.taken).chain(self.name.iter().map(|(network, _)| network));
        self.remove.iter().chain(&self.outdated).any(|listed| listed.id == id)
            || networks.into_iter().any(|n| n.id == id)
    }
}

/// Compares. `missing`: networks of the engine that are bound and have not been listed for long.
pub(super) fn compare(known: &Known, listed: &[Listed], missing: &HashSet<String>, drivers: &Drivers) -> Due {
    let mut due = Due::default();
    let bound = |of: &Listed| known.bound.iter().any(|(id, _)| *id == of.id);
    let useless = |of: &Listed| {
        // One that the node has no binding of, since its state is new, serves nobody.
        of.managed(drivers).is_some_and(|id| !bound(of) || !known.networks.iter().any(|network| network.id == id))
    };
    let outdated = |of: &Listed| {
        let network = known.networks.iter().find(|network| of.managed(drivers) == Some(&network.id));
        bound(of) && network.is_some_and(|network| of.name != network.name && !is_provisional(&network.name))
    };
    let serves = |network: &str| {
        let mut ours = known.bound.iter().filter(|(id, of)| of == network && !missing.contains(id));
        ours.any(|(id, _)| !listed.iter().any(|l| l.id == *id && outdated(l)))
    };
    for network in &known.networks {
        let mut ours = known.bound.iter().filter(|(_, of)| *of == network.id).map(|(id, _)| id);
        if let Some(made_for) = ours.find(|id| provisional_name(id) == network.name)
            && let Some(named) = listed.iter().find(|other| other.id == *made_for)
        {
            due.name.push((network.clone(), named.name.clone()));
        }
        // Docker makes no network without an IPv4 subnet.
        let fit = network.subnets.iter().any(|s| s.subnet.addr().is_ipv4()) && !is_provisional(&network.name);
        if !fit || known.hidden.contains(&network.id) || serves(&network.id) {
            continue;
        }
        match listed.iter().find(|other| other.name == network.name && !useless(other)) {
            // It is being bound by hand.
            Some(other) if drivers.have(&other.driver) && other.options.get("network") == Some(&network.name) => {}
            Some(_) => due.taken.push(network.clone()),
            None => due.make.push(network.clone()),
        }
    }
    let replaced = |of: &&Listed| outdated(of) && of.managed(drivers).is_some_and(serves);
    due.outdated = listed.iter().filter(replaced).cloned().collect();
    due.remove = listed.iter().filter(|of| useless(of)).cloned().collect();
    due
}

/// What the engine is asked to make.
pub(super) fn request(network: &Network, driver: &str) -> Value {
    let subnets: Vec<_> = network.subnets.iter().map(|s| json!({ "Subnet": s.subnet.to_string() })).collect();
    json!({
        "Name": network.name,
        "CheckDuplicate": true,
        "Driver": driver,
        "EnableIPv6": network.subnets.iter().any(|s| s.subnet.addr().is_ipv6()),
        "Internal": network.internal,
        "IPAM": { "Driver": driver, "Options": { "network": network.name }, "Config": subnets },
        "Options": { "network": network.name },
        "Labels": { LABEL: network.id },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str, name: &str, subnet: &str) -> Network {
        let subnet = json!({ "subnet": subnet });
        let fields = json!({ "id": id, "name": name, "vni": 5000, "mode": "plain", "mtu": 1450, "subnets": [subnet] });
        serde_json::from_value(fields).unwrap()
    }

    fn listed(id: &str, name: &str, driver: &str, managed: Option<&str>) -> Listed {
        let labels = managed.map(|id| (LABEL.to_owned(), id.to_owned())).into_iter().collect();
        Listed { id: id.into(), name: name.into(), driver: driver.into(), labels, ..Listed::default() }
    }

    /// Compares where nothing is missing.
    fn compared(known: &Known, listed: Vec<Listed>) -> Due {
        compare(known, &listed, &HashSet::new(), &Drivers::of(vec![]))
    }

    fn names(due: &Due) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let of = |networks: &'_ [Network]| networks.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
        let leak = |names: Vec<String>| names.into_iter().map(|n| &*n.leak()).collect::<Vec<&str>>();
        (leak(of(&due.make)), due.remove.iter().map(|l| l.id.as_str()).collect(), leak(of(&due.taken)))
    }

    #[test]
    fn what_is_missing_is_made_and_only_what_was_made_here_is_removed() {
        let networks = ["blue", "red", "green", "bridge", "six"]
            .map(|name| network(&format!("id-{name}"), name, if name == "six" { "fd00::/64" } else { "10.1.0.0/16" }));
        let bound = vec![("d1".to_owned(), "id-red".to_owned())];
        let hidden = BTreeSet::from(["id-green".to_owned()]);
        let known = Known { networks: networks.to_vec(), bound, hidden };
        let have = vec![
            listed("d1", "mine", "weft", None),
            listed("d2", "bridge", "bridge", None),
            listed("d3", "old", "weft", Some("id-old")),
            listed("d4", "hand", "weft", None),
            listed("d5", "x", "bridge", Some("id-old")),
            // Of a state that was lost: it is made anew.
            listed("d6", "blue", "weft", Some("id-blue")),
        ];
        let due = compared(&known, have.clone());
        assert_eq!(names(&due), (vec!["blue"], vec!["d3", "d6"], vec!["bridge"]));
        // A binding that the engine knows nothing of does not count for ever.
        let due = compare(&known, &have, &HashSet::from(["d1".to_owned()]), &Drivers::of(vec![]));
        assert_eq!(names(&due).0, ["blue", "red"]);
    }

    #[test]
    fn a_network_gets_the_name_that_it_has_in_docker_and_appears_elsewhere_only_then() {
        let docker = format!("0123456789ab{}", "0".repeat(52));
        let made = network("n", &provisional_name(&docker), "10.1.0.0/16");
        let known = |bound: &[(&str, &str)], name: &str| Known {
            networks: vec![Network { name: name.to_owned(), ..made.clone() }],
            bound: bound.iter().map(|(id, of)| ((*id).to_owned(), (*of).to_owned())).collect(),
            hidden: BTreeSet::new(),
        };
        let asked =
            |due: &Due| due.name.iter().map(|(network, name)| (network.id.clone(), name.clone())).collect::<Vec<_>>();
        // Where it was made, once the engine lists it.
        let here = known(&[(&docker, "n")], &made.name);
        assert!(asked(&compared(&here, vec![])).is_empty());
        let named = compared(&here, vec![listed(&docker, "blue", "weft", None)]);
        assert_eq!(asked(&named), [("n".to_owned(), "blue".to_owned())]);
        assert!(named.concerns("n"));
        // Elsewhere.
        let nothing = compared(&known(&[], &made.name), vec![]);
        assert_eq!((names(&nothing), asked(&nothing).len()), ((vec![], vec![], vec![]), 0));
        assert_eq!(names(&compared(&known(&[], "blue"), vec![])).0, ["blue"]);
    }

    #[test]
    fn what_was_made_here_under_an_earlier_name_is_made_anew_and_goes() {
        let mut known = Known { networks: vec![network("n", "blue", "10.1.0.0/16")], ..Known::default() };
        known.bound = vec![("old".to_owned(), "n".to_owned())];
        let old = listed("old", "red", "weft", Some("n"));
        let due = compared(&known, vec![old.clone()]);
        assert_eq!((names(&due), due.outdated.len()), ((vec!["blue"], vec![], vec![]), 0));
        // Where that name is taken, what there is stays.
        let due = compared(&known, vec![old.clone(), listed("x", "blue", "bridge", None)]);
        assert_eq!((names(&due), due.outdated.len()), ((vec![], vec![], vec!["blue"]), 0));
        // Once it is there under both.
        known.bound.push(("new".to_owned(), "n".to_owned()));
        let both = compared(&known, vec![old, listed("new", "blue", "weft", Some("n"))]);
        assert_eq!((names(&both), both.outdated.len()), ((vec![], vec![], vec![]), 1));
        // One that the user bound under a name of his own is his.
        known.bound = vec![("mine".to_owned(), "n".to_owned())];
        let due = compared(&known, vec![listed("mine", "red", "weft", None)]);
        assert_eq!((names(&due), due.outdated.len()), ((vec![], vec![], vec![]), 0));
    }

    #[test]
    fn one_that_is_being_bound_by_hand_is_left_alone() {
        let known = Known { networks: vec![network("n", "blue", "10.1.0.0/16")], ..Known::default() };
        let mut by_hand = listed("d", "blue", "weft", None);
        by_hand.options.insert("network".to_owned(), "blue".to_owned());
        assert_eq!(names(&compared(&known, vec![by_hand])), (vec![], vec![], vec![]));
    }
}
