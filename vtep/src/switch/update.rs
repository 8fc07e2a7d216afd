//! What the control plane tells the switch of managed networks.
//!
//! Enters: a batch of [`Update`]s and the view. Leaves: changed tables, and the flood lists of those networks whose
//! members changed, for the caller to publish in one new view. What is said of a network that is not here, or not
//! managed, or of a VTEP of another address family than the tunnel's, means nothing and changes nothing: the whole cluster hears of
//! all networks, so when a network is made here, the caller tells everything of it again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::flood::FloodList;
use super::view::{Segment, View};
use crate::addr::{Mac, Vni};

/// One change. Each is idempotent; the order of a batch counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// The station lives behind the VTEP. One behind this very node is [`Update::NoStation`]: its port says where.
    Station {
        /// The network.
        vni: Vni,
        /// The station.
        mac: Mac,
        /// The VTEP.
        vtep: IpAddr,
    },
    /// The station lives behind no other VTEP. If a local port has it, it is there from now on.
    NoStation {
        /// The network.
        vni: Vni,
        /// The station.
        mac: Mac,
    },
    /// Whoever asks for the address gets the MAC for an answer; also for addresses of this node's endpoints.
    Neighbor {
        /// The network.
        vni: Vni,
        /// The address.
        ip: IpAddr,
        /// The station that has it.
        mac: Mac,
    },
    /// Whoever asks for the address asks the whole network.
    NoNeighbor {
        /// The network.
        vni: Vni,
        /// The address.
        ip: IpAddr,
    },
    /// Group frames of the network go to the VTEP. This very node is nobody to send to.
    Member {
        /// The network.
        vni: Vni,
        /// The VTEP.
        vtep: IpAddr,
    },
    /// They no longer do. Frames of stations that live there are still taken.
    NoMember {
        /// The network.
        vni: Vni,
        /// The VTEP.
        vtep: IpAddr,
    },
}

impl Update {
    fn vni(&self) -> Vni {
        match *self {
            Update::Station { vni, .. }
            | Update::NoStation { vni, .. }
            | Update::Neighbor { vni, .. }
            | Update::NoNeighbor { vni, .. }
            | Update::Member { vni, .. }
            | Update::NoMember { vni, .. } => vni,
        }
    }
}

/// Makes the changes, in order, for a node whose own VTEP is `here`. Changes of ports must wait meanwhile.
pub fn apply<D>(view: &View<D>, here: IpAddr, updates: &[Update]) -> Vec<(Vni, FloodList)> {
    let mut memberships: BTreeMap<Vni, BTreeSet<IpAddr>> = BTreeMap::new();
    let reachable = |vtep: IpAddr| vtep.is_ipv6() == here.is_ipv6();
    for update in updates {
        let Some(segment) = view.segments.get(&update.vni()).filter(|segment| segment.spec.managed) else { continue };
        match *update {
            Update::Station { mac, vtep, .. } if vtep != here && reachable(vtep) => segment.fdb.set_remote(mac, vtep),
            Update::Station { mac, .. } | Update::NoStation { mac, .. } => no_station(segment, mac),
            Update::Neighbor { ip, mac, .. } => segment.neighbors.set(ip, mac),
            Update::NoNeighbor { ip, .. } => segment.neighbors.remove(ip),
            Update::Member { vtep, .. } if vtep != here && reachable(vtep) => {
                members(&mut memberships, segment).insert(vtep);
            }
            Update::Member { .. } => {}
            Update::NoMember { vtep, .. } => {
                members(&mut memberships, segment).remove(&vtep);
            }
        }
    }
    let list = |(vni, members)| {
        let segment = view.segments.get(&vni)?;
        let list = FloodList::new(&members, &segment.spec.remotes);
        (list != *segment.flood).then_some((vni, list))
    };
    memberships.into_iter().filter_map(list).collect()
}

/// The members as the batch has left them so far.
fn members<'a, D>(
    memberships: &'a mut BTreeMap<Vni, BTreeSet<IpAddr>>,
    segment: &Segment<D>,
) -> &'a mut BTreeSet<IpAddr> {
    memberships.entry(segment.spec.vni).or_insert_with(|| segment.flood.members().collect())
}

