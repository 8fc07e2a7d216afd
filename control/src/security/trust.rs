//! The one place in a running node that says whom to trust, and that may change at any time.
//!
//! The listener and every dial read it anew for each handshake, so a swap needs no restart; connections that live
//! hear of it and are judged again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::sync::watch;

use super::credentials::Credentials;
use crate::id::NodeId;

/// A node's credentials and the cluster's deny list, shared. Clones are handles to the same.
#[derive(Clone)]
pub struct Trust {
    state: watch::Sender<Arc<State>>,
    clock: Arc<dyn TimeProvider>,
}

/// What is trusted at one moment.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) denied: BTreeSet<NodeId>,
}

impl Trust {
    /// Starts with these credentials, nobody denied, and the system's clock.
    pub fn new(credentials: Credentials) -> Trust {
        Trust::with_clock(credentials, Arc::new(DefaultTimeProvider))
    }

    /// Starts with another clock.
    pub fn with_clock(credentials: Credentials, clock: Arc<dyn TimeProvider>) -> Trust {
        let state = State { credentials: Arc::new(credentials), denied: BTreeSet::new() };
        Trust { state: watch::Sender::new(Arc::new(state)), clock }
    }

    /// The credentials in use.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.state.borrow().credentials.clone()
    }

    /// Uses other credentials from the next handshake on. Living connections stay if the new ones still trust their
    /// peers, and go on under the certificate that they began with.
    pub fn swap(&self, credentials: Credentials) {
        let credentials = Arc::new(credentials);
        self.state.send_modify(|state| *state = Arc::new(State { credentials, denied: state.denied.clone() }));
    }

    /// Replaces the deny list. Connections of denied nodes end at once. Whether a node that was denied may ever be let in
    /// again is the caller's to say.
    pub fn deny(&self, denied: impl IntoIterator<Item = NodeId>) {
        let denied: BTreeSet<_> = denied.into_iter().collect();
        self.state.send_if_modified(|state| {
            let changed = state.denied != denied;
            if changed {
                *state = Arc::new(State { credentials: state.credentials.clone(), denied });
            }
            changed
        });
    }

    /// Whether a node is denied.
    pub fn is_denied(&self, node: NodeId) -> bool {
        self.state.borrow().denied.contains(&node)
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn TimeProvider> {
        &self.clock
    }

    /// The time now. A clock that tells none is taken as 1970, when no certificate is valid.
    pub(crate) fn now(&self) -> UnixTime {
        self.clock.current_time().unwrap_or(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&*self.state.borrow()).finish()
    }
}
