//! Networks of which a control plane says where everybody lives. The test is the control plane, and the VTEPs are its
//! own; the endpoints are the kernel's, which alone judges whether an answer is one.

use std::net::IpAddr;

use weft::lab::kernel::{INSIDE, VXLAN_PORT};
use weft::lab::{Container, Host, Lab};
use weft::sandbox::link::{LinkSpec, plug};
use weft::traffic::ping;
use weft_vtep::addr::{Mac, PortId, Vni};
use weft_vtep::drops::DropReason;
use weft_vtep::io::{Tap, Vtep, VtepConfig, super_frame_size};
use weft_vtep::switch::announce::Announcement;
use weft_vtep::switch::update::Update;
use weft_vtep::switch::{FdbKind, NetworkSpec, Place};

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::port::{ALL, Port};
use crate::harness::vtep::Vtep as Stranger;
use crate::harness::{PATIENCE, eventually, privileged};
use crate::{VNI, lab};

const MTU: u16 = 1450;

fn vni() -> Vni {
    Vni::new(VNI).unwrap()
}

/// A node of which only the data plane is there, with one endpoint.
struct Member<'a> {
    host: &'a Host,
    vtep: Vtep,
    port: PortId,
    mac: Mac,
}

impl<'a> Member<'a> {
    fn start(host: &'a Host, number: u8, change: impl Fn(&mut NetworkSpec)) -> Member<'a> {
        let config = VtepConfig { local: host.address, port: VXLAN_PORT, workers: Some(1) };
        let vtep = host.netns.run(|| Vtep::start(config)).unwrap().unwrap();
        let mut spec = NetworkSpec { managed: true, ..NetworkSpec::new(vni(), MTU) };
        change(&mut spec);
        vtep.add_network(spec).unwrap();
        let (mac, container) = (Mac::new([2, 0xc0, 0, 0, 0, number]), &host.containers[0]);
        let addresses = vec![container.v4.into(), container.v6.into()];
        let super_frame = Some(super_frame_size(MTU, false));
        let spec =
            LinkSpec { ifname: INSIDE.into(), alias: "test".into(), mac, mtu: MTU.into(), super_frame, addresses };
        let tap = host.netns.run(|| {
            let tap = Tap::create("wf0", 1).unwrap();
            plug("wf0", &container.netns, &spec).map(|_| tap)
        });
        let port = vtep.add_port(vni(), mac, tap.unwrap().unwrap()).unwrap();
        Member { host, vtep, port, mac }
    }

    fn container(&self) -> &'a Container {
        &self.host.containers[0]
    }

    /// What the control plane says of this node and its endpoint.
    fn records(&self) -> [Update; 4] {
        let (vni, vtep, mac, container) = (vni(), self.host.address, self.mac, self.container());
        [
            Update::Member { vni, vtep },
            Update::Station { vni, mac, vtep },
            Update::Neighbor { vni, ip: container.ip(), mac },
            Update::Neighbor { vni, ip: container.ip6(), mac },
        ]
    }

    /// The control plane tells this node; from here on all frames go by it.
    fn hears(&self, updates: &[Update]) {
        self.vtep.apply(updates);
        assert!(self.vtep.settle(), "a worker stands still");
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.vtep.stats().drops_of(reason)
    }

    /// Sends a command of `ip` into the endpoint's namespace.
    fn ip(&self, line: &str) -> String {
        crate::harness::ip(&self.container().netns, line)
    }
}

/// A member on each of the hosts, all of which know everything.
fn cluster(lab: &Lab, change: impl Fn(&mut NetworkSpec)) -> Vec<Member<'_>> {
    let members: Vec<_> = lab.hosts.iter().zip(1..).map(|(host, n)| Member::start(host, n, &change)).collect();
    let records: Vec<_> = members.iter().flat_map(Member::records).collect();
    for member in &members {
        member.hears(&records);
    }
    members
}

fn reaches(from: &Member<'_>, address: IpAddr) {
    assert!(ping::once(&from.container().netns, address, PATIENCE).unwrap().is_some(), "no way to {address}");
}

/// What a third endpoint sees until everybody has seen a call to all.
fn overheard(at: &Port, from: &Member<'_>) -> Vec<Vec<u8>> {
    Port::open(&from.container().netns, INSIDE, MARK).send(&mark(Mac::BROADCAST, from.mac, 1));
    at.until("the call to all", |frame| number(frame) == Some(1))
}

