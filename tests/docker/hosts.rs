//! Containers on two hosts, as Docker starts and ends them.

use std::collections::BTreeSet;

use crate::harness::{eventually, privileged};
use crate::{IMAGE, blue, engines, lab};

#[test]
fn containers_on_two_hosts_talk() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = blue(&lab);
    assert_eq!(a.container("web", "--network blue --ip 10.77.9.1"), "10.77.9.1");
    let given = b.container("client", "--network blue");
    assert!(given.starts_with("10.77.2."), "{given}");
    assert!(b.reaches("client", "10.77.9.1") && a.reaches("web", &given));
    a.engine.run("exec web sh -c 'echo woven > /page && httpd -p 80 -h /'");
    assert_eq!(b.engine.run("exec client wget -q -O - http://10.77.9.1/page"), "woven");

    let inside = b.engine.run("exec client ip -o link show eth0");
    assert!(inside.contains("mtu 1450"), "{inside}");
    // Room for frames before each of the queues is memory that nothing uses.
    eventually("nothing is before its queues", || {
        b.engine.run("exec client ip -o link show eth0").contains("qdisc noqueue")
    });
    // The way out is the engine's own bridge, a second interface.
    let routes = b.engine.run("exec client ip route");
    assert!(routes.contains("default via") && routes.contains("dev eth1"), "{routes}");
    // The sandbox is remembered as soon as the device is in it.
    eventually("the endpoint's place is known", || {
        let network = b.node().run("network inspect blue");
        network["endpoints"][0]["netns"].as_str().unwrap().starts_with("/run/docker/netns/")
    });
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = blue(&lab);
    a.container("web", "--network blue --ip 10.77.9.1");
    b.container("peer", "--network blue --ip 10.77.9.8");
    let sites = [(&a, "10.77.1.", "10.77.9.8"), (&b, "10.77.2.", "10.77.9.1")];
    for (site, _, peer) in sites {
        site.engine.run(&format!("run --rm --network blue {IMAGE} ping -c 1 -W 5 {peer}"));
    }
    let before = sites.map(|(site, ..)| (site.interfaces(), site.descriptors()));
    let rounds: u32 = std::env::var("WEFT_DOCKER_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    // Each engine gives out of 64 addresses: those that leak are soon missed.
    std::thread::scope(|scope| {
        for (site, range, peer) in sites {
            scope.spawn(move || {
                let look = format!("sh -c 'ip -o -4 a show eth0; ping -c 1 -W 5 {peer}'");
                let mut seen = BTreeSet::new();
                for _ in 0..rounds.div_ceil(2) {
                    let said = site.engine.run(&format!("run --rm --network blue {IMAGE} {look}"));
                    seen.insert(said.split_whitespace().find(|word| word.starts_with(range)).unwrap().to_owned());
                }
                let name = &site.host.name;
                assert!(seen.len() > 1 || rounds < 4, "{name} gives out at once what was just given back: {seen:?}");
            });
        }
    });
    for ((site, ..), (interfaces, descriptors)) in sites.into_iter().zip(before) {
        assert_eq!((site.endpoints("blue"), site.interfaces()), (1, interfaces));
        // Some are open for a while only, but not one for each container that was.
        assert!(site.descriptors() < descriptors + 10, "{descriptors} descriptors became {}", site.descriptors());
    }
    b.engine.run("rm --force peer");
    let before = b.interfaces();

    // Networks of running containers, and of stopped ones.
    b.engine.run(&format!("run --detach --stop-timeout 1 --name late --network none {IMAGE} sleep 100000"));
    b.engine.run("network disconnect none late");
    b.engine.run("network connect --ip 10.77.9.2 blue late");
    assert!(a.reaches("web", "10.77.9.2"));
    b.engine.run("network disconnect blue late");
    assert!(!a.reaches("web", "10.77.9.2"));
    b.engine.run("stop --time 0 late");
    b.engine.run("network connect --ip 10.77.9.3 blue late");
    b.engine.run("start late");
    assert!(a.reaches("web", "10.77.9.3"));
    b.engine.run("restart --time 0 late");
    assert!(a.reaches("web", "10.77.9.3"));
    assert!(b.engine.refused(&format!("run --rm --network blue --ip 10.77.9.3 {IMAGE} ip a")).contains("10.77.9.3"));
    b.engine.run("rm --force late");
    assert_eq!((b.endpoints("blue"), b.interfaces()), (0, before));

    b.engine.run("network rm blue");
    // It was made by hand, and so stays.
    assert_eq!(b.node().run("network inspect blue")["name"], "blue");
}
