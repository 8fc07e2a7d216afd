//! The hot paths of the pure core, each as fixed work that can be done any number of times.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::Layout;
use weft_vtep::offload::check::verify;
use weft_vtep::offload::coalesce::{Frame, Piece};
use weft_vtep::offload::vnet_hdr;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::suite::{Cipher, Suite};
use weft_vtep::seal::table::Sessions;
use weft_vtep::seal::worker::Seals;
use weft_vtep::switch::Place;
use weft_vtep::switch::cache::Cache;
use weft_vtep::switch::fdb::Fdb;
use weft_vtep::wire::sealed::{Header, Kind, LEN, TAG};
use weft_vtep::wire::vxlan;

use super::frames::{self, Inner, MTU, RECEIVER, SENDER};
use super::receiver::Batch;
use super::side::{HEADERS, Side, TURN};

/// Segments of a super-frame that fills one message to the kernel.
const SEGMENTS: usize = 45;
/// The first bytes of a frame from a TAP, which encapsulation changes.
const HEAD: usize = 128;
/// VXLAN header and a full frame of a sealed network.
const SEALED: usize = vxlan::LEN + 14 + 1418;
const SUITE: Suite = Suite::Aes256Gcm;

/// A path: what is done `times` times.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// What one time is made of.
    pub(crate) of: &'static str,
    pub(crate) run: fn(times: u32),
    /// How many times are measured.
    pub(crate) times: u32,
    /// What is taken off: work of others, whose cost is decided by the processor.
    pub(crate) less: Option<&'static str>,
}

/// All paths. A path without a limit of its own is there to be taken off another.
pub(crate) const PATHS: &[Path] = &[
    Path {
        name: "encapsulate-64",
        of: "UDP frame of 64 B",
        run: |n| encapsulate(&udp(64), 0, n),
        times: 4_000,
        less: None,
    },
    Path {
        name: "encapsulate-1450",
        of: "UDP frame of 1,450 B",
        run: |n| encapsulate(&udp(1450), 0, n),
        times: 2_000,
        less: None,
    },
    Path {
        name: "encapsulate-super-frame",
        of: "TCP super-frame of 64 KB, segmented",
        run: |n| encapsulate(&frames::tcp(Inner::V4, 0, 1, Inner::V4.super_payload()), Inner::V4.mss(), n),
        times: 50,
        less: None,
    },
    Path {
        name: "decapsulate-64",
        of: "64 UDP datagrams with frames of 64 B",
        run: |n| decapsulate(&vec![udp(64); TURN], n),
        times: 100,
        less: None,
    },
    Path {
        name: "decapsulate-1450",
        of: "64 UDP datagrams with frames of 1,450 B",
        run: |n| decapsulate(&vec![udp(1450); TURN], n),
        times: 50,
        less: None,
    },
    Path {
        name: "decapsulate-segments",
        of: "45 TCP segments, joined",
        run: |n| decapsulate(&frames::train(Inner::V4, 0, SEGMENTS), n),
        times: 50,
        less: None,
    },
    Path { name: "coalesce", of: "45 TCP segments, already verified", run: coalesce, times: 200, less: None },
    Path { name: "fdb-cached", of: "1,000 look-ups of known stations", run: look_up, times: 200, less: None },
    Path {
        name: "seal-and-open",
        of: "datagram of 1,440 B, without the cipher",
        run: seal_and_open,
        times: 1_000,
        less: Some("cipher"),
    },
    Path { name: "cipher", of: "the cipher's part of that", run: cipher, times: 1_000, less: None },
];

fn udp(len: usize) -> Vec<u8> {
    frames::udp(Inner::V4, 0, len)
}

fn encapsulate(frame: &[u8], gso_size: usize, times: u32) {
    let mut side = Side::new(SENDER, RECEIVER);
    let hdr = frames::offload(Inner::V4, frame, gso_size);
    let clean = [&hdr.write()[..], &frames::partial(frame)].concat();
    let (mut raw, mut headers) = (clean.clone(), vec![0; HEADERS]);
    let head = clean.len().min(HEAD);
    for _ in 0..times {
        raw[..head].copy_from_slice(&clean[..head]);
        black_box(side.encapsulate(black_box(&mut raw), &mut headers));
    }
    assert!(times == 0 || gso_size > 0 || raw[vnet_hdr::LEN..] == *frame, "the finished checksum is not the builder's");
}

