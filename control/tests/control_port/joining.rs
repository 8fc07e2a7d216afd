//! A new node joins with a token, or is told why not; and a caller without a certificate reaches nothing else.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncReadExt as _;
use tonic::Code;
use weft_control::id::NodeId;
use weft_control::security::ca::Authority;
use weft_control::security::key::NodeKey;
use weft_control::security::token::Token;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::connect;
use weft_control::transport::join::{JOIN_TIMEOUT, JoinError, Joined, Joiner, join};
use weft_proto::v1;

use crate::fixture::{HOUR, Node, SERVER, credentials, identity, who};
use crate::stranger::{channel, source};

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
    let (unknown, _) = Token::create(node.office.authority.hash(), HOUR, None, SystemTime::now());
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

#[tokio::test]
async fn racing_joins_share_the_uses_of_a_token_exactly() {
    let node = Arc::new(Node::start().await);
    let token = node.token(HOUR, Some(3));
    let mut joins = tokio::task::JoinSet::new();
    for id in 1..=20 {
        let (node, token) = (node.clone(), token.clone());
        joins.spawn(async move { try_join(&node, &token, NodeId(id)).await.is_ok() });
    }
    let joined = joins.join_all().await.into_iter().filter(|joined| *joined).count();
    assert_eq!(joined, 3);
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused_and_costs_the_token_nothing() {
    let node = Node::start().await;
    node.office.taken.lock().unwrap().insert(JOINER);
    let token = node.token(HOUR, Some(1));
    let why = refusal(&node, &token).await;
    assert!(why.contains(&JOINER.to_string()) && why.contains("belongs to a member"), "{why}");
    node.wait_refusal("its join was refused").await;
    try_join(&node, &token, NodeId(0x11)).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_no_good_is_refused_and_costs_the_token_nothing() {
    let node = Node::start().await;
    let token = node.token(HOUR, Some(1));
    let good = NodeKey::generate().request(&identity(JOINER));
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    for (n, request) in [Vec::new(), b"no request".to_vec(), broken, vec![0x30; 5000]].into_iter().enumerate() {
        let stranger = channel(node.address, source(n as u8)).await;
        let mut client = v1::admission_client::AdmissionClient::new(stranger);
        let asked = v1::JoinRequest { token: token.to_string(), request, protocol_min: 1, protocol_max: 1 };
        let status = client.join(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    try_join(&node, &token, JOINER).await.unwrap();
}

#[tokio::test]
async fn a_node_that_speaks_no_common_version_is_refused_before_a_use_is_taken() {
    let node = Node::start().await;
    let token = node.token(HOUR, Some(1));
    let (key, identity) = (NodeKey::generate(), identity(JOINER));
    let joiner = Joiner { token: &token, identity: &identity, key: &key, protocol: (7, 9) };
    let error = join(node.address, joiner).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused { .. }), "{error}");
    try_join(&node, &token, JOINER).await.unwrap();
}

#[tokio::test]
async fn one_source_tries_few_wrong_tokens_and_others_are_not_kept_out() {
    let node = Node::start().await;
    let (wrong, _) = Token::create(node.office.authority.hash(), HOUR, None, SystemTime::now());
    let mut errors = Vec::new();
    for _ in 0..10 {
        errors.push(try_join(&node, &wrong, JOINER).await.unwrap_err());
    }
    let refused = errors.iter().filter(|error| matches!(error, JoinError::Refused { .. })).count();
    let waiting = errors.iter().filter(|error| error.to_string().contains("wait a few seconds")).count();
    assert_eq!((refused, waiting), (5, 5), "{errors:?}");
    node.wait_refusal("too many join tokens").await;

    let good = node.token(HOUR, None);
    let other = channel(node.address, source(9)).await;
    let mut client = v1::admission_client::AdmissionClient::new(other);
    let request = NodeKey::generate().request(&identity(JOINER));
    let asked = v1::JoinRequest { token: good.to_string(), request, protocol_min: 1, protocol_max: 1 };
    client.join(asked).await.unwrap();
}

#[tokio::test]
async fn a_join_waits_for_no_signer_and_may_be_tried_again() {
    let node = Node::start_with(Default::default(), false).await;
    let token = node.token(HOUR, Some(1));
    *node.office.reachable.lock().unwrap() = false;
    for _ in 0..10 {
        let error = try_join(&node, &token, JOINER).await.unwrap_err();
        assert!(matches!(&error, JoinError::Unavailable { why, .. } if why.contains("no signer")), "{error}");
    }
    *node.office.reachable.lock().unwrap() = true;
    try_join(&node, &token, JOINER).await.unwrap();
}

#[tokio::test]
async fn the_secret_is_not_sent_to_another_cluster() {
    let (node, other) = (Node::start().await, Node::start().await);
    let token = node.token(HOUR, None);
    let error = try_join(&other, &token, JOINER).await.unwrap_err();
    assert!(matches!(error, JoinError::NotTheCluster { .. }), "{error}");
    assert!(error.to_string().contains("was not sent"), "{error}");
    // The right cluster with the wrong CA in the token is no different.
    let (foreign, record) = Token::create(other.office.authority.hash(), HOUR, None, SystemTime::now());
    node.office.tokens.lock().unwrap().insert(record.id, record);
    let error = try_join(&node, &foreign, JOINER).await.unwrap_err();
    assert!(matches!(error, JoinError::NotTheCluster { .. }), "{error}");
}

/// A server that knows the CA's certificate, which is no secret, but has none of its own from it. It writes down all
/// that it is sent under TLS.
async fn impostor(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let writing = heard.clone();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            // What an HTTP/2 server says first, so that the joiner goes on if it wants to.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                writing.lock().unwrap().extend(&buffer[..length]);
            }
        }
    });
    (address, heard)
}

