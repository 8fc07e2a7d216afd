//! The page of a real daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use weft::lab::{Daemon, Host, Lab, LabSpec, overlay};
use weft_vtep::drops::DropReason;

use crate::grammar::Page;
use crate::harness::{eventually, privileged, secrets, weft};
use crate::promtool;

const PORT: &str = "9469";

/// Asks on the host, and returns the answer's head and body.
fn get(host: &Host, address: &str, path: &str) -> std::io::Result<(String, String)> {
    host.run(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        Ok((head.to_owned(), body.to_owned()))
    })?
}

#[test]
fn a_cluster_s_node_serves_its_page_on_loopback_and_remembers_to() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &["--metrics", PORT]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    let host = &lab.hosts[0];
    let local = format!("127.0.0.1:{PORT}");
    let read = || {
        let (head, body) = get(host, &local, "/metrics").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
        (Page::read(&body), body)
    };

    eventually("a session with the other node", || read().0.value("weft_sessions{suite=\"aes-256-gcm\"}") == 1.0);
    let before = Instant::now();
    let (page, text) = read();
    eprintln!("a page of {} bytes took {:?}", text.len(), before.elapsed());
    promtool(&["check", "metrics"], &text);
    assert_eq!(page.of("weft_drops_total").len(), DropReason::COUNT);
    for (series, value) in [
        ("weft_ready", 1.0),
        ("weft_members{state=\"alive\"}", 2.0),
        ("weft_tables_compared", 2.0),
        ("weft_network_info{network=\"blue\",driver=\"overlay\",mode=\"sealed\"}", 1.0),
        ("weft_network_endpoints{network=\"blue\",state=\"up\"}", 1.0),
        ("weft_network_forwarding_entries{network=\"blue\",kind=\"remote\"}", 1.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert!(page.value("weft_certificate_expiry_timestamp_seconds") > 1.7e9);

    secrets::none_in("the page", &text, &secrets::of(host, &daemons[0].token(host).unwrap()));

    // Nobody else can read it, and nothing else is there.
    assert!(get(host, &format!("{}:{PORT}", host.address), "/metrics").is_err());
    assert!(get(host, &local, "/").unwrap().0.starts_with("HTTP/1.1 404"));

    let mut daemons = daemons;
    assert!(daemons.remove(0).stop().unwrap().success());
    let again = Daemon::up(weft(), host, &[]).unwrap();
    read();
    assert!(again.stop().unwrap().success());
    let silent = Daemon::up(weft(), host, &["--metrics", "off"]).unwrap();
    assert!(get(host, &local, "/metrics").is_err());
    assert!(silent.stop().unwrap().success());
}

#[test]
fn a_port_that_is_taken_is_a_reason_not_to_start() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let _taken = host.run(|| std::net::TcpListener::bind(format!("127.0.0.1:{PORT}")).unwrap()).unwrap();
    let error = Daemon::start(weft(), host, &["--metrics", PORT]).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("cannot serve metrics at 127.0.0.1:9469") && error.contains("--metrics off"), "{error}");
}
