//! Endpoints that the engine has let go of without a word.
//!
//! An engine that is killed, or that could not reach the plugin while it cleaned up, never asks for some endpoints to be
//! deleted. It needs none of them again: it makes the endpoints of a container anew whenever it starts one. So an endpoint
//! that nothing uses for a while is taken back, and at once where another container is to have its address. Whether a
//! sandbox is used is seen from here: some process is in it. The engine is not asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use weft_control::network::Network;
use weft_vtep::addr::Mac;

use super::Driver;
use crate::node::state::Endpoint;

/// How long an endpoint may be without a use. The engine deletes those of a container that has ended within seconds.
const UNUSED: Duration = Duration::from_secs(60);

/// How long a device may wait to be moved. The engine needs milliseconds, and longer on a busy host.
const WAITING: Duration = Duration::from_secs(300);

/// Since when endpoints are unused, by id.
pub(super) type Unused = HashMap<String, Instant>;

impl Driver {
    /// Takes back the endpoints that nothing has used for long. Blocks; the caller has the turn.
    pub(super) fn collect(&self, now: Instant) {
        let found = self.node.unused_lent();
        let due: Vec<Endpoint> = {
            let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
            unused.retain(|id, _| found.iter().any(|endpoint| endpoint.id == *id));
            let due = |endpoint: &Endpoint| {
                let since = *unused.entry(endpoint.id.clone()).or_insert(now);
                let patience = if self.node.waits(endpoint) { WAITING } else { UNUSED };
                now.duration_since(since) >= patience
            };
            found.into_iter().filter(due).collect()
        };
        for endpoint in due {
            self.take_garbage(&endpoint);
        }
    }

    /// Takes back the endpoint that has this address, if its container is gone. Blocks; the caller has the turn.
    pub(super) fn collect_holder(&self, network: &Network, address: IpAddr) {
        self.collect_one(|e| e.network == network.id && e.ips.iter().any(|ip| ip.addr() == address));
    }

    /// As [`Driver::collect_holder`], for the endpoint that has this MAC address.
    pub(super) fn collect_station(&self, network: &Network, mac: Mac) {
        self.collect_one(|e| e.network == network.id && e.mac == mac);
    }

    fn collect_one(&self, holds: impl Fn(&Endpoint) -> bool) {
        if !self.node.lent_endpoints().iter().any(&holds) {
            return;
        }
        let unused = self.node.unused_lent();
        // One whose device waits may be about to be moved.
        if let Some(endpoint) = unused.iter().find(|e| holds(e) && !self.node.waits(e)) {
            self.take_garbage(endpoint);
        }
    }

    fn take_garbage(&self, endpoint: &Endpoint) {
        match self.node.take_back(&endpoint.id) {
            Ok(()) => info!(endpoint = endpoint.id, "taken back: its container is gone, and the engine did not say so"),
            Err(error) => warn!(endpoint = endpoint.id, "{error}"),
        }
    }
}
