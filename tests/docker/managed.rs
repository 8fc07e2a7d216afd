//! weft as a managed plugin, and in a Swarm, which takes no other.

use std::path::Path;
use std::process::Command;

use weft::lab::Host;

use crate::compose::{client, static_binary};
use crate::harness::{eventually, privileged};
use crate::{IMAGE, Site, engines, lab, members};

#[test]
fn a_managed_plugin_serves_the_engines_of_a_cluster() {
    privileged!();
    engines!();
    let Some(binary) = static_binary() else { return };
    let lab = lab();
    let [mut a, mut b] = members(&lab, &PORT);
    // On one host the plugin is all that the engine has of weft.
    b.host.run(|| std::fs::create_dir("/run/shim")).unwrap().unwrap();
    b.restart_weft(&["--docker-socket", "/run/shim/weft.sock"]);
    for site in [&a, &b] {
        create(site.host, &binary);
    }
    b.engine.run("plugin set weft daemon.source=/run/shim");
    for site in [&a, &b] {
        site.engine.run("plugin enable weft");
    }
    a.engine.run("network create -d weft:latest --ipam-driver weft:latest --subnet 10.8.0.0/24 blue");
    b.has_network("blue");
    let drivers = b.engine.run("network inspect --format '{{.Driver}} {{.IPAM.Driver}}' blue");
    assert_eq!(drivers, "weft:latest weft:latest");
    let (x, y) = (a.container("left", "--network blue"), b.container("right", "--network blue"));
    eventually("each reaches the other", || a.reaches("left", &y) && b.reaches("right", &x));

    // The plugin stops and starts as the engine likes; whoever talks goes on.
    a.engine.run("plugin disable --force weft");
    assert!(a.reaches("left", &y));
    a.engine.run("plugin enable weft");
    let late = a.container("late", "--network blue");
    eventually("a container that came later is reached", || b.reaches("right", &late));
    a.engine.run("rm --force left late");
    a.engine.run("network rm blue");
    b.engine.run("rm --force right");
    b.has_no_network("blue");
    // One that weft makes is there on both, with the driver that each has.
    a.node().run("network create red --subnet 10.7.0.0/24");
    for site in [&a, &b] {
        site.has_network("red");
        assert_eq!(site.engine.run("network inspect --format '{{.Driver}}' red"), "weft:latest");
    }
    b.node().run("network rm red");
    for site in [&a, &b] {
        site.has_no_network("red");
        site.node().is_well();
    }

    // Without a daemon the plugin says so, once it has waited for one that is being restarted.
    a.node = None;
    let refused =
        a.engine.refused("network create -d weft:latest --ipam-driver weft:latest --subnet 10.8.0.0/24 -o network=x x");
    assert!(refused.contains("weft up --docker on"), "{refused}");
}

#[test]
fn replicas_of_a_swarm_talk() {
    privileged!();
    engines!();
    let Some(binary) = static_binary() else { return };
    let lab = lab();
    let [a, b] = members(&lab, &PORT);
    for site in [&a, &b] {
        create(site.host, &binary);
        site.engine.run("plugin set weft WEFT_SCOPE=global");
        site.engine.run("plugin enable weft");
    }
    a.engine.run(&format!("swarm init --advertise-addr {}", a.host.address));
    let token = a.engine.run("swarm join-token --quiet worker");
    b.engine.run(&format!("swarm join --token {token} --advertise-addr {} {}:2377", b.host.address, a.host.address));

    a.engine.run("network create -d weft:latest --subnet 10.9.0.0/24 -o network=blue blue");
    let service = "service create --detach --no-resolve-image --name web --network blue --replicas 2 \
                   --endpoint-mode dnsrr --stop-grace-period 1s";
    a.engine.run(&format!("{service} {IMAGE} sleep 100000"));
    let replica = |site: &Site<'_>| site.engine.run("ps --quiet --filter label=com.docker.swarm.service.name=web");
    eventually("each engine runs a replica", || !replica(&a).is_empty() && !replica(&b).is_empty());
    let (x, y) = (replica(&a), replica(&b));
    let (at_x, at_y) = (a.address(&x, "blue"), b.address(&y, "blue"));
    eventually("each reaches the other", || a.reaches(&x, &at_y) && b.reaches(&y, &at_x));
    // The Swarm knows both by the service's name.
    eventually("both are found by name", || {
        let found = a.engine.docker(&format!("exec {x} nslookup web"));
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        found.contains(&at_x) && found.contains(&at_y)
    });
    let mode = b.node().run("network inspect blue");
    assert_eq!(mode["mode"], "sealed", "{mode}");

    a.engine.run("service rm web");
    eventually("the endpoints are gone", || a.endpoints("blue") + b.endpoints("blue") == 0);
    eventually("the Swarm lets its network go", || a.engine.docker("network rm blue").status.success());
    eventually("it is gone everywhere", || b.node().run("network ls").as_array().unwrap().is_empty());
    a.node().is_well();
    b.node().is_well();
}

/// Swarm keeps UDP 4789 for its own overlay.
const PORT: [&str; 2] = ["--vxlan-port", "4790"];

/// Makes the plugin on the host's engine.
fn create(host: &Host, binary: &Path) {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/plugin/create.sh"));
    let created = host.output(client(command.env("WEFT_BINARY", binary))).unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
}
