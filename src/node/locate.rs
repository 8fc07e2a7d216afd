//! Finding an endpoint's device again.
//!
//! A device that the node plugged stays in its sandbox under its index. One that is lent to a container engine wanders:
//! it waits in the node's own namespace, is moved into the sandbox, renamed there, and comes back; its index may change
//! with each move. What stays with a device is its alias, which says whose it is. A MAC address would not: Docker's go
//! with the IPv4 address, which on another network of the host is another container's.

use std::collections::HashSet;
use std::fs;

use super::NodeError;
use super::state::Endpoint;
use crate::sandbox::link::{self, Link, LinkError};
use crate::sandbox::{Netns, NetnsError};

/// The namespace that the endpoint's device is in, and the device as it is called there.
pub(super) fn locate(endpoint: &Endpoint) -> Result<(Netns, Link), NodeError> {
    let recorded = where_it_was(endpoint);
    if endpoint.lent.is_none() || recorded.is_ok() {
        return recorded;
    }
    let home = Netns::current()?;
    if let Some(link) = link::lookup_name(&home, &endpoint.ifname)?.filter(|l| is_of(l, endpoint)) {
        return Ok((home, link));
    }
    match elsewhere(endpoint) {
        Some(found) => Ok(found),
        None => recorded,
    }
}

/// Looks where the device is remembered to be.
fn where_it_was(endpoint: &Endpoint) -> Result<(Netns, Link), NodeError> {
    let netns = Netns::find(&endpoint.netns, endpoint.netns_identity)?;
    match device_in(&netns, endpoint)? {
        Some(link) => Ok((netns, link)),
        None => Err(LinkError::NoSuchLink(endpoint.ifname.clone()).into()),
    }
}

/// The endpoint's device, if it is in this namespace.
pub(crate) fn device_in(netns: &Netns, endpoint: &Endpoint) -> Result<Option<Link>, LinkError> {
    if endpoint.lent.is_some() {
        return link::lookup_alias(netns, &alias(&endpoint.id));
    }
    // The name may have been changed inside, the index not.
    Ok(link::lookup(netns, endpoint.ifindex)?.filter(|link| is_of(link, endpoint)))
}

/// What the device of the endpoint with this id is marked with.
pub(super) fn alias(id: &str) -> String {
    format!("weft {id}")
}

/// Whether the link is the endpoint's device.
fn is_of(link: &Link, endpoint: &Endpoint) -> bool {
    link.alias == alias(&endpoint.id)
}

/// Looks in every namespace that some process is in: an engine's own mounts may be hidden from the node.
fn elsewhere(endpoint: &Endpoint) -> Option<(Netns, Link)> {
    let mut seen = HashSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for path in processes.map(|process| process.path().join("ns/net")) {
        let Some(identity) = super::reconcile::identity_at(&path) else { continue };
        if !seen.insert(identity) {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(netns) = Netns::open_path(&path) else { continue };
        if let Ok(Some(link)) = device_in(&netns, endpoint) {
            return Some((netns, link));
        }
    }
    None
}

/// Where a namespace that was found through a process is better remembered to be: processes end.
pub(super) fn lasting_path(netns: &Netns) -> Result<std::path::PathBuf, NetnsError> {
    let home = Netns::current()?;
    Ok(if netns.identity() == home.identity() { OWN.into() } else { netns.path().to_owned() })
}

/// The node's own namespace, as long as the node lives.
pub(super) const OWN: &str = "/proc/self/ns/net";
