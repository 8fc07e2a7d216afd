//! Containers find each other by name, wherever they run.
//!
//! In: the engine's containers ([`container`]), asked for whenever it says that something has changed, and the sandboxes
//! that this node's devices are in. Out: the names of lent endpoints, which the node tells the cluster, and a resolver
//! ([`resolver`], [`question`]) in each sandbox, which answers from what the whole cluster has told.
//!
//! A name goes with its endpoint. Where anything of this fails, the engine's own resolver is what is left: it knows the
//! containers of its host.

mod container;
mod question;
mod resolver;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use self::container::{Inspected, Listed, Mark};
use self::resolver::{Resolver, Scope};
use super::Driver;
use super::engine::{Engine, EngineError, Events, is_identifier};
use crate::node::state::Endpoint;
use crate::sandbox::{Identity, Netns};

/// What containers and networks go through that this node wants to hear of: percent-encoded
/// `{"event":["start","rename","connect","disconnect"]}`.
const EVENTS: &str = "%7B%22event%22%3A%5B%22start%22%2C%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// How often to look for what no event told of.
const PERIOD: Duration = Duration::from_secs(5);

/// What comes at once is looked at at once: so long after a look there is no other.
const GATHER: Duration = Duration::from_millis(20);

/// A container's description, when it has been asked for.
type Answer = (String, Mark, Result<Inspected, EngineError>);

/// What is kept up.
struct Keeper {
    driver: Arc<Driver>,
    engine: Engine,
    events: Option<Events>,
    /// Containers whose names are told, or asked for, by id.
    known: HashMap<String, Mark>,
    asked: JoinSet<Answer>,
    resolvers: HashMap<Identity, Resolver>,
    /// Sandboxes that have no resolver until the next tick.
    without: HashSet<Identity>,
    /// What was said of failures, so that it is said once.
    told: Told,
}

#[derive(Default)]
struct Told {
    engine: bool,
    resolver: bool,
}

/// Keeps names told and resolvers running. Never returns.
pub(super) async fn keep(driver: Arc<Driver>, engine: Engine) {
    if !driver.node.is_member() {
        return std::future::pending().await;
    }
    let mut keeper = Keeper {
        driver: Arc::clone(&driver),
        engine,
        events: None,
        known: HashMap::new(),
        asked: JoinSet::new(),
        resolvers: HashMap::new(),
        without: HashSet::new(),
        told: Told::default(),
    };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (last, tick) = (Instant::now(), keeper.wait(&mut ticks).await);
        sleep_until(last + GATHER).await;
        keeper.drain();
        keeper.keep_resolvers(tick).await;
        keeper.look_at_containers(tick).await;
    }
}

impl Keeper {
    /// Waits until there may be something to do. True if that is only because time has passed.
    async fn wait(&mut self, ticks: &mut tokio::time::Interval) -> bool {
        let driver = Arc::clone(&self.driver);
        loop {
            let event = async {
                match &mut self.events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = driver.places.notified() => return false,
                event = event => {
                    if event.is_none() {
                        self.events = None;
                    }
                    return false;
                }
                Some(Ok(answer)) = self.asked.join_next() => self.answered(answer).await,
                _ = ticks.tick() => return true,
            }
        }
    }

    /// Passes over events that have come meanwhile: one look is enough for all of them.
    fn drain(&mut self) {
        while let Some(event) = self.events.as_mut().and_then(|events| events.next().now_or_never()) {
            if event.is_none() {
                self.events = None;
            }
        }
    }

