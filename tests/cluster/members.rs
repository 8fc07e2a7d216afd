//! Members that leave, and members that are removed.

use weft::lab::LabSpec;

use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text, try_up};

#[test]
fn a_node_leaves_when_it_has_no_endpoints() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    let said = cluster.refused(2, "leave");
    assert!(said.contains("1 endpoint") && said.contains("detach"), "{said}");
    cluster.json(2, &format!("detach {}", cluster.endpoint(2)));
    assert_eq!(cluster.json(2, "leave"), serde_json::json!({"left": true}));
    for n in [0, 1] {
        eventually("the others know who has left", || cluster.state(n, 2) == "left");
    }
    // Nothing is sealed for it any more, nor asked of the path to it: who gets its address is another.
    let left = cluster.host(2).address.to_string();
    let sessions = cluster.json(0, "status")["sessions"].clone();
    let of = |session: &serde_json::Value| session.to_string().contains("node3") || session.to_string().contains(&left);
    assert!(!sessions.as_array().unwrap().iter().any(of), "{sessions}");
    // The daemon has ended by itself, and well.
    assert!(cluster.daemons[2].take().unwrap().stop().unwrap().success());
    cluster.converge();
    cluster.ping_all(&[0, 1]);
    // It has forgotten that it was one; with a token it is one again.
    let said = try_up(cluster.host(2), &[]);
    assert!(said.contains("--join"), "{said}");
    let token = cluster.token(1);
    cluster.join(2, 1, &token);
    cluster.converge();
    let container = &cluster.lab.hosts[2].containers[0];
    cluster.attach_soon(2, BLUE, &format!("--ip {} --ip {}", container.v4, container.v6));
    // It has another MAC address now, which the others' containers find out in their own time.
    for n in [0, 1] {
        cluster.ping_soon(n, cluster.container(2).ip());
        cluster.ping_soon(n, cluster.container(2).ip6());
    }
    cluster.ping_all(&[0, 1, 2]);
    for n in [0, 1, 2] {
        let peers: Vec<_> = cluster.json(n, "status")["sessions"].as_array().unwrap().clone();
        let names: std::collections::BTreeSet<_> = peers.iter().map(|session| text(&session["peer"])).collect();
        assert_eq!(names.len(), 2, "{peers:?}");
    }
}

#[test]
fn a_removed_node_is_refused_and_its_addresses_are_free() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(4), &[]);
    let (container, id) = (cluster.container(3).v4.to_string(), text(&cluster.json(3, "status")["id"]));
    assert!(cluster.refused(0, "members rm node1").contains("cannot remove itself"));
    assert!(cluster.refused(0, "members rm nobody").contains("no member `nobody`"));
    let said = cluster.refused(3, "members rm node1");
    assert!(said.contains("no signer"), "{said}");
    // It is removed while it lives.
    assert_eq!(cluster.json(0, "members rm node4")["state"], "dead");
    for n in [0, 1, 2] {
        eventually("it is alive to nobody", || !matches!(cluster.state(n, 3).as_str(), "alive" | "suspect"));
        eventually("it is told", || cluster.events(n).contains(&"member_removed".to_owned()));
    }
    eventually("it hears that itself", || cluster.events(3).contains(&"removed".to_owned()));
    // Nothing of its containers goes anywhere any more.
    let ping = weft::traffic::ping::once(&cluster.container(3).netns, cluster.container(0).ip(), SHORT).unwrap();
    assert_eq!(ping, None, "a removed node still reaches the others");

    // Its certificate does not let it in again.
    cluster.crash(3);
    cluster.start(3);
    eventually("it is refused", || cluster.events(0).contains(&"connection_refused".to_owned()));
    for n in [0, 1, 2] {
        assert!(!matches!(cluster.state(n, 3).as_str(), "alive" | "suspect"), "{}", cluster.state(n, 3));
    }
    assert_eq!(cluster.json(3, "status")["id"], id.as_str());
    eventually("it is told why", || cluster.events(3).contains(&"refused_by_member".to_owned()));
    cluster.stop(3);
    cluster.converge();

    // And what it held is had by others.
    let netns = weft::sandbox::Netns::anonymous().unwrap();
    let line = format!("attach {BLUE} --netns {} --ip {container}", netns.path().display());
    eventually("its address is free", || cluster.run(0, &line).status.success());
    let owner = cluster.json(1, "neigh");
    let rows = owner.as_array().unwrap();
    let ip = container.split('/').next().unwrap();
    eventually("the others know who has it", || {
        cluster.json(1, "neigh").as_array().unwrap().iter().any(|row| row["ip"] == ip && row["node"] == "node1")
    });
    assert!(rows.iter().all(|row| row["node"] != "node4"), "{owner}");
}

/// A member that was broken into may have been there first, with a clock that nothing outranks.
#[test]
fn a_removal_that_the_cluster_does_not_take_is_no_success() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.converge();
    let id = text(&cluster.json(1, "status")["id"]);
    cluster.stop(0);
    let forestall = || {
        let file = "/run/weft/state/objects.json";
        let mut objects: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let (clock, writer) = ((1_u64 << 62) - 1, "ffffffffffffffff");
        let grave = serde_json::json!({"kind": 3, "id": id, "clock": clock, "writer": writer});
        objects.as_array_mut().unwrap().push(grave);
        std::fs::write(file, objects.to_string()).unwrap();
    };
    cluster.host(0).run(forestall).unwrap();
    cluster.start(0);
    eventually("it is there again", || cluster.state(0, 1) == "alive");
    let said = cluster.refused(0, "members rm node2");
    assert!(said.contains("the cluster has not taken it"), "{said}");
}

/// So long nothing comes from a node that is out. It would take less than a millisecond.
const SHORT: std::time::Duration = std::time::Duration::from_secs(2);

#[test]
fn a_removed_host_is_let_in_as_somebody_new() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(3), &[]);
    let old = text(&cluster.json(2, "status")["id"]);
    cluster.crash(2);
    cluster.json(0, "members rm node3");
    cluster.converge();
    let forget = || std::fs::remove_dir_all("/run/weft/state");
    cluster.host(2).run(forget).unwrap().unwrap();
    let token = cluster.token(1);
    cluster.join(2, 1, &token);
    cluster.converge();
    assert_ne!(cluster.json(2, "status")["id"], old.as_str());
    // What a newcomer is told of removals it remembers whatever becomes of the objects, as those do who heard it happen.
    for n in [0, 1, 2] {
        let denied = || std::fs::read_to_string("/run/weft/state/denied.json").unwrap_or_default();
        eventually("the removal is on its disk", || cluster.host(n).run(denied).unwrap().contains(&old));
    }
    let netns = weft::sandbox::Netns::anonymous().unwrap();
    cluster.json(2, &format!("attach {BLUE} --netns {}", netns.path().display()));
    let ip = text(&cluster.json(2, &format!("network inspect {BLUE}"))["endpoints"][0]["ips"][0]);
    cluster.ping(0, ip.split('/').next().unwrap().parse().unwrap());
}
