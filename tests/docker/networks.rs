//! A network that is made once is there in the Docker of every host of the cluster, for as long as it lives.

use std::thread;
use std::time::Duration;

use crate::harness::node::Node;
use crate::harness::{eventually, privileged, weft, within};
use crate::{Daemon, FLAGS, IMAGE, Site, engines, lab, members};

impl Site<'_> {
    /// Waits until Docker has a network of this name.
    pub(crate) fn has_network(&self, name: &str) {
        eventually(&format!("{name} is there in Docker on {}", self.host.name), || self.knows(name));
    }

    /// Waits until Docker has none of this name.
    pub(crate) fn has_no_network(&self, name: &str) {
        eventually(&format!("{name} is gone from Docker on {}", self.host.name), || !self.knows(name));
    }

    fn knows(&self, name: &str) -> bool {
        self.engine.run("network ls --format '{{.Name}}'").lines().any(|line| line == name)
    }

    /// Waits until the log says something, and returns how often it does.
    fn says(&self, text: &str) -> usize {
        let count = || self.node().daemon.log().matches(text).count();
        eventually(&format!("the log says: {text}"), || count() > 0);
        count()
    }

    fn networks(&self) -> usize {
        self.node().run("network ls").as_array().unwrap().len()
    }
}

const MAKE: &str = "network create -d weft --ipam-driver weft --subnet 10.8.0.0/16 -o network=blue blue";

#[test]
fn a_network_made_once_is_there_on_every_host_and_goes_everywhere() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    // Made with Docker on one host.
    a.engine.run(MAKE);
    b.has_network("blue");
    let (x, y) = (a.container("left", "--network blue"), b.container("right", "--network blue --ip 10.8.200.1"));
    eventually("each reaches the other", || a.reaches("left", &y) && b.reaches("right", &x));
    let once = a.engine.run("network ls --filter name=^blue$ --format '{{.Labels}}'");
    assert_eq!(once, "", "the one that was made by hand is the only one, and has no label");

    // It is one network through all restarts.
    b.node = b.node.take().map(Node::crash_and_restart);
    b.engine.restart(true);
    a.engine.restart(false);
    for site in [&a, &b] {
        site.has_network("blue");
        assert_eq!(site.engine.run("network ls --quiet --filter name=^blue$").lines().count(), 1);
    }
    for (site, name) in [(&a, "left"), (&b, "right")] {
        site.engine.run(&format!("start {name}"));
    }
    eventually("it is reached again", || a.reaches("left", &y));

    // It goes once nobody is on it: an unused network of Docker's is no use.
    a.engine.run("rm --force left");
    a.engine.run("network rm blue");
    assert!(b.knows("blue"));
    b.engine.run("rm --force right");
    b.has_no_network("blue");
    assert!(!a.knows("blue"), "who removed it has it not back");

    // Made with weft, while one weft is away, it is there on both.
    b.node = None;
    a.node().run("network create red --subnet 10.9.0.0/16 --subnet fd09::/64");
    a.has_network("red");
    assert!(!b.knows("red"));
    b.node = Some(Node::again(b.host, &[]));
    b.has_network("red");
    let six = format!("run --rm --network red {IMAGE} ip -6 -o addr show eth0");
    assert!(b.engine.run(&six).contains("fd09::"));
    a.node().run("network rm red");
    a.has_no_network("red");
    b.has_no_network("red");
    a.node().is_well();
    b.node().is_well();
}

/// As Docker's user makes a network who knows nothing of weft's names.
const UNSAID: &str = "network create -d weft --ipam-driver weft --subnet 10.8.0.0/16";

/// Whether the node's first network has the name that Docker's has.
fn is_named(site: &Site<'_>) -> bool {
    site.node().run("network ls")[0]["name"] == "blue"
}

