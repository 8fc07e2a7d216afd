//! The page of a cluster that is made up, of any size: the real page's files, and documents as a daemon would give.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::{Value, json};
use weft::lab::Host;

/// Serves it on the host for as long as the value lives.
pub(crate) fn serve(host: &Host, url: &str, nodes: u32, stations: u32) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = host.run(|| std::net::TcpListener::bind(address)).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut router = Router::new();
    for (path, kind, text) in weft::page::FILES {
        router = router.route(path, get(async move || ([(CONTENT_TYPE, kind)], text)));
    }
    let documents = [
        ("/now.json", now(nodes)),
        ("/tables.json", tables(nodes, stations)),
        ("/doctor.json", json!({"well": true, "findings": []})),
    ];
    for (path, document) in documents {
        let text: Arc<str> = document.to_string().into();
        router = router.route(path, get(async move || ([(CONTENT_TYPE, "application/json")], text.to_string())));
    }
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, router).await.unwrap();
    });
    runtime
}

fn address(node: u32) -> String {
    std::net::Ipv4Addr::from_bits(0xc612_0000 + node).to_string()
}

fn now(nodes: u32) -> Value {
    let states = ["alive", "alive", "alive", "suspect", "alive", "dead"];
    let member = |n: u32| {
        let state = if n == 1 { "alive" } else { states[n as usize % states.len()] };
        json!({"name": format!("node{n}"), "id": format!("{n:016x}"), "address": address(n), "state": state,
               "signer": n <= 3, "version": "0.1.0"})
    };
    let session = |n: u32| {
        json!({"peer": format!("node{n}"), "address": address(n), "suite": "aes-256-gcm", "epoch": 1, "age_seconds": 60,
               "sealed": n, "opened": n, "rejected": {}, "rtt_us": 100 + n, "path_silent": false, "path_mtu": 1500})
    };
    json!({
        "status": {"node": "node1", "id": format!("{:016x}", 1), "version": "0.1.0", "advertise": address(1),
                   "mode": "cluster", "ready": true, "members_alive": nodes, "members_compared": 9, "members_agreeing": 9,
                   "networks": 1, "endpoints": 10, "sessions": (2..=nodes).map(session).collect::<Vec<_>>()},
        "members": (1..=nodes).map(member).collect::<Vec<_>>(),
        "stats": {"totals": {"tx_frames": 0, "tx_bytes": 0, "rx_frames": 0, "rx_bytes": 0}, "drops": {"storm_limit": 3}},
        "events": [],
    })
}

fn tables(nodes: u32, stations: u32) -> Value {
    let all = || (1..=nodes).flat_map(|node| (0..stations).map(move |station| (node, station)));
    let mac = |node: u32, station: u32| format!("02:00:00:{:02x}:{:02x}:{station:02x}", node >> 8, node & 0xff);
    let entry = |(node, station)| json!({"network": "blue", "vni": 4096, "mac": mac(node, station), "kind": "remote", "vtep": address(node)});
    let neighbor = |(node, station): (u32, u32)| {
        let ip = format!("10.{}.{}.{}", 64 + (node >> 8), node & 0xff, station + 1);
        json!({"network": "blue", "vni": 4096, "ip": ip, "mac": mac(node, station), "node": format!("node{node}"),
               "vtep": address(node)})
    };
    let network = |name: &str| {
        json!({"name": name, "id": name, "vni": 4096, "driver": "overlay", "mtu": 1418, "mode": "sealed",
               "subnets": [{"subnet": "10.64.0.0/10"}], "remotes": [], "internal": false, "options": {}, "endpoints": []})
    };
    json!({
        "networks": [network("blue"), network("<img src=x onerror=alert(1)>")],
        "fdb": all().map(entry).collect::<Vec<_>>(),
        "neighbors": all().map(neighbor).collect::<Vec<_>>(),
    })
}
