//! A cluster's networks appear by themselves in this host's Docker, and go with the cluster's.
//!
//! What there is here is compared with what the engine has, again whenever either changes, and what is missing is made or
//! removed by the engine's own API. Networks that this made have a label; no other is touched. The engine asks the plugin
//! while it makes a network, so nothing is held meanwhile that a handler needs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};
use weft_control::network::Network;

use super::engine::{Engine, EngineError, Events, is_identifier};
use super::wire::nullable;
use super::{DRIVER, Driver};

/// The label of Docker's networks that were made here; its value is the network's id.
const LABEL: &str = "weft.managed";

/// What happens to networks in the engine: percent-encoded
/// `{"type":["network"],"event":["create","destroy","disconnect"]}`.
const EVENTS: &str =
    "%7B%22type%22%3A%5B%22network%22%5D%2C%22event%22%3A%5B%22create%22%2C%22destroy%22%2C%22disconnect%22%5D%7D";

/// How often to see whether the node's networks have changed.
const GLANCE: Duration = Duration::from_secs(1);

/// After how long what could not be done is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// After how long to look without a reason.
const PERIOD: Duration = Duration::from_secs(60);

/// How long a binding counts that the engine has no network of: it may be making it.
const MAKING: Duration = Duration::from_secs(30);

/// A network as the engine lists it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    id: String,
    name: String,
    driver: String,
    #[serde(deserialize_with = "nullable")]
    options: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

impl Listed {
    fn is_ours(&self) -> bool {
        self.driver == DRIVER || self.driver.starts_with("weft:")
    }

    /// The network that it was made for here.
    fn managed(&self) -> Option<&str> {
        self.labels.get(LABEL).filter(|_| self.is_ours() && is_identifier(&self.id)).map(String::as_str)
    }
}

/// What this node knows.
#[derive(Debug, Default)]
struct Known {
    networks: Vec<Network>,
    /// The engine's networks, and the ids of those that they are here.
    bound: Vec<(String, String)>,
    /// Networks that the user of this engine has removed from it.
    hidden: BTreeSet<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
struct Due {
    remove: Vec<Listed>,
    make: Vec<Network>,
    /// Networks whose name something else has in Docker.
    taken: Vec<Network>,
}

impl Due {
    /// Whether something is to be done about the network with this id, the engine's or the node's.
    fn concerns(&self, id: &str) -> bool {
        self.remove.iter().any(|listed| listed.id == id) || self.make.iter().chain(&self.taken).any(|n| n.id == id)
    }
}

/// Compares. `missing`: networks of the engine that are bound and have not been listed for long.
fn compare(known: &Known, listed: Vec<Listed>, missing: &HashSet<String>) -> Due {
    let mut due = Due::default();
    let bound = |of: &Listed| known.bound.iter().any(|(id, _)| *id == of.id);
    let useless = |of: &Listed| {
        // One that the node has no binding of, since its state is new, serves nobody.
        of.managed().is_some_and(|id| !bound(of) || !known.networks.iter().any(|network| network.id == id))
    };
    for network in &known.networks {
        let serves = |(id, of): &(String, String)| *of == network.id && !missing.contains(id);
        // Docker makes no network without an IPv4 subnet.
        let fit = network.subnets.iter().any(|s| s.subnet.addr().is_ipv4());
        if !fit || known.hidden.contains(&network.id) || known.bound.iter().any(serves) {
            continue;
        }
        match listed.iter().find(|other| other.name == network.name && !useless(other)) {
            // It is being bound by hand.
            Some(other) if other.is_ours() && other.options.get("network") == Some(&network.name) => {}
            Some(_) => due.taken.push(network.clone()),
            None => due.make.push(network.clone()),
        }
    }
    due.remove = listed.into_iter().filter(useless).collect();
    due
}

/// What the engine is asked to make.
fn request(network: &Network) -> Value {
    let subnets: Vec<_> = network.subnets.iter().map(|s| json!({ "Subnet": s.subnet.to_string() })).collect();
    json!({
        "Name": network.name,
        "CheckDuplicate": true,
        "Driver": DRIVER,
        "EnableIPv6": network.subnets.iter().any(|s| s.subnet.addr().is_ipv6()),
        "Internal": network.internal,
        "IPAM": { "Driver": DRIVER, "Options": { "network": network.name }, "Config": subnets },
        "Options": { "network": network.name },
        "Labels": { LABEL: network.id },
    })
}

/// What is kept up.
struct Keeper {
    driver: Arc<Driver>,
    engine: Engine,
    events: Option<Events>,
    /// Since when bound networks of the engine are not listed.
    missing: HashMap<String, Instant>,
    /// What is in the way of networks, by their ids, so that it is said once for as long as it lasts.
    told: HashMap<String, String>,
}

/// Keeps the engine's networks as the cluster's are. Never returns.
pub(super) async fn keep(driver: Arc<Driver>, engine: Engine, wanted: bool) {
    // One that stands alone cannot know which addresses its remotes have given out.
    if !wanted || !driver.node.is_member() {
        return std::future::pending().await;
    }
    let (missing, told) = (HashMap::new(), HashMap::new());
    let mut keeper = Keeper { driver, engine, events: None, missing, told };
    let mut glances = interval(GLANCE);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut next) = (None, Instant::now());
    loop {
        let event = keeper.wait(&mut glances).await;
        let networks = keeper.driver.node.networks();
        let changed = seen.as_ref() != Some(&networks);
        if !keeper.driver.node.is_ready() || !(event || changed || Instant::now() >= next) {
            continue;
        }
        let done = keeper.look().await;
        // Failing to ask is no news of its own: names are asked for on the same socket.
        let done = done.inspect_err(|error| debug!("Docker's networks are not seen to: {error}"));
        next = Instant::now() + if matches!(done, Ok(true)) { PERIOD } else { AGAIN };
        if done.is_err() {
            keeper.events = None;
            next = Instant::now() + GLANCE;
        }
        seen = Some(networks);
    }
}

