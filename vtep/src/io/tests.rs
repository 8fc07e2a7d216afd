//! Promises of the shell that only its own workers, turned by hand, can prove.
//!
//! Two VTEPs and two TAPs stand in one fresh network namespace; the kernel's own stack sends into one TAP. The test's
//! thread turns the workers, so that what it allocates is what they allocate.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::worker::Worker;
use super::{Tap, Vtep, VtepConfig};
use crate::addr::{Mac, PortId, Vni};
use crate::capture::ring::Batch;
use crate::capture::{Capture, Selection};
use crate::seal::PeerId;
use crate::seal::handshake::{SessionKeys, Terms};
use crate::seal::suite::Suite;
use crate::switch::NetworkSpec;
use crate::switch::view::{Port, Segment};

const VNI: u32 = 77;

/// True in a new network namespace with CAP_NET_ADMIN and TUN; else says why the test is skipped, or fails in CI.
fn in_a_lab() -> bool {
    let refused = match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => std::fs::OpenOptions::new().read(true).write(true).open(super::sys::tun::PATH).err(),
        Err(errno) => Some(errno.into()),
    };
    if let Some(error) = &refused {
        assert!(std::env::var_os("WEFT_REQUIRE_DEVICES").is_none(), "no namespace or TUN device: {error}");
        eprintln!("SKIPPED: needs root and /dev/net/tun: {error}");
    }
    refused.is_none()
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split_whitespace()).status().unwrap();
    assert!(done.success(), "ip {line}");
}

fn mac(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

/// A VTEP on 127.0.0.`n` with one endpoint on a sealed or a plain network, and its worker.
fn node(n: u8, peer: u8, sealed: bool) -> (Vtep, Worker) {
    let local = [127, 0, 0, n].into();
    let (vtep, mut parts) = Vtep::assemble(&VtepConfig { local, port: 4789, workers: Some(1) }).unwrap();
    let name = format!("tap{n}");
    let tap = Arc::new(Tap::create(&name, 1).unwrap());
    // Without addresses of its own making the kernel says nothing on the device by itself, about which nothing is asked here.
    ip(&format!("link set {name} address {} mtu 1450 addrgenmode none", mac(n)));
    ip(&format!("link set {name} up"));
    let vni = Vni::new(VNI).unwrap();
    let mut spec = NetworkSpec::new(vni, 1450);
    spec.remotes.push([127, 0, 0, peer].into());
    spec.sealed = sealed;
    let port = Arc::new(Port::new(PortId(0), vni, mac(n), tap));
    let added = vtep.shared.view.update(|view| {
        let mut segment = Segment::new(spec, 1);
        segment.fdb.set_local(mac(n), port.id);
        segment.ports.push(port.clone());
        view.segments.insert(vni, segment);
        view.ports = HashMap::from([(port.id, port.clone())]);
        Ok::<_, ()>(())
    });
    added.unwrap();
    (vtep, Worker::new(parts.remove(0)))
}

/// How many datagrams and how many super-frames [`send`] sends, and how many frames those are cut into.
const DATAGRAMS: u64 = 20 * 4;
const SUPER_FRAMES: u64 = 20;
const PIECES: u64 = SUPER_FRAMES * 40;

/// Small and large datagrams, and super-frames, into the first TAP.
fn send(socket: &UdpSocket, super_frames: &UdpSocket, payload: &[u8]) {
    for round in 0..20 {
        for len in [18, 64, 700, 1400] {
            socket.send_to(&payload[..len], ("10.77.0.2", 9000 + round)).unwrap();
        }
        super_frames.send_to(&payload[..40_000], ("10.77.0.2", 9)).unwrap();
    }
}

/// Keys in the direction from `here` to `there`. Their workers are not running, so nobody is waited for.
fn open_session(here: &Vtep, there: &Vtep, suite: Suite) {
    let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite, lanes: here.lanes() };
    let keys = SessionKeys::derive(terms, &[1; 32], &[2; 32]).unwrap();
    let (now, index) = (Duration::ZERO, 7);
    let installed = there.shared.view.update(|v| v.sessions.install_receive(now, here.local, &keys, index, 1));
    installed.unwrap();
    let lanes = &here.shared.lanes;
    let installed = here.shared.view.update(|v| v.sessions.install_send(now, there.local, &keys, index, lanes));
    installed.unwrap();
}

#[test]
fn nothing_is_allocated_for_a_packet() {
    nothing_is_allocated(None, false);
}

#[test]
fn nothing_is_allocated_for_a_packet_that_is_captured() {
    nothing_is_allocated(None, true);
    nothing_is_allocated(Some(Suite::Aes256Gcm), true);
}

#[test]
fn nothing_is_allocated_for_a_sealed_packet() {
    nothing_is_allocated(Some(Suite::Aes256Gcm), false);
    nothing_is_allocated(Some(Suite::ChaCha20Poly1305), false);
}