#[test]
fn a_network_is_called_everywhere_as_docker_calls_it() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    // The name is free on one host and taken on another: it is left to who has it there.
    b.engine.run("network create green");
    a.engine.run(&format!("{UNSAID} green"));
    b.says("the network green does not appear in Docker");
    assert_eq!(b.engine.run("network inspect --format '{{.Driver}}' green"), "bridge");

    // It is learned late where weft could not ask, and not given up when weft starts again.
    a.restart_weft(&["--docker-engine", "/run/nothing.sock"]);
    a.engine.run("network create -d weft --ipam-driver weft --subnet 10.9.0.0/16 blue");
    eventually("the other node knows of it", || b.networks() == 2);
    a.restart_weft(&["--docker-networks", "off"]);
    b.has_network("blue");
    a.restart_weft(&[]);
    let (x, y) = (a.container("left", "--network blue"), b.container("right", "--network blue"));
    eventually("each reaches the other", || a.reaches("left", &y) && b.reaches("right", &x));
    assert!(!b.engine.run("network ls").contains("docker-"), "it appeared under a name that nobody gave it");

    // One that is no name for weft, or that another network of the cluster has, stays on its host.
    let refused = a.node().run("network create red --subnet 10.7.0.0/16")["id"].as_str().unwrap().to_owned();
    b.has_network("red");
    b.engine.run("network rm red");
    b.engine.run("network create -d weft --ipam-driver weft --subnet 10.6.0.0/16 red");
    b.says("there is a network `red` already");
    b.engine.run("network create -d weft --ipam-driver weft --subnet 10.5.0.0/16 'two words'");
    b.says("`two words` is no name for a network");
    b.engine.run(&format!("run --rm --network red {IMAGE} ip addr"));
    a.node().run(&format!("network rm {refused}"));
    eventually("the name is free, and the other's", || {
        String::from_utf8_lossy(&a.engine.docker("network inspect red").stdout).contains("10.6.0.0/16")
    });

    // It goes everywhere, under that name.
    b.crash_weft();
    b.engine.run("network rm red 'two words'");
    a.has_no_network("red");
    a.engine.run("rm --force left");
    a.engine.run("network rm blue green");
    b.engine.run("rm --force right");
    b.has_no_network("blue");
    eventually("nothing is left", || a.networks() + b.networks() == 0);
    a.node().is_well();
    b.node().is_well();
}

#[test]
fn a_node_that_stands_alone_learns_the_name_too() {
    privileged!();
    engines!();
    let lab = lab();
    let mut site = Site::start(&lab.hosts[0]);
    site.engine.run(&format!("{UNSAID} -o plain blue"));
    eventually("it has Docker's name", || is_named(&site));
    site.crash_weft();
    assert!(is_named(&site), "the name is forgotten");
    site.container("web", "--network blue");
    site.engine.run("rm --force web");
    site.engine.run("network rm blue");
    assert_eq!(site.networks(), 0);
    site.node().is_well();
}

#[test]
fn two_of_one_name_made_apart_are_both_there_until_the_name_is_free() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    b.node = None;
    a.engine.run(&format!("{UNSAID} blue"));
    eventually("it has its name", || is_named(&a));
    a.node = None;
    b.node = Some(Node::again(b.host, &[]));
    b.engine.run("network create -d weft --ipam-driver weft --subnet 10.9.0.0/16 blue");
    eventually("the other has its name", || is_named(&b));
    a.node = Some(Node::again(a.host, &[]));
    // The older keeps the name; in the younger's Docker another network has it.
    b.says("the network blue does not appear in Docker");
    let other =
        || a.engine.run("network ls --format '{{.Name}}'").lines().find(|n| n.starts_with("blue~")).map(str::to_owned);
    eventually("the younger is there under another name", || other().is_some());
    let (x, y) = (a.container("left", "--network blue"), "10.9.200.1");
    a.engine.run(&format!("network connect {} left", other().unwrap()));
    b.container("right", &format!("--network blue --ip {y}"));
    eventually("it is the younger", || a.reaches("left", y));
    assert!(x.starts_with("10.8."), "{x}");

    // Once the older is gone the younger has the name, and what is used under the earlier one stays until it is not.
    let earlier = other().unwrap();
    a.engine.run("network disconnect blue left");
    a.engine.run("network rm blue");
    a.has_network("blue");
    assert!(a.engine.run("network inspect blue").contains("10.9.0.0/16"));
    a.says("has another name now, and stays in Docker as long as it is used there");
    assert!(a.reaches("left", y));
    a.engine.run("rm --force left");
    a.has_no_network(&earlier);
    a.container("late", "--network blue");
    eventually("the younger is reached by its name", || a.reaches("late", y));
    a.engine.run("rm --force late");
    b.engine.run("rm --force right");
    b.engine.run("network rm blue");
    a.has_no_network("blue");
    a.node().is_well();
    b.node().is_well();
}