fn decapsulate(frames: &[Vec<u8>], times: u32) {
    let mut side = Side::new(RECEIVER, SENDER);
    let (mut arena, mut ranges) = (Vec::new(), Vec::new());
    for frame in frames {
        ranges.push((arena.len(), vxlan::LEN + frame.len()));
        arena.extend_from_slice(&vxlan::header(side.vni));
        arena.extend_from_slice(frame);
    }
    let mut batch = Batch::new(arena);
    for _ in 0..times {
        for (at, len) in black_box(&ranges) {
            side.decapsulate(&mut batch, *at, *len);
        }
        assert_eq!(batch.end(), frames.len());
    }
}

fn coalesce(times: u32) {
    let (mut arena, mut frames) = (Vec::new(), Vec::new());
    let key = FlowKey::new([0x5851_f42d_4c95_7f2d, 9]);
    for frame in frames::train(Inner::V4, 0, SEGMENTS) {
        let (layout, piece) = (Layout::of(&frame), Piece::new(arena.len(), frame.len()));
        let (check, hash) = (verify(&frame, &layout), key.hash(&frame, &layout));
        arena.extend_from_slice(&frame);
        frames.push(Frame { port: PortId(1), piece, layout, check, hash, mtu: MTU, cut: 0 });
    }
    let mut batch = Batch::new(arena);
    for _ in 0..times {
        for frame in black_box(&frames) {
            batch.coalescer.push(&mut batch.arena, *frame, &mut batch.sink);
        }
        assert_eq!(batch.end(), SEGMENTS);
    }
}

fn look_up(times: u32) {
    const STATIONS: u16 = 100;
    let vni = Vni::new(4096).expect("a VNI");
    let (fdb, mut cache) = (Fdb::new(vni, 1_000, 7), Cache::new(7));
    let station = |n: u16| Mac::new([2, 0, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    for n in 0..STATIONS {
        fdb.learn(station(n), Place::Local(PortId(u32::from(n))), 1);
    }
    for _ in 0..times {
        for n in 0..1000 {
            assert!(cache.lookup(&fdb, black_box(station(n % STATIONS))).is_some());
        }
    }
}

/// From one worker's lane to another's, in place.
fn seal_and_open(times: u32) {
    let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite: SUITE, lanes: 2 };
    let keys = SessionKeys::derive(terms, &[1; 32], &[2; 32]).expect("keys");
    let (mut ours, mut theirs) = (Sessions::default(), Sessions::default());
    ours.install_send(Duration::ZERO, there, &keys, 5, &[0..1, 1..2]).expect("a new session");
    theirs.install_receive(Duration::ZERO, here, &keys, 5, 1).expect("a new session");
    let (mut sealing, mut opening) = (Seals::new(0, 2, 7), Seals::new(0, 1, 8));
    sealing.adopt(&ours);
    opening.adopt(&theirs);
    let mut datagram = vec![0x5a; LEN + SEALED + TAG];
    for now_ns in 1..=u64::from(times) {
        sealing.sealer(there).expect("a session").seal(0, Kind::Data, black_box(&mut datagram), now_ns).expect("room");
        opening.open(black_box(&mut datagram), now_ns).expect("it is sound");
    }
}

fn cipher(times: u32) {
    let cipher = Cipher::new(SUITE, &weft_vtep::seal::suite::Key::new([7; 32]));
    let mut sealed = vec![0x5a; SEALED + TAG];
    for counter in 0..u64::from(times) {
        let header = Header { kind: Kind::Data, lane: 0, index: 5, counter };
        let (nonce, aad) = black_box((header.nonce(), header.write()));
        let tag = cipher.seal(nonce, &aad, &mut sealed[..SEALED]);
        sealed[SEALED..].copy_from_slice(&tag);
        cipher.open(nonce, &aad, black_box(&mut sealed)).expect("it is sound");
    }
}
