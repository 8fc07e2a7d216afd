//! Who may speak for which address.

use std::collections::BTreeMap;

use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::node::Row;
use crate::harness::privileged;
use crate::{Stage, VNI, inner, lab};

const LAST: u32 = 999_999;

fn is_last(frame: &[u8]) -> bool {
    number(frame) == Some(LAST)
}

#[test]
fn an_endpoint_speaks_for_itself_alone() {
    privileged!();
    let lab = lab(2, 2);
    let stage = Stage::set(&lab, "");
    let [from, other] = [0, 1].map(|n| stage.port(n, MARK));
    let (before, fdb) = (stage.node.stats(), stage.node.fdb());
    for foreign in [station(1), stage.macs[1], Mac::BROADCAST, Mac::new([0; 6])] {
        from.send(&mark(Mac::BROADCAST, foreign, 1));
        from.send(&mark(stage.macs[1], foreign, 2));
    }
    from.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    assert_eq!(numbers(&other.until("the last", is_last)), [LAST]);
    assert_eq!(numbers(&inner(&stage.vteps[0].until("the last", |datagram| is_last(&datagram[8..])))), [LAST]);
    assert_eq!(stage.node.stats().drops_since(&before), BTreeMap::from([("source_mac_foreign".into(), 8)]));
    assert_eq!(stage.node.fdb(), fdb);
    stage.node.is_well();
}

/// A container with a bridge in it, or virtual machines.
#[test]
fn with_trust_macs_an_endpoint_speaks_for_others_behind_it() {
    privileged!();
    let lab = lab(2, 2);
    let stage = Stage::set(&lab, "-o trust-macs");
    let [from, other] = [0, 1].map(|n| stage.port(n, MARK));
    let before = stage.node.stats();
    let own = stage.node.fdb()[&(VNI.into(), stage.macs[0])].place.clone();
    from.send(&mark(Mac::BROADCAST, station(1), 1));
    from.send(&mark(stage.macs[1], station(1), 2));
    // Not for another endpoint, and not for what no station is.
    for refused in [stage.macs[1], Mac::BROADCAST, Mac::new([0; 6])] {
        from.send(&mark(Mac::BROADCAST, refused, 3));
    }
    from.send(&mark(Mac::BROADCAST, stage.macs[0], LAST));
    assert_eq!(numbers(&other.until("the last", is_last)), [1, 2, LAST]);
    assert_eq!(numbers(&inner(&stage.vteps[0].until("the last", |datagram| is_last(&datagram[8..])))), [1, LAST]);
    assert_eq!(stage.node.stats().drops_since(&before), BTreeMap::from([("source_mac_foreign".into(), 3)]));
    assert_eq!(stage.node.fdb().get(&(VNI.into(), station(1))), Some(&Row { kind: "learned".into(), place: own }));
    // Answers find their way; what nobody has spoken for yet is asked of both.
    stage.vteps[0].send(&vxlan(VNI, &mark(station(1), station(9), 4)));
    stage.vteps[0].send(&vxlan(VNI, &mark(station(2), station(9), 5)));
    stage.vteps[0].send(&vxlan(VNI, &mark(Mac::BROADCAST, station(9), LAST)));
    assert_eq!(numbers(&from.until("the last", is_last)), [4, 5, LAST]);
    assert_eq!(numbers(&other.until("the last", is_last)), [5, LAST]);
    stage.node.is_well();
}
