//! Runs the control port.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tonic::service::Routes;
use tonic::transport::Server;
use weft_proto::v1::admission_server::AdmissionServer;

use super::admission::{Desk, JOIN_BYTES, Registrar};
use super::gate::GateLayer;
use super::listener::Listener;

/// How many calls one connection may have open.
const STREAMS: u32 = 128;
/// The longest header block of a call, in bytes.
const HEADER_BYTES: u32 = 8 * 1024;

/// Serves Admission to everybody and `members` to members, until `shutdown`.
///
/// Then the port is closed at once, and after half a second every connection is.
pub async fn serve(
    listener: Listener,
    registrar: Arc<impl Registrar>,
    members: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let refusals = listener.refusals();
    let desk = Desk::new(registrar, refusals.clone());
    let admission = AdmissionServer::new(desk).max_decoding_message_size(JOIN_BYTES);
    Server::builder()
        .layer(GateLayer { refusals })
        .max_concurrent_streams(Some(STREAMS))
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .http2_adaptive_window(Some(true))
        // A peer that is gone without a word must not hold its place: found within 20 s.
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_routes(members.add_service(admission))
        .serve_with_incoming_shutdown(listener.incoming(), shutdown)
        .await
}
