//! What the page asks for: the documents of the command line, put together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Mutex;
use tonic::{Request, Status};
use weft_proto::v1::node_server::Node as NodeService;
use weft_proto::v1::{FdbRequest, ListNetworksRequest, MembersRequest, NeighborsRequest, StatsRequest, StatusRequest};

use crate::cli::client::channel;
use crate::cli::view;
use crate::doctor::report::Report;
use crate::doctor::{checks, gather};
use crate::node::Node;
use crate::node::api::Api;

/// The latest events that the page shows.
const EVENTS: usize = 100;
/// How long the doctor's findings are shown before it looks again: it sends packets, and tries what the kernel can.
const DOCTOR_REST: Duration = Duration::from_secs(30);

/// What the documents are made of.
pub(super) struct Documents {
    api: Api,
    node: Arc<Node>,
    socket: PathBuf,
    /// The doctor's last findings, and when they were made. Whoever comes meanwhile waits for the same.
    findings: Mutex<Option<(Instant, String)>>,
}

impl Documents {
    pub(super) fn new(node: Arc<Node>, socket: PathBuf) -> Documents {
        Documents { api: Api::new(Arc::clone(&node)), node, socket, findings: Mutex::default() }
    }
}

/// What changes all the time.
#[derive(Serialize)]
struct Now {
    status: view::Status,
    members: Vec<view::Member>,
    stats: view::Stats,
    /// The latest, the newest last.
    events: Vec<view::Event>,
}

/// What changes when somebody changes something.
#[derive(Serialize)]
struct Tables {
    networks: Vec<view::Network>,
    /// Where each station lives.
    fdb: Vec<view::FdbEntry>,
    /// Who has which address.
    neighbors: Vec<view::Neighbor>,
}

pub(super) async fn now(State(documents): State<Arc<Documents>>) -> Response {
    let api = &documents.api;
    let made = async {
        Ok::<_, Status>(Now {
            status: api.status(Request::new(StatusRequest {})).await?.into_inner().into(),
            members: api
                .members(Request::new(MembersRequest {}))
                .await?
                .into_inner()
                .members
                .into_iter()
                .map(Into::into)
                .collect(),
            stats: api.stats(Request::new(StatsRequest {})).await?.into_inner().into(),
            events: documents.node.latest_events(EVENTS).into_iter().map(Into::into).collect(),
        })
    };
    answer(made.await, &HeaderMap::new())
}

pub(super) async fn tables(State(documents): State<Arc<Documents>>, asked: HeaderMap) -> Response {
    let api = &documents.api;
    let made = async {
        let neighbors = match api.neighbors(Request::new(NeighborsRequest::default())).await {
            Ok(answer) => answer.into_inner().neighbors,
            // On a node that stands alone nobody says who has which address.
            Err(_) => Vec::new(),
        };
        let networks = api.list_networks(Request::new(ListNetworksRequest {})).await?.into_inner().networks;
        let fdb = api.fdb(Request::new(FdbRequest::default())).await?.into_inner().entries;
        Ok::<_, Status>(Tables {
            networks: networks.into_iter().map(Into::into).collect(),
            fdb: fdb.into_iter().map(Into::into).collect(),
            neighbors: neighbors.into_iter().map(Into::into).collect(),
        })
    };
    answer(made.await, &asked)
}

pub(super) async fn doctor(State(documents): State<Arc<Documents>>) -> Response {
    let mut findings = documents.findings.lock().await;
    if findings.as_ref().is_none_or(|(when, _)| when.elapsed() > DOCTOR_REST) {
        let way = channel(&documents.socket).await.map_err(|error| format!("{error:#}"));
        let found = checks::all(&gather::gather(way).await);
        let report = Report { well: checks::is_well(&found), findings: &found };
        match serde_json::to_string(&report) {
            Ok(text) => *findings = Some((Instant::now(), text)),
            Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
    let text = findings.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
    json(text)
}

/// A document, or only that it is still the same, where the browser has it.
fn answer<T: Serialize>(document: Result<T, Status>, asked: &HeaderMap) -> Response {
    let text = match document {
        Ok(document) => serde_json::to_string(&document),
        Err(status) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.message())).into_response(),
    };
    let Ok(text) = text else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    // Only hexadecimal digits and quotes.
    let Ok(tag) = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if asked.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let mut answer = json(text);
    answer.headers_mut().insert(header::ETAG, tag);
    answer
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = answer(Ok(["a"]), &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(answer(Ok(["a"]), &asked).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(Ok(["b"]), &asked).status(), StatusCode::OK);
    }

    #[test]
    fn what_cannot_be_said_now_is_an_error_with_its_reason() {
        let answer = answer::<()>(Err(Status::unavailable("not ready")), &HeaderMap::new());
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
