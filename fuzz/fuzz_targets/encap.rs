//! Frames from an endpoint that holds its device's other end and writes what it likes: nothing panics, and what goes
//! into the tunnel is a datagram that the other VTEP accepts.
//!
//! Input: one frame after another, each as {port, length, offload header, frame}.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{Input, VNIS, segment, view, vtep};
use weft_vtep::addr::PortId;
use weft_vtep::drops::DropReason;
use weft_vtep::engine::{Engine, Forward, Now, Source};
use weft_vtep::frame::{self, Layout};
use weft_vtep::offload::check;
use weft_vtep::offload::segment::Plan;
use weft_vtep::offload::vnet_hdr::{self, Gso, VnetHdr};
use weft_vtep::path::{ecn, icmp};
use weft_vtep::switch::view::{Segment, View};
use weft_vtep::wire::vxlan;

fuzz_target!(|data: &[u8]| {
    let (here, there) = (view(), view());
    // The endpoints are here and not there: the other side knows them from packets alone.
    for segment in there.segments.values() {
        for port in &segment.ports {
            segment.fdb.remove_port(port.id, drop);
        }
    }
    let (mut engine, mut peer) = (Engine::new(1), Engine::new(2));
    let mut input = Input(data);
    let mut now = Now { ns: 1_000_000_000, s: 1 };
    while !input.is_empty() {
        let (number, len) = (u32::from(input.byte() % 4), usize::from(input.word()));
        let mut raw = input.take(len).to_vec();
        now.ns += 300_000;
        let port = &here.ports[&PortId(number)];
        let segment = &here.segments[&port.vni];
        let Ok(mut hdr) = VnetHdr::read(&raw) else { continue };
        let untagged = engine.untag(segment, &mut raw[vnet_hdr::LEN..]);
        hdr.csum = hdr.csum.map(|(start, offset)| (start.saturating_sub(untagged as u16), offset));
        let frame = &mut raw[vnet_hdr::LEN + untagged..];
        let plan = match hdr.gso {
            Gso::None => None,
            _ => match Plan::new(frame, &hdr) {
                Ok(plan) => Some(plan),
                Err(_) => continue,
            },
        };
        let (layout, packet_len, count) = match &plan {
            Some(plan) => (*plan.layout(), plan.packet_len(), plan.count() as u64),
            None => (Layout::of(frame), frame.len() - Layout::of(frame).l3, 1),
        };
        let partial = hdr.csum.is_some();
        match engine.from_port(segment, port, frame, &layout, packet_len, partial, count, now) {
            Ok(Forward::Port(other)) => {
                assert!(other != port.id && here.ports[&other].vni == port.vni, "out of the network");
            }
            Ok(Forward::Answer(_)) => panic!("answered in a network that is not managed"),
            Ok(Forward::Vtep(_) | Forward::Flood | Forward::Remotes) => {
                let frames = match &plan {
                    Some(plan) => (0..plan.count()).map(|index| self::segment(plan, frame, index)).collect(),
                    None => {
                        if let Some((start, offset)) = hdr.csum
                            && check::finish(frame, start, offset).is_err()
                        {
                            continue;
                        }
                        vec![frame.to_vec()]
                    }
                };
                for frame in frames {
                    into_the_tunnel(segment, &frame, &there, &mut peer, now);
                }
            }
            Err(DropReason::Oversize) => {
                let mut reply = [0; icmp::REPLY_MAX];
                if let Some(len) = icmp::too_big(frame, segment.spec.mtu, &mut reply) {
                    assert_eq!(icmp::too_big(&reply[..len], 68, &mut [0; icmp::REPLY_MAX]), None);
                    assert_eq!(frame::destination(&reply[..len]), frame::source(frame), "the answer goes to who asked");
                }
            }
            Err(_) => {}
        }
    }
});

/// The other VTEP may have no use for a frame, but never finds it malformed.
fn into_the_tunnel(segment: &Segment<()>, frame: &[u8], there: &View<()>, peer: &mut Engine, now: Now) {
    let tos = ecn::encap(Layout::of(frame).tos(frame));
    let mut datagram = vxlan::header(segment.spec.vni).to_vec();
    datagram.extend_from_slice(frame);
    match peer.from_wire(there, &mut datagram, Source::Plain(vtep(1)), tos, now) {
        Ok(decapsulated) => assert_eq!(decapsulated.vni, segment.spec.vni),
        Err(DropReason::NotHere) => {}
        // Only the outermost tag is stripped.
        Err(DropReason::InnerVlan) => assert!(segment.spec.vni.get() == VNIS[0] && frame::has_vlan(frame)),
        Err(reason) => panic!("the other VTEP refused {frame:02x?}: {reason:?}"),
    }
    assert_eq!(datagram[vxlan::LEN..], *frame, "an underlay that marks nothing changes nothing");
}
