//! The forwarding table, as `weft fdb` shows it.

use std::time::{Duration, Instant};

use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number, numbers, station, vxlan};
use crate::harness::node::Row;
use crate::harness::{eventually, privileged};
use crate::{Stage, VNI, inner, lab};

/// How long a silent station is kept.
const AGEING: Duration = Duration::from_secs(4);

#[test]
fn a_station_is_where_it_was_seen_last() {
    privileged!();
    let lab = lab(3, 1);
    let stage = Stage::set(&lab, "");
    let inside = stage.port(0, MARK);
    let endpoint = stage.node.run("network inspect blue")["endpoints"][0]["endpoint"].as_str().unwrap().to_owned();
    let row = |mac: Mac| stage.node.fdb().get(&(VNI.into(), mac)).cloned();
    assert_eq!(row(stage.macs[0]), Some(Row { kind: "local".into(), place: endpoint }));
    assert_eq!(stage.node.fdb().len(), 1);
    let mut calls = 0;
    // It comes, moves, moves back; every time what is meant for it follows.
    for n in [0, 1, 0] {
        stage.vteps[n].send(&vxlan(VNI, &mark(stage.macs[0], station(1), 1)));
        inside.find("the station", |frame| number(frame) == Some(1));
        assert_eq!(row(station(1)), Some(Row::learned(&lab.hosts[n + 1])));
        calls += 1;
        inside.send(&mark(station(1), stage.macs[0], 100 + calls));
        inside.send(&mark(Mac::BROADCAST, stage.macs[0], 200 + calls));
        for vtep in [0, 1] {
            let heard = stage.vteps[vtep].until("the call to all", |d| number(&d[8..]) == Some(200 + calls));
            let expected = if vtep == n { vec![100 + calls, 200 + calls] } else { vec![200 + calls] };
            assert_eq!(numbers(&inner(&heard)), expected, "at the VTEP {vtep}");
        }
    }
    assert_eq!(stage.node.fdb().len(), 2);
    stage.node.is_well();
}

#[test]
fn a_silent_station_is_forgotten_and_one_that_speaks_is_not() {
    privileged!();
    let lab = lab(2, 1);
    let stage = Stage::set(&lab, &format!("-o ageing={}", AGEING.as_secs()));
    let inside = stage.port(0, MARK);
    let say = |who: u32, what: u32| {
        stage.vteps[0].send(&vxlan(VNI, &mark(stage.macs[0], station(who), what)));
        inside.find("the station", |frame| number(frame) == Some(what));
    };
    let known = || [1, 2].map(|who| stage.node.fdb().contains_key(&(VNI.into(), station(who))));
    say(1, 1);
    say(2, 2);
    assert_eq!(known(), [true, true]);
    let (mut what, mut said) = (2, Instant::now());
    eventually("the silent one is forgotten", || {
        let still = known()[1];
        // On a machine that stood still for long it may have been silent too.
        assert!(still || said.elapsed() > AGEING - Duration::from_secs(1), "forgotten though it spoke");
        what += 1;
        said = Instant::now();
        say(2, what);
        !known()[0]
    });
    // An endpoint is not learned and does not age.
    assert_eq!(stage.node.fdb()[&(VNI.into(), stage.macs[0])].kind, "local");
    say(1, 1);
    assert_eq!(known(), [true, true]);
    stage.node.is_well();
}
