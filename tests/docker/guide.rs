//! `docker/GUIDE.md` is followed to the letter, on two hosts whose firewalls admit only what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::compose::client;
use crate::harness::engine::Engine;
use crate::harness::node::Node;
use crate::harness::{eventually, needs, privileged, weft};
use crate::{IMAGE, Site, engines, lab, members};

const GUIDE: &str = include_str!("../../docker/GUIDE.md");

/// Directories that hosts of a lab share, and where they are instead.
const PLACES: [(&str, &str); 2] = [("/etc/weft", "/run/guide"), ("/var/lib/weft", "/run/weft/state")];

/// Hosts' own firewalls before the guide: what it calls them, and how they are set up. They admit nothing from outside that
/// was not asked for, ICMP aside.
const NFTABLES: (&str, &str) = (
    "nftables",
    "nft 'table inet filter { chain input { type filter hook input priority 0; policy drop; \
     ct state established,related accept; iif lo accept; meta l4proto { icmp, ipv6-icmp } accept; }; }'",
);
const UFW: (&str, &str) = (
    "ufw",
    "for place in /etc/ufw /etc/default/ufw; do copy=$(mktemp -u /run/XXXXXX); cp -a $place $copy; \
     mount --bind $copy $place; done; ufw --force enable",
);

/// The commands of the first block under a heading, each with what is said of its place.
fn commands(heading: &str) -> Vec<(String, String)> {
    let (_, section) = GUIDE.split_once(&format!("# {heading}\n")).unwrap();
    let block = section.split("```").nth(1).unwrap().strip_prefix("sh\n").unwrap().replace("\\\n", "");
    let split = |line: &str| {
        let (command, place) = line.rsplit_once(" # ").unwrap();
        (command.trim().to_owned(), place.to_owned())
    };
    block.lines().filter(|line| !line.trim().is_empty()).map(split).collect()
}

/// Follows a block on hosts with this firewall, and returns what its last command printed.
fn follow(sites: &mut [Site<'_>; 2], heading: &str, firewall: &str) -> String {
    let mut said = String::new();
    for (command, place) in commands(heading) {
        if place.split_once("with ").is_some_and(|(_, with)| with != firewall) {
            continue;
        }
        let hosts: &[usize] = match place.as_str() {
            place if place.starts_with("on A and B") => &[0, 1],
            place if place.starts_with("on A") => &[0],
            place if place.starts_with("on B") => &[1],
            _ => continue,
        };
        for host in hosts {
            // A network that was just made on A comes to B within seconds.
            if *host == 1 && command.contains("--network blue") {
                sites[1].has_network("blue");
            }
            said = step(sites, *host, &command);
        }
    }
    said
}

fn step(sites: &mut [Site<'_>; 2], at: usize, command: &str) -> String {
    let command = PLACES.iter().fold(command.to_owned(), |command, (from, to)| command.replace(from, to));
    let host = sites[at].host;
    match command.split_whitespace().collect::<Vec<_>>()[..] {
        ["apt-get", ..] => {}
        ["systemctl", "enable", "--now", "weft"] => {
            sites[at].node = Some(Node::again(host, &["--config", "/run/guide/weft.toml"]));
        }
        ["systemctl", "disable", "--now", "weft"] => sites[at].node = None,
        ["scp", from, to] => {
            let text = host.run(|| fs::read(from)).unwrap().unwrap();
            let (other, file) = to.split_once(':').unwrap();
            let other = sites.iter().find(|site| site.host.address.to_string() == other).unwrap();
            other.host.run(|| fs::write(file, text)).unwrap().unwrap();
        }
        _ => {
            // There `weft` is on the PATH.
            let command = format!("PATH={}:$PATH; {command}", weft().parent().unwrap().display());
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).env("WEFT_SOCKET", "/run/weft/weft.sock");
            let output = host.output(client(&mut shell)).unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "`{command}` on {}: {complaint}", host.name);
            return String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
    }
    String::new()
}

#[test]
fn the_guide_leads_from_nothing_to_containers_that_talk_and_back() {
    privileged!();
    engines!();
    needs!("nft");
    from_nothing_and_back(NFTABLES);
}

#[test]
fn the_guide_leads_there_with_ufw_where_it_is_installed() {
    privileged!();
    engines!();
    if Path::new("/usr/sbin/ufw").exists() {
        from_nothing_and_back(UFW);
    }
}

fn from_nothing_and_back((firewall, setup): (&str, &str)) {
    let lab = lab();
    let [a, b] = &lab.hosts[..] else { panic!("two hosts") };
    let mut sites = [a, b].map(|host| {
        let toml = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/packaging/weft.toml")).unwrap();
        host.run(|| fs::create_dir("/run/guide").and_then(|()| fs::write("/run/guide/weft.toml", toml)))
            .unwrap()
            .unwrap();
        let set_up = host.output(Command::new("sh").args(["-ec", setup])).unwrap();
        assert!(set_up.status.success(), "{}", String::from_utf8_lossy(&set_up.stderr));
        let engine = Engine::start(host);
        engine.run(&format!("tag {IMAGE} busybox"));
        Site { node: None, engine, host }
    });
    let before = sites[0].interfaces();
    assert!(commands("Two hosts, from nothing").len() < 10);
    follow(&mut sites, "Firewalls", firewall);
    let said = follow(&mut sites, "Two hosts, from nothing", firewall);
    assert!(sites[0].engine.run("inspect --format '{{.Id}}' web").starts_with(&said) && said.len() == 12, "{said}");

    follow(&mut sites, "Away with it", firewall);
    for site in &sites {
        assert!(!site.engine.run("network ls --format '{{.Name}}'").lines().any(|name| name == "blue"));
        let left: Vec<_> = site.interfaces().into_iter().filter(|name| name != "docker_gwbridge").collect();
        assert_eq!(left, before);
    }
}

#[test]
fn containers_move_away_from_dockers_own_overlay_while_they_talk() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = members(&lab, &["--vxlan-port", "4790"]);
    a.engine.run(&format!("swarm init --advertise-addr {}", a.host.address));
    let token = a.engine.run("swarm join-token --quiet worker");
    b.engine.run(&format!("swarm join --token {token} --advertise-addr {} {}:2377", b.host.address, a.host.address));
    a.engine.run("network create -d overlay --attachable --subnet 10.20.0.0/24 old");
    for (site, name) in [(&a, "web"), (&b, "client")] {
        site.engine.run(&format!("run --detach --stop-timeout 1 --name {name} --network old {IMAGE} sleep 100000"));
    }
    eventually("they talk as before", || b.reaches("client", "web"));

    let moving = commands("Beside Docker's own overlay, and away from it");
    a.engine.run(moving[0].0.strip_prefix("docker ").unwrap());
    eventually("the other node knows of it", || b.node().run("network ls").as_array().unwrap().len() == 1);
    b.engine.run(moving[1].0.strip_prefix("docker ").unwrap());
    for (site, name) in [(&a, "web"), (&b, "client")] {
        site.engine.run(&format!("network connect blue {name}"));
        assert!(b.reaches("client", "web"));
    }
    b.finds("client", "web", &[&a.address("web", "blue")]);
    for (site, name) in [(&a, "web"), (&b, "client")] {
        site.engine.run(&format!("network disconnect old {name}"));
        assert!(b.reaches("client", "web"));
    }
    eventually("the overlay is not used any more", || a.engine.docker("network rm old").status.success());
    assert!(b.reaches("client", "web") && a.reaches("web", "client"));
    a.node().is_well();
    b.node().is_well();
}
