//! The way to the daemon: a gRPC channel over its unix socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use weft_proto::limits;
use weft_proto::v1::node_client::NodeClient;

/// A client of one node.
pub type Client = NodeClient<Channel>;

/// How long an answer may take. Changes to the node queue up behind each other, so this is generous.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to the daemon at `socket`.
pub async fn connect(socket: &Path) -> Result<Client> {
    Ok(NodeClient::new(channel(socket).await?).max_decoding_message_size(limits::ANSWER_BYTES))
}

/// A channel to the daemon at `socket`, for whichever of its services.
pub async fn channel(socket: &Path) -> Result<Channel> {
    // The first connection is made here, where its error still says why.
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::PermissionDenied => "run as root, or as a member of the socket's group",
            _ => "start it with `weft up`, or name its socket with --socket",
        };
        anyhow!("cannot reach the daemon at {}: {error}; {advice}", socket.display())
    })?;
    let mut first = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = first.take().ok_or_else(|| std::io::Error::from(ErrorKind::ConnectionReset));
        std::future::ready(stream.map(TokioIo::new))
    });
    // The URI is never looked up: the connector ignores it.
    let endpoint = Endpoint::from_static("http://weft").timeout(PATIENCE);
    let channel = endpoint.connect_with_connector(connector).await;
    channel.with_context(|| format!("{} does not answer as a weft daemon", socket.display()))
}

/// The answer, or the daemon's refusal as it wrote it.
pub fn answer<T>(response: Result<Response<T>, Status>) -> Result<T> {
    response.map(Response::into_inner).map_err(refusal)
}

/// What the daemon refused, or that it is gone.
pub fn refusal(status: Status) -> anyhow::Error {
    match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled if is_transport(&status) => {
            anyhow!("the daemon ended before it answered; see its log, then `weft status`")
        }
        Code::Cancelled | Code::DeadlineExceeded => {
            anyhow!("the daemon did not answer within {} s; see its log, then `weft status`", PATIENCE.as_secs())
        }
        Code::Unimplemented => anyhow!("the daemon does not know this command; restart it with this version of weft"),
        _ => anyhow!("{}", status.message()),
    }
}

/// True for a status that this side made because the connection broke.
pub(super) fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|source| !source.is::<tonic::TimeoutExpired>())
}
