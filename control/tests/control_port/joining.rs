//! A new node joins with a token, or is told why not; and a caller without a certificate reaches nothing else.

use std::time::Duration;

use weft_control::id::NodeId;
use weft_control::security::key::NodeKey;
use weft_control::security::token::Token;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::connect;
use weft_control::transport::join::{JoinError, Joined, Joiner, join};

use crate::fixture::{HOUR, Node, SERVER, identity, who};

const JOINER: NodeId = NodeId(0x10);

async fn try_join(node: &Node, token: &Token, id: NodeId) -> Result<Joined, JoinError> {
    let (key, identity) = (NodeKey::generate(), identity(id));
    join(node.address, Joiner { token, identity: &identity, key: &key, protocol: (1, 1) }).await
}

async fn refusal(node: &Node, token: &Token) -> String {
    match try_join(node, token, JOINER).await {
        Err(JoinError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_lets_a_node_in_as_often_as_it_says() {
    for signer in [true, false] {
        let node = Node::start_with(Default::default(), signer).await;
        let token = node.token(HOUR, Some(2));
        for id in [1, 2] {
            let joined = try_join(&node, &token, NodeId(id)).await.unwrap();
            assert_eq!((joined.vxlan_port, joined.roster.len()), (4789, 1));
            let channel = connect(&Trust::new(joined.credentials), SERVER, node.address).await.unwrap();
            assert_eq!(who(channel).await.unwrap(), NodeId(id));
        }
        let why = refusal(&node, &token).await;
        assert!(why.contains("used up"), "{why}");
        node.wait_refusal("join token").await;
    }
}

#[tokio::test]
async fn every_token_that_is_no_good_is_refused_in_the_same_words() {
    let node = Node::start().await;
    let (unknown, _) = Token::create(node.office.authority.hash(), HOUR, None, std::time::SystemTime::now());
    let expired = node.token(Duration::ZERO, None);
    let used_up = node.token(HOUR, Some(0));
    let good = node.token(HOUR, None);
    let text = good.to_string();
    let last = if text.ends_with('0') { "1" } else { "0" };
    let forged: Token = format!("{}{last}", &text[..text.len() - 1]).parse().unwrap();
    let mut answers = Vec::new();
    for bad in [&unknown, &expired, &used_up, &forged] {
        answers.push(refusal(&node, bad).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    try_join(&node, &good, JOINER).await.unwrap();
}
