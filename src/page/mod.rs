//! A page for the browser: the cluster as this node sees it, live, and read only.
//!
//! Three files, embedded, and three documents (`documents`) that the page asks for again and again: what changes all the
//! time, the tables, which are sent only when they have changed, and the doctor's findings. There is no framework and
//! nothing from elsewhere. What the page shows is its operator's: it is served on loopback unless an address is given,
//! and a request that came by another name than the one it is served at (`guard`) is refused, so that no web site
//! can read it through the operator's browser.

mod documents;
mod guard;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::routing::get;

use self::documents::Documents;
use self::guard::Guard;
use crate::node::Node;

/// The files: path, type, text.
pub const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/map.js", "text/javascript; charset=utf-8", include_str!("map.js")),
    ("/values.js", "text/javascript; charset=utf-8", include_str!("values.js")),
];

/// What answers for the node at `address`. The doctor asks the daemon by its `socket`, as its command does.
pub fn router(node: Arc<Node>, socket: PathBuf, address: SocketAddr) -> Router {
    let mut router = Router::new()
        .route("/now.json", get(documents::now))
        .route("/tables.json", get(documents::tables))
        .route("/doctor.json", get(documents::doctor))
        .with_state(Arc::new(Documents::new(node, socket)));
    for (path, kind, text) in FILES {
        let head = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
        router = router.route(path, get(async move || (head, text)));
    }
    router.layer(middleware::from_fn_with_state(Guard::new(address), guard::guard))
}
