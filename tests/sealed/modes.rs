//! A network is sealed or plain, and never takes the other kind; without a key nothing leaves.

use weft::lab::{Family, Lab, LabSpec, Underlay, kernel::INSIDE};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::io::Wanted;
use weft_vtep::seal::suite::Suite;

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::port::Port;
use crate::harness::vtep::Vtep;
use crate::harness::{eventually, needs, privileged};
use crate::{Node, VNI, lab, open_session, pair, tap_the_wire, udp_payload};

/// Two hosts between which each datagram is a packet of its own.
fn wire_lab(family: Family) -> Lab {
    Lab::build(LabSpec { family, underlay: Underlay::Wire, ..LabSpec::new(2) }).unwrap()
}

/// With the right VNI, MACs and addresses, from a member and from a stranger, whatever the port.
#[test]
fn no_plain_frame_enters_a_sealed_network() {
    privileged!();
    for family in [Family::V4, Family::V6] {
        let lab = lab(3, 1, family);
        let nodes = pair(&lab, 2, Suite::Aes256Gcm);
        let port = Port::open(&lab.hosts[0].containers[0].netns, INSIDE, MARK);
        let far = Port::open(&lab.hosts[1].containers[0].netns, INSIDE, MARK);
        let mut sent = 0;
        for host in &lab.hosts[1..] {
            for source_port in [0, 0, 49_152, 53] {
                let wire = Vtep::from_port(host, &lab.hosts[0], source_port);
                for source in [nodes[1].macs[0], nodes[0].macs[0], station(1)] {
                    for destination in [nodes[0].macs[0], Mac::BROADCAST] {
                        wire.send(&vxlan(VNI, &mark(destination, source, 666)));
                        sent += 1;
                    }
                }
            }
        }
        eventually("each is counted", || nodes[0].dropped(DropReason::PlainOnSealed) == sent);
        far.send(&mark(nodes[0].macs[0], nodes[1].macs[0], 1));
        assert_eq!(numbers(&port.until("the sealed frame", |frame| number(frame) == Some(1))), [1]);
        let learned = nodes[0].vtep.fdb().into_iter().filter(|row| row.mac == station(1)).count();
        assert_eq!(learned, 0, "nothing is learned from a plain frame");
    }
}

/// A peer that has a session and shares a plain network with us cannot put sealed frames into it, nor sealed ones into a
/// sealed network that it is no member of.
#[test]
fn no_sealed_frame_enters_a_plain_network_or_one_of_others() {
    privileged!();
    const PLAIN: u32 = 6161;
    const OTHERS: u32 = 7171;
    let lab = lab(3, 1, Family::V4);
    // To the sender both networks are sealed ones; to the receiver one is plain and the other has other members.
    let [mut a, mut b] = pair(&lab, 1, Suite::Aes256Gcm);
    for vni in [PLAIN, OTHERS] {
        a.network(vni, &[&lab.hosts[1]], true);
    }
    b.network(PLAIN, &[&lab.hosts[0]], false);
    b.network(OTHERS, &[&lab.hosts[2]], true);
    let mut hears = None;
    for (n, vni) in [(0, PLAIN), (1, OTHERS)] {
        let ifname = format!("eth{}", 5 + n);
        a.attach(vni, n, &ifname, &lab.hosts[0].containers[0], true);
        b.attach(vni, n, &ifname, &lab.hosts[1].containers[0], false);
        hears.get_or_insert_with(|| Port::open(&lab.hosts[1].containers[0].netns, &ifname, MARK));
        let port = Port::open(&lab.hosts[0].containers[0].netns, &ifname, MARK);
        let (mac, reason) =
            (a.macs[1 + usize::from(n)], [DropReason::SealedOnPlain, DropReason::NotMember][usize::from(n)]);
        for call in 1..=5 {
            port.send(&mark(Mac::BROADCAST, mac, call));
        }
        // And what the container's kernel said when the interface came up.
        eventually("each is counted", || b.dropped(reason) >= 5);
        assert!(b.vtep.fdb().iter().all(|row| row.mac != mac));
    }
    let plain = Vtep::from_port(&lab.hosts[0], &lab.hosts[1], 0);
    plain.send(&vxlan(PLAIN, &mark(Mac::BROADCAST, station(1), 9)));
    let heard = hears.unwrap().until("the plain frame", |frame| number(frame) == Some(9));
    assert_eq!(numbers(&heard), [9], "of the sealed frames none has come");
    let not_member = |row: &weft_vtep::seal::table::SessionRow| {
        row.rejected().find(|(reason, _)| *reason == DropReason::NotMember).map(|(_, count)| count)
    };
    let rows = b.vtep.session_rows();
    assert!(rows.iter().filter_map(not_member).sum::<u64>() >= 5, "the session says who it was: {rows:?}");
}

