//! A hostile underlay: flips, truncations, repetitions, from any port, to one worker and more. None is delivered, each is
//! counted by its reason.

use std::collections::BTreeMap;
use std::thread::sleep;

use weft::lab::{Family, Host};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::session::SendLane;
use weft_vtep::seal::suite::Suite;
use weft_vtep::wire::sealed::{self, Control, Echo, Kind};
use weft_vtep::wire::vxlan;

use crate::harness::frames::{MARK, mark, number, numbers, station};
use crate::harness::port::Port;
use crate::harness::vtep::Vtep;
use crate::harness::{eventually, privileged};
use crate::{Node, SETTLE, VNI, lab};
use weft::lab::kernel::INSIDE;

const LANES: u16 = 64;

/// A member that the test plays: it has keys, and seals what it likes.
struct Member {
    id: PeerId,
    lanes: Vec<SendLane>,
    wire: Vtep,
}

impl Member {
    fn join(host: &Host, id: u64, node: &Node<'_>, suite: Suite, seed: u8) -> Member {
        let mut member = Member { id: PeerId(id), lanes: Vec::new(), wire: Vtep::from_port(host, node.host, 0) };
        member.rekey(host, node, suite, seed);
        member
    }

    fn rekey(&mut self, host: &Host, node: &Node<'_>, suite: Suite, seed: u8) {
        let terms = Terms { sender: self.id, receiver: node.id, suite, lanes: LANES };
        let keys = SessionKeys::derive(terms, &[seed; 32], &[!seed; 32]).unwrap();
        let index = node.vtep.install_receive(host.address, &keys).unwrap();
        self.lanes = (0..LANES).map(|lane| SendLane::new(&keys, lane, index)).collect();
    }

    fn seal(&mut self, lane: u16, kind: Kind, text: &[u8]) -> Vec<u8> {
        let mut datagram = [&[0; sealed::LEN], text, &[0; sealed::TAG]].concat();
        self.lanes[usize::from(lane)].seal(kind, &mut datagram).unwrap();
        datagram
    }

    fn frame(&mut self, lane: u16, frame: &[u8]) -> Vec<u8> {
        let text = [&vxlan::header(Vni::new(VNI).unwrap())[..], frame].concat();
        self.seal(lane, Kind::Data, &text)
    }
}

/// What is counted more than before, once that many datagrams are. Not what the container's own kernel says into a network
/// whose other member no session leads to.
fn counted(node: &Node<'_>, before: &[(&'static str, u64)], total: u64) -> BTreeMap<&'static str, u64> {
    let more = || {
        let mut more: BTreeMap<_, _> = node.drops_since(before).into_iter().collect();
        more.remove(DropReason::NoSession.name());
        more
    };
    eventually("every datagram is counted", || more().values().sum::<u64>() >= total);
    more()
}

#[test]
fn no_flipped_or_shortened_datagram_is_delivered() {
    privileged!();
    for (family, workers, suite) in [(Family::V4, 1, Suite::Aes256Gcm), (Family::V6, 2, Suite::ChaCha20Poly1305)] {
        let lab = lab(2, 1, family);
        let node = Node::start(&lab.hosts[0], workers, &[&lab.hosts[1]], true);
        let mut member = Member::join(&lab.hosts[1], 2, &node, suite, 7);
        let port = Port::open(&lab.hosts[0].containers[0].netns, INSIDE, MARK);
        let sound = member.frame(5, &mark(node.macs[0], station(1), 1));

        let before = node.drops();
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let lane = u16::from_be_bytes([flipped[2], flipped[3]]);
            let counter = u64::from_be_bytes(flipped[8..16].try_into().unwrap());
            let reason = match bit / 8 {
                // The I bit makes it a plain frame, whose VNI is the receiver index.
                0 if flipped[0] & 0x08 != 0 => DropReason::UnknownVni,
                0 if flipped[0] == 0x81 => DropReason::BadTag,
                0 | 1 => DropReason::NotVxlan,
                // Another lane's key, or none.
                2 | 3 if lane >= LANES => DropReason::WrongLane,
                4..8 => DropReason::UnknownIndex,
                8..16 if counter >= suite.hard_limit() => DropReason::KeyExhausted,
                _ => DropReason::BadTag,
            };
            *expected.entry(reason.name()).or_default() += 1;
            member.wire.send(&flipped);
        }
        assert_eq!(counted(&node, &before, sound.len() as u64 * 8), expected);

        let before = node.drops();
        for len in 0..sound.len() {
            member.wire.send(&sound[..len]);
        }
        let short = sealed::OVERHEAD as u64;
        let expected = BTreeMap::from([("outer_truncated", short), ("bad_tag", sound.len() as u64 - short)]);
        assert_eq!(counted(&node, &before, sound.len() as u64), expected);

        // As it was made it arrives, once, and nothing of all the others has.
        member.wire.send(&sound);
        let last = member.frame(6, &mark(node.macs[0], station(1), 2));
        eventually("the sound one is delivered", || node.vtep.stats().rx_frames == 1);
        member.wire.send(&last);
        assert_eq!(numbers(&port.until("the last frame", |frame| number(frame) == Some(2))), [1, 2]);
    }
}