fn nothing_is_allocated(suite: Option<Suite>, captured: bool) {
    if !in_a_lab() {
        return;
    }
    ip("link set lo up");
    let ((here, mut sender), (there, mut receiver)) = (node(1, 2, suite.is_some()), node(2, 1, suite.is_some()));
    if let Some(suite) = suite {
        open_session(&here, &there, suite);
    }
    let capture = |vtep: &Vtep| {
        let filter = Some("udp and net 10.77.0.0/24".parse().unwrap());
        let selection = Selection { vni: Vni::new(VNI), endpoint: None, drops: false, filter, snap_len: usize::MAX };
        let capture = Arc::new(Capture::new(selection, 1));
        let added = vtep.shared.view.update(|view| {
            view.captures.push(capture.clone());
            Ok::<_, ()>(())
        });
        added.unwrap();
        capture
    };
    let captures = if captured { vec![capture(&here), capture(&there)] } else { Vec::new() };
    ip("addr add 10.77.0.1/24 dev tap1");
    ip(&format!("neigh add 10.77.0.2 lladdr {} dev tap1", mac(2)));
    let (plain, cut) = (UdpSocket::bind("10.77.0.1:0").unwrap(), UdpSocket::bind("10.77.0.1:0").unwrap());
    super::sys::set_option(cut.as_fd(), libc::IPPROTO_UDP, 103, 1000).unwrap(); // UDP_SEGMENT
    let payload = vec![7; 40_000];

    let mut turns = || {
        for _ in 0..40 {
            sender.turn(EpollTimeout::ZERO);
            receiver.turn(EpollTimeout::ZERO);
        }
    };
    // Once without counting: caches of the runtime (errno strings, locale) are made on first use.
    send(&plain, &cut, &payload);
    turns();
    let (sent, received) = (here.stats().tx_frames, there.stats().rx_frames);
    send(&plain, &cut, &payload);
    let allocated = allocation_counter::measure(turns);

    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    let (sent, received) = (here.stats().tx_frames - sent, there.stats().rx_frames - received);
    assert!(sent >= DATAGRAMS + PIECES, "only {sent} frames were sent");
    assert_eq!(received, sent, "{:?}", there.stats());
    let opened = there.session_rows().iter().map(|row| row.datagrams).sum::<u64>();
    assert!(opened == 0 || opened >= received, "{opened} datagrams opened");
    assert_eq!(opened > 0, suite.is_some());
    for capture in captures {
        let mut batch = Batch::default();
        capture.take(0, &mut batch);
        let seen = batch.frames().count() as u64 + capture.lost();
        // Twice: with and without counting. The sender sees super-frames, the receiver what they were cut into.
        assert!(seen == 2 * (DATAGRAMS + SUPER_FRAMES) || seen == 2 * (DATAGRAMS + PIECES), "{seen} of {received}");
    }
}

/// A kernel whose TUN driver knows no super-frames of UDP (before Linux 6.2) refuses them.
#[test]
fn datagrams_are_not_joined_where_devices_take_no_super_frames_of_udp() {
    if !in_a_lab() {
        return;
    }
    ip("link set lo up");
    let ((_here, mut sender), (there, mut receiver)) = (node(1, 2, false), node(2, 1, false));
    ip("addr add 10.77.0.1/24 dev tap1");
    ip(&format!("neigh add 10.77.0.2 lladdr {} dev tap1", mac(2)));
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    let mut written = |alone: bool| {
        let set = there.shared.view.update(|view| {
            view.udp_alone = alone;
            Ok::<_, ()>(())
        });
        set.unwrap();
        let (before, frames) = (taken("tap2"), there.stats().rx_frames);
        for _ in 0..20 {
            socket.send_to(&[7; 700], "10.77.0.2:9").unwrap();
        }
        for _ in 0..40 {
            sender.turn(EpollTimeout::ZERO);
            receiver.turn(EpollTimeout::ZERO);
        }
        assert_eq!(there.stats().rx_frames - frames, 20);
        taken("tap2") - before
    };
    assert!(written(false) < 20, "nothing was joined");
    assert_eq!(written(true), 20);
}

/// How many frames and super-frames a device was given.
fn taken(device: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let row = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':')).unwrap();
    row.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A worker that took a change and then its wake-up slept through the change that came in between.
#[test]
fn a_change_that_comes_while_another_is_taken_wakes_the_worker_again() {
    if !in_a_lab() {
        return;
    }
    ip("link set lo up");
    let (vtep, mut worker) = node(1, 2, false);
    let mut events = [EpollEvent::empty(); 8];
    // The kernel says something on the endpoint's device now and then, which is no wake-up.
    let mut woken = |worker: &mut Worker| {
        let ready = worker.wait(&mut events, EpollTimeout::ZERO);
        let woken = events[..ready].iter().any(|event| event.data() == super::worker::WAKE);
        (woken, events[..ready].to_vec())
    };
    woken(&mut worker);
    vtep.shared.wake_all();
    let (first, ready) = woken(&mut worker);
    vtep.shared.wake_all();
    worker.work(&ready);
    assert!(first && woken(&mut worker).0, "it sleeps, and somebody waits for it");
    assert!(!woken(&mut worker).0, "it never rests");
}
