//! What somebody on the wire reads: nothing that names anybody or lets anybody in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weft_control::id::NodeId;
use weft_control::security::key::NodeKey;
use weft_control::security::trust::Trust;
use weft_control::transport::connect::connect;
use weft_control::transport::join::{Joiner, join};
use weft_proto::v1;

use crate::fixture::{HOUR, Node, SERVER, identity};

const JOINER: NodeId = NodeId(0x0123_4567_89ab_cdef);

type Seen = Arc<Mutex<Vec<u8>>>;

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seen: Seen) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Stands between two ends and writes down what each sends, in order.
async fn onlooker(to: SocketAddr) -> (SocketAddr, [Seen; 2]) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = [Seen::default(), Seen::default()];
    let writing = seen.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::spawn(copy(from_client, to_server, writing[0].clone()));
            tokio::spawn(copy(from_server, to_client, writing[1].clone()));
        }
    });
    (address, seen)
}

fn contains(seen: &[u8], what: &[u8]) -> bool {
    seen.windows(what.len()).any(|window| window == what)
}

#[tokio::test]
async fn neither_names_nor_secrets_are_readable_on_the_wire() {
    let node = Node::start().await;
    let (address, seen) = onlooker(node.address).await;
    let token = node.token(HOUR, None);
    let (key, identity) = (NodeKey::generate(), identity(JOINER));
    let joiner = Joiner { token: &token, identity: &identity, key: &key, protocol: (1, 1) };
    let joined = join(address, joiner).await.unwrap();
    let certificate = joined.credentials.certificate().to_vec();
    let channel = connect(&Trust::new(joined.credentials), SERVER, address).await.unwrap();
    let mut client = v1::cluster_client::ClusterClient::new(channel);
    let marker = b"02:00:5e:00:53:01 is a marker".to_vec();
    let request = v1::TakeAddressRequest { vni: 0x5a5a5a, address: marker.clone() };
    client.take_address(request).await.unwrap();

    let text = token.to_string();
    let parts: Vec<&str> = text.split('.').collect();
    let (joiner_id, server_id) = (JOINER.to_string(), SERVER.to_string());
    let secrets: &[(&str, &[u8])] = &[
        ("the marker", &marker),
        ("the token", text.as_bytes()),
        ("the CA's hash", parts[1].as_bytes()),
        ("the token's id", parts[2].as_bytes()),
        ("the secret", parts[3].as_bytes()),
        ("the scheme of ids", b"weft://"),
        ("the service's name", b"weft.v1"),
        ("a method's name", b"Join"),
        ("a node's id", joiner_id.as_bytes()),
        ("a node's id", server_id.as_bytes()),
        ("a node's id in bytes", &JOINER.0.to_be_bytes()),
        ("a node's name", identity.name().as_bytes()),
        ("a node's name", b"host-"),
        ("the CA's name", b"weft cluster CA"),
        ("the certificate's key", &certificate[certificate.len() / 2..certificate.len() / 2 + 16]),
        ("a server name", b"weft"),
    ];
    for (direction, seen) in seen.iter().enumerate() {
        let seen = seen.lock().unwrap();
        assert!(seen.len() > 2000, "{} bytes were seen", seen.len());
        // The onlooker sees what is not encrypted: that a handshake begins, and the protocol that a client offers.
        assert_eq!(seen[0], 22);
        assert!(direction == 1 || contains(&seen, b"\x02h2"));
        for (what, bytes) in secrets {
            assert!(!contains(&seen, bytes), "{what} is readable");
        }
    }
}
