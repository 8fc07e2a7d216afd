//! Members call members: only with a certificate of the cluster, valid, not denied, and only the node that was meant.

use std::time::{Duration, SystemTime};

use tokio_stream::StreamExt as _;
use weft_control::id::NodeId;
use weft_control::security::authz::PeerRefused;
use weft_control::security::ca::Authority;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::{ConnectError, connect};
use weft_proto::v1;

use crate::fixture::{HOUR, Node, SERVER, credentials, credentials_for, who};

const MEMBER: NodeId = NodeId(0xa1);

/// What the peer answers to a node that it refuses.
async fn refused_by_peer(trust: &Trust, node: &Node) -> String {
    match connect(trust, SERVER, node.address).await {
        Err(ConnectError::RefusedByPeer { reason, .. }) => reason,
        other => panic!("not refused by the peer: {other:?}"),
    }
}

/// Why this node does not want the peer.
async fn refused(trust: &Trust, expected: NodeId, node: &Node) -> PeerRefused {
    match connect(trust, expected, node.address).await {
        Err(ConnectError::Refused { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_member_is_known_by_its_certificate() {
    let node = Node::start().await;
    let channel = connect(&node.member(MEMBER), SERVER, node.address).await.unwrap();
    assert_eq!(who(channel.clone()).await.unwrap(), MEMBER);
    assert_eq!(who(channel).await.unwrap(), MEMBER);
    assert_eq!(node.refusals(), [""; 0]);
    node.stop().await;
}

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides() {
    let node = Node::start().await;
    let other = Authority::found(SystemTime::now());
    let stranger = Trust::new(credentials(&other, MEMBER));
    assert_eq!(refused(&stranger, SERVER, &node).await, PeerRefused::Untrusted);

    // A caller that accepts the server, but whose own certificate is another cluster's.
    let key = weft_control::security::key::NodeKey::generate();
    let request = key.request(&crate::fixture::identity(MEMBER));
    let permit = weft_control::security::ca::Permit::Renewal(MEMBER);
    let foreign = other.sign(&request, &permit, SystemTime::now()).unwrap();
    let both = [other.certificate(), node.office.authority.certificate()];
    let both = weft_control::security::credentials::Credentials::new(&key, &foreign, &both).unwrap();
    let reason = refused_by_peer(&Trust::new(both), &node).await;
    assert!(reason.contains("another cluster"), "{reason}");
    node.wait_refusal("not of this cluster").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_both_sides() {
    let node = Node::start().await;
    let now = SystemTime::now();
    let expired = credentials_for(&node.office.authority, MEMBER, now - 2 * HOUR, HOUR);
    let reason = refused_by_peer(&Trust::new(expired), &node).await;
    assert!(reason.contains("expired"), "{reason}");
    node.wait_refusal("has expired").await;

    let member = node.member(MEMBER);
    node.trust.swap(credentials_for(&node.office.authority, SERVER, now - 2 * HOUR, HOUR));
    assert_eq!(refused(&member, SERVER, &node).await, PeerRefused::Expired);
}

#[tokio::test]
async fn a_certificate_from_the_future_is_refused_and_a_slow_clock_is_not() {
    let node = Node::start().await;
    let now = SystemTime::now();
    let future = credentials_for(&node.office.authority, MEMBER, now + 2 * HOUR, HOUR);
    let reason = refused_by_peer(&Trust::new(future), &node).await;
    assert!(reason.contains("not valid yet"), "{reason}");
    // Made by a signer whose clock is almost an hour ahead.
    let ahead = credentials_for(&node.office.authority, MEMBER, now + HOUR - Duration::from_secs(60), HOUR);
    let channel = connect(&Trust::new(ahead), SERVER, node.address).await.unwrap();
    assert_eq!(who(channel).await.unwrap(), MEMBER);
}

#[tokio::test]
async fn a_denied_node_is_refused_on_both_sides() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    node.trust.deny([MEMBER]);
    let reason = refused_by_peer(&member, &node).await;
    assert!(reason.contains("removed from the cluster"), "{reason}");
    node.wait_refusal("was removed").await;

    member.deny([SERVER]);
    assert_eq!(refused(&member, SERVER, &node).await, PeerRefused::Denied(SERVER));
    member.deny([]);
    node.trust.deny([]);
    connect(&member, SERVER, node.address).await.unwrap();
}

#[tokio::test]
async fn only_the_node_that_was_dialled_is_accepted() {
    let node = Node::start().await;
    let expected = NodeId(SERVER.0 + 1);
    let wrong = PeerRefused::WrongNode { expected, found: SERVER };
    assert_eq!(refused(&node.member(MEMBER), expected, &node).await, wrong);
}

#[tokio::test]
async fn a_copy_of_the_node_itself_is_refused() {
    let node = Node::start().await;
    assert_eq!(refused(&node.member(SERVER), SERVER, &node).await, PeerRefused::Own(SERVER));
}

#[tokio::test]
async fn a_stream_of_a_node_ends_when_it_is_denied() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    let other = connect(&node.member(NodeId(0xb2)), SERVER, node.address).await.unwrap();
    let channel = connect(&member, SERVER, node.address).await.unwrap();
    let mut client = v1::cluster_client::ClusterClient::new(channel);
    let (frames, outgoing) = tokio::sync::mpsc::channel(4);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut stream = client.exchange(outgoing).await.unwrap().into_inner();
    frames.send(v1::Frame::default()).await.unwrap();
    stream.next().await.unwrap().unwrap();

    node.trust.deny([MEMBER]);
    let end = tokio::time::timeout(Duration::from_secs(1), stream.next()).await.unwrap();
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert!(client.claim_block(v1::ClaimBlockRequest::default()).await.is_err());
    assert_eq!(who(other).await.unwrap(), NodeId(0xb2));
}

#[tokio::test]
async fn credentials_are_swapped_while_calls_go_on() {
    let node = Node::start().await;
    let member = node.member(MEMBER);
    let living = connect(&member, SERVER, node.address).await.unwrap();
    assert_eq!(who(living.clone()).await.unwrap(), MEMBER);
    for _ in 0..3 {
        node.trust.swap(credentials(&node.office.authority, SERVER));
        member.swap(credentials(&node.office.authority, MEMBER));
        assert_eq!(who(living.clone()).await.unwrap(), MEMBER);
        let fresh = connect(&member, SERVER, node.address).await.unwrap();
        assert_eq!(who(fresh).await.unwrap(), MEMBER);
    }
    // The other CA is not known on the other side: new connections are refused, and the living one ends.
    let other = Authority::found(SystemTime::now());
    node.trust.swap(credentials(&other, SERVER));
    assert_eq!(refused(&member, SERVER, &node).await, PeerRefused::Untrusted);
    assert!(who(living).await.is_err());
}
