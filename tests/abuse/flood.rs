//! More stations than the table holds.

use weft::lab::{Lab, LabSpec, kernel::INSIDE};
use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::node::{Node, Row};
use crate::harness::port::Port;
use crate::harness::privileged;
use crate::harness::process::resident;
use crate::harness::vtep::Vtep;
use crate::{KNOWN, VNI, quiet};

/// Learned addresses of a network, at the most.
const CAP: usize = 16_384;
/// Stations that speak, and how many of them before the flood waits for weft.
const STATIONS: u32 = 20_000;
const ROUND: u32 = 500;
/// A number that no other mark has.
const LAST: u32 = 999_999;

#[test]
fn a_flood_of_stations_fills_the_table_and_no_more() {
    privileged!();
    let lab = Lab::build(LabSpec::new(3)).unwrap();
    let [first, second, third] = &lab.hosts[..] else { panic!("a lab of three hosts") };
    let (flooder, other) = (Vtep::on(second, first), Vtep::on(third, first));
    let node = Node::start(first);
    let mac = quiet(&node, &[second, third])[0];
    let inside = Port::open(&first.containers[0].netns, INSIDE, MARK);
    let say = |vtep: &Vtep, source: u32, what: u32| vtep.send(&vxlan(VNI, &mark(mac, station(source), what)));
    // A station that is known before the flood, behind the other VTEP.
    say(&other, KNOWN, 1);
    inside.find("the known station", |frame| number(frame) == Some(1));
    let (before, memory) = (node.stats(), resident(node.daemon.pid()));
    for round in (1_000..1_000 + STATIONS).step_by(ROUND as usize) {
        for source in round..round + ROUND {
            say(&flooder, source, source);
        }
        // Those that find no room in the table are served all the same.
        let heard = inside.until("the end of a round", |frame| number(frame) == Some(round + ROUND - 1));
        assert_eq!(numbers(&heard), (round..round + ROUND).collect::<Vec<_>>());
    }
    let fdb = node.fdb();
    assert_eq!(fdb.values().filter(|row| row.kind == "learned").count(), CAP);
    assert_eq!(fdb.get(&(VNI.into(), station(KNOWN))), Some(&Row::learned(third)));
    // About 100 bytes each were promised; a debug build and the allocator may take their share.
    assert!(
        resident(node.daemon.pid()) < memory + (16 << 20),
        "from {memory} to {} bytes",
        resident(node.daemon.pid())
    );

    // The known flow goes on, to its VTEP alone, and from it.
    inside.send(&mark(station(KNOWN), mac, 2));
    inside.send(&mark(Mac::BROADCAST, mac, LAST));
    for (vtep, expected) in [(&flooder, vec![LAST]), (&other, vec![2, LAST])] {
        let heard = vtep.until("the call to all", |datagram| number(&datagram[8..]) == Some(LAST));
        assert_eq!(numbers(&heard.iter().map(|datagram| datagram[8..].to_vec()).collect::<Vec<_>>()), expected);
    }
    say(&other, KNOWN, 3);
    inside.find("the known station", |frame| number(frame) == Some(3));
    assert_eq!(node.stats().drops_since(&before), Default::default());
    node.is_well();
}
