//! The segmenter and the coalescer against slow, obvious models.
//!
//! The model of the segmenter is an independent packet builder: each segment is written anew from its fields. The
//! coalescer is judged by cutting what it joined: the frames that went in must come out, in order, per flow.

use etherparse::{Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};
use proptest::prelude::*;
use weft_vtep::addr::PortId;
use weft_vtep::drops::DropReason;
use weft_vtep::flow::FlowKey;
use weft_vtep::frame::{Layout, Transport};
use weft_vtep::offload::check::{Check, finish, verify};
use weft_vtep::offload::coalesce::{Coalescer, Frame, Output, Piece, Sink};
use weft_vtep::offload::segment::Plan;
use weft_vtep::offload::vnet_hdr::{Gso, VnetHdr};

/// The fields of one packet, before it is bytes.
#[derive(Clone, Debug)]
struct Fields {
    v6: bool,
    tcp: Option<TcpFields>,
    flow: u16,
    id: u16,
    df: bool,
    tos: u8,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct TcpFields {
    seq: u32,
    ack: u32,
    psh: bool,
    fin: bool,
    cwr: bool,
    ece: bool,
    timestamps: Option<u32>,
}

impl Fields {
    /// The packet as an Ethernet frame with right checksums, by etherparse.
    fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let ethertype = if self.v6 { etherparse::EtherType::IPV6 } else { etherparse::EtherType::IPV4 };
        Ethernet2Header { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2], ether_type: ethertype }
            .write(&mut out)
            .unwrap();
        let mut transport = Vec::new();
        let (src4, dst4, src6, dst6) = ([10, 0, 0, 1], [10, 0, 0, 2], [1; 16], [2; 16]);
        let number = if let Some(tcp) = &self.tcp {
            let mut header = TcpHeader::new(self.flow, 80, tcp.seq, 500);
            header.acknowledgment_number = tcp.ack;
            header.ack = true;
            (header.psh, header.fin, header.cwr, header.ece) = (tcp.psh, tcp.fin, tcp.cwr, tcp.ece);
            if let Some(value) = tcp.timestamps {
                use etherparse::TcpOptionElement::{Noop, Timestamp};
                header.set_options(&[Noop, Noop, Timestamp(value, 7)]).unwrap();
            }
            header.checksum = if self.v6 {
                header.calc_checksum_ipv6_raw(src6, dst6, &self.payload).unwrap()
            } else {
                header.calc_checksum_ipv4_raw(src4, dst4, &self.payload).unwrap()
            };
            header.write(&mut transport).unwrap();
            IpNumber::TCP
        } else {
            let header = if self.v6 {
                let ip = Ipv6Header { source: src6, destination: dst6, ..Default::default() };
                UdpHeader::with_ipv6_checksum(self.flow, 80, &ip, &self.payload).unwrap()
            } else {
                let ip = Ipv4Header::new(0, 64, IpNumber::UDP, src4, dst4).unwrap();
                UdpHeader::with_ipv4_checksum(self.flow, 80, &ip, &self.payload).unwrap()
            };
            header.write(&mut transport).unwrap();
            IpNumber::UDP
        };
        transport.extend_from_slice(&self.payload);
        if self.v6 {
            Ipv6Header {
                traffic_class: self.tos,
                payload_length: transport.len() as u16,
                next_header: number,
                hop_limit: 64,
                source: src6,
                destination: dst6,
                ..Default::default()
            }
            .write(&mut out)
            .unwrap();
        } else {
            let mut ip = Ipv4Header::new(transport.len() as u16, 64, number, src4, dst4).unwrap();
            ip.identification = self.id;
            ip.dont_fragment = self.df;
            ip.fragment_offset = IpFragOffset::ZERO;
            (ip.dscp, ip.ecn) = ((self.tos >> 2).try_into().unwrap(), (self.tos & 3).try_into().unwrap());
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut out).unwrap();
        }
        out.extend_from_slice(&transport);
        out
    }

    /// The segments of this packet when it is cut at `size`: what each one's fields must be.
    fn cut(&self, size: usize) -> Vec<Fields> {
        let count = self.payload.len().div_ceil(size);
        let mut segments = Vec::new();
        for (index, chunk) in self.payload.chunks(size).enumerate() {
            let mut segment = Fields { payload: chunk.to_vec(), ..self.clone() };
            segment.id = self.id.wrapping_add(index as u16);
            if let Some(tcp) = &mut segment.tcp {
                tcp.seq = tcp.seq.wrapping_add((index * size) as u32);
                tcp.psh &= index + 1 == count;
                tcp.fin &= index + 1 == count;
                tcp.cwr &= index == 0;
            }
            segments.push(segment);
        }
        segments
    }
}

