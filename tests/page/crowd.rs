//! Many clients that connect and say nothing: they cost the daemon little, and the page is served all the same.

use std::io::Write;
use std::net::TcpStream;

use weft::lab::{Daemon, Lab, LabSpec};

use crate::harness::process::{open_files, resident};
use crate::harness::{eventually, privileged, weft};
use crate::{PORT, get};

/// Connections at once, of which every second one has begun to say something.
const SILENT: usize = 2000;
/// Some more open files than the server's bound of 64 connections.
const FILES: usize = 80;
/// Bytes that the daemon may have grown by: 64 connections with their buffers are a few MiB.
const GROWTH: u64 = 16 << 20;

#[test]
fn two_thousand_silent_clients_cost_little_and_the_page_is_served() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let host = &lab.hosts[0];
    let daemon = Daemon::start(weft(), host, &["--page", PORT]).unwrap();
    let read = || get(host, "localhost:9470", "/now.json").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
    assert!(read());
    let (files, memory) = (open_files(daemon.pid()), resident(daemon.pid()));
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, most) = nix::sys::resource::getrlimit(limit).unwrap();
    nix::sys::resource::setrlimit(limit, most, most).unwrap();
    let connect = |n: usize| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{PORT}")).unwrap();
        if n.is_multiple_of(2) {
            // One that was closed meanwhile hears nothing more.
            let _ = stream.write_all(b"GET /now.json HTTP/1.1\r\nHost: loc");
        }
        stream
    };
    let silent: Vec<_> = host.run(|| (0..SILENT).map(connect).collect()).unwrap();
    // In the midst of them: who asks is heard before those who do not.
    eventually("the page is served", read);
    let (now, grown) = (open_files(daemon.pid()), resident(daemon.pid()).saturating_sub(memory));
    eprintln!("{} silent clients: {} more open files, {} KiB more memory", silent.len(), now - files, grown >> 10);
    assert!(now <= files + FILES, "{now} open files, {files} before");
    assert!(grown <= GROWTH, "{grown} bytes more");
    drop(silent);
    assert!(read());
    assert!(daemon.stop().unwrap().success());
}