/// An ARP request or a solicitation for this address.
fn asks_for(frame: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => frame[12..14] == [8, 6] && frame[20..22] == [0, 1] && frame[38..42] == v4.octets(),
        IpAddr::V6(v6) => frame[12..14] == [0x86, 0xdd] && frame[54] == 135 && frame[62..78] == v6.octets(),
    }
}

#[test]
fn endpoints_meet_without_a_question_crossing_the_underlay() {
    privileged!();
    let lab = lab(3, 1);
    let members = cluster(&lab, |_| {});
    let [a, b, c] = &members[..] else { unreachable!() };
    let third = Port::open(&c.container().netns, INSIDE, ALL);
    for address in [b.container().ip(), b.container().ip6()] {
        reaches(a, address);
        let seen = overheard(&third, a);
        assert!(!seen.iter().any(|frame| asks_for(frame, address)), "{address} was asked for");
        // The kernel took the answer for what it is.
        let known = a.ip(&format!("neigh show {address}"));
        assert!(known.contains(&b.mac.to_string()) && known.contains("REACHABLE"), "{known}");
    }
    // Nobody tells of this one, and so all are asked.
    let address: IpAddr = "10.77.200.1".parse().unwrap();
    b.ip("addr add 10.77.200.1/16 dev eth0");
    reaches(a, address);
    assert!(overheard(&third, a).iter().any(|frame| asks_for(frame, address)));
    for member in &members {
        let rows = member.vtep.fdb();
        assert!(rows.len() == 3 && rows.iter().all(|row| row.kind != FdbKind::Learned), "{rows:?}");
        for reason in [DropReason::InnerSourceForeign, DropReason::UnknownVtep, DropReason::UnknownUnicast] {
            assert_eq!(member.dropped(reason), 0, "{reason:?}");
        }
    }
}

/// The kernel asks the neighbour itself, by unicast, whether it still lives: it is not for the VTEP to answer.
#[test]
fn a_silent_neighbour_is_found_out() {
    privileged!();
    let lab = lab(2, 1);
    let members = cluster(&lab, |_| {});
    let [a, b] = &members[..] else { unreachable!() };
    let asked = Port::open(&b.container().netns, INSIDE, ALL);
    for address in [b.container().ip(), b.container().ip6()] {
        reaches(a, address);
        a.ip(&format!("neigh change {address} lladdr {} dev {INSIDE} nud probe", b.mac));
        let frame = asked.find("the probe", |frame| asks_for(frame, address));
        assert_eq!(frame[..6], b.mac.octets());
        eventually("the neighbour has answered", || a.ip(&format!("neigh show {address}")).contains("REACHABLE"));
    }
}

#[test]
fn duplicates_are_detected_and_free_addresses_are_had() {
    privileged!();
    let lab = lab(2, 1);
    let members = cluster(&lab, |_| {});
    let [a, b] = &members[..] else { unreachable!() };
    for (address, taken) in [(b.container().ip6(), true), ("fd77::abcd".parse().unwrap(), false)] {
        // An answer by the VTEP would say nothing of whether the holder lives: only that one itself may speak.
        a.ip(&format!("addr add {address}/64 dev {INSIDE}"));
        let state = || a.ip(&format!("-6 addr show dev {INSIDE} to {address}"));
        eventually("the address is judged", || state().contains("dadfailed") || !state().contains("tentative"));
        assert_eq!(state().contains("dadfailed"), taken, "{address}: {}", state());
    }
}