fn fields(payload: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Fields> {
    let tcp = (any::<u32>(), any::<u32>(), any::<[bool; 4]>(), any::<Option<u32>>()).prop_map(
        |(seq, ack, [psh, fin, cwr, ece], timestamps)| TcpFields { seq, ack, psh, fin, cwr, ece, timestamps },
    );
    (any::<bool>(), prop::option::of(tcp), 1000u16..1004, any::<u16>(), any::<bool>(), any::<u8>(), payload)
        .prop_map(|(v6, tcp, flow, id, df, tos, payload)| Fields { v6, tcp, flow, id, df, tos, payload })
}

fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), len)
}

fn gso(fields: &Fields) -> Gso {
    match (&fields.tcp, fields.v6) {
        (None, _) => Gso::Udp,
        (Some(_), false) => Gso::TcpV4,
        (Some(_), true) => Gso::TcpV6,
    }
}

/// Cuts a super-frame by the segmenter under test.
fn cut(frame: &[u8], hdr: &VnetHdr) -> Vec<Vec<u8>> {
    let plan = Plan::new(frame, hdr).unwrap();
    (0..plan.count())
        .map(|index| {
            let mut out = vec![0; plan.header_len()];
            let range = plan.write_header(frame, index, &mut out);
            out.extend_from_slice(&frame[range]);
            out
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn segments_are_those_of_an_independent_builder(fields in fields(bytes(1..6000)), size in 1usize..1500) {
        let frame = fields.frame();
        let hdr = VnetHdr { gso: gso(&fields), gso_size: size as u16, ..VnetHdr::default() };
        let expected: Vec<_> = fields.cut(size).iter().map(|segment| {
            let mut frame = segment.frame();
            // A TCP checksum of 0 and of 0xffff are the same number; the segmenter writes the latter, as Linux does.
            let at = Layout::of(&frame).l4 + 16;
            if segment.tcp.is_some() && frame[at..at + 2] == [0, 0] {
                frame[at..at + 2].fill(0xff);
            }
            frame
        }).collect();
        prop_assert_eq!(cut(&frame, &hdr), expected);
    }

    #[test]
    fn no_frame_and_no_offload_header_panics(frame in bytes(0..300), raw in any::<[u8; 10]>(), tcp: bool, v6: bool) {
        let mut frame = frame;
        if frame.len() > 60 {
            let ethertype = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
            frame[12..14].copy_from_slice(&ethertype);
            frame[14] = if v6 { 0x60 } else { 0x45 };
            frame[if v6 { 20 } else { 23 }] = if tcp { 6 } else { 17 };
        }
        if let Ok(hdr) = VnetHdr::read(&raw) {
            if let Ok(plan) = Plan::new(&frame, &hdr) {
                let mut out = vec![0; plan.header_len()];
                for index in 0..plan.count() {
                    plan.write_header(&frame, index, &mut out);
                }
            }
            if let Some((start, offset)) = hdr.csum {
                let _ = finish(&mut frame, start, offset);
            }
        }
    }
}

/// Cuts whatever the coalescer delivers, as the receiving kernel would.
#[derive(Default)]
struct Receiver {
    frames: Vec<Vec<u8>>,
    outputs: usize,
    drops: Vec<DropReason>,
}

impl Sink for Receiver {
    fn deliver(&mut self, arena: &[u8], output: Output<'_>) {
        self.outputs += 1;
        let frame: Vec<u8> = output.pieces.iter().flat_map(|piece| piece.of(arena)).copied().collect();
        let before = self.frames.len();
        if output.header.gso == Gso::None {
            let mut frame = frame;
            if let Some((start, offset)) = output.header.csum {
                finish(&mut frame, start, offset).unwrap();
            }
            self.frames.push(frame);
        } else {
            // What Linux demands of a super-frame before it takes it (virtio_net_hdr_to_skb).
            let layout = Layout::of(&frame);
            assert_eq!(usize::from(output.header.csum.unwrap().0), layout.l4);
            assert_eq!(usize::from(output.header.hdr_len), layout.payload);
            assert_eq!(verify(&frame, &layout), Check::Partial, "the sum of the pseudo-header");
            self.frames.extend(cut(&frame, &output.header));
        }
        assert_eq!(self.frames.len() - before, output.frames as usize);
        let total: usize = self.frames[before..].iter().map(Vec::len).sum();
        assert_eq!(total as u64, output.bytes);
    }

    fn drop_frame(&mut self, reason: DropReason) {
        self.drops.push(reason);
    }
}

/// What the coalescer is told of a frame at `at` in the arena.
fn entry(frame: &[u8], at: usize, mtu: u16, cut: u16) -> Frame {
    let (layout, key) = (Layout::of(frame), FlowKey::new([0x5851_f42d_4c95_7f2d, 9]));
    let (check, hash) = (verify(frame, &layout), key.hash(frame, &layout));
    Frame { port: PortId(1), piece: Piece::new(at, frame.len()), layout, check, hash, mtu, cut }
}

/// Coalesces frames as one receive batch, and gives back what a kernel would see.
fn through(frames: &[Vec<u8>], mtu: u16, cut: u16) -> Receiver {
    let mut arena: Vec<u8> = frames.concat();
    let (mut coalescer, mut receiver, mut at) = (Coalescer::default(), Receiver::default(), 0);
    for frame in frames {
        coalescer.push(&mut arena, entry(frame, at, mtu, cut), &mut receiver);
        at += frame.len();
    }
    coalescer.flush(&mut arena, &mut receiver);
    receiver
}

/// What one of several ports gets of a frame.
fn flooded(frame: &[u8], mtu: u16, cut: u16) -> Receiver {
    let mut receiver = Receiver::default();
    Coalescer::default().push_alone(frame, entry(frame, 0, mtu, cut), &mut receiver);
    receiver
}

/// The frames of each flow, in order. An atomic packet's IPv4 id means nothing (RFC 6864): it is blanked, and its header
/// checksum with it.
fn by_flow(frames: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut flows: std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>> = Default::default();
    for frame in frames {
        let layout = Layout::of(frame);
        let mut frame = frame.clone();
        if frame[12] == 0x08 && frame[20] & 0x40 != 0 {
            frame[18..20].fill(0);
            frame[24..26].fill(0);
        }
        // A TCP checksum of 0xffff and of 0 are the same number, and the segmenter writes the first.
        let check = layout.l4 + 16;
        if layout.transport == Transport::Tcp && frame[check..check + 2] == [0xff, 0xff] {
            frame[check..check + 2].fill(0);
        }
        let ports = &frame[layout.l4..layout.l4 + 4];
        let key = [&[layout.transport as u8], layout.addresses(&frame), ports].concat();
        flows.entry(key).or_default().push(frame);
    }
    flows.into_values().collect()
}

/// Trains of segments of several flows, interleaved by random picks, some of them damaged in a field.
fn trains() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let train = (fields(bytes(1..4000)), 50usize..900).prop_map(|(mut fields, size)| {
        if let Some(tcp) = &mut fields.tcp {
            tcp.cwr = false;
        }
        fields.cut(size).iter().map(Fields::frame).collect::<Vec<_>>()
    });
    (prop::collection::vec(train, 1..6), bytes(64), prop::collection::vec((any::<u16>(), 14u16..60, any::<u8>()), 0..3))
        .prop_map(|(mut trains, picks, damage)| {
            let mut frames = Vec::new();
            let mut picks = picks.into_iter().cycle();
            while trains.iter().any(|train| !train.is_empty()) {
                let index = usize::from(picks.next().unwrap()) % trains.len();
                if !trains[index].is_empty() {
                    frames.push(trains[index].remove(0));
                } else {
                    trains.remove(index);
                }
            }
            for (which, at, value) in damage {
                let index = usize::from(which) % frames.len();
                let frame: &mut Vec<u8> = &mut frames[index];
                let at = usize::from(at) % frame.len();
                frame[at] ^= value;
            }
            frames
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_joined_and_cut_again_is_what_came(frames in trains()) {
        let receiver = through(&frames, 9000, 0);
        prop_assert!(receiver.drops.is_empty());
        prop_assert_eq!(by_flow(&receiver.frames), by_flow(&frames));
    }
}

fn train(tcp: bool, v6: bool, count: usize, size: usize) -> Vec<Vec<u8>> {
    let tcp = tcp.then_some(TcpFields {
        seq: 0xffff_f000,
        ack: 1,
        psh: true,
        fin: false,
        cwr: false,
        ece: false,
        timestamps: Some(1),
    });
    let fields = Fields { v6, tcp, flow: 1000, id: 0xfffe, df: false, tos: 0, payload: vec![7; count * size] };
    fields.cut(size).iter().map(Fields::frame).collect()
}

#[test]
fn a_train_becomes_one_super_frame() {
    for (tcp, v6) in [(true, false), (true, true), (false, false), (false, true)] {
        let receiver = through(&train(tcp, v6, 40, 1378), 1450, 0);
        assert_eq!((receiver.outputs, receiver.frames.len()), (1, 40), "tcp {tcp} v6 {v6}");
    }
}

#[test]
fn a_super_frame_holds_64_frames_and_64_kilobytes_at_the_most() {
    assert_eq!(through(&train(false, false, 65, 64), 1450, 0).outputs, 2);
    assert_eq!(through(&train(true, false, 46, 1448), 1500, 0).outputs, 2);
    assert_eq!(through(&train(true, false, 45, 1448), 1500, 0).outputs, 1);
}

#[test]
fn two_interleaved_flows_become_two_super_frames() {
    let (a, mut b) = (train(true, false, 20, 1000), train(true, false, 20, 1000));
    for frame in &mut b {
        let layout = Layout::of(frame);
        frame[layout.l4 + 1] ^= 0xff;
        let check = u16::from_be_bytes([frame[layout.l4 + 16], frame[layout.l4 + 17]]);
        let old = u16::from_be_bytes([a[0][layout.l4], a[0][layout.l4 + 1]]);
        let new = u16::from_be_bytes([frame[layout.l4], frame[layout.l4 + 1]]);
        let check = weft_vtep::checksum::update(check, old, new);
        frame[layout.l4 + 16..layout.l4 + 18].copy_from_slice(&check.to_be_bytes());
    }
    let both: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
    assert_eq!(through(&both, 1450, 0).outputs, 2);
}

/// A kernel VTEP on the same machine hands over super-frames uncut, with only the pseudo-header summed.
fn uncut(tcp: bool, len: usize) -> Vec<u8> {
    let mut frame = train(tcp, false, 1, len).remove(0);
    let layout = Layout::of(&frame);
    let hdr = VnetHdr { gso: if tcp { Gso::TcpV4 } else { Gso::Udp }, gso_size: 1000, ..VnetHdr::default() };
    assert!(Plan::new(&frame, &hdr).is_ok());
    let field = layout.l4 + if tcp { 16 } else { 6 };
    let src_dst = &frame[layout.l3 + 12..layout.l3 + 20];
    let pseudo = weft_vtep::checksum::Sum::ZERO
        .add_bytes(src_dst)
        .add_u16(if tcp { 6 } else { 17 })
        .add_u32((layout.end - layout.l4) as u32)
        .fold();
    frame[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

#[test]
fn an_uncut_tcp_super_frame_is_cut_to_the_network_s_mtu() {
    let receiver = through(&[uncut(true, 60_000)], 1450, 0);
    assert_eq!((receiver.outputs, receiver.frames.len()), (1, 60_000usize.div_ceil(1450 - 20 - 32)));
    assert!(receiver.frames.iter().all(|frame| verify(frame, &Layout::of(frame)) == Check::Verified));
}

#[test]
fn an_uncut_udp_super_frame_needs_the_size_of_its_datagrams() {
    let receiver = through(&[uncut(false, 60_000)], 1450, 0);
    assert_eq!((receiver.outputs, receiver.drops.as_slice()), (0, &[DropReason::InnerOversize][..]));
    let receiver = through(&[uncut(false, 60_000)], 1450, 1000);
    assert_eq!((receiver.outputs, receiver.frames.len()), (1, 60));
    // Two datagrams are two datagrams also where both together fit into the MTU.
    let receiver = through(&[uncut(false, 1_000)], 1450, 500);
    assert_eq!((receiver.outputs, receiver.frames.len()), (1, 2));
    let receiver = through(&[uncut(false, 1_000)], 1450, 0);
    assert_eq!((receiver.outputs, receiver.frames.len()), (1, 1));
}

#[test]
fn an_uncut_super_frame_for_several_ports_is_cut_for_each() {
    for (frame, cut, count) in [(uncut(true, 60_000), 0, 43), (uncut(false, 60_000), 1000, 60)] {
        let receiver = flooded(&frame, 1450, cut);
        assert_eq!((receiver.outputs, receiver.frames.len()), (1, count));
        assert!(receiver.frames.iter().all(|frame| verify(frame, &Layout::of(frame)) == Check::Verified));
    }
}

#[test]
fn a_large_frame_that_no_offload_explains_is_dropped() {
    for tcp in [true, false] {
        let mut whole = train(tcp, false, 1, 2_000).remove(0);
        for receiver in [through(&[whole.clone()], 1450, 0), flooded(&whole, 1450, 0)] {
            assert_eq!((receiver.outputs, receiver.drops.as_slice()), (0, &[DropReason::InnerOversize][..]));
        }
        // Not even what is behind the packet may be large.
        whole.truncate(14 + 1_000);
        whole[16..18].copy_from_slice(&1_000u16.to_be_bytes());
        assert_eq!(flooded(&whole, 1450, 0).outputs, 1);
        whole.resize(14 + 1_451, 0);
        assert_eq!(flooded(&whole, 1450, 0).drops, [DropReason::InnerOversize]);
    }
}
