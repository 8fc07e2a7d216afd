//! The order of decisions, without a device.

mod managed;

use std::sync::Arc;

use super::watch::Dry;
use super::*;
use crate::addr::Mac;
use crate::switch::storm::Bucket;
use crate::switch::{FdbKind, NetworkSpec};

const HERE: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const NEXT: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 0, 3]);
const STRANGER: Mac = Mac::new([2, 0, 0, 0, 0, 9]);

fn vtep(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

/// Network 1 with two ports and two remotes; network 2 with one port and nobody else.
fn view(change: impl Fn(&mut NetworkSpec)) -> View<()> {
    let mut view = View::default();
    for (number, macs, remotes) in [(1, vec![HERE, NEXT], vec![vtep(1), vtep(2)]), (2, vec![HERE], vec![])] {
        let mut spec = NetworkSpec::new(vni(number), 1450);
        spec.remotes = remotes;
        change(&mut spec);
        let mut segment = Segment::new(spec, 7);
        for (index, mac) in macs.into_iter().enumerate() {
            let port = Port::new(PortId(number * 10 + index as u32), vni(number), mac, ());
            segment.fdb.set_local(mac, port.id);
            segment.ports.push(Arc::new(port));
            view.ports.insert(segment.ports[index].id, segment.ports[index].clone());
        }
        view.segments.insert(vni(number), segment);
    }
    view
}

fn frame(destination: Mac, source: Mac) -> Vec<u8> {
    [&destination.octets()[..], &source.octets(), &[0x08, 0x06], &[0; 46]].concat()
}

fn datagram(number: u32, frame: &[u8]) -> Vec<u8> {
    [&vxlan::header(vni(number))[..], frame].concat()
}

fn from_port(engine: &mut Engine, view: &View<()>, number: u32, frame: &[u8]) -> Result<Forward, DropReason> {
    let segment = &view.segments[&vni(number)];
    let (mut frame, now) = (frame.to_vec(), Now { ns: 1, s: 1 });
    let layout = Layout::of(&frame);
    let len = frame.len().saturating_sub(layout.l3);
    let (mut dry, mut copy) = (Engine::watched(1, Dry::default()), frame.clone());
    let rows = segment.fdb.rows();
    let foreseen = dry.from_port(segment, &segment.ports[0], &mut copy, &layout, len, false, 1, now);
    assert_eq!(segment.fdb.rows(), rows, "a dry run changes nothing");
    let decision = engine.from_port(segment, &segment.ports[0], &mut frame, &layout, len, false, 1, now);
    // How many stations may still be announced is not asked in a dry run.
    if decision != Err(DropReason::StationLimit) {
        assert_eq!((foreseen, copy), (decision, frame), "a dry run comes to the same");
    }
    decision
}

fn from_wire(engine: &mut Engine, view: &View<()>, source: u8, datagram: &[u8]) -> Result<Forward, DropReason> {
    let now = Now { ns: 1, s: 1 };
    let rows = |view: &View<()>| view.segments.values().flat_map(|segment| segment.fdb.rows()).collect::<Vec<_>>();
    let (before, mut dry) = (rows(view), Engine::watched(1, Dry::default()));
    let foreseen = dry.from_wire(view, &mut datagram.to_vec(), Source::Plain(vtep(source)), 0, now);
    assert_eq!(rows(view), before, "a dry run changes nothing");
    let taken = engine.from_wire(view, &mut datagram.to_vec(), Source::Plain(vtep(source)), 0, now);
    assert_eq!(foreseen.map(|taken| taken.forward), taken.map(|taken| taken.forward), "a dry run comes to the same");
    taken.map(|taken| taken.forward)
}

#[test]
fn a_frame_from_a_port_goes_where_its_destination_lives() {
    let (view, mut engine) = (view(|_| {}), Engine::new(1));
    let mut go = |number, destination| from_port(&mut engine, &view, number, &frame(destination, HERE));
    assert_eq!(go(1, NEXT), Ok(Forward::Port(PortId(11))));
    assert_eq!(go(1, FAR), Ok(Forward::Flood), "unknown: the static remotes are asked");
    assert_eq!(go(1, Mac::BROADCAST), Ok(Forward::Flood));
    assert_eq!(go(1, HERE), Err(DropReason::NoReceiver));
    assert_eq!(go(2, FAR), Err(DropReason::NoReceiver));
    view.segments[&vni(1)].fdb.learn(FAR, Place::Vtep(vtep(2)), 1);
    assert_eq!(go(1, FAR), Ok(Forward::Vtep(vtep(2))));
}

#[test]
fn a_port_speaks_for_its_own_address_unless_it_is_trusted() {
    let (strict, trusting) = (view(|_| {}), view(|spec| spec.trust_macs = true));
    let mut engine = Engine::new(1);
    let foreign = frame(NEXT, STRANGER);
    assert_eq!(from_port(&mut engine, &strict, 1, &foreign), Err(DropReason::SourceMacForeign));
    assert_eq!(strict.segments[&vni(1)].fdb.lookup(STRANGER), None);
    assert_eq!(from_port(&mut engine, &trusting, 1, &foreign), Ok(Forward::Port(PortId(11))));
    assert_eq!(trusting.segments[&vni(1)].fdb.lookup(STRANGER), Some(Place::Local(PortId(10))));
    // Nor does trust let a port take its neighbour's address.
    assert_eq!(from_port(&mut engine, &trusting, 1, &frame(FAR, NEXT)), Err(DropReason::SourceMacForeign));
}

#[test]
fn short_large_and_flooded_frames_from_a_port_end() {
    let (view, mut engine) = (view(|_| {}), Engine::new(1));
    assert_eq!(from_port(&mut engine, &view, 1, &[0; 13]), Err(DropReason::TapTruncated));
    let large = [frame(NEXT, HERE), vec![0; 1450]].concat();
    assert_eq!(from_port(&mut engine, &view, 1, &large), Err(DropReason::Oversize));
    let segment = &view.segments[&vni(1)];
    let mut flood = frame(Mac::BROADCAST, HERE);
    let port = Port { storm: Bucket::new(1, 3), ..Port::new(PortId(10), vni(1), HERE, ()) };
    let layout = Layout::of(&flood);
    let now = Now { ns: 1, s: 1 };
    let mut dry = Engine::watched(1, Dry::default());
    let mut foresee = || dry.from_port(segment, &port, &mut flood.clone(), &layout, 46, false, 1, now);
    assert!((0..9).all(|_| foresee() == Ok(Forward::Flood)), "a dry run uses nothing up");
    let mut go = || engine.from_port(segment, &port, &mut flood, &layout, 46, false, 1, now);
    assert_eq!((go(), go(), go()), (Ok(Forward::Flood), Ok(Forward::Flood), Ok(Forward::Flood)));
    assert_eq!(go(), Err(DropReason::StormLimit));
}

#[test]
fn a_datagram_goes_to_ports_and_never_back_into_a_tunnel() {
    let (view, mut engine) = (view(|_| {}), Engine::new(1));
    let mut go = |destination| from_wire(&mut engine, &view, 1, &datagram(1, &frame(destination, FAR)));
    assert_eq!(go(NEXT), Ok(Forward::Port(PortId(11))));
    assert_eq!(go(Mac::BROADCAST), Ok(Forward::Flood));
    // Known behind another VTEP: split horizon.
    view.segments[&vni(1)].fdb.learn(STRANGER, Place::Vtep(vtep(2)), 1);
    assert_eq!(go(STRANGER), Err(DropReason::NotHere));
}

#[test]
fn a_refused_datagram_teaches_nothing() {
    let (view, mut engine) = (view(|_| {}), Engine::new(1));
    let good = frame(HERE, FAR);
    let tagged = [&good[..12], &[0x81, 0, 0, 5], &good[12..]].concat();
    let cases: [(u8, Vec<u8>, DropReason); 9] = [
        (1, vec![8, 0, 0, 0, 0], DropReason::OuterTruncated),
        (1, [&[0; 8][..], &good].concat(), DropReason::NotVxlan),
        (1, [&[0x80, 1, 0, 0, 0, 0, 1, 0][..], &good].concat(), DropReason::NotVxlan),
        (1, datagram(3, &good), DropReason::UnknownVni),
        (9, datagram(1, &good), DropReason::UnknownVtep),
        (1, datagram(2, &good), DropReason::UnknownVtep),
        (1, datagram(1, &good[..13]), DropReason::InnerTruncated),
        (1, datagram(1, &frame(HERE, Mac::BROADCAST)), DropReason::InnerSourceInvalid),
        (1, datagram(1, &tagged), DropReason::InnerVlan),
    ];
    for (source, bytes, reason) in cases {
        assert_eq!(from_wire(&mut engine, &view, source, &bytes), Err(reason));
    }
    assert_eq!(from_wire(&mut engine, &view, 1, &datagram(1, &frame(NEXT, HERE))), Err(DropReason::InnerSourceLocal));
    let known: Vec<_> =
        view.segments.values().flat_map(|s| s.fdb.rows()).filter(|row| row.kind == FdbKind::Learned).collect();
    assert!(known.is_empty(), "{known:?}");
    assert_eq!(from_wire(&mut engine, &view, 1, &datagram(1, &good)), Ok(Forward::Port(PortId(10))));
    assert_eq!(view.segments[&vni(1)].fdb.lookup(FAR), Some(Place::Vtep(vtep(1))));
}
