//! Containers find each other by name on every host of a cluster, with nothing said on `docker run`.

use std::collections::BTreeSet;
use std::hint;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::harness::node::Node;
use crate::harness::{eventually, privileged};
use crate::{IMAGE, Site, engines, lab, members};

impl Site<'_> {
    /// What a container is told of a name: addresses, or names of an address.
    fn lookup(&self, container: &str, name: &str) -> BTreeSet<String> {
        told(&self.engine.docker(&format!("exec {container} nslookup {name}")).stdout)
    }

    pub(crate) fn finds(&self, container: &str, name: &str, addresses: &[&str]) {
        let expected = addresses.iter().map(ToString::to_string).collect();
        eventually(&format!("{container} finds {name} at {addresses:?}"), || self.lookup(container, name) == expected);
    }
}

/// What `nslookup` says of a name, behind what it says of its server.
fn told(said: &[u8]) -> BTreeSet<String> {
    let said = String::from_utf8_lossy(said);
    let answer = said.split_once("\n\n").map_or("", |(_, answer)| answer);
    let of_line = |line: &str| {
        let address = line.strip_prefix("Address: ").or_else(|| line.split_once("name = ").map(|(_, name)| name));
        address.map(|text| text.trim().to_owned())
    };
    answer.lines().filter_map(of_line).collect()
}

#[test]
fn containers_find_each_other_by_name_across_hosts() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 -o network=blue blue");
    b.has_network("blue");
    let x = a.container("left", "--network blue --network-alias web --restart always");
    let y = b.container("Right", "--network blue --network-alias web");
    a.finds("left", "right", &[&y]);
    b.finds("Right", "left", &[&x]);
    // An alias is everybody's who has it; a network's name may stand behind a container's; an id is a name, too.
    for (site, container) in [(&a, "left"), (&b, "Right")] {
        site.finds(container, "web", &[&x, &y]);
        site.finds(container, "web.blue", &[&x, &y]);
    }
    let id = b.engine.run("inspect --format '{{.Id}}' Right");
    a.finds("left", &id[..12], &[&y]);
    a.finds("left", &y, &["right.blue"]);
    // It knows the others from its first moment on.
    let first = b.engine.run(&format!("run --rm --network blue {IMAGE} nslookup left"));
    assert_eq!(told(first.as_bytes()), BTreeSet::from([x.clone()]));

    // Names follow their containers: what they are called, where they are, whether they are.
    b.engine.run("rename Right other");
    a.finds("left", "other", &[&y]);
    a.finds("left", "right", &[]);
    b.engine.run("network disconnect blue other");
    a.finds("left", "web", &[&x]);
    b.engine.run("network connect --ip 10.8.200.1 --alias far blue other");
    for name in ["other", "far"] {
        a.finds("left", name, &["10.8.200.1"]);
    }
    b.engine.run("restart --time 0 other");
    a.finds("left", "far", &["10.8.200.1"]);
    b.finds("other", "left", &[&x]);

    // Who crashes comes back with all names, and knows those of others.
    b.crash_weft();
    a.finds("left", "far", &["10.8.200.1"]);
    b.finds("other", "left", &[&x]);
    a.engine.restart(true);
    let x = || a.address("left", "blue");
    eventually("the container is back", || !x().is_empty());
    b.finds("other", "left", &[&x()]);
    a.finds("left", "other", &["10.8.200.1"]);

    b.engine.run("rm --force other");
    a.finds("left", "other", &[]);
    a.finds("left", "far", &[]);
    a.node().is_well();
    b.node().is_well();
}

/// The engine starts a container without waiting for weft, which has to have a resolver there in time. In a gate the tests
/// beside this one keep the machine busy; for full counts it does so itself.
#[test]
fn a_container_s_first_question_is_answered_on_a_busy_machine() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = members(&lab, &[]);
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 blue");
    b.has_network("blue");
    let left = a.container("left", "--network blue");
    b.container("right", "--network blue");
    b.finds("right", "left", &[&left]);
    let over = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let busy = if std::env::var_os("WEFT_DOCKER_ROUNDS").is_some() { 3 * cores } else { 0 };
    let first: Vec<_> = thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let ask = |_| b.engine.docker(&format!("run --rm --network blue {IMAGE} nslookup left"));
        let first = (0..5).map(ask).collect();
        over.store(true, Ordering::Relaxed);
        first
    });
    for said in &first {
        assert_eq!(told(&said.stdout), BTreeSet::from([left.clone()]), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn what_weft_does_not_know_the_engine_answers() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, b] = members(&lab, &[]);
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 -o network=blue blue");
    a.engine.run("network create local");
    answer_for_outside(&a);
    a.container("left", "--network blue --dns 172.18.0.1");
    let alone = a.engine.run(&format!("run --detach --name alone --network local {IMAGE} sleep 100000"));
    a.engine.run("network connect local left");
    let alone = a.address(&alone, "local");
    a.finds("left", "alone", &[&alone]);
    a.finds("left", "outside.example", &["192.0.2.7"]);
    a.finds("left", "nobody", &[]);
    // Without weft the engine is asked as ever, and again when weft is back.
    let y = a.container("near", "--network blue");
    a.finds("left", "near", &[&y]);
    a.node = None;
    assert_eq!(a.lookup("left", "near"), BTreeSet::from([y.clone()]));
    assert_eq!(a.lookup("left", "outside.example"), BTreeSet::from(["192.0.2.7".to_owned()]));
    a.node = Some(Node::again(a.host, &[]));
    assert_eq!(a.lookup("left", "near"), BTreeSet::from([y]));
    assert_eq!(a.lookup("left", "outside.example"), BTreeSet::from(["192.0.2.7".to_owned()]));
    drop(b);
}

/// A name server beside the engine, which knows one name.
fn answer_for_outside(site: &Site<'_>) {
    let socket = site.host.run(|| UdpSocket::bind("0.0.0.0:53")).unwrap().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
            let Ok(mut message) = Message::from_vec(&buffer[..length]) else { continue };
            message.metadata.message_type = MessageType::Response;
            let query = message.queries[0].clone();
            if query.name.to_string() == "outside.example." && query.query_type == RecordType::A {
                let data = RData::A(A::new(192, 0, 2, 7));
                message.add_answer(Record::from_rdata(query.name, 60, data));
            }
            let _ = socket.send_to(&message.to_vec().unwrap(), asker);
        }
    });
}
