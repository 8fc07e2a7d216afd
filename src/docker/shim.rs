//! The shim: what a managed plugin runs, since a Swarm takes no other.
//!
//! The engine starts, stops and upgrades managed plugins as it likes; the VTEP must outlive that. So the plugin is this
//! process alone, which needs no rights: it hands each request to the daemon's own plugin socket, and the answer back.
//! What never changes it answers itself: an engine that starts before the daemon asks for that alone, and would do
//! without the driver until its next start if nobody answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::api::{error, reply};
use super::hand::hand_over;
use super::{Scope, fixed};
use crate::node::socket::ApiSocket;

/// How long the daemon may take to answer: longer than its own patience.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a daemon that is not there may be on its way, and how often it is looked for.
const RESTART: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(100);

/// What the shim is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the engine asks.
    pub socket: PathBuf,
    /// Where the daemon answers.
    pub daemon: PathBuf,
    /// What the engine is to believe of the driver's networks.
    pub scope: Scope,
}

/// Serves until `ended`.
pub async fn run(config: Config, ended: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let (socket, listener) = ApiSocket::bind_for(&config.socket, "--listen")?;
    let listener = tokio::net::UnixListener::from_std(listener).context("cannot serve the plugin socket")?;
    let router = Router::new().fallback(answer).with_state(Arc::new(config));
    let served = axum::serve(listener, router).with_graceful_shutdown(ended).await;
    drop(socket);
    served.context("cannot serve the plugin socket any more")
}

async fn answer(State(config): State<Arc<Config>>, request: Request) -> Response {
    if let Some(value) = fixed(request.uri().path(), config.scope) {
        return reply(StatusCode::OK, &value);
    }
    let method = request.uri().path().to_owned();
    match timeout(ANSWER, forward(&config.daemon, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => refuse(&method, format!("{why:#}")),
        Err(_) => refuse(&method, format!("weft has not answered for {ANSWER:?}: its log may say why")),
    }
}

/// A daemon that is being restarted is back within a moment, and the engine never repeats what it was refused.
async fn connected(daemon: &Path) -> io::Result<UnixStream> {
    let until = Instant::now() + RESTART;
    loop {
        match UnixStream::connect(daemon).await {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
                    && Instant::now() < until => {}
            connected => return connected,
        }
        sleep(STEP).await;
    }
}

/// What `docker` prints: the engine shows the text of an answer, and of a failure only that there was one.
fn refuse(method: &str, why: String) -> Response {
    warn!("{method}: {why}");
    reply(StatusCode::OK, &error(why))
}

async fn forward(daemon: &Path, request: Request) -> Result<Response> {
    let stream = connected(daemon).await.with_context(|| {
        format!("weft does not serve Docker at {}: start `weft up --docker on` on the host", daemon.display())
    })?;
    hand_over(stream, request).await.context("weft ended while it was asked: ask again")
}
