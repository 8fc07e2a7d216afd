//! A cluster's networks appear by themselves in this host's Docker, and go with the cluster's.
//!
//! What there is here is compared with what the engine has ([`due`]), again whenever either changes, and what is missing
//! is made or removed by the engine's own API. Networks that this made have a label; no other is touched. The engine asks
//! the plugin while it makes a network, so nothing is held meanwhile that a handler needs.
//!
//! The other way round, a network that Docker's user made gets its name here: CreateNetwork has none, and the engine says
//! it only once the network is made. Until then it has a provisional name and appears nowhere else.

mod drivers;
mod due;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};
use weft_control::network::Network;

use self::drivers::{Drivers, Plugin};
use self::due::{Due, Known, Listed, compare, request};
use super::Driver;
use super::engine::{Engine, EngineError, Events};

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

/// What is kept up.
struct Keeper {
    driver: Arc<Driver>,
    engine: Engine,
    events: Option<Events>,
    /// Whether networks appear in the engine by themselves.
    publishes: bool,
    /// Since when bound networks of the engine are not listed.
    missing: HashMap<String, Instant>,
    /// What is in the way of networks, by their ids, so that it is said once for as long as it lasts.
    told: HashMap<String, String>,
}

/// Keeps the engine's networks as the cluster's are. Never returns.
pub(super) async fn keep(driver: Arc<Driver>, engine: Engine, wanted: bool) {
    // One that stands alone cannot know which addresses its remotes have given out.
    let publishes = wanted && driver.node.is_member();
    let (missing, told) = (HashMap::new(), HashMap::new());
    let mut keeper = Keeper { driver, engine, events: None, publishes, missing, told };
    let mut glances = interval(GLANCE);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut next) = (None, Instant::now());
    loop {
        let event = keeper.wait(&mut glances).await;
        let networks = keeper.driver.node.networks();
        let changed = seen.as_ref() != Some(&networks);
        let concerned = publishes || keeper.driver.store().bindings().next().is_some();
        if !keeper.driver.node.is_ready() || !concerned || !(event || changed || Instant::now() >= next) {
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
        // Before it is asked: what is bound meanwhile is not missing.
        let mut known = self.known().await;
        let listed: Vec<Listed> = self.engine.get("/networks").await?;
        let missing = self.missing(&known, &listed);
        if self.forget(&missing, &listed).await {
            known = self.known().await;
        }
        let drivers = Drivers::of(self.engine.get::<Vec<Plugin>>("/plugins").await?);
        let due = compare(&known, &listed, &missing, &drivers);
        self.told.retain(|of, _| due.concerns(of));
        let named = self.name_all(&due).await;
        Ok(if self.publishes { self.publish(due, &drivers.best).await? && named } else { named })
    }

    /// Gives the networks that Docker's user made here the names that they have there.
    async fn name_all(&mut self, due: &Due) -> bool {
        let mut all = true;
        for (network, name) in &due.name {
            let (turn, node) = (self.driver.node.turn().await, Arc::clone(&self.driver.node));
            let (id, to) = (network.id.clone(), name.clone());
            let named = spawn_blocking(move || {
                let _turn = turn;
                node.rename_network(&id, &to)
            });
            if let Ok(Err(error)) = named.await {
                let now = &network.name;
                let text = format!("Docker's network {name} is called {now}, and is not there on other hosts: {error}");
                self.tell(&network.id, text);
                all = false;
            }
        }
        all
    }

    async fn publish(&mut self, due: Due, driver: &str) -> Result<bool, EngineError> {
        let mut all = due.taken.is_empty() && self.missing.is_empty();
        for network in due.taken {
            let name = &network.name;
            self.tell(
                &network.id,
                format!("the network {name} does not appear in Docker, which has another network of that name"),
            );
        }
        for network in due.remove {
            all &= self.remove(network, "is gone").await;
        }
        for network in due.outdated {
            all &= self.remove(network, "has another name now").await;
        }
        if !due.make.is_empty() && self.in_a_swarm().await? {
            debug!("in a Swarm networks are made by its managers, and do not appear by themselves");
            return Ok(all);
        }
        for network in due.make {
            all &= self.make(network, driver).await;
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

    /// Ends the bindings of networks that the engine had and no longer has: nobody told of their end, since weft was away.
    /// True if there were any.
    async fn forget(&mut self, missing: &HashSet<String>, listed: &[Listed]) -> bool {
        let gone: Vec<_> = {
            let mut store = self.driver.store();
            if let Err(error) = store.mark_listed(|id| listed.iter().any(|network| network.id == id)) {
                warn!("{error}");
            }
            let had = |id: &&String| store.get(id).is_some_and(|binding| binding.listed);
            missing.iter().filter(had).cloned().collect()
        };
        for id in &gone {
            let (turn, driver, id) = (self.driver.node.turn().await, Arc::clone(&self.driver), id.clone());
            let forgotten = spawn_blocking(move || {
                let _turn = turn;
                driver.forget_network(&id)
            });
            if let Ok(Err(error)) = forgotten.await {
                warn!("a network that Docker has no more is not forgotten: {error}");
            }
        }
        !gone.is_empty()
    }

    async fn in_a_swarm(&mut self) -> Result<bool, EngineError> {
        let info: Value = self.engine.get("/info").await?;
        Ok(!matches!(info["Swarm"]["LocalNodeState"].as_str(), None | Some("" | "inactive")))
    }

    async fn make(&mut self, network: Network, driver: &str) -> bool {
        let name = &network.name;
        match self.engine.post("/networks/create", &request(&network, driver)).await {
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

    async fn remove(&mut self, network: Listed, why: &str) -> bool {
        let name = &network.name;
        match self.engine.delete(&format!("/networks/{}", network.id)).await {
            Ok(()) => {
                info!("the network {name} {why}, and is gone from Docker as well");
                true
            }
            Err(error) => {
                let text =
                    format!("the network {name} {why}, and stays in Docker as long as it is used there: {error}");
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
