//! Engines on the hosts of a cluster.

use crate::harness::{eventually, privileged};
use crate::{IMAGE, engines, lab, members};

#[test]
fn a_network_of_the_cluster_serves_the_engines_of_all_its_hosts() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = members(&lab, &[]);

    // Docker makes it on one host, and it is there on the other.
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 -o network=blue -o plain blue");
    b.has_network("blue");
    let (x, y) = (a.container("left", "--network blue"), b.container("right", "--network blue"));
    assert_ne!(x, y);
    eventually("each reaches the other", || a.reaches("left", &y) && b.reaches("right", &x));

    // An address goes with its container from one host to the other.
    a.container("guest", "--network blue --ip 10.8.200.1");
    eventually("it is reached where it was", || b.reaches("right", "10.8.200.1"));
    let taken = b.engine.refused(&format!("run --rm --network blue --ip 10.8.200.1 {IMAGE} ip addr"));
    assert!(taken.contains("10.8.200.1"), "{taken}");
    a.engine.run("rm --force guest");
    eventually("the address is free for the other host", || {
        b.engine
            .docker(&format!("run --detach --name guest --network blue --ip 10.8.200.1 {IMAGE} sleep 1000"))
            .status
            .success()
            || {
                b.engine.docker("rm --force guest");
                false
            }
    });
    eventually("it is reached where it is now", || a.reaches("left", "10.8.200.1"));

    // The network goes with the engine's that it was made for, once nobody is on it any more.
    a.engine.run("rm --force left");
    a.engine.run("network rm blue");
    assert!(b.reaches("right", "10.8.200.1"), "it is still there for those that use it");
    b.engine.run("rm --force right guest");
    eventually("it is gone everywhere", || b.node().run("network ls").as_array().unwrap().is_empty());
    a.node().is_well();
    b.node().is_well();
}
