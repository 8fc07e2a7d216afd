//! Serving the page over HTTP.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::task::{JoinHandle, spawn_blocking};

use super::page;
use crate::node::Node;

/// A port that is taken and not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
}

/// The served page. It ends when this value is dropped.
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

/// Takes the port: where that fails the daemon has not started yet, and says so.
pub fn bind(address: SocketAddr) -> Result<Bound> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(Bound { listener })
    });
    bound.with_context(|| {
        format!("cannot serve metrics at {address}; choose another port with --metrics, or none with --metrics off")
    })
}

/// Serves the page of the node, from its start on.
pub fn start(bound: Bound, node: &Arc<Node>) -> Result<Service> {
    let listener = tokio::net::TcpListener::from_std(bound.listener).context("cannot serve metrics")?;
    let address = listener.local_addr().context("cannot serve metrics")?;
    let router = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(node));
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("metrics are not served any more: {error}");
        }
    });
    Ok(Service { task, address })
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    // The tables of a large node take a while, which the control plane's threads should not wait for.
    let page = spawn_blocking(move || page::page(node.figures())).await;
    match page {
        Ok(text) => {
            let head = [
                (CONTENT_TYPE, HeaderValue::from_static(page::CONTENT_TYPE)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (head, text).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the daemon failed while it wrote the page; see its log\n")
            .into_response(),
    }
}
