//! What can be said when a network or a container is made, and what is refused.

use crate::harness::{eventually, privileged};
use crate::{IMAGE, Site, engines, lab};

#[test]
fn networks_are_made_as_docker_is_told() {
    privileged!();
    engines!();
    let lab = lab();
    let [one, other] = &lab.hosts[..] else { panic!("two hosts") };
    let (a, b) = (Site::start(one), Site::start(other));
    for (site, peer, range) in [(&a, other, "10.5.1.0/24"), (&b, one, "10.5.2.0/24")] {
        let remote = peer.address;
        site.engine.run(&format!(
            "network create -d weft --ipam-driver weft --subnet 10.5.0.0/16 --ip-range {range} --gateway 10.5.0.254 \
             --aux-address 'printer=10.5.1.0' --ipv6 --subnet fd05::/64 -o network=blue -o plain -o vni=5005 -o mtu=1400 \
             -o remote={remote} blue"
        ));
    }
    let network = a.node().run("network inspect blue");
    assert_eq!((&network["vni"], &network["mtu"], &network["mode"]), (&5005.into(), &1400.into(), &"plain".into()));
    assert_eq!(network["subnets"][0]["gateway"], "10.5.0.254");
    // The first of the range is the printer's.
    assert_eq!(a.container("one", "--network blue --ip6 fd05::11"), "10.5.1.1");
    b.container("two", "--network blue --ip6 fd05::12 --publish 8080:80");
    let published = || {
        let page =
            b.host.output(std::process::Command::new("busybox").args(["wget", "-q", "-O", "-", "127.0.0.1:8080/page"]));
        page.unwrap().stdout == b"out\n"
    };
    b.engine.run("exec two sh -c 'echo out > /page && httpd -p 80 -h /'");
    eventually("the published port answers", published);
    assert!(a.reaches("one", "10.5.2.0") || a.reaches("one", &b.address("two", "blue")));
    assert!(a.engine.docker("exec one ping -c 1 -W 5 fd05::12").status.success());
    let refused = a.engine.refused(&format!("run --rm --network blue --ip 10.5.0.254 --ip6 fd05::13 {IMAGE} ip a"));
    assert!(refused.contains("10.5.0.254"), "{refused}");
    a.engine.run("rm --force one");
    a.engine.run("network rm blue");
    // It was made for Docker's.
    assert!(a.node().run("network ls").as_array().unwrap().is_empty());
}

#[test]
fn an_internal_network_has_no_way_out() {
    privileged!();
    engines!();
    let lab = lab();
    let site = Site::start(&lab.hosts[0]);
    let create =
        "network create -d weft --ipam-driver weft --internal --subnet 10.6.0.0/24 -o plain -o network=inner inner";
    site.engine.run(create);
    let inside = site.engine.run(&format!("run --rm --network inner {IMAGE} ip -o addr"));
    assert!(inside.contains("10.6.0.") && !inside.contains("eth1"), "{inside}");
    // The same network, but Docker was not told.
    site.node().run("network create hidden --plain --internal --subnet 10.7.0.0/24");
    site.engine.run("network create -d weft --ipam-driver weft --ipam-opt network=hidden hidden");
    let inside = site.engine.run(&format!("run --rm --network hidden {IMAGE} ip -o addr"));
    assert!(inside.contains("10.7.0.") && !inside.contains("eth1"), "{inside}");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    privileged!();
    engines!();
    let lab = lab();
    let site = Site::start(&lab.hosts[0]);
    site.node().run("network create blue --plain --vni 5000 --subnet 10.77.0.0/16");
    let weft = "network create -d weft --ipam-driver weft";
    for (line, expected) in [
        ("network create -d weft -o network=blue x", "--ipam-driver weft"),
        ("network create -d weft --ipam-driver weft x", "--subnet"),
        ("network create -d weft --ipam-driver weft --ipam-opt network=red x", "no network `red`"),
        (&format!("{weft} --ipam-opt colour=blue x"), "`colour`"),
        (&format!("{weft} --ipam-opt network=blue -o network=blue -o vnii=1 x"), "`vnii`"),
        (&format!("{weft} --ipam-opt network=blue -o network=blue -o vni=5001 x"), "5000"),
        (&format!("{weft} --ipam-opt network=blue -o network=blue -o encrypted x"), "plain"),
        (&format!("{weft} --ipam-opt network=blue -o network=blue --subnet 10.78.0.0/16 x"), "10.78.0.0/16"),
        (&format!("{weft} --subnet 10.9.0.0/24 -o network=red x"), "-o plain"),
        (&format!("{weft} --subnet 10.9.0.0/24 -o plain -o mtu=9000 x"), "1450"),
    ] {
        let refused = site.engine.refused(line);
        assert!(refused.contains(expected), "{line}: {refused}");
    }
    assert!(!site.engine.run("network ls --format '{{.Name}}'").split_whitespace().any(|name| name == "x"));
    assert_eq!(site.node().run("network ls").as_array().unwrap().len(), 1);
    site.node().is_well();
}
