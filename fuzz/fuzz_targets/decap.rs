//! Datagrams from the underlay, as hostile as they come: nothing panics, nothing reads outside of the arena, and only
//! what the checks allow is delivered or learned.
//!
//! Input: one datagram after another, each as {source and checksum, TOS, length, bytes}.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{Collect, Input, PARTIAL, RIGHT, VNIS, set_checksum, view, vtep};
use weft_vtep::addr::{Mac, PortId};
use weft_vtep::drops::DropReason;
use weft_vtep::engine::{Engine, Forward, Now, Source, clamp_mss};
use weft_vtep::flow::FlowKey;
use weft_vtep::frame;
use weft_vtep::offload::check::{Check, verify};
use weft_vtep::offload::coalesce::{Coalescer, Frame, Piece};
use weft_vtep::switch::Place;
use weft_vtep::wire::vxlan;

fuzz_target!(|data: &[u8]| {
    let (mut input, view) = (Input(data), view());
    let (mut engine, mut coalescer, key) =
        (Engine::new(7), Coalescer::default(), FlowKey::new([0x9e37_79b9_7f4a_7c15, 3]));
    let mut out = Collect::default();
    // Room for every datagram, and no more: a read beyond the last one is one beyond the allocation.
    let mut arena = vec![0; data.len()];
    let mut at = 0;
    let mut now = Now { ns: 1_000_000_000, s: 1 };
    while !input.is_empty() {
        let (first, tos, len) = (input.byte(), input.byte(), usize::from(input.word()));
        let source = vtep(first % 4);
        let datagram = input.take(len);
        let range = at..at + datagram.len();
        at += datagram.len();
        arena[range.clone()].copy_from_slice(datagram);
        if first & (RIGHT | PARTIAL) != 0
            && let Some(inner) = arena[range.clone()].get_mut(vxlan::LEN..)
        {
            set_checksum(inner, first & PARTIAL != 0);
        }
        now = Now { ns: now.ns + 1_000_000, s: now.s + u32::from(tos >> 7) };

        // What UDP_GRO would say of it: the size of the inner datagrams, where a local kernel sent them uncut.
        let size = usize::from(tos) * 8;
        let cut = if size > 0 && vxlan::is_uncut(datagram, size) { size as u16 } else { 0 };

        let before: Vec<_> = view.segments.values().flat_map(|segment| segment.fdb.rows()).collect();
        let bytes = &mut arena[range.clone()];
        let decapsulated = match engine.from_wire(&view, bytes, Source::Plain(source), tos, now) {
            Ok(decapsulated) => decapsulated,
            Err(reason) => {
                if reason != DropReason::NotHere {
                    let after: Vec<_> = view.segments.values().flat_map(|segment| segment.fdb.rows()).collect();
                    assert_eq!(before, after, "learned from a datagram that was dropped: {reason:?}");
                }
                continue;
            }
        };
        assert!(source == vtep(0) || source == vtep(1), "delivered from a stranger");
        let segment = &view.segments[&decapsulated.vni];
        let strict = segment.spec.vni.get() == VNIS[0];
        let inner = &mut bytes[vxlan::LEN..];
        let station = frame::source(inner);
        assert!(station.is_station() && !(strict && frame::has_vlan(inner)));
        match segment.fdb.lookup(station) {
            None => assert_eq!(segment.fdb.learned(), segment.spec.fdb_cap, "not learned, though there was room"),
            Some(place) => assert_eq!(place, Place::Vtep(source)),
        }

        let layout = decapsulated.layout;
        let check = verify(inner, &layout);
        clamp_mss(inner, &layout, segment.spec.mtu, check == Check::Partial);
        if matches!(check, Check::Verified | Check::Partial) {
            assert_eq!(verify(inner, &layout), check, "the checksum survives what was changed");
        }
        let piece = Piece::new(range.start + vxlan::LEN, range.len() - vxlan::LEN);
        let hash = key.hash(inner, &layout);
        let frame = Frame { port: PortId(0), piece, layout, check, hash, mtu: segment.spec.mtu, cut };
        match decapsulated.forward {
            Forward::Port(port) => coalescer.push(&mut arena, Frame { port, ..frame }, &mut out),
            Forward::Flood => {
                for port in &segment.ports {
                    coalescer.push_alone(&arena, Frame { port: port.id, ..frame }, &mut out);
                }
            }
            Forward::Vtep(_) | Forward::Remotes => panic!("from tunnel to tunnel"),
            Forward::Answer(_) => panic!("answered a question from a tunnel"),
        }
    }
    coalescer.flush(&mut arena, &mut out);
    for delivered in &out.delivered {
        let port = &view.ports[&delivered.port];
        let to = Mac::read(&delivered.bytes).expect("a whole header");
        assert!(
            to.is_group() || to == port.mac || view.segments[&port.vni].spec.trust_macs,
            "delivered to a bystander"
        );
    }
});
