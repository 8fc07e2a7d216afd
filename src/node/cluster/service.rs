//! What other members ask of this one.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use weft_control::blocks::{ClaimVerdict, TakeVerdict};
use weft_control::cluster::Input;
use weft_control::id::NodeId;
use weft_control::security::ca::Permit;
use weft_control::transport::admission::issue;
use weft_control::transport::peer_of;
use weft_proto::v1;
use weft_proto::v1::cluster_server::Cluster;
use weft_vtep::addr::Vni;

use super::Membership;
use super::admission::Desk;
use super::store::address;
use crate::node::Node;

/// The service.
pub(super) struct Service {
    pub(super) node: Arc<Node>,
    pub(super) membership: Arc<Membership>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<v1::Frame, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for Service {
    type ExchangeStream = Frames;

    async fn exchange(&self, request: Request<Streaming<v1::Frame>>) -> Result<Response<Frames>, Status> {
        let peer = peer_of(&request)?;
        let inbound = request.into_inner();
        let (node, membership) = (Arc::clone(&self.node), self.membership.clone());
        let opened = membership.open(peer);
        let (number, ended) = (opened.number, opened.ended);
        tokio::spawn(async move {
            membership.keep(&node, peer, number, ended, inbound).await;
            if membership.streams.close(peer, number) {
                membership.core.tell(Input::Disconnected { peer });
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(opened.frames).map(Ok))))
    }

    async fn swim(&self, request: Request<v1::SwimRequest>) -> Result<Response<v1::SwimResponse>, Status> {
        let peer = peer_of(&request)?;
        self.membership.core.tell(Input::Swim { peer, datagram: request.into_inner().datagram.into() });
        Ok(Response::new(v1::SwimResponse {}))
    }

    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        let peer = peer_of(&request)?;
        let asked = request.into_inner();
        let Some(authority) = self.membership.authority() else {
            return Err(Status::unavailable("this node is no signer"));
        };
        let roots = self.membership.roots();
        if asked.want_key {
            if !self.membership.appointed().contains(&peer) {
                return Err(Status::permission_denied("the cluster does not name this node as a signer"));
            }
            let key = authority.key().to_vec();
            return Ok(Response::new(v1::SignResponse { certificate: authority.certificate().to_vec(), roots, key }));
        }
        let certificate = if asked.token.is_empty() {
            let signed = authority.sign(&asked.request, &Permit::Renewal(peer), SystemTime::now());
            signed.map_err(|error| Status::invalid_argument(error.to_string()))?
        } else {
            let desk = Desk { node: self.node.clone(), membership: self.membership.clone() };
            issue(&desk, &authority, &asked.token, &asked.request, SystemTime::now())?
        };
        Ok(Response::new(v1::SignResponse { certificate, roots, key: Vec::new() }))
    }

    async fn claim_block(
        &self,
        request: Request<v1::ClaimBlockRequest>,
    ) -> Result<Response<v1::ClaimBlockResponse>, Status> {
        let peer = peer_of(&request)?;
        let asked = request.into_inner();
        let (vni, block) = (vni(asked.vni)?, prefix(asked.block)?);
        // A network that is not known here yet has no addresses here.
        let verdict =
            self.membership.judge(&self.node, vni, |blocks, now, view| blocks.judge_claim(now, view, peer, block));
        let (granted, holder) = match verdict {
            None | Some(ClaimVerdict::Granted) => (true, NodeId(0)),
            Some(ClaimVerdict::Denied { holder }) => (false, holder),
            Some(ClaimVerdict::NoBlock) => {
                return Err(Status::invalid_argument(format!("{block} is no block of the network")));
            }
        };
        Ok(Response::new(v1::ClaimBlockResponse { granted, holder: holder.0 }))
    }

    async fn take_address(
        &self,
        request: Request<v1::TakeAddressRequest>,
    ) -> Result<Response<v1::TakeAddressResponse>, Status> {
        let peer = peer_of(&request)?;
        let asked = request.into_inner();
        let wanted = address(&asked.address).ok_or_else(|| Status::invalid_argument("that is no address"))?;
        let verdict = self
            .membership
            .judge(&self.node, vni(asked.vni)?, |blocks, now, view| blocks.judge_take(now, view, peer, wanted));
        let (granted, holder) = match verdict {
            Some(TakeVerdict::Granted) => (true, String::new()),
            Some(TakeVerdict::Denied { holder }) => (false, holder),
            Some(TakeVerdict::NotMine) | None => (false, String::new()),
        };
        Ok(Response::new(v1::TakeAddressResponse { granted, holder }))
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let peer = peer_of(&request)?;
        // It waits for the workers to take the keys, for as long as a turn of theirs takes.
        tokio::task::block_in_place(|| self.node.accept_session(&self.membership, peer, &request.into_inner()))
            .map(Response::new)
    }

    async fn trace_frame(
        &self,
        request: Request<v1::TraceFrameRequest>,
    ) -> Result<Response<v1::TraceFrameResponse>, Status> {
        let peer = peer_of(&request)?;
        self.node.trace_of_peer(&self.membership, peer, &request.into_inner()).map(Response::new)
    }
}

pub(super) fn vni(number: u32) -> Result<Vni, Status> {
    Vni::new(number).ok_or_else(|| Status::invalid_argument(format!("{number} is not a VNI")))
}

fn prefix(prefix: Option<v1::Prefix>) -> Result<IpNet, Status> {
    let read = prefix.and_then(|prefix| {
        let address: IpAddr = address(&prefix.address)?;
        IpNet::new(address, prefix.bits.try_into().ok()?).ok()
    });
    read.filter(|net| net.trunc() == *net).ok_or_else(|| Status::invalid_argument("that is no block of addresses"))
}
