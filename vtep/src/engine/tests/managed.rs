//! Networks of which the control plane says where everybody lives.

use super::*;
use crate::switch::announce::{Announcement, WAITING_MAX};
use crate::switch::update::{self, Update};

const NETWORK: u32 = 1;
/// Told to live behind `vtep(3)`.
const TOLD: Mac = FAR;
const TOLD_IP: [u8; 4] = [10, 0, 0, 3];

/// Network 1 as the control plane has filled it: members 3 and 4, the remotes 1 and 2 of [`super::view`] or none.
fn managed(remotes: bool, change: impl Fn(&mut NetworkSpec)) -> View<()> {
    let mut view = view(|spec| {
        spec.managed = true;
        if !remotes {
            spec.remotes.clear();
        }
        change(spec);
    });
    let vni = vni(NETWORK);
    tell(
        &mut view,
        &[
            Update::Member { vni, vtep: vtep(3) },
            Update::Member { vni, vtep: vtep(4) },
            Update::Station { vni, mac: TOLD, vtep: vtep(3) },
            Update::Neighbor { vni, ip: TOLD_IP.into(), mac: TOLD },
        ],
    );
    view
}

fn tell(view: &mut View<()>, updates: &[Update]) {
    for (vni, list) in update::apply(view, vtep(100), updates) {
        view.segments.get_mut(&vni).unwrap().flood = Arc::new(list);
    }
}

fn learned(view: &View<()>) -> Vec<Mac> {
    let rows = view.segments[&vni(NETWORK)].fdb.rows();
    rows.into_iter().filter(|row| row.kind == FdbKind::Learned).map(|row| row.mac).collect()
}

fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let mut frame = frame(Mac::BROADCAST, HERE);
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&HERE.octets());
    frame[28..32].copy_from_slice(&[10, 0, 0, 1]);
    frame[38..42].copy_from_slice(&target);
    frame
}

#[test]
fn known_stations_are_reached_and_nobody_is_asked_for_others() {
    let (view, mut engine) = (managed(false, |_| {}), Engine::new(1));
    let mut go = |destination| from_port(&mut engine, &view, NETWORK, &frame(destination, HERE));
    assert_eq!(go(TOLD), Ok(Forward::Vtep(vtep(3))));
    assert_eq!(go(NEXT), Ok(Forward::Port(PortId(11))));
    assert_eq!(go(STRANGER), Err(DropReason::UnknownUnicast));
    assert_eq!(go(Mac::BROADCAST), Ok(Forward::Flood));
    assert_eq!(view.segments[&vni(NETWORK)].flood.all(), [vtep(3), vtep(4)]);
}

#[test]
fn only_the_remotes_are_asked_for_strangers() {
    let (view, mut engine) = (managed(true, |_| {}), Engine::new(1));
    assert_eq!(from_port(&mut engine, &view, NETWORK, &frame(STRANGER, HERE)), Ok(Forward::Remotes));
    let flood = &view.segments[&vni(NETWORK)].flood;
    assert_eq!((flood.remotes(), flood.all().len()), (&[vtep(1), vtep(2)][..], 4));
}

#[test]
fn questions_about_known_addresses_are_answered_and_others_are_passed_on() {
    let (managed, plain, mut engine) = (managed(false, |_| {}), view(|_| {}), Engine::new(1));
    let known = arp_request(TOLD_IP);
    assert_eq!(from_port(&mut engine, &managed, NETWORK, &known), Ok(Forward::Answer(42)));
    assert_eq!(from_port(&mut engine, &managed, NETWORK, &arp_request([10, 0, 0, 77])), Ok(Forward::Flood));
    // A host that looks whether its neighbour still lives asks that one alone, and is to hear from it.
    let unicast = [&TOLD.octets()[..], &known[6..]].concat();
    assert_eq!(from_port(&mut engine, &managed, NETWORK, &unicast), Ok(Forward::Vtep(vtep(3))));
    assert_eq!(from_port(&mut engine, &plain, NETWORK, &known), Ok(Forward::Flood));
    // Nor is anybody answered who speaks in another's name.
    let foreign = [&known[..6], &STRANGER.octets(), &known[12..]].concat();
    assert_eq!(from_port(&mut engine, &managed, NETWORK, &foreign), Err(DropReason::SourceMacForeign));
}

#[test]
fn a_member_speaks_for_its_own_stations_alone() {
    let (view, mut engine) = (managed(false, |_| {}), Engine::new(1));
    let mut go = |source, station| from_wire(&mut engine, &view, source, &datagram(NETWORK, &frame(HERE, station)));
    assert_eq!(go(3, TOLD), Ok(Forward::Port(PortId(10))));
    assert_eq!(go(4, TOLD), Err(DropReason::InnerSourceForeign), "it lives elsewhere");
    assert_eq!(go(3, STRANGER), Err(DropReason::InnerSourceForeign), "nobody knows it");
    assert_eq!(go(3, NEXT), Err(DropReason::InnerSourceLocal));
    assert_eq!(go(9, STRANGER), Err(DropReason::UnknownVtep));
    assert_eq!(go(9, TOLD), Err(DropReason::UnknownVtep));
    assert_eq!(learned(&view), []);
}

