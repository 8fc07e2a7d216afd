//! Traces between members: the question to the node that a frame would come to, and the answer to such a question.

use std::net::IpAddr;

use tokio::sync::Semaphore;
use tonic::Status;
use weft_control::id::NodeId;
use weft_proto::v1;
use weft_vtep::drops::DropReason;
use weft_vtep::engine::Source;
use weft_vtep::seal::PeerId;

use super::Membership;
use super::service::vni;
use crate::node::Node;
use crate::node::trace::{LONGEST_FRAME, Leg};

/// Traces for other members at a time; each takes some microseconds and as much memory as a worker's cache.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);

impl Membership {
    /// Asks the member at a VTEP what would become of a frame there. `None`: no member that is there has this VTEP.
    pub(in crate::node) async fn trace_at(
        &self,
        vtep: IpAddr,
        request: v1::TraceFrameRequest,
    ) -> Option<Result<v1::TraceFrameResponse, Status>> {
        let peer = self.member_at(vtep)?;
        Some(self.call(peer, |mut client| async move { client.trace_frame(request).await }).await)
    }
}

impl Node {
    /// What would become of a frame of `peer`'s here.
    pub(super) fn trace_of_peer(
        &self,
        membership: &Membership,
        peer: NodeId,
        asked: &v1::TraceFrameRequest,
    ) -> Result<v1::TraceFrameResponse, Status> {
        let _permit = AT_A_TIME.try_acquire().map_err(|_| Status::resource_exhausted("this node traces already"))?;
        let vni = vni(asked.vni)?;
        if asked.frame.len() > LONGEST_FRAME {
            return Err(Status::invalid_argument(format!("a frame has at most {LONGEST_FRAME} bytes")));
        }
        let tos = u8::try_from(asked.tos).map_err(|_| Status::invalid_argument("a type of service is one byte"))?;
        let mut leg = Leg::of(self);
        let source = match asked.receiver_index {
            None => {
                let unknown = || Status::failed_precondition("this node does not know where the caller's VTEP is yet");
                Source::Plain(membership.vtep_of(peer).ok_or_else(unknown)?)
            }
            Some(index) => match self.vtep.trace_receive_session(index).filter(|s| s.peer == PeerId(peer.0)) {
                Some(session) => {
                    leg.goes_on("session", format!("{}, epoch {} of {peer}", session.suite.name(), session.epoch));
                    Source::Sealed(session.address)
                }
                None => {
                    leg.ends("session", "no keys for the caller's session".to_owned(), DropReason::UnknownIndex);
                    return Ok(leg.answer(false));
                }
            },
        };
        let arrives = self.trace_arrival(&mut leg, vni, source, &asked.frame, tos);
        Ok(leg.answer(arrives))
    }
}
