//! A daemon that is killed and started again under a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::content::{Content, connect};
use crate::harness::node::Node;
use crate::harness::{eventually, privileged};
use crate::{lab, mesh};

/// Bytes of a write and of a read.
const CHUNK: usize = 64 << 10;
/// Bytes that go through before, between and after the crashes.
const STAGE: u64 = 2 << 20;

#[test]
fn a_connection_survives_the_crash_of_either_end_with_its_content() {
    privileged!();
    let lab = lab(2, 1);
    let [a, b] = [0, 1].map(|n| &lab.hosts[n].containers[0]);
    let mut nodes = mesh(&lab, &["--workers", "1"], "");
    for address in [b.ip(), b.ip6()] {
        let (client, server) = connect(&a.netns, &b.netns, address);
        let (heard, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let more = |what: &str| {
            let from = heard.load(Ordering::Relaxed);
            eventually(what, || heard.load(Ordering::Relaxed) >= from + STAGE);
        };
        thread::scope(|scope| {
            let said = scope.spawn(|| say(&client, &over));
            let listening = scope.spawn(|| hear(&server, &heard));
            more("the connection carries something");
            for _ in 0..2 {
                // The one that is restarted goes to the end: first the sender's, then the receiver's.
                let node = nodes.remove(0).crash_and_restart();
                nodes.push(node);
                more("the connection goes on after a crash");
            }
            over.store(true, Ordering::Relaxed);
            let said = said.join().unwrap();
            listening.join().unwrap();
            assert_eq!(heard.load(Ordering::Relaxed), said);
        });
    }
    nodes.iter().for_each(Node::is_well);
}

/// Sends until it is over, and says how many bytes those were.
fn say(mut socket: &TcpStream, over: &AtomicBool) -> u64 {
    let (mut content, mut said, mut chunk) = (Content::new(1), 0, vec![0; CHUNK]);
    while !over.load(Ordering::Relaxed) {
        content.fill(&mut chunk);
        socket.write_all(&chunk).unwrap();
        said += CHUNK as u64;
    }
    socket.shutdown(Shutdown::Write).unwrap();
    said
}

/// Receives to the end and checks every byte.
fn hear(mut socket: &TcpStream, heard: &AtomicU64) {
    let (mut content, mut bytes, mut expected) = (Content::new(1), vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    loop {
        let len = socket.read(&mut bytes[at..]).unwrap();
        at += len;
        if len == 0 || at == CHUNK {
            content.fill(&mut expected);
            assert!(bytes[..at] == expected[..at], "other bytes after {}", heard.load(Ordering::Relaxed));
            heard.fetch_add(at as u64, Ordering::Relaxed);
            at = 0;
        }
        if len == 0 {
            return;
        }
    }
}
