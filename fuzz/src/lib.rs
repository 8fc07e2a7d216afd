//! What the fuzz targets share: a reader of the fuzzer's bytes, a picture of two networks, and the receiving end.
//!
//! The first network is as strict as the defaults, the second carries VLAN tags and trusts MACs. Both are made anew for
//! each input, so that a crash needs no history.

use std::net::IpAddr;
use std::sync::Arc;

use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::checksum::Sum;
use weft_vtep::drops::DropReason;
use weft_vtep::frame::{Layout, Network, Transport};
use weft_vtep::offload::check::{self, Check};
use weft_vtep::offload::coalesce::{Output, Sink};
use weft_vtep::offload::segment::Plan;
use weft_vtep::offload::vnet_hdr::{Gso, VnetHdr};
use weft_vtep::switch::NetworkSpec;
use weft_vtep::switch::storm::Bucket;
use weft_vtep::switch::view::{Port, Segment, View};

/// The VNIs of the strict and of the lenient network.
pub const VNIS: [u32; 2] = [0x64, 0xfffffe];
/// Bits of a decap input's first byte: the inner transport checksum is made right, or left to an offload.
pub const RIGHT: u8 = 0x40;
/// See [`RIGHT`].
pub const PARTIAL: u8 = 0x80;
/// The largest frame that a device or a socket hands over: the largest IP packet behind an Ethernet header.
pub const FRAME_MAX: usize = 65_535 + 14;

/// The fuzzer's bytes, taken from the front. At the end it gives zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Two bytes, the high one first.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Up to `len` bytes; fewer at the end.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// True at the end.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The MAC of a local endpoint: ports 0 and 1 are on the strict network, 2 and 3 on the lenient one.
pub fn endpoint(port: u32) -> Mac {
    Mac::new([2, 0, 0, 0, 0, port as u8])
}

/// The address of a remote VTEP: 0 and 1 are members of both networks, others of none.
pub fn vtep(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Both networks, with two ports and two VTEPs each.
pub fn view() -> View<()> {
    let mut view = View::default();
    for (index, vni) in VNIS.into_iter().enumerate() {
        let vni = Vni::new(vni).expect("a VNI");
        let mut spec = NetworkSpec::new(vni, 1450);
        spec.remotes = vec![vtep(0), vtep(1)];
        spec.fdb_cap = 8;
        (spec.keep_vlan, spec.trust_macs) = (index == 1, index == 1);
        let mut segment = Segment::new(spec, 0x5eed);
        for number in [index as u32 * 2, index as u32 * 2 + 1] {
            // Few enough that a stream of frames comes to its limit.
            let storm = Bucket::new(1_000, 10);
            let port = Arc::new(Port { storm, ..Port::new(PortId(number), vni, endpoint(number), ()) });
            segment.fdb.set_local(port.mac, port.id);
            segment.ports.push(port.clone());
            view.ports.insert(port.id, port);
        }
        view.segments.insert(vni, segment);
    }
    view
}

/// One frame or super-frame as a device would get it.
pub struct Delivered {
    /// The port that it went to.
    pub port: PortId,
    /// The offload header.
    pub header: VnetHdr,
    /// The frame, its pieces put together.
    pub bytes: Vec<u8>,
}

/// Keeps what leaves the coalescer, and checks what every device relies on.
#[derive(Default)]
pub struct Collect {
    /// What left, in order.
    pub delivered: Vec<Delivered>,
    /// Why frames ended.
    pub dropped: Vec<DropReason>,
}

impl Sink for Collect {
    fn deliver(&mut self, arena: &[u8], output: Output<'_>) {
        let bytes = output.pieces.iter().flat_map(|piece| piece.of(arena)).copied().collect();
        let delivered = Delivered { port: output.port, header: output.header, bytes };
        assert_eq!(output.frames as usize, delivered.cut().len(), "counted frames are the frames that there are");
        self.delivered.push(delivered);
    }

    fn drop_frame(&mut self, reason: DropReason) {
        self.dropped.push(reason);
    }
}

impl Delivered {
    /// The frames that the kernel makes of it.
    pub fn cut(&self) -> Vec<Vec<u8>> {
        if self.header.gso == Gso::None {
            // A stack takes off what lies behind the packet before it believes or finishes a checksum.
            return vec![finished(&self.bytes[..Layout::of(&self.bytes).end], self.header.csum)];
        }
        let plan = Plan::new(&self.bytes, &self.header).expect("what the coalescer made is a super-frame");
        assert_eq!(usize::from(self.header.hdr_len), plan.header_len());
        let (start, offset) = self.header.csum.expect("a super-frame's checksum is for the kernel to finish");
        assert_eq!((usize::from(start), usize::from(offset)), (plan.layout().l4, check_field(plan.layout())));
        (0..plan.count()).map(|index| segment(&plan, &self.bytes, index)).collect()
    }
}

/// Segment `index` of a super-frame as one frame.
pub fn segment(plan: &Plan, frame: &[u8], index: usize) -> Vec<u8> {
    let mut out = vec![0; plan.header_len()];
    let payload = plan.write_header(frame, index, &mut out);
    out.extend_from_slice(&frame[payload]);
    out
}

/// The frame with its checksum finished, as the kernel does it.
pub fn finished(frame: &[u8], csum: Option<(u16, u16)>) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some((start, offset)) = csum {
        check::finish(&mut frame, start, offset).expect("the checksum field lies in the frame");
    }
    frame
}

/// The offset of the checksum field in the transport header.
pub fn check_field(layout: &Layout) -> usize {
    if layout.transport == Transport::Udp { 6 } else { 16 }
}

/// Makes the transport checksum of `frame` right, or what an offload leaves: no fuzzer would find either by chance.
pub fn set_checksum(frame: &mut [u8], partial: bool) {
    let layout = Layout::of(frame);
    let protocol = match layout.transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Other => return,
    };
    let field = layout.l4 + check_field(&layout);
    frame[field..field + 2].fill(0);
    let segment = &frame[layout.l4..layout.end];
    let pseudo = Sum::ZERO.add_bytes(layout.addresses(frame)).add_u16(protocol).add_u32(segment.len() as u32);
    let check = if partial { pseudo.fold() } else { pseudo.add_bytes(segment).finish_udp() };
    frame[field..field + 2].copy_from_slice(&check.to_be_bytes());
}

/// What of a frame must come through unchanged: no padding, and a partial checksum counts as finished. The id of an
/// atomic IPv4 packet means nothing (RFC 6864 section 4).
pub fn essence(frame: &[u8]) -> Vec<u8> {
    let layout = Layout::of(frame);
    let csum =
        (check::verify(frame, &layout) == Check::Partial).then(|| (layout.l4 as u16, check_field(&layout) as u16));
    let mut frame = finished(&frame[..layout.end], csum);
    let l3 = layout.l3;
    if layout.network == Network::V4 && frame[l3 + 6] & 0x40 != 0 {
        // A header checksum that was wrong must not become right on the way.
        let valid = Sum::ZERO.add_bytes(&frame[l3..layout.l4.min(layout.end)]).is_valid();
        frame[l3 + 4..l3 + 6].fill(0);
        frame[l3 + 10..l3 + 12].fill(u8::from(valid));
    }
    frame
}