#[tokio::test]
async fn the_secret_is_not_sent_to_one_who_only_shows_the_right_ca() {
    let (real, own) = (Authority::found(SystemTime::now()), Authority::found(SystemTime::now()));
    let fake = credentials(&own, SERVER);
    let own_certificate = CertificateDer::from(fake.certificate().to_vec());
    let (token, _) = Token::create(real.hash(), HOUR, None, SystemTime::now());
    let (key, identity) = (NodeKey::generate(), identity(JOINER));
    let joiner = || Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) };
    for chain in [
        vec![own_certificate.clone(), real.certificate().clone()],
        vec![own_certificate.clone(), own.certificate().clone(), real.certificate().clone()],
        vec![own_certificate.clone()],
    ] {
        let (address, heard) = impostor(chain, fake.key()).await;
        let error = join(address, joiner()).await.unwrap_err();
        assert!(matches!(error, JoinError::NotTheCluster { .. }), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(*heard.lock().unwrap(), [0; 0]);
    }
    // The test can hear: one who has a certificate of that CA is told the secret.
    let right = credentials(&real, SERVER);
    let chain = vec![CertificateDer::from(right.certificate().to_vec()), real.certificate().clone()];
    let (address, heard) = impostor(chain, right.key()).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), join(address, joiner())).await;
    let secret = token.to_string();
    let heard = heard.lock().unwrap();
    assert!(heard.windows(secret.len()).any(|window| window == secret.as_bytes()));
}

#[tokio::test]
async fn where_nobody_answers_a_join_ends_within_its_time_and_says_where() {
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let (token, _) = Token::create(Authority::found(SystemTime::now()).hash(), HOUR, None, SystemTime::now());
    let (key, identity) = (NodeKey::generate(), identity(JOINER));
    let joiner = || Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) };
    let start = std::time::Instant::now();
    let error = join(address, joiner()).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains(&format!("{JOIN_TIMEOUT:?}")), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8));
    drop(silent);
    let error = join(address, joiner()).await.unwrap_err().to_string();
    assert!(error.contains("cannot reach"), "{error}");
}
