//! What the data plane says would become of a frame, where its neighbour has no keys, no such network, or another opinion.

use weft::lab::Family;
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::engine::watch::Step;
use weft_vtep::engine::{Forward, Source};
use weft_vtep::seal::suite::Suite;
use weft_vtep::switch::fdb::Learn;

use crate::harness::frames::{mark, station};
use crate::harness::privileged;
use crate::{Node, VNI, lab, open_session};

#[test]
fn keys_and_networks_that_are_missing_are_seen_before_a_frame_is_lost() {
    privileged!();
    let lab = lab(2, 1, Family::V4);
    let [a, b] = [0, 1].map(|n: usize| Node::start(&lab.hosts[n], 1, &[&lab.hosts[1 - n]], true));
    let vni = Vni::new(VNI).unwrap();

    // The sender has no keys, and its frame would wait; with them, the receiver opens what it seals.
    assert_eq!(a.vtep.trace_send_session(b.host.address), None);
    open_session(&a, &b, Suite::Aes256Gcm, 1);
    let session = a.vtep.trace_send_session(b.host.address).unwrap();
    assert_eq!((session.peer, session.suite, session.epoch), (b.id, Suite::Aes256Gcm, 1));
    assert_eq!(b.vtep.trace_receive_session(session.index).map(|seen| seen.peer), Some(a.id));
    assert_eq!(b.vtep.trace_receive_session(!session.index), None);

    let source = Source::Sealed(a.host.address);
    let arrival = |vni, source, frame: &[u8]| b.vtep.trace_from_wire(vni, source, frame, 0);
    let frame = mark(b.macs[0], a.macs[0], 1);
    assert_eq!(arrival(vni, source, &frame).decision.map(|ports| ports.len()), Ok(1));
    let missing = arrival(Vni::new(VNI + 1).unwrap(), source, &frame);
    assert_eq!(missing.decision, Err(DropReason::UnknownVni));
    assert_eq!(missing.steps, [Step::Network(Vni::new(VNI + 1).unwrap())]);
    let cases = [
        (Source::Plain(a.host.address), &frame, DropReason::PlainOnSealed),
        (Source::Sealed([192, 0, 2, 77].into()), &frame, DropReason::NotMember),
        (source, &mark(station(9), a.macs[0], 1), DropReason::NotHere),
        (source, &mark(b.macs[0], b.macs[0], 1), DropReason::InnerSourceLocal),
        (source, &mark(b.macs[0], Mac::BROADCAST, 1), DropReason::InnerSourceInvalid),
    ];
    for (source, frame, reason) in &cases {
        assert_eq!(arrival(vni, *source, frame).decision, Err(*reason));
    }
    // A frame that a worker would learn from teaches nothing here.
    assert!(arrival(vni, source, &mark(b.macs[0], station(5), 1)).steps.contains(&Step::Learn(Learn::New)));
    assert!(b.vtep.fdb().iter().all(|row| row.mac != station(5)));
    assert!(cases.iter().all(|(.., reason)| b.dropped(*reason) == 0), "and nothing is counted");
}

#[test]
fn a_frame_that_leaves_and_one_too_large_for_the_underlay() {
    privileged!();
    let lab = lab(2, 1, Family::V6);
    let [a, b] = [0, 1].map(|n: usize| Node::start(&lab.hosts[n], 1, &[&lab.hosts[1 - n]], true));
    let port = weft_vtep::addr::PortId(0);
    let departure = a.vtep.trace_from_port(port, &mark(b.macs[0], a.macs[0], 1)).unwrap();
    assert_eq!(departure.decision, Ok(Forward::Flood), "nothing was learned yet");
    assert_eq!(departure.vteps, [b.host.address]);
    let foreign = a.vtep.trace_from_port(port, &mark(b.macs[0], station(3), 1)).unwrap();
    assert_eq!(foreign.decision, Err(DropReason::SourceMacForeign));
    let route = |len| a.host.netns.run(|| a.vtep.trace_route(b.host.address, true, len)).unwrap();
    let mtu = usize::from(a.mtu(true));
    assert_eq!(route(14 + mtu).map(|route| (route.mtu, route.needs)), Ok((1500, 1500)));
    assert_eq!(route(14 + mtu + 1).map_err(|(reason, _)| reason), Err(DropReason::UnderlayMtu));
}
