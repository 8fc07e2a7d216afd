//! Containers find each other by name, wherever they run.
//!
//! In: the engine's containers ([`container`]), asked for whenever it says that something has changed, and the sandboxes
//! that this node's devices are in ([`sandboxes`]). Out: the names of lent endpoints, which the node tells the cluster, and
//! a resolver ([`resolver`], [`question`]) in each sandbox, which answers from what the whole cluster has told.
//!
//! A name goes with its endpoint. Where anything of this fails, the engine's own resolver is what is left: it knows the
//! containers of its host.

mod container;
mod question;
mod resolver;
mod sandboxes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use self::container::{Inspected, Listed, Mark};
pub(super) use self::resolver::ENGINE;
use self::sandboxes::keep_resolvers;
use super::Driver;
use super::engine::{Engine, EngineError, Events, is_identifier};
use crate::node::state::Endpoint;

/// What containers and networks go through that this node wants to hear of: percent-encoded
/// `{"event":["start","rename","connect","disconnect"]}`.
const EVENTS: &str = "%7B%22event%22%3A%5B%22start%22%2C%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// How often to look for what no event told of.
const PERIOD: Duration = Duration::from_secs(5);

/// What comes at once is looked at at once: so long after a look there is no other.
const GATHER: Duration = Duration::from_millis(20);

/// A container's description, when it has been asked for.
type Answer = (String, Mark, Result<Inspected, EngineError>);

/// What tells the containers' names.
struct Keeper {
    driver: Arc<Driver>,
    engine: Engine,
    events: Option<Events>,
    /// Containers whose names are told, or asked for, by id.
    known: HashMap<String, Mark>,
    asked: JoinSet<Answer>,
    /// The engine's silence was told of, once.
    told: bool,
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
        told: false,
    };
    // A container may ask its first question milliseconds after its sandbox is there: what waits for the engine is no part
    // of that.
    let moved = Notify::new();
    tokio::join!(keep_resolvers(driver, &moved), keeper.run(&moved));
}

impl Keeper {
    async fn run(&mut self, moved: &Notify) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (last, tick) = (Instant::now(), self.wait(moved, &mut ticks).await);
            sleep_until(last + GATHER).await;
            self.drain();
            self.look_at_containers(tick).await;
        }
    }

    /// Waits until there may be something to do. True if that is only because time has passed.
    async fn wait(&mut self, moved: &Notify, ticks: &mut tokio::time::Interval) -> bool {
        loop {
            let event = async {
                match &mut self.events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = moved.notified() => return false,
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
            if std::mem::take(&mut self.told) {
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
        if std::mem::replace(&mut self.told, true) {
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
