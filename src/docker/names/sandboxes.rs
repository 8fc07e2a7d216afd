//! A resolver in each sandbox that a lent device is in, or about to be, and in no other.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::super::Driver;
use super::PERIOD;
use super::resolver::{Resolver, Scope};
use crate::sandbox::{Identity, Netns};

/// The resolvers that run.
#[derive(Default)]
struct Resolvers {
    running: HashMap<Identity, Resolver>,
    /// Sandboxes that have no resolver until the next tick.
    without: HashSet<Identity>,
    /// A failure was told of, once.
    told: bool,
}

/// Keeps the resolvers running, and says each time that devices may have come into sandboxes. Never returns.
pub(super) async fn keep_resolvers(driver: Arc<Driver>, moved: &Notify) {
    let mut resolvers = Resolvers::default();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = driver.places.notified() => moved.notify_one(),
            _ = ticks.tick() => resolvers.without.clear(),
        }
        resolvers.look(&driver).await;
    }
}

impl Resolvers {
    async fn look(&mut self, driver: &Driver) {
        let mut wanted: HashMap<Identity, (PathBuf, Vec<Scope>)> = HashMap::new();
        for endpoint in driver.node.lent_endpoints() {
            let expected = driver.expected().get(&endpoint.id).cloned();
            // Of a lost one the sandbox is, too: by now its namespace's number may be another's.
            if expected.is_none() && (driver.node.waits(&endpoint) || !driver.node.is_plugged(&endpoint.id)) {
                continue;
            }
            if let Ok(network) = driver.node.network(&endpoint.network) {
                let (path, identity) = expected.unwrap_or((endpoint.netns, endpoint.netns_identity));
                let (_, scopes) = wanted.entry(identity).or_insert((path, Vec::new()));
                scopes.push(Scope { vni: network.vni, network: network.name });
            }
        }
        self.running.retain(|identity, resolver| wanted.contains_key(identity) && !resolver.has_ended());
        for (identity, (path, scopes)) in wanted {
            if let Some(resolver) = self.running.get(&identity) {
                resolver.set_scopes(scopes);
                continue;
            }
            if self.without.contains(&identity) {
                continue;
            }
            let node = Arc::clone(&driver.node);
            let started = spawn_blocking(move || {
                let netns = Netns::find(&path, identity).map_err(|error| error.to_string())?;
                Resolver::start(node, netns, scopes).map_err(|error| error.to_string())
            });
            match started.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(resolver) => drop(self.running.insert(identity, resolver)),
                Err(error) => self.failed(identity, &error),
            }
        }
    }

    fn failed(&mut self, sandbox: Identity, error: &str) {
        self.without.insert(sandbox);
        if std::mem::replace(&mut self.told, true) {
            return debug!("no resolver in {sandbox}: {error}");
        }
        warn!(
            "no resolver can be started in {sandbox} ({error}): its container finds those of other hosts by address, not \
             by name; it needs Linux 5.12 with nf_tables"
        );
    }
}
