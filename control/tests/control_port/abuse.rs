//! What callers do that mean no good: each is refused with a reason, costs little, and members are served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use weft_control::id::NodeId;
use weft_control::transport::connect::connect;
use weft_control::transport::listener::Limits;
use weft_proto::v1;

use crate::fixture::{HOUR, Node, SERVER, who};
use crate::stranger::{channel, source, tcp, tls};

const MEMBER: NodeId = NodeId(0xa1);

/// Calls a method by its path, with an empty message.
async fn call(channel: &tonic::transport::Channel, path: &'static str) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::SwimRequest, v1::SwimResponse>::default();
    let request = tonic::Request::new(v1::SwimRequest::default());
    match client.unary(request, PathAndQuery::from_static(path), codec).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn without_a_certificate_there_is_admission_and_nothing_else() {
    let node = Node::start().await;
    let stranger = channel(node.address, source(1)).await;
    for path in [
        "/weft.v1.Cluster/Exchange",
        "/weft.v1.Cluster/Swim",
        "/weft.v1.Cluster/Sign",
        "/weft.v1.Cluster/ClaimBlock",
        "/weft.v1.Cluster/Missing",
        "/weft.v1.Node/Status",
        "/weft.v1.AdmissionExtra/Join",
        "/weft.v1.Admission",
        "/weft.v1.admission/Join",
        "//weft.v1.Admission/Join",
        "/x/weft.v1.Admission/Join",
        "/",
    ] {
        assert_eq!(call(&stranger, path).await, Code::Unauthenticated, "{path}");
    }
    assert_eq!(call(&stranger, "/weft.v1.Admission/Missing").await, Code::Unimplemented);
    assert_eq!(call(&stranger, "/weft.v1.Admission/Join").await, Code::PermissionDenied);
    // To a member the same paths say what they are.
    let member = connect(&node.member(MEMBER), SERVER, node.address).await.unwrap();
    assert_eq!(call(&member, "/weft.v1.Cluster/Missing").await, Code::Unimplemented);
    node.wait_refusal("without a certificate").await;
}

#[tokio::test]
async fn what_is_not_tls_1_3_is_refused() {
    let node = Node::start().await;
    let mut http = tcp(node.address, source(1)).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nHost: weft\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(2), http.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() < 64, "{answer:?}");
    node.wait_refusal("TLS handshake failed").await;

    // A ClientHello of TLS 1.2: no supported_versions.
    let extensions: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend((hello.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend((hello.len() as u16).to_be_bytes());
    record.extend(hello);
    let mut old = tcp(node.address, source(2)).await.unwrap();
    old.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(2), old.read_to_end(&mut answer)).await.unwrap();
    // An alert: fatal, protocol_version.
    assert_eq!(&answer[..], [21, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn who_only_looks_whether_the_port_is_open_is_not_told_as_refused() {
    let node = Node::start().await;
    drop(tcp(node.address, source(1)).await.unwrap());
    // One that is, of another source, comes after it.
    let mut http = tcp(node.address, source(2)).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    node.wait_refusal("TLS handshake failed").await;
    assert_eq!(node.refusals().len(), 1, "{:?}", node.refusals());
}

/// Opens connections that say nothing, `total` in all from some sources, each held until the port closes it.
struct Flood {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Flood {
    fn start(node: &Node, total: usize, sources: u8) -> Flood {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (address, counted, peak) = (node.address, open.clone(), most.clone());
        let task = tokio::spawn(async move {
            let mut held = tokio::task::JoinSet::new();
            for n in 0..total {
                let (counted, peak) = (counted.clone(), peak.clone());
                held.spawn(async move {
                    let mut stream = tcp(address, source(n as u8 % sources)).await.unwrap();
                    peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // The port has nothing to say to it, and ends it.
                    let _ = stream.read(&mut [0; 16]).await;
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
                if n % 20 == 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            }
            held.join_all().await;
        });
        Flood { open, most, task }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_silent_connections_are_bounded_while_members_are_served() {
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let node = Node::start_with(limits, true).await;
    let member = node.member(MEMBER);
    let living = connect(&member, SERVER, node.address).await.unwrap();
    let flood = Flood::start(&node, 5000, 20);
    let (mut calls, mut dials) = (0, 0);
    while !flood.task.is_finished() {
        assert_eq!(who(living.clone()).await.unwrap(), MEMBER);
        calls += 1;
        if calls % 10 == 0 {
            let fresh = connect(&member, SERVER, node.address).await.unwrap();
            assert_eq!(who(fresh).await.unwrap(), MEMBER);
            dials += 1;
        }
        sleep(Duration::from_millis(2)).await;
    }
    flood.task.await.unwrap();
    assert_eq!(flood.open.load(Ordering::SeqCst), 0);
    let most = flood.most.load(Ordering::SeqCst);
    // The bound of the port, and of the kernel's queue of those that are not accepted yet.
    assert!((200..=256 + 1024).contains(&most), "{most} silent connections at a time");
    assert!(calls > 100 && dials > 10, "{calls} calls, {dials} dials");
    node.wait_refusal("too many connections").await;
    // Thousands of refusals are told in a few lines.
    assert!(node.refusals().len() < 100, "{}", node.refusals().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_in_from_the_address_that_floods() {
    let node = Node::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(tcp(node.address, [127, 0, 0, 1].into()).await.unwrap());
    }
    let channel = connect(&node.member(MEMBER), SERVER, node.address).await.unwrap();
    assert_eq!(who(channel).await.unwrap(), MEMBER);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_ended() {
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let node = Node::start_with(limits, true).await;
    let mut stalled = tcp(node.address, source(1)).await.unwrap();
    // The beginning of a record that never ends.
    stalled.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).await.unwrap();
    let start = Instant::now();
    let ended = timeout(Duration::from_secs(2), stalled.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert!(start.elapsed() >= Duration::from_millis(250));
    node.wait_refusal("did not finish the TLS handshake").await;
}

#[tokio::test]
async fn a_stranger_that_lingers_is_ended() {
    let limits = Limits { stranger: Duration::from_millis(300), strangers: (4, 8), ..Limits::default() };
    let node = Node::start_with(limits, true).await;
    let mut lingering = tls(node.address, source(1)).await.unwrap();
    let mut all = Vec::new();
    // Its own later connections end it early.
    let long = Limits { stranger: 60 * HOUR, ..limits };
    let patient = Node::start_with(long, true).await;
    let mut oldest = tls(patient.address, source(1)).await.unwrap();
    for _ in 0..4 {
        all.push(tls(patient.address, source(1)).await.unwrap());
    }
    for stream in [&mut lingering, &mut oldest] {
        let ended = timeout(Duration::from_secs(2), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "still open");
    }
}

#[tokio::test]
async fn connections_of_one_member_are_bounded() {
    let limits = Limits { members: (4, 100), ..Limits::default() };
    let node = Node::start_with(limits, true).await;
    let (member, other) = (node.member(MEMBER), node.member(NodeId(0xb2)));
    let other = connect(&other, SERVER, node.address).await.unwrap();
    assert_eq!(who(other.clone()).await.unwrap(), NodeId(0xb2));
    let mut channels = Vec::new();
    for _ in 0..12 {
        let channel = connect(&member, SERVER, node.address).await.unwrap();
        assert_eq!(who(channel.clone()).await.unwrap(), MEMBER);
        channels.push(channel);
    }
    assert_eq!(who(other).await.unwrap(), NodeId(0xb2));
    assert_eq!(who(channels.pop().unwrap()).await.unwrap(), MEMBER);
}

#[tokio::test]
async fn a_message_over_the_limit_and_endless_headers_are_refused() {
    let node = Node::start().await;
    let stranger = channel(node.address, source(1)).await;
    let mut client = v1::admission_client::AdmissionClient::new(stranger.clone());
    let request = v1::JoinRequest { token: "x".repeat(1 << 20), ..Default::default() };
    let status = client.join(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let mut request = tonic::Request::new(v1::JoinRequest::default());
    request.metadata_mut().insert("endless", "x".repeat(100_000).parse().unwrap());
    assert!(client.join(request).await.is_err());
    let member = connect(&node.member(MEMBER), SERVER, node.address).await.unwrap();
    assert_eq!(who(member).await.unwrap(), MEMBER);
}
