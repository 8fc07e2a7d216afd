//! What the node serves over HTTP: its metrics, and its page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::Node;
use super::config::Config;
use super::state::Identity;
use crate::http::{self, Bound, Listen, Service};
use crate::{metrics, page};

/// One of the two.
#[derive(Debug, Clone, Copy)]
enum What {
    Metrics,
    Page,
}

const BOTH: [What; 2] = [What::Metrics, What::Page];

impl What {
    /// The name of its flag.
    fn name(self) -> &'static str {
        match self {
            What::Metrics => "metrics",
            What::Page => "page",
        }
    }

    fn take(self, address: Option<SocketAddr>) -> Result<Option<Bound>> {
        address.map(|address| http::bind(self.name(), address)).transpose()
    }

    fn serve(self, bound: Option<Bound>, node: &Arc<Node>, socket: &Path) -> Result<Option<Service>> {
        let Some(bound) = bound else { return Ok(None) };
        let node = Arc::clone(node);
        let service = match self {
            What::Metrics => bound.serve(|_| metrics::serve::router(node)),
            What::Page => bound.serve(|address| page::router(node, socket.to_owned(), address)),
        };
        service.map(Some)
    }
}

/// Ports that are taken and not served yet.
#[derive(Debug)]
pub(super) struct Taken([Option<Bound>; 2]);

/// What is served now.
#[derive(Debug)]
pub(super) struct Served {
    services: [Option<Service>; 2],
    socket: PathBuf,
}

/// Takes the ports that the identity names: where that fails the daemon has not started yet.
pub(super) fn take(identity: &Identity) -> Result<Taken> {
    Ok(Taken([What::Metrics.take(identity.metrics)?, What::Page.take(identity.page)?]))
}

/// Serves what there is to serve of the node, whose socket is at `socket`.
pub(super) fn start(taken: Taken, node: &Arc<Node>, socket: &Path) -> Result<Served> {
    let Taken([metrics, page]) = taken;
    let services = [What::Metrics.serve(metrics, node, socket)?, What::Page.serve(page, node, socket)?];
    Ok(Served { services, socket: socket.to_owned() })
}

impl Served {
    /// Serves where the configuration now says, and tells what has changed. New ports are taken first: where one cannot
    /// be had, all goes on as it was.
    pub(super) fn follow(&mut self, config: &Config, node: &Arc<Node>) -> Result<Vec<String>> {
        let identity = &node.identity;
        let wanted = [(config.metrics, identity.metrics), (config.page, identity.page)];
        let wanted = wanted.map(|(said, before)| said.map_or(before, Listen::address));
        let mut changes = Vec::new();
        for ((what, wanted), service) in BOTH.into_iter().zip(wanted).zip(&mut self.services) {
            if wanted != service.as_ref().map(Service::address) {
                changes.push((what, what.take(wanted)?, wanted, service));
            }
        }
        let mut told = Vec::new();
        for (what, bound, wanted, service) in changes {
            *service = what.serve(bound, node, &self.socket)?;
            told.push(match wanted {
                Some(at) => format!("{} served at {at} now", what.name()),
                None => format!("{} not served any more", what.name()),
            });
        }
        Ok(told)
    }
}
