//! Networks of a Swarm, of which the driver is asked twice.
//!
//! The leading manager asks it to *allocate* the network, once for the Swarm; what is answered goes with the network to
//! each engine that runs one of its containers, whose CreateNetwork then has it among its options. So the allocation
//! makes the network or finds it, and the engines bind themselves to it. Addresses come from the Swarm, which has one
//! authority for them as it is, and are claimed from the cluster when an endpoint is made.
//!
//! Another manager may lead tomorrow. It allocates again with what was answered before, and so knows what it may remove.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::network::identifier;
use super::options::{Options, SWARM, Swarm, shown};
use super::wire::{AllocateNetwork, CreateNetwork, GENERIC};
use super::{Driver, Refused};

/// What the identifier of an allocation has before that of the network.
const ALLOCATION: &str = "swarm-";

/// How long to wait for word of a network that was allocated elsewhere. It takes milliseconds between members that talk.
const HEARSAY: Duration = Duration::from_secs(10);

/// How often to look.
const STEP: Duration = Duration::from_millis(20);

/// Whether this is the Swarm's binding, and not an engine's.
pub(super) fn is_allocation(id: &str) -> bool {
    id.starts_with(ALLOCATION)
}

/// Whether a network that is there goes with what is bound to it now: with the Swarm's network, if it was made for that.
pub(super) fn is_made_before(id: &str, options: &Options) -> bool {
    is_allocation(id) && options.swarm == Some(Swarm::Made)
}

/// The refusal of a Swarm's network that this node has no word of.
pub(super) fn not_heard_of(options: &Options) -> Refused {
    let name = options.network.as_deref().map_or("that the Swarm means".to_owned(), shown);
    Refused::new(format!(
        "this node has not heard of the network {name}: all engines of a Swarm that uses weft need a weft of one cluster; \
         `weft members` shows whether this one is in it"
    ))
}

impl Driver {
    /// Makes a network for a Swarm, or finds it, and answers with the options for the engines.
    pub(super) fn allocate_network(&self, asked: &AllocateNetwork) -> Result<BTreeMap<String, String>, Refused> {
        let id = identifier(&asked.network, "NetworkID")?;
        let (allocation, mut options) = (format!("{ALLOCATION}{id}"), asked.options.clone());
        let name = || allocation.chars().take(ALLOCATION.len() + 12).collect();
        let name: String = options.entry("network".to_owned()).or_insert_with(name).clone();
        if !options.contains_key(SWARM) {
            let made = self.node.network_called(&name).is_none();
            options.insert(SWARM.to_owned(), if made { "made" } else { "bound" }.to_owned());
        }
        let labels = Map::from_iter([(GENERIC.to_owned(), json!(options))]);
        let (ipv4, ipv6) = (asked.ipv4.clone(), asked.ipv6.clone());
        self.create_network(&CreateNetwork { network: allocation.clone(), options: labels, ipv4, ipv6 })?;
        let (_, network) = self.bound(&allocation)?;
        options.insert("network".to_owned(), network.name);
        options.insert("vni".to_owned(), network.vni.to_string());
        Ok(options)
    }

    /// The Swarm's network goes.
    pub(super) fn free_network(&self, id: &str) -> Result<(), Refused> {
        let id = identifier(id, "NetworkID")?;
        self.delete_network(&format!("{ALLOCATION}{id}"))
    }

    /// Waits a while for word of a network that a manager has made. It must not have the turn, which the word needs.
    pub(super) async fn hear_of(&self, asked: &CreateNetwork) {
        let Some(name) = swarm_network(&asked.options) else { return };
        let until = Instant::now() + HEARSAY;
        while self.node.network_called(&name).is_none() && Instant::now() < until {
            sleep(STEP).await;
        }
    }
}

/// The name of the network, if it is a Swarm's.
fn swarm_network(labels: &Map<String, Value>) -> Option<String> {
    let options = Options::parse(labels).ok()?;
    options.network.filter(|_| options.swarm.is_some())
}
