//! Calls and streams to other members.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use weft_control::cluster::Input;
use weft_control::id::NodeId;
use weft_control::transport::connect::{ConnectError, connect};
use weft_proto::v1;
use weft_proto::v1::cluster_client::ClusterClient;
use weft_proto::v1::frame::Kind;

use super::Membership;
use super::streams::{Opened, next};
use crate::node::Node;

/// How long a call between nodes may take.
pub(super) const CALL: Duration = Duration::from_secs(2);
/// How long a stream that is to end may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Membership datagrams on their way at a time, to nodes that are no neighbours. Beyond that they are lost, as datagrams are.
const DATAGRAMS: usize = 128;
/// The longest frame of a stream, in bytes: far above what a batch or a part of a snapshot is.
pub(super) const FRAME_BYTES: usize = 8 << 20;

/// Connections for calls, by node. One that breaks is dialled again by itself.
#[derive(Debug)]
pub(super) struct Channels {
    by_node: Mutex<HashMap<NodeId, (SocketAddr, Channel)>>,
    datagrams: Arc<Semaphore>,
    /// Why neighbours refuse this node, for as long as they do: they are dialled again and again, and it is told once.
    refused: Mutex<HashMap<NodeId, String>>,
}

impl Default for Channels {
    fn default() -> Self {
        Channels {
            by_node: Mutex::default(),
            datagrams: Arc::new(Semaphore::new(DATAGRAMS)),
            refused: Mutex::default(),
        }
    }
}

impl Membership {
    /// A client of another member.
    pub(super) async fn client(&self, node: NodeId) -> Result<ClusterClient<Channel>, Status> {
        Ok(ClusterClient::new(self.channel(node).await?).max_decoding_message_size(FRAME_BYTES))
    }

    /// A connection to another member, for whichever of its services.
    pub(super) async fn channel(&self, node: NodeId) -> Result<Channel, Status> {
        let member = self.core.look(|cluster| cluster.members().find(|member| member.node == node));
        let address = member.ok_or_else(|| Status::not_found(format!("node {node} is not known")))?.address;
        self.channel_at(node, address).await
    }

    async fn client_at(&self, node: NodeId, address: SocketAddr) -> Result<ClusterClient<Channel>, Status> {
        let channel = self.channel_at(node, address).await?;
        Ok(ClusterClient::new(channel).max_decoding_message_size(FRAME_BYTES))
    }

    async fn channel_at(&self, node: NodeId, address: SocketAddr) -> Result<Channel, Status> {
        let known = self.channels.by_node.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned();
        let channel = match known {
            Some((at, channel)) if at == address => channel,
            _ => {
                let channel = timeout(CALL, connect(&self.trust, node, address)).await;
                let channel = channel.map_err(|_| Status::unavailable(format!("{address} does not answer")))?;
                let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
                let mut known = self.channels.by_node.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(node, (address, channel.clone()));
                channel
            }
        };
        Ok(channel)
    }

    /// Makes a call that is bounded in time.
    pub(super) async fn call<T, F>(
        &self,
        node: NodeId,
        call: impl FnOnce(ClusterClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let calling = async { Ok(call(self.client(node).await?).await?.into_inner()) };
        timeout(CALL, calling).await.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("node {node} is slow"))))
    }

    /// Forgets the connection to a node.
    pub(super) fn hang_up(&self, node: NodeId) {
        self.channels.by_node.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}

impl Node {
    /// Sends a membership datagram as a call of its own.
    pub(super) fn send_datagram(self: &Arc<Self>, peer: NodeId, address: SocketAddr, datagram: Vec<u8>) {
        let Some(membership) = self.membership.clone() else { return };
        let Ok(permit) = membership.channels.datagrams.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _permit = permit;
            let sending = async {
                let mut client = membership.client_at(peer, address).await?;
                client.swim(v1::SwimRequest { datagram }).await
            };
            if let Ok(Err(status)) = timeout(CALL, sending).await {
                tracing::debug!("a membership datagram to {peer} was lost: {}", status.message());
            }
        });
    }

    /// Dials a neighbour and keeps the stream with it.
    pub(super) fn dial(self: &Arc<Self>, peer: NodeId, address: SocketAddr) {
        let Some(membership) = self.membership.clone() else { return };
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let channel = match connect(&membership.trust, peer, address).await {
                Ok(channel) => channel,
                Err(error) => {
                    tracing::debug!("no stream with {peer}: {error}");
                    if let ConnectError::RefusedByPeer { reason, .. } = &error {
                        node.refused_by(&membership, peer, reason);
                    }
                    if !membership.streams.has(peer) {
                        membership.core.tell(Input::Disconnected { peer });
                    }
                    return;
                }
            };
            membership.channels.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
            let opened = membership.open(peer);
            let (number, ended) = (opened.number, opened.ended);
            let mut client = ClusterClient::new(channel).max_decoding_message_size(FRAME_BYTES);
            match client.exchange(ReceiverStream::new(opened.frames)).await {
                Ok(inbound) => membership.keep(&node, peer, number, ended, inbound.into_inner()).await,
                Err(status) => tracing::debug!("{peer} takes no stream: {}", status.message()),
            }
            if membership.streams.close(peer, number) {
                membership.core.tell(Input::Disconnected { peer });
            }
        });
    }

    /// A neighbour refuses this node, which may be why it finds itself alone.
    fn refused_by(&self, membership: &Membership, peer: NodeId, reason: &str) {
        let mut refused = membership.channels.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(peer, reason.to_owned()).as_deref() == Some(reason) {
            return;
        }
        drop(refused);
        let who = membership.core.look(|cluster| cluster.members().find(|member| member.node == peer));
        let name = who.and_then(|member| member.name).unwrap_or_else(|| peer.to_string());
        self.events.record("refused_by_member", format!("node {name} refuses this node: {reason}"));
    }
}

impl Membership {
    /// Opens a stream: its first frame out is this node's greeting.
    pub(super) fn open(&self, peer: NodeId) -> Opened {
        let hello = self.core.look(|cluster| cluster.hello());
        self.streams.open(peer, v1::Frame { kind: Some(Kind::Hello(hello)) })
    }

    /// Takes in what comes on a stream, until its end.
    pub(super) async fn keep(
        &self,
        node: &Arc<Node>,
        peer: NodeId,
        number: u64,
        mut ended: tokio::sync::mpsc::Receiver<()>,
        mut inbound: tonic::Streaming<v1::Frame>,
    ) {
        let first = timeout(CALL, next(&mut inbound)).await.ok().flatten();
        let Some(Kind::Hello(hello)) = first.and_then(|frame| frame.kind) else {
            tracing::debug!("{peer} did not say hello");
            return;
        };
        if !self.streams.is(peer, number) {
            return;
        }
        node.greeted(self, peer, hello.incarnation);
        self.core.tell(Input::Connected { peer, hello });
        loop {
            tokio::select! {
                // Nothing is ever sent on it: it ends. What was said last is on its way, and the reader's end would stop it.
                _ = ended.recv() => return sleep(LAST_WORDS).await,
                frame = next(&mut inbound) => match frame {
                    Some(frame) => self.core.tell(Input::Frame { peer, frame }),
                    None => return,
                },
            }
        }
    }
}
