//! What is answered before the node is ready, and on which services. No device is needed: these run for everybody.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use weft::cli::client::channel;
use weft::node::Node;
use weft::node::daemon::serve;
use weft::node::socket::ApiSocket;
use weft::node::state::{Identity, Mode, State, StateDir};
use weft_vtep::io::{Vtep, VtepConfig};

use crate::{harness::weft, refusal};

/// A node in this process that has not restored its state yet.
fn node(dir: &Path) -> (Arc<Node>, State) {
    let local = "127.0.0.1".parse().unwrap();
    // A port that was free a moment ago.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let vtep = Vtep::start(VtepConfig { local, port, workers: Some(1) }).unwrap();
    let (id, name) = ("00ff".to_owned(), "n1".to_owned());
    let mode = Mode::Standalone;
    let identity = Identity {
        id,
        name,
        mode,
        advertise: local,
        vxlan_port: port,
        control_port: 7956,
        incarnation: 0,
        metrics: None,
        page: None,
    };
    let node = Arc::new(Node::new(identity.clone(), vtep, StateDir::open(dir).unwrap(), None));
    (node, State::new(identity, Vec::new(), Vec::new()))
}

async fn run(socket: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(weft());
    command.arg("--socket").arg(socket).args(words);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn health(socket: &Path) -> ServingStatus {
    let mut client = HealthClient::new(channel(socket).await.unwrap());
    let request = HealthCheckRequest { service: "weft.v1.Node".into() };
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn status_is_answered_from_the_first_moment_and_fails_until_the_node_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let (node, state) = node(dir.path());
    let path = dir.path().join("weft.sock");
    let (_socket, listener) = ApiSocket::bind(&path).unwrap();
    let (_stop, _server) = serve(&node, listener).unwrap();

    let early = run(&path, &["status", "--json"]).await;
    assert_eq!(early.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&early.stdout).unwrap();
    assert_eq!((&document["ready"], &document["node"]), (&Value::Bool(false), &Value::from("n1")));
    assert_eq!(String::from_utf8_lossy(&early.stderr).lines().count(), 1);
    for words in [&["network", "create", "blue", "--plain"][..], &["network", "ls"], &["detach", "x"], &["fdb"]] {
        let said = refusal(&words.join(" "), &run(&path, words).await);
        assert!(said.contains("not ready yet") && said.contains("again"), "{said}");
    }
    assert_eq!(health(&path).await, ServingStatus::NotServing);

    let restored = Arc::clone(&node);
    tokio::task::spawn_blocking(move || restored.restore(state)).await.unwrap().unwrap();
    node.set_ready();
    let ready = run(&path, &["status", "--json"]).await;
    assert!(ready.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&ready.stdout).unwrap()["ready"], true);
    assert_eq!(health(&path).await, ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_lists_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = node(dir.path());
    let path = dir.path().join("weft.sock");
    let (_socket, listener) = ApiSocket::bind(&path).unwrap();
    let (_stop, _server) = serve(&node, listener).unwrap();
    let mut client = ServerReflectionClient::new(channel(&path).await.unwrap());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&"weft.v1.Node") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
}
