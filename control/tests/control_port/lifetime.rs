//! How connections end: with the certificate, and with the port.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use weft_control::id::NodeId;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::{ConnectError, connect};
use weft_proto::v1;

use crate::fixture::{Node, SERVER, credentials, credentials_for, who};

const MEMBER: NodeId = NodeId(0xa1);

type Frames = tokio::sync::mpsc::Sender<v1::Frame>;

/// A stream that lives for as long as both ends do.
async fn exchange(trust: &Trust, node: &Node) -> (Frames, tonic::Streaming<v1::Frame>) {
    let channel = connect(trust, SERVER, node.address).await.unwrap();
    let (frames, outgoing) = tokio::sync::mpsc::channel(4);
    let mut client = v1::cluster_client::ClusterClient::new(channel);
    let mut stream = client.exchange(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    frames.send(v1::Frame::default()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    (frames, stream)
}

async fn end(stream: &mut tonic::Streaming<v1::Frame>, within: Duration) {
    let ended = timeout(within, stream.next()).await.expect("the stream still lives");
    assert!(matches!(ended, None | Some(Err(_))), "{ended:?}");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_either_side() {
    let node = Node::start().await;
    let short = Duration::from_secs(4);
    let member = Trust::new(credentials_for(&node.office.authority, MEMBER, SystemTime::now(), short));
    let (_frames, mut stream) = exchange(&member, &node).await;
    end(&mut stream, Duration::from_secs(12)).await;
    node.wait_refusal("has expired").await;
    let again = connect(&member, SERVER, node.address).await;
    assert!(matches!(again, Err(ConnectError::RefusedByPeer { .. })), "{again:?}");
    // A renewal is all that it takes.
    member.swap(credentials(&node.office.authority, MEMBER));
    assert_eq!(who(connect(&member, SERVER, node.address).await.unwrap()).await.unwrap(), MEMBER);

    node.trust.swap(credentials_for(&node.office.authority, SERVER, SystemTime::now(), short));
    let (_frames, mut stream) = exchange(&member, &node).await;
    end(&mut stream, Duration::from_secs(12)).await;
}

#[tokio::test]
async fn a_node_that_denies_its_peer_ends_the_connection_that_it_dialled() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    let (_frames, mut stream) = exchange(&member, &node).await;
    member.deny([SERVER]);
    end(&mut stream, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_channel_dials_again_when_its_peer_was_restarted_and_judges_it_anew() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    let channel = connect(&member, SERVER, node.address).await.unwrap();
    assert_eq!(who(channel.clone()).await.unwrap(), MEMBER);
    node.trust.deny([MEMBER]);
    assert!(who(channel.clone()).await.is_err());
    assert!(who(channel.clone()).await.is_err());
    node.trust.deny([]);
    assert_eq!(who(channel.clone()).await.unwrap(), MEMBER);
    // Another node is there now: the channel is not for it.
    node.trust.swap(credentials(&node.office.authority, NodeId(SERVER.0 + 1)));
    node.trust.deny([MEMBER]);
    assert!(who(channel.clone()).await.is_err());
    node.trust.deny([]);
    assert!(who(channel).await.is_err());
}

#[tokio::test]
async fn the_port_closes_at_once_and_its_connections_soon_after() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    let (_frames, mut stream) = exchange(&member, &node).await;
    let address = node.address;
    timeout(Duration::from_secs(3), node.stop()).await.expect("the port does not close");
    end(&mut stream, Duration::from_secs(1)).await;
    let gone = connect(&member, SERVER, address).await;
    assert!(matches!(gone, Err(ConnectError::Unreachable { .. })), "{gone:?}");
}
