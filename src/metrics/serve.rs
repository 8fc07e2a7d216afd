//! The page over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::task::spawn_blocking;

use super::page;
use crate::node::Node;

/// What answers for the node, from its start on.
pub fn router(node: Arc<Node>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(node)
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