#[test]
fn what_is_used_or_is_the_users_is_left_alone() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, b] = members(&lab, &[]);
    // A name that is taken.
    b.engine.run("network create green");
    a.node().run("network create green --subnet 10.7.0.0/16");
    a.has_network("green");
    b.says("the network green does not appear in Docker");
    assert_eq!(b.engine.run("network inspect --format '{{.Driver}}' green"), "bridge");
    b.engine.run("network rm green");
    eventually("it appears as soon as its name is free", || {
        b.engine.docker("network inspect --format '{{.Driver}}' green").stdout == b"weft\n"
    });

    // What the user removes here stays removed here, until he binds it again.
    b.engine.run("network rm green");
    a.node().run("network create late --subnet 10.6.0.0/16");
    b.has_network("late");
    assert!(!b.knows("green") && a.knows("green"));
    b.engine.run("network create -d weft -o network=green --ipam-driver weft --ipam-opt network=green green");
    a.node().run("network rm green");
    a.has_no_network("green");
    assert!(b.knows("green"), "a network of the user's own was removed");

    // What is used stays, and goes when it is not.
    b.engine.run(&format!("run --detach --name guest --network late {IMAGE} sleep 100000"));
    let used = a.node().daemon.json(a.host, &["network", "rm", "late"]);
    assert!(used.is_err(), "{used:?}");
    assert!(b.knows("late"));
    b.engine.run("rm --force guest");
    a.node().run("network rm late");
    b.has_no_network("late");
    assert_eq!(a.networks(), 0);
}

#[test]
fn one_that_cannot_be_removed_while_it_is_used_goes_when_it_is_not() {
    privileged!();
    engines!();
    let lab = lab();
    let [a, mut b] = members(&lab, &[]);
    a.node().run("network create red --subnet 10.9.0.0/16");
    b.has_network("red");
    let id = |site: &Site<'_>| site.engine.docker("network inspect --format '{{.Id}}' red").stdout;
    let old = id(&b);
    b.engine.run(&format!("run --detach --name guest --network red {IMAGE} sleep 100000"));
    // The node is another after its state is lost: what it made in Docker before serves nobody.
    b.node.take().unwrap().daemon.stop().unwrap();
    b.host.run(|| std::fs::remove_dir_all("/run/weft/state")).unwrap().unwrap();
    let token = a.node().daemon.token(a.host).unwrap();
    let daemon = Daemon::join(weft(), b.host, a.host, &token, &FLAGS).unwrap();
    b.node = Some(Node::of(b.host, daemon));
    b.says("stays in Docker as long as it is used there");
    assert_eq!(id(&b), old);
    b.engine.run("rm --force guest");
    eventually("it was made anew", || id(&b) != old && b.knows("red"));
    b.engine.run(&format!("run --rm --network red {IMAGE} ip addr"));
    assert_eq!(b.says("stays in Docker as long as it is used there"), 1, "it was said again and again");
    b.node().is_well();
}

/// The engine removes its networks whether or not their driver is there.
#[test]
fn what_docker_removed_while_weft_was_away_goes_and_does_not_come_back_for_ever() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    a.engine.run(MAKE);
    b.has_network("blue");
    a.node().run("network create red --subnet 10.9.0.0/16");
    b.has_network("red");
    // Both have looked once more.
    let seen = |site: &Site<'_>| {
        let bindings = site.host.run(|| std::fs::read_to_string("/run/weft/state/docker.json")).unwrap().unwrap();
        bindings.matches("\"listed\": true").count() == 2
    };
    eventually("the networks were listed", || seen(&a) && seen(&b));
    (a.node, b.node) = (None, None);
    // The engine tries for long to reach the driver.
    thread::scope(|scope| {
        scope.spawn(|| a.engine.run("network rm blue"));
        scope.spawn(|| b.engine.run("network rm red"));
    });
    a.restart_weft(&[]);
    b.restart_weft(&[]);
    // One that was made for Docker's goes with it; another is there again, and what its user says then is heard.
    let patience = Duration::from_secs(90);
    within(patience, "blue goes everywhere", || a.networks() == 1 && !b.knows("blue"));
    within(patience, "red is there again", || b.knows("red"));
    b.engine.run("network rm red");
    thread::sleep(Duration::from_secs(5));
    assert!(!b.knows("red") && a.knows("red"), "its removal was not heard");
    a.node().is_well();
    b.node().is_well();
}

#[test]
fn nothing_appears_where_it_is_not_wanted() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, mut b] = members(&lab, &[]);
    b.restart_weft(&["--docker-networks", "off"]);
    // Of one host alone.
    b.node().run("network create here --driver bridge --subnet 10.5.0.0/24");
    a.node().run("network create here2 --driver bridge --subnet 10.5.1.0/24");
    a.engine.run(MAKE);
    a.node().run("network create red --subnet 10.9.0.0/16");
    a.has_network("red");
    eventually("the other node knows of it", || b.networks() > 2);
    b.engine.run("network create -d weft -o network=blue --ipam-driver weft --ipam-opt network=blue blue");
    b.container("right", "--network blue");
    assert!(!b.knows("red") && !b.knows("here") && !a.knows("here2"));
    // Switched on later.
    b.restart_weft(&[]);
    b.has_network("red");
    assert!(!b.knows("here"));
    a.node = a.node.take().map(Node::crash_and_restart);
    a.node().run("network rm red");
    b.has_no_network("red");
}
