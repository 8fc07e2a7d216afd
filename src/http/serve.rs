//! The connections of one served port, and how many there may be of them.
//!
//! Whoever reaches the port may connect, so what connections cost is bounded: in number, in the bytes that a request's
//! head may have, and in the time that it may take. Where there are as many as may be, a new one takes the place of the
//! one that has asked nothing for the longest: a client that asks is not held up by those that are silent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tower::ServiceExt;

/// Connections of one port at once. A browser opens six for a page.
const MOST: usize = 64;
/// How long a request's head may take, and how long a connection may be kept without one.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head in bytes; no browser's comes near.
const LARGEST_HEAD: usize = 16 << 10;
/// How long nothing is accepted when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(500);

/// What is done at the moment, in place of the number of the last request.
const ANSWERING: u64 = u64::MAX;

/// Serves the router for as long as the future is polled; with it all connections end.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut tasks = JoinSet::new();
    let mut open: HashMap<Id, Open> = HashMap::new();
    let clock = Arc::new(AtomicU64::new(0));
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next_with_id() => drop(open.remove(&which(ended))),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if open.len() >= MOST {
                        let idlest = open.iter().min_by_key(|(_, open)| open.last.load(Ordering::Relaxed));
                        if let Some(gone) = idlest.map(|(id, _)| *id).and_then(|id| open.remove(&id)) {
                            gone.task.abort();
                        }
                    }
                    // What was told to end has its file until it has ended.
                    while tasks.len() >= MOST
                        && let Some(ended) = tasks.join_next_with_id().await
                    {
                        open.remove(&which(ended));
                    }
                    let last = Arc::new(AtomicU64::new(clock.fetch_add(1, Ordering::Relaxed)));
                    let task = tasks.spawn(connection(stream, router.clone(), Arc::clone(&clock), Arc::clone(&last)));
                    open.insert(task.id(), Open { task, last });
                }
                // It was gone before it was ours.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection over HTTP: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

/// The connection that has ended, whichever way.
fn which(ended: Result<(Id, ()), JoinError>) -> Id {
    ended.map_or_else(|error| error.id(), |(id, ())| id)
}

/// A connection that is open.
struct Open {
    task: AbortHandle,
    /// When it last had an answer, or came: of all connections the lowest is the idlest. [`ANSWERING`] while it is served.
    last: Arc<AtomicU64>,
}

async fn connection(stream: TcpStream, router: Router, clock: Arc<AtomicU64>, last: Arc<AtomicU64>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        last.store(ANSWERING, Ordering::Relaxed);
        let (router, clock, last) = (router.clone(), Arc::clone(&clock), Arc::clone(&last));
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            last.store(clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST_HEAD);
    // What went wrong with one connection is its client's affair.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}