/// Without a session nothing leaves: frames wait, the daemon is asked, and what waits too long is counted.
#[test]
fn without_a_key_nothing_leaves() {
    privileged!();
    needs!("ethtool");
    for family in [Family::V4, Family::V6] {
        let lab = wire_lab(family);
        let [a, b] = [0, 1].map(|n: usize| Node::start(&lab.hosts[n], 2, &[&lab.hosts[1 - n]], true));
        let wire = tap_the_wire(&lab.hosts[1]);
        let [here, there] = [0, 1].map(|n: usize| Port::open(&lab.hosts[n].containers[0].netns, INSIDE, MARK));
        assert_eq!(a.vtep.wanted().iter().filter(|wanted| **wanted != Wanted::Session(b.host.address)).count(), 0);
        let calls = 1..=20;
        for call in calls.clone() {
            here.send(&mark(Mac::BROADCAST, a.macs[0], call));
        }
        let mut asked = Vec::new();
        eventually("a session is wanted", || {
            asked.extend(a.vtep.wanted());
            !asked.is_empty()
        });
        assert_eq!(asked, [Wanted::Session(b.host.address)]);
        open_session(&a, &b, Suite::Aes256Gcm, 1);
        // Also what the container's own kernel said when its interface came up was in the queue.
        let heard = there.until("the last call", |frame| number(frame) == Some(20));
        assert_eq!(numbers(&heard), calls.collect::<Vec<_>>(), "all that waited, in order");

        // Far more than the queue holds, and nobody makes a session.
        assert!(a.vtep.drop_send(b.id) && !a.vtep.drop_send(b.id));
        let before = a.dropped(DropReason::NoSession);
        for call in 100..400 {
            here.send(&mark(Mac::BROADCAST, a.macs[0], call));
        }
        eventually("all are counted", || a.dropped(DropReason::NoSession) >= before + 300);
        open_session(&a, &b, Suite::Aes256Gcm, 3);
        here.send(&mark(Mac::BROADCAST, a.macs[0], 1000));
        let heard = there.until("the first with a session", |frame| number(frame) == Some(1000));
        assert_eq!(numbers(&heard), [1000], "what was counted as dropped does not come later");
        let sealed = |frame: &[u8]| udp_payload(frame).is_some();
        let mut datagrams = 0;
        wire.until("datagrams", |frame| {
            assert!(udp_payload(frame).is_none_or(|payload| payload[..2] == [0x80, 1]));
            datagrams += u32::from(sealed(frame));
            datagrams >= 21
        });
    }
}

/// The mode is the network's, not the peer's: one sealed and one plain network between the same two nodes.
#[test]
fn a_plain_and_a_sealed_network_share_the_way() {
    privileged!();
    const PLAIN: u32 = 6161;
    needs!("ethtool");
    let lab = wire_lab(Family::V4);
    let mut nodes = pair(&lab, 2, Suite::Aes256Gcm);
    for (n, node) in nodes.iter_mut().enumerate() {
        node.network(PLAIN, &[&lab.hosts[1 - n]], false);
        node.attach(PLAIN, 0, "eth5", &lab.hosts[n].containers[0], false);
    }
    assert!(nodes[0].vtep.remove_network(Vni::new(99).unwrap()).is_err());
    let containers = [0, 1].map(|n: usize| &lab.hosts[n].containers[0].netns);
    let wire = tap_the_wire(&lab.hosts[1]);
    for (ifname, which) in [(INSIDE, 0), ("eth5", 1)] {
        let [here, there] = containers.map(|netns| Port::open(netns, ifname, MARK));
        for call in 1..=50 {
            here.send(&mark(nodes[1].macs[which], nodes[0].macs[which], call));
        }
        let heard = there.until("the last call", |frame| number(frame) == Some(50));
        assert_eq!(numbers(&heard), (1..=50).collect::<Vec<_>>());
    }
    let mut kinds = [0, 0];
    let marks = |payload: &[u8]| payload[0] == 0x08 && number(&payload[8..]).is_some();
    wire.until("the last plain call", |frame| {
        let Some(payload) = udp_payload(frame) else { return false };
        kinds[usize::from(payload[0] == 0x80)] += 1;
        marks(payload) && number(&payload[8..]) == Some(50)
    });
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}