/// The others hold the node for dead, but its endpoints speak: they are heard until their addresses are taken back.
#[test]
fn a_node_that_left_the_flood_list_is_heard_while_its_stations_are_known() {
    let (mut view, mut engine, vni) = (managed(false, |_| {}), Engine::new(1), vni(NETWORK));
    let good = datagram(NETWORK, &frame(HERE, TOLD));
    tell(&mut view, &[Update::NoMember { vni, vtep: vtep(3) }]);
    assert_eq!(view.segments[&vni].flood.all(), [vtep(4)]);
    assert_eq!(from_wire(&mut engine, &view, 3, &good), Ok(Forward::Port(PortId(10))));
    assert_eq!(from_wire(&mut engine, &view, 3, &good[..16]), Err(DropReason::UnknownVtep));
    tell(&mut view, &[Update::NoStation { vni, mac: TOLD }]);
    assert_eq!(from_wire(&mut engine, &view, 3, &good), Err(DropReason::UnknownVtep));
}

#[test]
fn remotes_are_learned_from_but_never_over_the_control_plane() {
    let (view, mut engine) = (managed(true, |_| {}), Engine::new(1));
    let mut go = |source, station| from_wire(&mut engine, &view, source, &datagram(NETWORK, &frame(HERE, station)));
    assert_eq!(go(1, STRANGER), Ok(Forward::Port(PortId(10))));
    assert_eq!(go(1, TOLD), Err(DropReason::InnerSourceForeign));
    assert_eq!(go(1, NEXT), Err(DropReason::InnerSourceLocal));
    assert_eq!(go(4, STRANGER), Err(DropReason::InnerSourceForeign), "what a remote has is no member's");
    assert_eq!(learned(&view), [STRANGER]);
    assert_eq!(from_port(&mut engine, &view, NETWORK, &frame(STRANGER, HERE)), Ok(Forward::Vtep(vtep(1))));
}

#[test]
fn what_a_trusted_port_speaks_for_is_announced() {
    let (mut view, mut engine) = (managed(false, |spec| spec.trust_macs = true), Engine::new(1));
    let vni = vni(NETWORK);
    let foreign = frame(Mac::BROADCAST, STRANGER);
    assert_eq!(from_port(&mut engine, &view, NETWORK, &foreign), Ok(Forward::Flood));
    assert_eq!(from_port(&mut engine, &view, NETWORK, &foreign), Ok(Forward::Flood));
    let notes = view.segments[&vni].announcements.clone();
    assert_eq!(notes.take(vni), [Announcement { vni, mac: STRANGER, port: Some(PortId(10)) }]);
    assert_eq!(notes.take(vni), []);
    assert_eq!(
        from_wire(&mut engine, &view, 3, &datagram(NETWORK, &frame(STRANGER, TOLD))),
        Ok(Forward::Port(PortId(10)))
    );
    // A station that lives elsewhere has perhaps moved here: the control plane decides.
    let moved = frame(Mac::BROADCAST, TOLD);
    assert_eq!(from_port(&mut engine, &view, NETWORK, &moved), Err(DropReason::SourceMacForeign));
    assert_eq!(notes.take(vni), [Announcement { vni, mac: TOLD, port: Some(PortId(10)) }]);
    tell(&mut view, &[Update::NoStation { vni, mac: TOLD }]);
    assert_eq!(from_port(&mut engine, &view, NETWORK, &moved), Ok(Forward::Flood));
    // Its neighbour's address is nothing to announce.
    assert_eq!(from_port(&mut engine, &view, NETWORK, &frame(TOLD, NEXT)), Err(DropReason::SourceMacForeign));
    assert_eq!(notes.take(vni).len(), 1);
}

/// Frames of a station that is not announced are refused everywhere else: it must not stay learned unannounced.
#[test]
fn more_stations_than_can_be_announced_are_refused_until_they_can() {
    let (view, mut engine) = (managed(false, |spec| spec.trust_macs = true), Engine::new(1));
    let station = |n: usize| Mac::new([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
    let mut say = |n| from_port(&mut engine, &view, NETWORK, &frame(NEXT, station(n)));
    for n in 0..WAITING_MAX {
        assert_eq!(say(n), Ok(Forward::Port(PortId(11))));
    }
    assert_eq!(say(WAITING_MAX), Err(DropReason::StationLimit));
    assert_eq!(learned(&view).len(), WAITING_MAX);
    assert_eq!(view.segments[&vni(NETWORK)].announcements.take(vni(NETWORK)).len(), WAITING_MAX);
    assert_eq!(say(WAITING_MAX), Ok(Forward::Port(PortId(11))));
}

#[test]
fn a_full_table_is_counted_and_in_a_managed_network_the_end() {
    let cap = |spec: &mut NetworkSpec| (spec.fdb_cap, spec.trust_macs) = (1, true);
    let (plain, managed, mut engine) = (view(cap), managed(false, cap), Engine::new(1));
    let say =
        |engine: &mut Engine, view, n| from_port(engine, view, NETWORK, &frame(NEXT, Mac::new([2, 1, 0, 0, 0, n])));
    let there = Ok(Forward::Port(PortId(11)));
    assert_eq!([1, 2, 3].map(|n| say(&mut engine, &plain, n)), [there; 3]);
    let from_far = from_wire(&mut engine, &plain, 1, &datagram(NETWORK, &frame(HERE, STRANGER)));
    assert_eq!((from_far, engine.take_unlearned(), engine.take_unlearned()), (Ok(Forward::Port(PortId(10))), 3, 0));
    let refused = Err(DropReason::StationLimit);
    assert_eq!([1, 2, 3].map(|n| say(&mut engine, &managed, n)), [there, refused, refused]);
    assert_eq!(engine.take_unlearned(), 0);
}
