//! Frames for the micro benches: built by etherparse, so that the code under measurement did not build its own food.
#![allow(dead_code)] // each bench uses its part

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use weft_vtep::addr::Mac;
use weft_vtep::checksum::Sum;
use weft_vtep::frame::{Layout, Transport};
use weft_vtep::offload::vnet_hdr::{Gso, VnetHdr};

/// The stations that the frames go between.
pub(crate) const SENDER: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
pub(crate) const RECEIVER: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

/// The inner MTU over an Ethernet underlay, and the TCP payload that it leaves.
pub(crate) const MTU: u16 = 1450;
pub(crate) const MSS_V4: usize = MTU as usize - 40;

/// What is inside the frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inner {
    V4,
    V6,
}

impl Inner {
    pub(crate) const ALL: [Inner; 2] = [Inner::V4, Inner::V6];

    pub(crate) fn name(self) -> &'static str {
        if self == Inner::V4 { "ipv4" } else { "ipv6" }
    }

    fn headers(self) -> usize {
        if self == Inner::V4 { 34 } else { 54 }
    }

    /// The TCP payload of a full segment.
    pub(crate) fn mss(self) -> usize {
        if self == Inner::V4 { MSS_V4 } else { MSS_V4 - 20 }
    }

    /// The payload of the largest TCP super-frame that Linux makes: an IP packet of 64 KB, whole segments.
    pub(crate) fn super_payload(self) -> usize {
        (65_535 - 60) / self.mss() * self.mss()
    }
}

/// A UDP frame of `len` bytes of flow number `flow`, checksums complete.
pub(crate) fn udp(inner: Inner, flow: u16, len: usize) -> Vec<u8> {
    build(ip(inner), len - inner.headers() - 8, |step, payload, out| {
        step.udp(10_000 + flow, 80).write(out, payload).unwrap();
    })
}

/// A TCP frame of flow number `flow`, checksums complete.
pub(crate) fn tcp(inner: Inner, flow: u16, seq: u32, payload: usize) -> Vec<u8> {
    build(ip(inner), payload, |step, payload, out| {
        step.tcp(10_000 + flow, 80, seq, 500).ack(1).write(out, payload).unwrap();
    })
}

/// `count` consecutive full segments of a TCP flow.
pub(crate) fn train(inner: Inner, flow: u16, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| tcp(inner, flow, (n * inner.mss()) as u32, inner.mss())).collect()
}

/// The offload header that Linux puts before a frame whose checksum it leaves to the device, cut at `gso_size` if that
/// is not 0.
pub(crate) fn offload(inner: Inner, frame: &[u8], gso_size: usize) -> VnetHdr {
    let layout = Layout::of(frame);
    let tcp = layout.transport == Transport::Tcp;
    let gso = match (gso_size > 0, tcp, inner) {
        (false, ..) => Gso::None,
        (true, true, Inner::V4) => Gso::TcpV4,
        (true, true, Inner::V6) => Gso::TcpV6,
        (true, false, _) => Gso::Udp,
    };
    let csum = Some((layout.l4 as u16, if tcp { 16 } else { 6 }));
    VnetHdr { csum, gso, ecn: false, hdr_len: layout.payload as u16, gso_size: gso_size as u16 }
}

/// The frame with its transport checksum left to the device: the field holds the pseudo-header sum alone.
pub(crate) fn partial(frame: &[u8]) -> Vec<u8> {
    let (mut out, layout) = (frame.to_vec(), Layout::of(frame));
    let tcp = layout.transport == Transport::Tcp;
    let sum = Sum::ZERO
        .add_bytes(layout.addresses(frame))
        .add_u16(if tcp { 6 } else { 17 })
        .add_u32((layout.end - layout.l4) as u32);
    let field = layout.l4 + if tcp { 16 } else { 6 };
    out[field..field + 2].copy_from_slice(&sum.fold().to_be_bytes());
    out
}

fn ip(inner: Inner) -> PacketBuilderStep<IpHeaders> {
    let eth = PacketBuilder::ethernet2(SENDER.octets(), RECEIVER.octets());
    match inner {
        Inner::V4 => eth.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        Inner::V6 => eth.ipv6([0xfd; 16], [0xfe; 16], 64),
    }
}

fn build(
    step: PacketBuilderStep<IpHeaders>,
    payload: usize,
    write: impl FnOnce(PacketBuilderStep<IpHeaders>, &[u8], &mut Vec<u8>),
) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|at| (at * 31) as u8).collect();
    let mut out = Vec::new();
    write(step, &payload, &mut out);
    out
}
