//! This node as a member of a cluster: the control plane's pure core with sockets, disk and data plane around it.
//!
//! * [`enter`]: how a node becomes a member (bootstrap, join) or is one again (restart). [`store`]: what it keeps on
//!   disk for that. [`trusted`]: whom it trusts.
//! * [`Core`]: the pure core behind a lock. [`drive`] does what it asks for, [`bridge`] tells the data plane.
//! * [`peers`], [`streams`]: calls and streams to other nodes. [`service`]: theirs to this one. [`admission`]: newcomers.
//! * [`sessions`]: keys of the data plane. [`paths`]: what its echoes find.
//! * [`trace`]: what would become of a frame on another member, and of another member's frame here.
//! * [`networks`], [`addresses`], [`announce`]: what an attach on this node means for the others. [`answers`]: what the
//!   user asks about the cluster.

mod addresses;
mod admission;
mod announce;
pub(super) mod answers;
mod bridge;
mod clock;
mod core;
mod drive;
pub(super) mod enter;
mod lookup;
mod networks;
mod paths;
mod peers;
mod service;
mod sessions;
mod sight;
mod store;
mod streams;
mod trace;
mod trusted;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use weft_control::blocks::Blocks;
use weft_control::id::NodeId;
use weft_control::networks::Registry;
use weft_control::security::ca::Authority;
use weft_control::security::files::KeyFiles;
use weft_control::security::trust::Trust;

pub(super) use self::core::Core;
use self::peers::Channels;
use self::sessions::Sessions;
pub(super) use self::store::FILES;
use self::streams::Streams;

/// A node's membership.
pub struct Membership {
    pub(super) me: NodeId,
    pub(super) core: Core,
    trust: Trust,
    files: KeyFiles,
    /// Removed for good.
    denied: Mutex<BTreeSet<NodeId>>,
    /// The cluster's CA, if this node is a signer.
    authority: RwLock<Option<Arc<Authority>>>,
    streams: Streams,
    channels: Channels,
    sessions: Sessions,
    /// This node's share of each network's addresses, by the network's id.
    blocks: Mutex<HashMap<String, Blocks>>,
    registry: Mutex<Registry>,
    /// Objects of networks that cannot be read, so that each is told once.
    unreadable: Mutex<HashSet<String>>,
    /// The cluster's networks may have changed.
    networks_changed: Notify,
    /// Another CA may be in force.
    ca_changed: Notify,
    /// Something is to be written to disk.
    unsaved: drive::Unsaved,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Membership {
    fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_authority(&self, authority: Option<Arc<Authority>>) {
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = authority;
    }

    fn blocks(&self) -> MutexGuard<'_, HashMap<String, Blocks>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