    /// Has a resolver in each sandbox that a lent device is in, and no other.
    async fn keep_resolvers(&mut self, tick: bool) {
        let mut wanted: HashMap<Identity, (PathBuf, Vec<Scope>)> = HashMap::new();
        for endpoint in self.driver.node.lent_endpoints().into_iter().filter(|e| !self.driver.node.waits(e)) {
            if let Ok(network) = self.driver.node.network(&endpoint.network) {
                let (_, scopes) = wanted.entry(endpoint.netns_identity).or_insert((endpoint.netns, Vec::new()));
                scopes.push(Scope { vni: network.vni, network: network.name });
            }
        }
        if tick {
            self.without.clear();
        }
        self.resolvers.retain(|identity, resolver| wanted.contains_key(identity) && !resolver.has_ended());
        for (identity, (path, scopes)) in wanted {
            if let Some(resolver) = self.resolvers.get(&identity) {
                resolver.set_scopes(scopes);
                continue;
            }
            if self.without.contains(&identity) {
                continue;
            }
            let node = Arc::clone(&self.driver.node);
            let started = spawn_blocking(move || {
                let netns = Netns::find(&path, identity).map_err(|error| error.to_string())?;
                Resolver::start(node, netns, scopes).map_err(|error| error.to_string())
            });
            match started.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(resolver) => drop(self.resolvers.insert(identity, resolver)),
                Err(error) => self.no_resolver(identity, &error),
            }
        }
    }

    fn no_resolver(&mut self, sandbox: Identity, error: &str) {
        self.without.insert(sandbox);
        if std::mem::replace(&mut self.told.resolver, true) {
            return debug!("no resolver in {sandbox}: {error}");
        }
        warn!(
            "no resolver can be started in {sandbox} ({error}): its container finds those of other hosts by address, not \
             by name; it needs Linux 5.12 with nf_tables"
        );
    }

    /// Asks for the names of containers that have new endpoints or are called otherwise now.
    async fn look_at_containers(&mut self, tick: bool) {
        let fresh = self.events.is_none();
        if fresh {
            match self.engine.events(EVENTS).await {
                Ok(events) => {
                    self.events = Some(events);
                    self.known.clear();
                }
                Err(error) => return self.no_engine(&error),
            }
            if std::mem::take(&mut self.told.engine) {
                info!("the Docker Engine says its containers' names again");
            }
        }
        let lent = self.driver.node.lent_endpoints();
        let unnamed = |endpoint: &Endpoint| endpoint.lent.as_ref().is_some_and(|lent| lent.names.is_empty());
        // What has happened was told; what had no name then may have got one without a word.
        if lent.is_empty() || (tick && !fresh && !lent.iter().any(unnamed)) {
            return;
        }
        let listed = match self.engine.get::<Vec<Listed>>("/containers/json").await {
            Ok(listed) => listed,
            Err(error) => return self.no_engine(&error),
        };
        let ours: HashSet<_> = lent.iter().filter_map(|e| e.lent.as_ref()).map(|lent| lent.endpoint.as_str()).collect();
        self.known.retain(|id, _| listed.iter().any(|container| container.id == *id));
        for container in listed {
            let mark = container.mark();
            let ours = mark.endpoints.iter().any(|endpoint| ours.contains(endpoint.as_str()));
            if !ours || !is_identifier(&container.id) || self.known.get(&container.id) == Some(&mark) {
                continue;
            }
            self.known.insert(container.id.clone(), mark.clone());
            let engine = self.engine.clone();
            // One that is being started is not described before it has: the others need not wait for it.
            self.asked.spawn(async move {
                let described = engine.get(&format!("/containers/{}/json", container.id)).await;
                (container.id, mark, described)
            });
        }
    }

    fn no_engine(&mut self, error: &EngineError) {
        self.events = None;
        if std::mem::replace(&mut self.told.engine, true) {
            return debug!("{error}");
        }
        warn!("{error}; until then containers that start here are found by name only on this host");
    }

    /// Takes a container's names.
    async fn answered(&mut self, (id, mark, described): Answer) {
        let container = match described {
            Ok(container) => container,
            Err(error) => {
                debug!("the container {id} has no names: {error}");
                // It is asked for again.
                self.known.retain(|known, at| *known != id || *at != mark);
                return;
            }
        };
        for (endpoint, names) in container.names() {
            let Some(endpoint) = self.driver.node.lent_endpoint(endpoint) else { continue };
            let (turn, node) = (self.driver.node.turn().await, Arc::clone(&self.driver.node));
            let named = spawn_blocking(move || {
                let _turn = turn;
                node.set_names(&endpoint.id, &names)
            });
            match named.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!("{error}"),
                Err(_) => tracing::error!("naming an endpoint failed"),
            }
        }
    }
}

/// What a name that can be asked for consists of, dots aside: letters and digits, and what people write between them.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