/// At once, in another place of the window, behind it, after a rekey, from other source ports; with one worker and more.
#[test]
fn no_replay_is_delivered() {
    privileged!();
    for workers in [1, 2, 3] {
        let lab = lab(2, 1, Family::V4);
        let node = Node::start(&lab.hosts[0], workers, &[&lab.hosts[1]], true);
        let mut member = Member::join(&lab.hosts[1], 2, &node, Suite::Aes256Gcm, 7);
        let port = Port::open(&lab.hosts[0].containers[0].netns, INSIDE, MARK);
        let others: Vec<_> = (0..8).map(|_| Vtep::from_port(&lab.hosts[1], &lab.hosts[0], 0)).collect();
        let first: Vec<_> =
            (0..LANES).map(|lane| member.frame(lane, &mark(node.macs[0], station(1), lane.into()))).collect();
        first.iter().for_each(|datagram| member.wire.send(datagram));
        eventually("each lane's first is delivered", || node.vtep.stats().rx_frames == first.len() as u64);

        let all = (first.len() * (1 + others.len())) as u64;
        let again = |member: &Member| {
            let before = node.drops();
            for wire in std::iter::once(&member.wire).chain(&others) {
                for datagram in &first {
                    wire.send(datagram);
                    // In turns with what the kernel cannot join: each is steered for itself.
                    wire.send(&[0]);
                }
            }
            let mut reasons = counted(&node, &before, 2 * all);
            assert_eq!(reasons.remove("not_vxlan"), Some(all));
            reasons
        };
        assert_eq!(again(&member), BTreeMap::from([("replay", all)]), "at once, {workers} workers");

        // Beyond the window of one lane of each worker.
        for lane in 0..workers as u16 {
            for n in 0..9000 {
                let datagram = member.frame(lane, &mark(node.macs[0], station(1), 1000 + n));
                member.wire.send(&datagram);
                if n % 200 == 0 {
                    sleep(SETTLE / 100);
                }
            }
        }
        assert_eq!(again(&member), BTreeMap::from([("replay", all)]), "behind the window, {workers} workers");

        // After a rekey, while the old key lives; and once it is gone.
        member.rekey(&lab.hosts[1], &node, Suite::Aes256Gcm, 8);
        let fresh = member.frame(0, &mark(node.macs[0], station(1), 77_777));
        member.wire.send(&fresh);
        port.find("the first of the new epoch", |frame| number(frame) == Some(77_777));
        assert_eq!(again(&member), BTreeMap::from([("replay", all)]), "after a rekey, {workers} workers");
        assert!(node.vtep.drop_sessions(member.id));
        assert_eq!(again(&member), BTreeMap::from([("unknown_index", all)]), "after the session, {workers} workers");
    }
}

