//! What a caller may call.
//!
//! A caller without a certificate reaches the Admission service and nothing else, not even to hear that a method does
//! not exist. A member reaches everything; which member it is, services ask by [`peer_of`].

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService as _;
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use weft_proto::v1::admission_server::AdmissionServer;

use super::connection::Peer;
use super::refusals::{Reason, Refusals};
use crate::id::NodeId;

/// Wraps all services of the control port.
#[derive(Clone, Debug)]
pub(crate) struct GateLayer {
    pub(crate) refusals: Refusals,
}

/// A service that strangers reach only in part.
#[derive(Clone, Debug)]
pub(crate) struct Gate<S> {
    inner: S,
    refusals: Refusals,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, refusals: self.refusals.clone() }
    }
}

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let admission = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service)
            == Some(AdmissionServer::<()>::NAME);
        let peer = request.extensions().get::<Peer>();
        if admission || peer.is_some_and(|peer| peer.identity.is_some()) {
            return Either::Left(self.inner.call(request));
        }
        if let Some(peer) = peer {
            // What a stranger wrote is shortened, and shown without control characters.
            let shown: String = path.chars().take(80).flat_map(char::escape_debug).collect();
            self.refusals.tell(peer.address, Reason::Stranger(shown));
        }
        Either::Right(ready(Ok(stranger().into_http())))
    }
}

fn stranger() -> Status {
    Status::unauthenticated("this call needs a certificate of the cluster: join it first (`weft up --join`)")
}

/// Which member a request comes from, by its certificate.
pub fn peer_of<T>(request: &tonic::Request<T>) -> Result<NodeId, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|peer| peer.identity.as_ref()).map(|identity| identity.node()).ok_or_else(stranger)
}
