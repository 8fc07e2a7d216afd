//! Serving the plugin socket, where there is an engine to ask on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::engine::Engine;
use super::{Config, Driver, When, api, names, publish, sandbox};
use crate::node::socket::ApiSocket;

/// What a running engine has, whichever way it was installed.
const SIGNS: [&str; 3] = ["/run/docker", "/run/docker.sock", "/var/run/docker.sock"];

/// How often to look for an engine that was not there.
const LOOK: Duration = Duration::from_secs(1);

/// The served socket. It ends when this value is dropped.
#[derive(Debug)]
pub struct Service {
    _stop: watch::Sender<()>,
}

/// Serves the driver as `config` says. With [`When::On`] the socket answers when this returns.
pub fn start(driver: &Arc<Driver>, config: &Config) -> Result<Option<Service>> {
    let (stop, stopped) = watch::channel(());
    match config.when {
        When::Off => return Ok(None),
        When::On => {
            let bound = bind(&config.socket)?;
            serve(bound, driver, config, stopped);
        }
        When::Auto => {
            tokio::spawn(wait_and_serve(Arc::clone(driver), config.clone(), stopped));
        }
    }
    Ok(Some(Service { _stop: stop }))
}

type Bound = (ApiSocket, tokio::net::UnixListener);

fn bind(path: &Path) -> Result<Bound> {
    let (socket, listener) = ApiSocket::bind_for(path, "--docker-socket")?;
    Ok((socket, tokio::net::UnixListener::from_std(listener)?))
}

/// Waits until there is an engine, then serves. A socket that somebody answers on is left to them.
async fn wait_and_serve(driver: Arc<Driver>, config: Config, mut stopped: watch::Receiver<()>) {
    let mut told = false;
    loop {
        if SIGNS.iter().any(|sign| Path::new(sign).exists()) {
            match bind(&config.socket) {
                Ok(bound) => {
                    serve(bound, &driver, &config, stopped);
                    return;
                }
                Err(error) if !told => {
                    warn!("Docker is not served: {error:#}");
                    told = true;
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stopped.changed() => return,
        }
    }
}

fn serve(
    (socket, listener): Bound,
    driver: &Arc<Driver>,
    config: &Config,
    mut stopped: watch::Receiver<()>,
) -> JoinHandle<()> {
    let router = api::router(Arc::clone(driver));
    info!(socket = %socket.path().display(), "serving Docker");
    let looking_after = sandbox::look_after(Arc::clone(driver));
    let names = names::keep(Arc::clone(driver), Engine::at(&config.engine));
    let networks = publish::keep(Arc::clone(driver), Engine::at(&config.engine), config.networks);
    tokio::spawn(async move {
        let served = axum::serve(listener, router).into_future();
        tokio::select! {
            served = served => if let Err(why) = served {
                error!("Docker is not served any more: {why}");
            },
            () = looking_after => {}
            () = names => {}
            () = networks => {}
            // An error is the sender's end, which is what is waited for.
            _ = stopped.changed() => {}
        }
        drop(socket);
    })
}