fn no_station<D>(segment: &Segment<D>, mac: Mac) {
    if segment.fdb.remove_remote(mac)
        && let Some(port) = segment.ports.iter().find(|port| port.mac == mac)
    {
        segment.fdb.set_local(mac, port.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::addr::PortId;
    use crate::switch::view::Port;
    use crate::switch::{NetworkSpec, Place};

    const PLAIN: u32 = 1;
    const MANAGED: u32 = 2;
    const OWN: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const FAR: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn vtep(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    /// This node is `vtep(1)`; both networks have one port and the remote `vtep(9)`.
    fn view() -> View<()> {
        let mut view = View::default();
        for (number, managed) in [(PLAIN, false), (MANAGED, true)] {
            let spec = NetworkSpec { managed, remotes: vec![vtep(9)], ..NetworkSpec::new(vni(number), 1450) };
            let mut segment = Segment::new(spec, 7);
            segment.ports.push(Arc::new(Port::new(PortId(number), vni(number), OWN, ())));
            segment.fdb.set_local(OWN, PortId(number));
            view.segments.insert(vni(number), segment);
        }
        view
    }

    fn place(view: &View<()>, mac: Mac) -> Option<Place> {
        view.segments[&vni(MANAGED)].fdb.lookup(mac)
    }

    #[test]
    fn a_station_comes_moves_and_goes() {
        let (view, here, vni) = (view(), vtep(1), vni(MANAGED));
        let station = |vtep| Update::Station { vni, mac: FAR, vtep };
        let at = |updates: &[Update]| {
            assert_eq!(apply(&view, here, updates), []);
            place(&view, FAR)
        };
        assert_eq!(at(&[station(vtep(2))]), Some(Place::Vtep(vtep(2))));
        assert_eq!(at(&[station(vtep(4)), station(vtep(3))]), Some(Place::Vtep(vtep(3))));
        assert_eq!(at(&[Update::NoStation { vni, mac: FAR }]), None);
        assert_eq!(at(&[station(here)]), None, "no frame goes to itself");
        assert_eq!(at(&[station("fd00::1".parse().unwrap())]), None, "no tunnel reaches it");
    }

    #[test]
    fn an_endpoint_gets_its_address_back() {
        let (view, here, vni) = (view(), vtep(1), vni(MANAGED));
        for back in [Update::NoStation { vni, mac: OWN }, Update::Station { vni, mac: OWN, vtep: here }] {
            apply(&view, here, &[Update::Station { vni, mac: OWN, vtep: vtep(2) }]);
            assert_eq!(place(&view, OWN), Some(Place::Vtep(vtep(2))));
            apply(&view, here, &[back]);
            assert_eq!(place(&view, OWN), Some(Place::Local(PortId(MANAGED))));
            apply(&view, here, &[back]);
            assert_eq!(place(&view, OWN), Some(Place::Local(PortId(MANAGED))), "said twice");
        }
    }

    #[test]
    fn a_batch_makes_one_list_of_the_members_that_are_left() {
        let (view, here, vni) = (view(), vtep(1), vni(MANAGED));
        let (come, go) = (|vtep| Update::Member { vni, vtep }, |vtep| Update::NoMember { vni, vtep });
        let batch = [come(vtep(3)), come(here), come(vtep(2)), go(vtep(3)), come(vtep(5)), come(vtep(5)), go(vtep(9))];
        let lists = apply(&view, here, &batch);
        let [(network, list)] = &lists[..] else { panic!("{lists:?}") };
        assert_eq!((*network, list.all()), (vni, &[vtep(2), vtep(5), vtep(9)][..]));
        assert_eq!(list.remotes(), [vtep(9)], "what the user said stays");
        assert_eq!(apply(&view, here, &[come(vtep(2)), go(vtep(2))]), [], "nothing has changed");
    }

    #[test]
    fn nothing_is_told_of_networks_that_are_not_managed() {
        let (view, vni) = (view(), vni(PLAIN));
        let batch = [
            Update::Station { vni, mac: FAR, vtep: vtep(2) },
            Update::Neighbor { vni, ip: vtep(50), mac: FAR },
            Update::Member { vni, vtep: vtep(2) },
            Update::Member { vni: self::vni(77), vtep: vtep(2) },
        ];
        assert_eq!(apply(&view, vtep(1), &batch), []);
        let segment = &view.segments[&vni];
        assert_eq!((segment.fdb.lookup(FAR), segment.neighbors.lookup(vtep(50))), (None, None));
    }

    /// A large cluster's whole table, said twice and taken back: no address is lost, and its memory is used again.
    #[test]
    fn a_hundred_thousand_stations_come_and_go() {
        const COUNT: u32 = 100_000;
        let (mut view, vni) = (view(), vni(MANAGED));
        let mac = |n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            Mac::new([2, 1, 0, a, b, c])
        };
        let ip = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let vtep = |n: u32| IpAddr::from([198, 18, 0, (n % 250) as u8]);
        let come = |n| {
            let station = Update::Station { vni, mac: mac(n), vtep: vtep(n) };
            [station, Update::Neighbor { vni, ip: ip(n), mac: mac(n) }, Update::Member { vni, vtep: vtep(n) }]
        };
        let go = |n| {
            let station = Update::NoStation { vni, mac: mac(n) };
            [station, Update::NoNeighbor { vni, ip: ip(n) }, Update::NoMember { vni, vtep: vtep(n) }]
        };
        let come: Vec<_> = (0..COUNT).flat_map(come).collect();
        let go: Vec<_> = (0..COUNT).flat_map(go).collect();
        let tell = |view: &mut View<()>, updates: &[Update]| {
            let lists = apply(view, vtep(0), updates);
            for (vni, list) in lists {
                view.segments.get_mut(&vni).unwrap().flood = Arc::new(list);
            }
        };
        let mut round = || {
            tell(&mut view, &come);
            tell(&mut view, &come);
            let segment = &view.segments[&vni];
            // Every 250th lives at this very node, for which no port speaks.
            assert_eq!(segment.fdb.rows().len() as u32, COUNT - COUNT / 250 + 1);
            assert_eq!(segment.fdb.lookup(mac(99_999)), Some(Place::Vtep(vtep(99_999))));
            assert_eq!(
                (segment.neighbors.lookup(ip(99_999)), segment.flood.members().count()),
                (Some(mac(99_999)), 249)
            );
            tell(&mut view, &go);
            let segment = &view.segments[&vni];
            assert_eq!((segment.fdb.rows().len(), segment.flood.members().count()), (1, 0));
        };
        round();
        let more = allocation_counter::measure(|| (0..3).for_each(|_| round()));
        assert!(more.bytes_current <= 0, "{more:?}");
    }
}
