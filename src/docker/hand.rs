//! One request over a unix socket, and its answer: the shim's to the daemon, the daemon's to the engine.

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Sends the request and waits for the head of the answer; its body may go on.
pub(super) async fn hand_over(stream: UnixStream, request: Request<Body>) -> hyper::Result<Response<Body>> {
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    // It ends with the answer, or with the sender, which is what is heard of.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(Body::new))
}
