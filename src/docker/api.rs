//! The plugin protocol: requests by HTTP in, JSON out, an error always as JSON too.
//!
//! A refusal is an answer (status 200 with `Err`, which is what the engine shows to its user); a request that is none gets
//! status 400. Changes take their turn with all others of the node, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::sandbox::follow;
use super::wire::Names;
use super::{Driver, Refused, Scope, fixed};

/// What the engine expects an answer to be.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The longest request. One that publishes ten thousand ports has about a megabyte.
const BODY_BYTES: usize = 4 << 20;

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// How long a change may wait for its turn. The engine waits for ever, and all its clients with it.
const TURN: Duration = Duration::from_secs(20);

/// The service.
pub fn router(driver: Arc<Driver>) -> Router {
    Router::new().fallback(answer).with_state(driver)
}

/// What becomes of a request.
#[derive(Debug)]
enum Failure {
    /// Nothing is called so.
    NoSuchMethod,
    /// It is not what the method takes.
    Malformed(String),
    /// It is refused.
    Refused(Refused),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure::Refused(refused)
    }
}

async fn answer(State(driver): State<Arc<Driver>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.uri.path().to_owned();
    if parts.method != Method::POST {
        return reply(StatusCode::METHOD_NOT_ALLOWED, &error("the plugin protocol has only POST".to_owned()));
    }
    let body = match timeout(ARRIVAL, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("the request is broken off, or longer than {BODY_BYTES} bytes");
            return reply(StatusCode::PAYLOAD_TOO_LARGE, &error(text));
        }
        Err(_) => return reply(StatusCode::REQUEST_TIMEOUT, &error("the request did not arrive in time".to_owned())),
    };
    match dispatch(driver, &method, body).await {
        Ok(value) => reply(StatusCode::OK, &value),
        Err(Failure::NoSuchMethod) => {
            let method = super::options::shown(&method);
            reply(StatusCode::NOT_FOUND, &error(format!("the plugin protocol has no {method} here")))
        }
        Err(Failure::Malformed(why)) => reply(StatusCode::BAD_REQUEST, &error(why)),
        Err(Failure::Refused(refused)) => {
            tracing::info!("{method} is refused: {refused}");
            reply(StatusCode::OK, &error(refused.to_string()))
        }
    }
}

/// Does what the request asks for.
async fn dispatch(driver: Arc<Driver>, method: &str, body: Bytes) -> Result<Value, Failure> {
    let nothing = |()| json!({});
    match method {
        "/NetworkDriver.AllocateNetwork" => {
            change(driver, body, |driver, asked| Ok(json!({ "Options": driver.allocate_network(&asked)? }))).await
        }
        "/NetworkDriver.FreeNetwork" => {
            change(driver, body, move |driver, asked: Names| driver.free_network(&asked.network).map(nothing)).await
        }
        "/NetworkDriver.CreateNetwork" => {
            driver.hear_of(&read(&body)?).await;
            change(driver, body, move |driver, asked| driver.create_network(&asked).map(nothing)).await
        }
        "/NetworkDriver.DeleteNetwork" => {
            change(driver, body, move |driver, asked: Names| driver.delete_network(&asked.network).map(nothing)).await
        }
        "/NetworkDriver.CreateEndpoint" => {
            change(driver, body, |driver, asked| Ok(json!({ "Interface": driver.create_endpoint(&asked)? }))).await
        }
        "/NetworkDriver.Join" => {
            change(driver, body, |driver, asked: Names| {
                let (joined, endpoint) = driver.join(&asked)?;
                tokio::spawn(follow(Arc::clone(driver), endpoint, asked.sandbox_key.into()));
                Ok(to_value(joined))
            })
            .await
        }
        "/NetworkDriver.DeleteEndpoint" => {
            change(driver, body, move |driver, asked| driver.delete_endpoint(&asked).map(nothing)).await
        }
        // The device is still inside; it goes with the endpoint.
        "/NetworkDriver.Leave" => read::<Names>(&body).map(|_| json!({})),
        "/NetworkDriver.EndpointOperInfo" => read::<Names>(&body).map(|_| json!({ "Value": {} })),
        // The way out and published ports are the engine's own bridge's; other nodes are the node's own business.
        "/NetworkDriver.ProgramExternalConnectivity"
        | "/NetworkDriver.RevokeExternalConnectivity"
        | "/NetworkDriver.DiscoverNew"
        | "/NetworkDriver.DiscoverDelete" => read::<Value>(&body).map(|_| json!({})),
        "/IpamDriver.RequestPool" => {
            change(driver, body, |driver, asked| Ok(to_value(driver.request_pool(asked)?))).await
        }
        "/IpamDriver.ReleasePool" => {
            change(driver, body, move |driver, asked| driver.release_pool(&asked).map(nothing)).await
        }
        "/IpamDriver.RequestAddress" => {
            let given = |driver: &Arc<Driver>, asked| {
                let address = driver.request_address(&asked)?.to_string();
                Ok(json!({ "Address": address, "Data": {} }))
            };
            change(driver, body, given).await
        }
        "/IpamDriver.ReleaseAddress" => {
            change(driver, body, move |driver, asked| driver.release_address(&asked).map(nothing)).await
        }
        _ => fixed(method, Scope::Local).ok_or(Failure::NoSuchMethod),
    }
}

/// Reads a request.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // serde would take a list for a record of its values in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::Malformed("the request is not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| {
        // serde_json repeats a text of a wrong type, however long it is.
        let why: String = error.to_string().chars().take(200).flat_map(char::escape_default).collect();
        Failure::Malformed(format!("the request is not what this method takes: {why}"))
    })
}

/// Makes a change on a thread that may block, when it is its turn.
async fn change<T: DeserializeOwned + Send + 'static>(
    driver: Arc<Driver>,
    body: Bytes,
    work: impl FnOnce(&Arc<Driver>, T) -> Result<Value, Refused> + Send + 'static,
) -> Result<Value, Failure> {
    let asked = read(&body)?;
    let Ok(turn) = timeout(TURN, driver.node.turn()).await else {
        return Err(Refused::new("weft is busy with other changes: try again in a moment").into());
    };
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&driver, asked)
    });
    match done.await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Refused::new("weft failed while it made the change; its log says more").into()),
    }
}

fn to_value(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap_or_else(|error| super::api::error(error.to_string()))
}

/// An error: the network driver's has one name, IPAM's another.
pub(super) fn error(text: String) -> Value {
    json!({ "Err": text, "Error": text })
}

pub(super) fn reply(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], Body::from(value.to_string())).into_response()
}
