//! Asking the engine, for what it does not tell its plugins: who its containers are, and that something has changed; and
//! having it make and remove networks.
//!
//! A request of the Docker Engine API goes out on the engine's own socket, JSON comes back. Never from a handler of the
//! plugin's: the engine may wait for that one's answer itself. So whoever asks is a task of its own, and patient.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Method, Request, Response, header};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::hand::hand_over;

/// The longest answer. A list has a few kilobytes for each container.
const ANSWER_BYTES: usize = 64 << 20;

/// How long the engine may take. It answers nothing about a container while it starts it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to change something: it asks its plugins meanwhile.
const CHANGE: Duration = Duration::from_secs(60);

/// Why the engine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// Nobody answers there.
    #[error("no Docker Engine answers at {}: {error}; give its socket with --docker-engine", socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// What the system said. Part of the text, therefore not its `source` as well.
        error: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the Docker Engine broke off: {0}")]
    BrokenOff(String),
    /// It took too long.
    #[error("the Docker Engine has not answered for {0:?}")]
    Late(Duration),
    /// It refuses.
    #[error("the Docker Engine refuses: {0}")]
    Refused(String),
    /// It speaks otherwise than is known.
    #[error("the Docker Engine's answer is not understood: {0}")]
    Unknown(String),
}

/// The engine, by its socket.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    socket: PathBuf,
}

impl Engine {
    pub(super) fn at(socket: &Path) -> Engine {
        Engine { socket: socket.to_owned() }
    }

    /// Asks for a document. The path is this program's own, and the identifiers in it were checked.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let document = async {
            let body = to_bytes(self.ask(Method::GET, path, Body::empty()).await?.into_body(), ANSWER_BYTES).await;
            let body = body.map_err(|error| EngineError::BrokenOff(error.to_string()))?;
            serde_json::from_slice(&body).map_err(|error| EngineError::Unknown(error.to_string()))
        };
        timeout(PATIENCE, document).await.map_err(|_| EngineError::Late(PATIENCE))?
    }

    /// Has something made.
    pub(super) async fn post(&self, path: &str, document: &Value) -> Result<(), EngineError> {
        self.change(Method::POST, path, Body::from(document.to_string())).await
    }

    /// Has something removed.
    pub(super) async fn delete(&self, path: &str) -> Result<(), EngineError> {
        self.change(Method::DELETE, path, Body::empty()).await
    }

    async fn change(&self, method: Method, path: &str, body: Body) -> Result<(), EngineError> {
        let changed = timeout(CHANGE, self.ask(method, path, body)).await;
        changed.map_err(|_| EngineError::Late(CHANGE))?.map(drop)
    }

    /// Hears from now on of the events that a filter lets pass, a percent-encoded document.
    pub(super) async fn events(&self, filter: &str) -> Result<Events, EngineError> {
        let path = format!("/events?filters={filter}");
        let asked = timeout(PATIENCE, self.ask(Method::GET, &path, Body::empty())).await;
        Ok(Events(asked.map_err(|_| EngineError::Late(PATIENCE))??.into_body().into_data_stream()))
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Response<Body>, EngineError> {
        let connected = UnixStream::connect(&self.socket).await;
        let stream = connected.map_err(|error| EngineError::Connect { socket: self.socket.clone(), error })?;
        let request = Request::builder().method(method).uri(path).header(header::HOST, "docker");
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap_or_default();
        let answer = hand_over(stream, request).await.map_err(|error| EngineError::BrokenOff(error.to_string()))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let status = answer.status();
        let said = to_bytes(answer.into_body(), ANSWER_BYTES).await.unwrap_or_default();
        let said = serde_json::from_slice::<Refusal>(&said).map(|refusal| refusal.message);
        Err(EngineError::Refused(said.unwrap_or_else(|_| status.to_string())))
    }
}

/// What the engine says while something happens.
#[derive(Debug)]
pub(super) struct Events(BodyDataStream);

impl Events {
    /// Waits for the next; `None` once the engine has ended. What has happened is to be asked for: the engine may not
    /// have said all of it.
    pub(super) async fn next(&mut self) -> Option<()> {
        self.0.next().await?.ok().map(drop)
    }
}

/// An identifier of the engine's, as it may stand in a path.
pub(super) fn is_identifier(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
