//! Daemons beside a member whose program is of another version.

use weft::lab::LabSpec;
use weft_control::cluster::{Event, Input};
use weft_control::objects::Kind;
use weft_control::table::{Key, OtherKey, Value};

use crate::Cluster;
use crate::harness::{eventually, privileged};
use crate::stand_in::StandIn;

/// What only the later version knows comes to a daemon that joins, and through a daemon's disk.
#[test]
fn what_only_a_later_version_knows_is_kept_by_daemons() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(3));
    let token = cluster.token(0);
    let stand_in = StandIn::join(cluster.host(2), cluster.host(0), &token, 1..=2);
    let key = Key::Other(Box::new(OtherKey { vni: 0, kind: 12, data: b"a port".as_slice().into() }));
    stand_in.tell(Input::Put(key, Value::Other(b"8080".as_slice().into())));
    let (kind, id) = (Kind::Other(77), "rule".to_owned());
    stand_in.tell(Input::PutObject { kind, id: id.clone(), value: b"{\"allow\":1}".to_vec() });
    cluster.join(1, 0, &token);
    let agree = |cluster: &Cluster, nodes: &[usize]| {
        for n in nodes {
            eventually(&format!("node{} agrees with the other two", n + 1), || {
                let status = cluster.json(*n, "status");
                status["members_agreeing"] == 3 && status["members_alive"] == 3
            });
        }
    };
    agree(&cluster, &[0, 1]);
    eventually("the later version finds its own again", || {
        stand_in.look(|core| core.agreeing() == 2 && core.objects().get(kind, &id).is_some())
    });
    cluster.crash(1);
    cluster.start(1);
    agree(&cluster, &[0, 1]);
    for n in [0, 1] {
        let wrong = |kind: &String| kind == "refused" || kind == "incompatible" || kind == "usurped";
        assert!(!cluster.events(n).iter().any(wrong), "{:?}", cluster.events(n));
    }
}

#[test]
fn versions_that_have_nothing_in_common_say_so_on_both_sides() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(2));
    let token = cluster.token(0);
    // It was let in when both spoke the first version, and was upgraded twice since.
    let stand_in = StandIn::join_as(cluster.host(1), cluster.host(0), &token, 1..=2, 2..=3);
    eventually("the daemon says so", || {
        let events = cluster.json(0, "events");
        let said = "speaks versions 2 to 3 of the protocol, this node 1 to 1: upgrade the older one";
        events.as_array().unwrap().iter().any(|event| {
            event["kind"] == "incompatible" && event["text"].as_str().is_some_and(|text| text.contains(said))
        })
    });
    eventually("the other says so", || {
        let said = |event: &Event| matches!(event, Event::Incompatible { theirs: (1, 1), ours: (2, 3), .. });
        stand_in.events().iter().any(said)
    });
    // Nobody is let in who could not speak with the others.
    let refused = StandIn::refused(cluster.host(1), cluster.host(0), &token, 2..=3);
    assert!(refused.contains("versions 2 to 3") && refused.contains("use a version"), "{refused}");
}
