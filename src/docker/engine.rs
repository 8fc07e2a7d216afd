//! Asking the engine, for what it does not tell its plugins: who its containers are, and that something has changed.
//!
//! A request of the Docker Engine API goes out on the engine's own socket, JSON comes back. Never from a handler of the
//! plugin's: the engine may wait for that one's answer itself. So whoever asks is a task of its own, and patient.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Request, Response, header};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::hand::hand_over;

/// The longest answer. A list has a few kilobytes for each container.
const ANSWER_BYTES: usize = 64 << 20;

/// How long the engine may take. It answers nothing about a container while it starts it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What containers and networks go through that this node wants to hear of, as a filter of `/events`: percent-encoded
/// `{"event":["start","rename","connect","disconnect"]}`.
const EVENTS: &str =
    "/events?filters=%7B%22event%22%3A%5B%22start%22%2C%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

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
    #[error("the Docker Engine has not answered for {PATIENCE:?}")]
    Late,
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
            let body = to_bytes(self.ask(path).await?.into_body(), ANSWER_BYTES).await;
            let body = body.map_err(|error| EngineError::BrokenOff(error.to_string()))?;
            serde_json::from_slice(&body).map_err(|error| EngineError::Unknown(error.to_string()))
        };
        timeout(PATIENCE, document).await.map_err(|_| EngineError::Late)?
    }

    /// Hears of events from now on.
    pub(super) async fn events(&self) -> Result<Events, EngineError> {
        let asked = timeout(PATIENCE, self.ask(EVENTS)).await;
        Ok(Events(asked.map_err(|_| EngineError::Late)??.into_body().into_data_stream()))
    }

    async fn ask(&self, path: &str) -> Result<Response<Body>, EngineError> {
        let connected = UnixStream::connect(&self.socket).await;
        let stream = connected.map_err(|error| EngineError::Connect { socket: self.socket.clone(), error })?;
        let request = Request::get(path).header(header::HOST, "docker").body(Body::empty()).unwrap_or_default();
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
