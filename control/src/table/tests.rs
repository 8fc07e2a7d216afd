//! The table's rules, one by one. What follows from all of them under loss is in `exchange_tests`.

use std::net::IpAddr;
use std::time::Duration;

use weft_proto::v1;
use weft_vtep::addr::{Mac, Vni};

use super::*;

mod hostile;
mod logs;
mod mobility;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn vni() -> Vni {
    Vni::new(4096).expect("a VNI")
}

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::new([2, 0, a, b, c, d])
}

fn ip(number: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, number])
}

fn station(number: u32) -> Key {
    Key::Mac(vni(), mac(number))
}

const CLAIM: Value = Value::Mac(Mobility { sequence: 0, orderly: false });

fn origin(node: u64, incarnation: u64) -> Origin {
    Origin { node: NodeId(node), incarnation }
}

/// A node that has presented itself, at 192.0.2.`node`.
fn node(node: u64, incarnation: u64) -> Table {
    let mut table = Table::new(origin(node, incarnation), Limits::default());
    let record = NodeRecord {
        name: format!("n{node}"),
        address: IpAddr::from([192, 0, 2, node as u8]),
        control_port: 7956,
        version: "0".into(),
        signer: false,
    };
    table.put(at(0), Key::Node, Value::Node(Box::new(record))).expect("a node record");
    table.complete();
    table
}

fn changes(table: &mut Table) -> Vec<Change> {
    std::iter::from_fn(|| table.poll_change()).collect()
}

/// Brings what `from` has of `of` to `to`, in small parts.
fn carry(now: Duration, from: &Table, of: Origin, to: &mut Table) {
    loop {
        let (after, snapshot) = to.wanted(of.node);
        let after = if to.position(of.node).is_some_and(|at| at.incarnation == of.incarnation) { after } else { 0 };
        let part = if snapshot { from.snapshot(of, after, 100) } else { from.delta(of, after, 100) };
        let Some(part) = part else { return };
        assert_eq!(to.apply(now, part), Ok(Outcome::Applied));
    }
}

#[test]
fn a_station_is_seen_by_others_until_it_is_taken_back() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), Key::Member(vni()), Value::Member).unwrap();
    a.put(at(0), station(1), CLAIM).unwrap();
    a.put(at(0), Key::Ip(vni(), ip(1)), Value::Ip(mac(1))).unwrap();
    a.put(at(0), Key::Name(vni(), "web".into()), Value::Name(vec![ip(1)])).unwrap();
    a.put(at(0), Key::Block(vni(), "10.77.0.0/28".parse().unwrap()), Value::Block).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    assert_eq!(b.owner(vni(), mac(1)), Some(NodeId(1)));
    assert_eq!(b.station(vni(), ip(1)), Some((mac(1), NodeId(1))));
    assert_eq!(b.members(vni()).collect::<Vec<_>>(), [NodeId(1)]);
    assert_eq!(b.blocks(vni()).collect::<Vec<_>>(), [("10.77.0.0/28".parse().unwrap(), NodeId(1))]);
    assert_eq!(b.resolve(vni(), "web"), [ip(1)]);
    assert_eq!(b.node(NodeId(1)).map(|node| node.name.as_str()), Some("n1"));
    assert_eq!(b.stations().count(), 1);
    assert_eq!(changes(&mut b).len(), 2 + 5, "its own record and the six of the other");
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));

    for key in [station(1), Key::Ip(vni(), ip(1)), Key::Member(vni()), Key::Name(vni(), "web".into())] {
        a.remove(at(1), &key);
    }
    carry(at(1), &a, a.me(), &mut b);
    assert_eq!((b.owner(vni(), mac(1)), b.station(vni(), ip(1)), b.members(vni()).count()), (None, None, 0));
    assert_eq!(changes(&mut b).len(), 4);
    assert_eq!(a.position(NodeId(1)), b.position(NodeId(1)));
}

#[test]
fn a_dead_node_leaves_the_flood_list_at_once_and_its_stations_after_silence() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), Key::Member(vni()), Value::Member).unwrap();
    a.put(at(0), station(1), CLAIM).unwrap();
    a.put(at(0), Key::Block(vni(), "10.77.0.0/28".parse().unwrap()), Value::Block).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    let seen = b.position(NodeId(1));
    changes(&mut b);
    let gone = Change::Member { vni: vni(), node: NodeId(1), present: false };
    b.suspend(at(10), NodeId(1));
    assert_eq!((changes(&mut b), b.members(vni()).count()), (vec![gone], 0));
    b.tick(at(39));
    b.heard(at(39), NodeId(1));
    b.tick(at(68));
    assert_eq!((changes(&mut b), b.owner(vni(), mac(1))), (vec![], Some(NodeId(1))));
    b.tick(at(69));
    let silent = Change::Mac { vni: vni(), mac: mac(1), owner: None };
    assert_eq!((changes(&mut b), b.owner(vni(), mac(1)), b.blocks(vni()).count()), (vec![silent], None, 1));
    // Back in the same life: nothing is sent, all is there.
    b.unsuspend(at(3600), NodeId(1));
    assert_eq!((b.owner(vni(), mac(1)), b.position(NodeId(1)), changes(&mut b).len()), (Some(NodeId(1)), seen, 2));

    // Dead for a day: gone, and no neighbour's copy is taken until it lives again.
    b.suspend(at(4000), NodeId(1));
    b.tick(at(4030));
    b.tick(at(4000 + 86_400));
    assert_eq!((b.position(NodeId(1)), b.blocks(vni()).count(), b.node(NodeId(1))), (None, 0, None));
    let copy = a.snapshot(a.me(), 0, 1 << 20).unwrap();
    assert_eq!(b.apply(at(90_500), copy.clone()), Ok(Outcome::Known));
    b.unsuspend(at(90_600), NodeId(1));
    assert_eq!(b.apply(at(90_600), copy.clone()), Ok(Outcome::Applied));
    // Removed by a person: never again.
    b.forget(at(90_700), NodeId(1));
    assert_eq!((b.owner(vni(), mac(1)), b.apply(at(90_700), copy)), (None, Err(Refused::Gone)));
}

#[test]
fn a_dead_nodes_stations_can_be_claimed_in_good_order() {
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    a.put(at(0), station(1), CLAIM).unwrap();
    carry(at(0), &a, a.me(), &mut b);
    b.suspend(at(1), NodeId(1));
    b.put(at(2), station(1), CLAIM).unwrap();
    assert_eq!(b.mine(&station(1)), Some(&Value::Mac(Mobility { sequence: 1, orderly: true })));
}