#[test]
fn nobody_speaks_for_stations_that_are_not_there() {
    privileged!();
    let lab = lab(3, 1);
    let (first, others) = lab.hosts.split_first().unwrap();
    let member = Member::start(first, 1, |_| {});
    let vteps: Vec<_> = others.iter().map(|host| Stranger::on(host, first)).collect();
    let (vni, inside) = (vni(), Port::open(&first.containers[0].netns, INSIDE, MARK));
    let told = station(1);
    member.hears(&[
        Update::Member { vni, vtep: others[0].address },
        Update::Member { vni, vtep: others[1].address },
        Update::Station { vni, mac: told, vtep: others[0].address },
    ]);
    let (before, rows) = (member.vtep.stats(), member.vtep.fdb());
    vteps[1].send(&vxlan(VNI, &mark(member.mac, told, 1)));
    vteps[1].send(&vxlan(VNI, &mark(Mac::BROADCAST, station(2), 2)));
    vteps[1].send(&vxlan(VNI, &mark(Mac::BROADCAST, member.mac, 3)));
    eventually("they are refused", || member.dropped(DropReason::InnerSourceLocal) == 1);
    vteps[0].send(&vxlan(VNI, &mark(member.mac, told, 4)));
    assert_eq!(numbers(&inside.until("the station", |frame| number(frame).is_some())), [4]);
    // A frame for a station that nobody told of ends here.
    inside.send(&mark(station(2), member.mac, 5));
    inside.send(&mark(told, member.mac, 6));
    inside.send(&mark(Mac::BROADCAST, member.mac, 7));
    let heard = |n: usize| numbers(&crate::inner(&vteps[n].until("the call", |d| number(&d[8..]) == Some(7))));
    assert_eq!((heard(0), heard(1)), (vec![6, 7], vec![7]));
    let dropped = |reason| member.dropped(reason) - before.drops_of(reason);
    let reasons = [DropReason::InnerSourceForeign, DropReason::InnerSourceLocal, DropReason::UnknownUnicast];
    assert_eq!(reasons.map(dropped), [2, 1, 1]);
    assert_eq!(member.vtep.fdb(), rows, "nothing was learned");
}

/// A switch or a kernel's VXLAN device that no control plane speaks to.
#[test]
fn remotes_outside_of_the_cluster_are_learned_from() {
    privileged!();
    let lab = lab(3, 1);
    let (first, others) = lab.hosts.split_first().unwrap();
    let [member_at, remote_at] = [others[0].address, others[1].address];
    let member = Member::start(first, 1, |spec| spec.remotes = vec![remote_at]);
    let vteps: Vec<_> = others.iter().map(|host| Stranger::on(host, first)).collect();
    let (vni, inside) = (vni(), Port::open(&first.containers[0].netns, INSIDE, MARK));
    let told = station(1);
    let station_at = |mac| member.vtep.fdb().into_iter().find(|row| row.mac == mac).map(|row| (row.place, row.kind));
    member.hears(&[Update::Member { vni, vtep: member_at }, Update::Station { vni, mac: told, vtep: member_at }]);
    // What nobody knows, the remote is asked for, and nobody else.
    inside.send(&mark(station(2), member.mac, 1));
    inside.send(&mark(Mac::BROADCAST, member.mac, 2));
    let heard = |n: usize, last| numbers(&crate::inner(&vteps[n].until("the call", |d| number(&d[8..]) == Some(last))));
    assert_eq!((heard(0, 2), heard(1, 2)), (vec![2], vec![1, 2]));
    vteps[1].send(&vxlan(VNI, &mark(member.mac, told, 3)));
    vteps[1].send(&vxlan(VNI, &mark(member.mac, station(2), 4)));
    assert_eq!(numbers(&inside.until("the station", |frame| number(frame).is_some())), [4]);
    assert_eq!(station_at(station(2)), Some((Place::Vtep(remote_at), FdbKind::Learned)));
    assert_eq!(station_at(told), Some((Place::Vtep(member_at), FdbKind::Remote)));
    assert_eq!(member.dropped(DropReason::InnerSourceForeign), 1);
}

#[test]
fn stations_behind_a_trusted_port_are_announced() {
    privileged!();
    let lab = lab(2, 1);
    let members = cluster(&lab, |spec| spec.trust_macs = true);
    let [a, b] = &members[..] else { unreachable!() };
    let [inside, other] = [a, b].map(|member| Port::open(&member.container().netns, INSIDE, MARK));
    let (vni, guest) = (vni(), station(1));
    inside.send(&mark(Mac::BROADCAST, guest, 1));
    let mut told = Vec::new();
    eventually("it is announced", || {
        told.extend(a.vtep.take_announcements());
        !told.is_empty()
    });
    assert_eq!(told, [Announcement { vni, mac: guest, port: Some(a.port) }]);
    // The other node refuses it until the control plane has passed that on.
    eventually("it is refused", || b.dropped(DropReason::InnerSourceForeign) == 1);
    b.hears(&[Update::Station { vni, mac: guest, vtep: a.host.address }]);
    inside.send(&mark(b.mac, guest, 2));
    assert_eq!(numbers(&other.until("the guest", |frame| number(frame).is_some())), [2]);
    other.send(&mark(guest, b.mac, 3));
    assert_eq!(numbers(&inside.until("the answer", |frame| number(frame).is_some())), [3]);
    drop(a.vtep.remove_port(a.port));
    assert_eq!(a.vtep.take_announcements(), [Announcement { vni, mac: guest, port: None }]);
}