/// As a restarted node does: new sessions under the same keys' owner, nothing old opens.
#[test]
fn a_replay_after_a_restart_is_refused() {
    privileged!();
    let lab = lab(2, 1, Family::V4);
    let node = Node::start(&lab.hosts[0], 2, &[&lab.hosts[1]], true);
    let mut member = Member::join(&lab.hosts[1], 2, &node, Suite::Aes256Gcm, 7);
    let old: Vec<_> = (0..LANES).map(|lane| member.frame(lane, &mark(node.macs[0], station(1), lane.into()))).collect();
    old.iter().for_each(|datagram| member.wire.send(datagram));
    eventually("all are delivered", || node.vtep.stats().rx_frames == old.len() as u64);
    drop(node);
    let node = Node::start(&lab.hosts[0], 2, &[&lab.hosts[1]], true);
    member.rekey(&lab.hosts[1], &node, Suite::Aes256Gcm, 9);
    let before = node.drops();
    old.iter().for_each(|datagram| member.wire.send(datagram));
    assert_eq!(counted(&node, &before, old.len() as u64), BTreeMap::from([("unknown_index", old.len() as u64)]));
}

#[test]
fn an_echo_is_answered_in_a_datagram_of_its_size() {
    privileged!();
    // No container, whose kernel might say something by itself.
    let lab = lab(2, 0, Family::V4);
    let node = Node::start(&lab.hosts[0], 1, &[&lab.hosts[1]], true);
    let mut member = Member {
        wire: Vtep::on(&lab.hosts[1], &lab.hosts[0]),
        ..Member::join(&lab.hosts[1], 2, &node, Suite::Aes256Gcm, 7)
    };
    // The node's own direction: the test opens what it answers.
    let terms = Terms { sender: node.id, receiver: member.id, suite: Suite::Aes256Gcm, lanes: node.vtep.lanes() };
    let keys = SessionKeys::derive(terms, &[3; 32], &[4; 32]).unwrap();
    node.vtep.install_send(lab.hosts[1].address, &keys, 99).unwrap();
    let mut lane = weft_vtep::seal::session::ReceiveLane::new(&keys, 0);
    for (n, len) in [(1, 16), (2, 1000), (3, 1400)] {
        let question = Control { echo: Echo::Request, id: n, time_ns: 123 };
        let mut text = question.write().to_vec();
        text.resize(len, 0xee);
        let datagram = member.seal(9, Kind::Control, &text);
        member.wire.send(&datagram);
        let mut answer = member.wire.until("the answer", |datagram| datagram[0] == 0x81).pop().unwrap();
        assert_eq!(answer.len(), datagram.len());
        let header = sealed::Header::parse(&answer).unwrap();
        assert_eq!((header.index, header.lane), (99, 0));
        lane.open(&header, &mut answer).unwrap();
        assert_eq!(Control::parse(&answer[sealed::LEN..]), Ok(Control { echo: Echo::Reply, ..question }));
    }
    assert_eq!(node.vtep.stats().tx_frames, 0, "an answer is no frame");
}

#[test]
fn a_control_message_is_never_a_frame_nor_a_frame_one() {
    privileged!();
    let lab = lab(2, 1, Family::V4);
    let node = Node::start(&lab.hosts[0], 1, &[&lab.hosts[1]], true);
    let mut member = Member {
        wire: Vtep::on(&lab.hosts[1], &lab.hosts[0]),
        ..Member::join(&lab.hosts[1], 2, &node, Suite::Aes256Gcm, 7)
    };
    let port = Port::open(&lab.hosts[0].containers[0].netns, INSIDE, MARK);
    let before = node.drops();
    let text = [&vxlan::header(Vni::new(VNI).unwrap())[..], &mark(node.macs[0], station(1), 1)].concat();
    let disguised = member.seal(9, Kind::Control, &text);
    member.wire.send(&disguised);
    assert_eq!(counted(&node, &before, 1), BTreeMap::from([("bad_control", 1)]));
    let sound = member.frame(9, &mark(Mac::BROADCAST, station(1), 2));
    member.wire.send(&sound);
    assert_eq!(numbers(&port.until("the sound frame", |frame| number(frame) == Some(2))), [2]);
}
