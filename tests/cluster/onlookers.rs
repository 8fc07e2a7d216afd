//! The control port as others see it: who reads along learns nothing, who has no certificate gets nothing.

use std::net::SocketAddr;

use tonic::Code;
use weft::lab::{LabSpec, UPLINK};
use weft_control::security::token::Token;
use weft_proto::v1::cluster_client::ClusterClient;
use weft_proto::v1::{ClaimBlockRequest, SignRequest, SwimRequest};

use crate::harness::port::{ALL, Port};
use crate::harness::vtep::Vtep;
use crate::harness::{eventually, privileged};
use crate::{Cluster, stranger, text};

const CONTROL_PORT: u16 = 7956;

#[test]
fn a_capture_holds_no_token_no_name_and_no_mac() {
    privileged!();
    const NETWORK: &str = "a-name-that-is-a-secret";
    const MAC: [u8; 6] = [0x02, 0xde, 0xad, 0xbe, 0xef, 0x01];
    const LAST: &[u8] = b"the last word";
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let wires = [0, 1].map(|n| Port::open(&cluster.host(n).netns, UPLINK, ALL));
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.network(0, NETWORK, "");
    let mac = MAC.map(|octet| format!("{octet:02x}")).join(":");
    cluster.attach(1, NETWORK, &format!("--mac {mac}"));
    eventually("the first node knows the station", || cluster.place(0, &mac).is_some());
    for (from, to) in [(0, 1), (1, 0)] {
        Vtep::from_port(cluster.host(from), cluster.host(to), 0).send(LAST);
    }
    let ends = |frame: &[u8]| frame.ends_with(LAST);
    let frames: Vec<_> = wires.iter().flat_map(|wire| wire.until("the last word", ends)).collect();
    // Ethernet, IPv4, TCP from or to the control port.
    let port = CONTROL_PORT.to_be_bytes();
    let is_control =
        |frame: &&Vec<u8>| frame.len() > 54 && frame[23] == 6 && (frame[34..36] == port || frame[36..38] == port);
    let control: Vec<_> = frames.iter().filter(is_control).flat_map(|frame| &frame[34..]).copied().collect();
    assert!(control.len() > 10_000, "the onlooker sees what is said: {} bytes", control.len());
    assert!(token.trim().parse::<Token>().is_ok());
    let parts: Vec<&str> = token.trim().split('.').filter(|part| part.len() > 8).collect();
    assert!(!parts.is_empty(), "{token}");
    let names = [NETWORK, "node1", "node2", &mac, "weft.v1", "10.77.", "fd77:"];
    for what in names.iter().chain(&parts).map(|text| text.as_bytes()).chain([&MAC[..]]) {
        let found = control.windows(what.len()).any(|window| window == what);
        assert!(!found, "{:?} can be read", String::from_utf8_lossy(what));
    }
}

#[test]
fn whoever_has_no_certificate_gets_nothing() {
    privileged!();
    let cluster = Cluster::bare(LabSpec::new(3));
    let (address, from) = (SocketAddr::new(cluster.host(0).address, CONTROL_PORT), cluster.host(1).address);
    let before = cluster.json(0, "members");
    let codes = cluster.host(1).run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = ClusterClient::new(stranger::channel(address, from).await);
            let exchange = client.exchange(tokio_stream::iter([])).await.map(drop);
            let swim = client.swim(SwimRequest::default()).await.map(drop);
            let sign = client.sign(SignRequest { want_key: true, ..SignRequest::default() }).await.map(drop);
            let claim = client.claim_block(ClaimBlockRequest::default()).await.map(drop);
            [exchange, swim, sign, claim].map(|answer| answer.map_err(|status| status.code()))
        })
    });
    assert_eq!(codes.unwrap(), [Err(Code::Unauthenticated); 4]);
    eventually("the node says so", || {
        let events = cluster.json(0, "events");
        let said = |event: &serde_json::Value| {
            event["kind"] == "connection_refused" && text(&event["text"]).contains(&from.to_string())
        };
        events.as_array().unwrap().iter().any(said)
    });
    assert_eq!(cluster.json(0, "members"), before);
}