impl Keeper {
    /// Waits a moment, or for an event, which is said.
    async fn wait(&mut self, glances: &mut tokio::time::Interval) -> bool {
        let event = async {
            match &mut self.events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = event => event,
            _ = glances.tick() => return false,
        };
        let mut last = Some(event);
        // One look is enough for all that have come.
        while let Some(event) = last {
            if event.is_none() {
                self.events = None;
                break;
            }
            last = self.events.as_mut().and_then(|events| events.next().now_or_never());
        }
        true
    }

    /// Sees to it that the engine has what it is to have; false if something is left to do.
    async fn look(&mut self) -> Result<bool, EngineError> {
        if self.events.is_none() {
            self.events = Some(self.engine.events(EVENTS).await?);
        }
        let known = self.known().await;
        let listed: Vec<Listed> = self.engine.get("/networks").await?;
        let missing = self.missing(&known, &listed);
        let due = compare(&known, listed, &missing);
        self.told.retain(|of, _| due.concerns(of));
        let mut all = due.taken.is_empty() && self.missing.is_empty();
        for network in due.taken {
            let name = &network.name;
            self.tell(
                &network.id,
                format!("the network {name} does not appear in Docker, which has another network of that name"),
            );
        }
        for network in due.remove {
            all &= self.remove(network).await;
        }
        if !due.make.is_empty() && self.in_a_swarm().await? {
            debug!("in a Swarm networks are made by its managers, and do not appear by themselves");
            return Ok(all);
        }
        for network in due.make {
            all &= self.make(network).await;
        }
        Ok(all)
    }

    /// What this node knows at one moment, between changes.
    async fn known(&mut self) -> Known {
        let _turn = self.driver.node.turn().await;
        let networks = self.driver.node.networks();
        let mut store = self.driver.store();
        if let Err(error) = store.forget_hidden(|id| networks.iter().any(|network| network.id == id)) {
            warn!("{error}");
        }
        let bound = store.bindings().filter(|b| !b.leaving).map(|b| (b.id.clone(), b.network.clone())).collect();
        Known { bound, hidden: store.hidden().clone(), networks }
    }

    fn missing(&mut self, known: &Known, listed: &[Listed]) -> HashSet<String> {
        let now = Instant::now();
        let absent: HashSet<_> =
            known.bound.iter().map(|(id, _)| id).filter(|id| !listed.iter().any(|l| l.id == **id)).collect();
        self.missing.retain(|id, _| absent.contains(id));
        for id in absent {
            self.missing.entry(id.clone()).or_insert(now);
        }
        let long = |since: &Instant| now.duration_since(*since) >= MAKING;
        self.missing.iter().filter(|(_, since)| long(since)).map(|(id, _)| id.clone()).collect()
    }

    async fn in_a_swarm(&mut self) -> Result<bool, EngineError> {
        let info: Value = self.engine.get("/info").await?;
        Ok(!matches!(info["Swarm"]["LocalNodeState"].as_str(), None | Some("" | "inactive")))
    }

    async fn make(&mut self, network: Network) -> bool {
        let name = &network.name;
        match self.engine.post("/networks/create", &request(&network)).await {
            Ok(()) => {
                info!("the network {name} is there in Docker as well");
                true
            }
            Err(error) => {
                // What the engine undid is not what its user has removed.
                if let Err(error) = self.driver.store().show(&network.id) {
                    warn!("{error}");
                }
                self.tell(&network.id, format!("the network {name} does not appear in Docker: {error}"));
                false
            }
        }
    }

    async fn remove(&mut self, network: Listed) -> bool {
        match self.engine.delete(&format!("/networks/{}", network.id)).await {
            Ok(()) => {
                info!("the network {} is gone, from Docker as well", network.name);
                true
            }
            Err(error) => {
                let text = format!(
                    "the network {} is gone, and stays in Docker as long as it is used there: {error}",
                    network.name
                );
                self.tell(&network.id, text);
                false
            }
        }
    }

    /// Says once of a network what is in the way.
    fn tell(&mut self, of: &str, text: String) {
        if self.told.insert(of.to_owned(), text.clone()).as_ref() != Some(&text) {
            self.driver.node.happened("docker_network", text);
        }
    }
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
        let due = compare(&known, have.clone(), &HashSet::new());
        assert_eq!(names(&due), (vec!["blue"], vec!["d3", "d6"], vec!["bridge"]));
        // A binding that the engine knows nothing of does not count for ever.
        let due = compare(&known, have, &HashSet::from(["d1".to_owned()]));
        assert_eq!(names(&due).0, ["blue", "red"]);
    }

    #[test]
    fn one_that_is_being_bound_by_hand_is_left_alone() {
        let known = Known { networks: vec![network("n", "blue", "10.1.0.0/16")], ..Known::default() };
        let mut by_hand = listed("d", "blue", "weft", None);
        by_hand.options.insert("network".to_owned(), "blue".to_owned());
        assert_eq!(names(&compare(&known, vec![by_hand], &HashSet::new())), (vec![], vec![], vec![]));
    }
}
