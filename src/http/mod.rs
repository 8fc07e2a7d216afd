//! What the daemon serves over HTTP: on addresses of its own, in clear, for whoever reaches them.
//!
//! [`Listen`] says where. A port is taken before the daemon starts ([`bind`]), and served once there is a node
//! ([`Bound::serve`]). What is served is a router: the metrics' or the page's. What clients cost is bounded.

mod listen;
mod serve;

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use axum::Router;
use tokio::task::JoinHandle;

pub use listen::Listen;

/// A port that is taken and not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    what: &'static str,
}

/// Something that is served. It ends when this value is dropped.
#[derive(Debug)]
pub struct Service {
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Service {
    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the port for `what`, which is the name of its flag, too: where that fails the daemon has not started yet, and
/// says so.
pub fn bind(what: &'static str, address: SocketAddr) -> Result<Bound> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(Bound { listener, what })
    });
    bound.with_context(|| {
        format!("cannot serve {what} at {address}; choose another port with --{what}, or none with --{what} off")
    })
}

impl Bound {
    /// Serves the router there from now on. It is made for the address.
    pub fn serve(self, router: impl FnOnce(SocketAddr) -> Router) -> Result<Service> {
        let what = self.what;
        let failed = || format!("cannot serve {what}");
        let listener = tokio::net::TcpListener::from_std(self.listener).with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        let router = router(address);
        let task = tokio::spawn(serve::serve(listener, router));
        Ok(Service { task, address })
    }
}
