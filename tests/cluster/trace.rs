//! `weft trace`: a frame is followed through both nodes, and where it would end, its counter's name is given.

use serde_json::Value;
use weft::lab::{LabSpec, UPLINK, Underlay};
use weft::sandbox::devices;

use crate::harness::{eventually, ip, needs, privileged};
use crate::{BLUE, Cluster, text, words};

impl Cluster {
    /// Traces a frame from the endpoint of a host's container, and returns the document and the exit status.
    fn trace(&self, n: usize, to: &str, more: &str) -> (Value, Option<i32>) {
        let line = format!("--json trace {BLUE} --from {} --to {to} {more}", self.endpoint(n));
        let output = self.daemon(n).weft(self.host(n), &words(&line)).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let document = serde_json::from_slice(&output.stdout);
        (document.unwrap_or_else(|error| panic!("`weft {line}`: {error}: {said}")), output.status.code())
    }

    /// A trace that ends: on which node, at which step, and why.
    fn ends(&self, n: usize, to: &str, more: &str) -> (String, String, String) {
        let (trace, status) = self.trace(n, to, more);
        assert_eq!(status, Some(1), "{trace}");
        let node = trace["nodes"].as_array().unwrap().last().unwrap().clone();
        let step = node["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(step["ok"], false, "{trace}");
        assert_eq!(step["reason"], trace["reason"], "{trace}");
        (text(&node["node"]), text(&step["step"]), text(&step["reason"]))
    }

    fn mac(&self, n: usize) -> String {
        text(&self.json(n, &format!("network inspect {BLUE}"))["endpoints"][0]["mac"])
    }
}

/// The echo requests that a namespace's kernel has heard, of its counters (proc_net(5)).
fn echo_requests(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Icmp: ")).map(str::split_whitespace);
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(numbers).find(|(name, _)| *name == "InEchos").unwrap().1.parse().unwrap()
}

fn ended(node: &str, step: &str, reason: &str) -> (String, String, String) {
    (node.into(), step.into(), reason.into())
}

#[test]
fn a_frame_that_arrives_is_followed_to_the_device_and_leaves_no_mark() {
    privileged!();
    for kind in [&[][..], &["--plain"]] {
        let cluster = Cluster::shared(LabSpec::new(2), kind);
        // Until the sessions are made; nothing else has to speak for that.
        let target = cluster.container(1).ip().to_string();
        eventually("the frame would arrive", || cluster.trace(0, &target, "").1 == Some(0));
        let before = [0, 1].map(|n| cluster.json(n, "fdb"));
        let (v6, mac) = (cluster.container(1).ip6().to_string(), cluster.mac(1));
        let plain = !kind.is_empty();
        for (to, more) in
            [(&target, ""), (&target, "--tcp 80"), (&v6, "--icmp"), (&v6, "--tcp 443 --size 1400"), (&mac, "")]
        {
            let (trace, status) = cluster.trace(0, to, more);
            assert_eq!((trace["outcome"].as_str(), status), (Some("arrives"), Some(0)), "{trace}");
            let steps = |n: usize| -> Vec<String> {
                trace["nodes"][n]["steps"].as_array().unwrap().iter().map(|step| text(&step["step"])).collect()
            };
            let (here, there) = (steps(0), steps(1));
            assert_eq!(here.contains(&"question".into()), *to != mac, "{here:?}");
            assert_eq!(here.contains(&"session".into()), !plain, "{here:?}");
            assert_eq!(here.last().unwrap(), "underlay", "{here:?}");
            let expected = ["network", "mode", "peer", "inner", "size", "station", "ecn", "destination", "deliver"];
            assert_eq!(there[usize::from(!plain)..], expected, "{there:?}");
        }
        assert_eq!(before, [0, 1].map(|n| cluster.json(n, "fdb")), "a trace learns nothing");
        let echoes = cluster.container(1).netns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
        assert_eq!(echo_requests(&echoes.unwrap().unwrap()), 0, "a trace sends nothing");
        // And what it says is so.
        cluster.ping(0, cluster.container(1).ip());
        let echoes = cluster.container(1).netns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
        assert_eq!(echo_requests(&echoes.unwrap().unwrap()), 1);
        let said = cluster.run(0, &format!("trace {BLUE} --from {} --to {target}", cluster.endpoint(0)));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("NODE2") && said.ends_with("\nit arrives\n"), "{said}");
    }
}

#[test]
fn a_frame_that_does_not_arrive_ends_at_a_named_step() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    let target = cluster.container(1).ip().to_string();
    eventually("the frame would arrive", || cluster.trace(0, &target, "").1 == Some(0));

    assert_eq!(cluster.ends(0, "10.77.200.200", ""), ended("node1", "question", ""));
    assert_eq!(cluster.ends(0, "10.99.0.1", ""), ended("node1", "question", ""));
    assert_eq!(cluster.ends(0, "02:00:00:00:77:77", ""), ended("node1", "spread", "unknown_unicast"));
    assert_eq!(cluster.ends(0, &cluster.mac(0), ""), ended("node1", "destination", "no_receiver"));
    assert_eq!(cluster.ends(0, &target, "--size 1419"), ended("node1", "size", "oversize"));
    assert_eq!(
        cluster.ends(0, &cluster.mac(1), "--source-mac 02:00:00:00:88:88"),
        ended("node1", "source", "source_mac_foreign")
    );

    // The underlay becomes narrower than the network needs.
    ip(&cluster.host(0).netns, &format!("link set {UPLINK} mtu 1400"));
    assert_eq!(cluster.ends(0, &target, "--size 1400"), ended("node1", "underlay", "underlay_mtu"));
    assert_eq!(cluster.trace(0, &target, "").1, Some(0), "a small one still arrives");
    ip(&cluster.host(0).netns, &format!("link set {UPLINK} mtu 1500"));

    // The interface at the other end goes down; then the one at this end.
    ip(&cluster.container(1).netns, "link set eth0 down");
    assert_eq!(cluster.ends(0, &target, ""), ended("node2", "deliver", "tap_down"));
    ip(&cluster.container(0).netns, "link set eth0 down");
    assert_eq!(cluster.ends(0, &target, ""), ended("node1", "endpoint", "tap_down"));
    ip(&cluster.container(0).netns, "link set eth0 up");
}

/// A path that drops large datagrams without a word, of which the kernel knows nothing.
#[test]
fn a_black_hole_is_named() {
    privileged!();
    needs!("ethtool");
    let cluster = Cluster::shared(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(3) }, &[]);
    let target = cluster.container(1).ip().to_string();
    eventually("a large frame would arrive", || cluster.trace(0, &target, "--size 1418").1 == Some(0));
    devices::mtu(cluster.lab.switch.as_ref().unwrap(), "p2", 1400).unwrap();
    cluster.json(0, "rekey");
    // Until it is, a large question to the other node is lost as well: it cannot be asked.
    eventually("it is measured", || cluster.trace(0, &target, "--size 1418").0["outcome"] == "ends");
    let (trace, _) = cluster.trace(0, &target, "--size 1418");
    let step = trace["nodes"][0]["steps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((text(&step["step"]), text(&step["reason"])), ("underlay".into(), "underlay_mtu".into()), "{trace}");
    assert!(text(&step["text"]).contains("1400, as echoes have found"), "{trace}");
}

/// What is behind a node that does not answer is not guessed at.
#[test]
fn a_node_that_cannot_be_asked_is_said_and_not_taken_for_a_success() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(2), &["--plain"]);
    let target = cluster.container(1).ip().to_string();
    eventually("the frame would arrive", || cluster.trace(0, &target, "").1 == Some(0));
    cluster.crash(1);
    let (trace, status) = cluster.trace(0, &target, "");
    assert_eq!((trace["outcome"].as_str(), status), (Some("unknown"), Some(1)), "{trace}");
}

#[test]
fn what_cannot_be_traced_is_refused() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    let endpoint = cluster.endpoint(0);
    for (line, why) in [
        (format!("trace {BLUE} --from {endpoint} --to nobody"), "is not a MAC or an IP address"),
        (format!("trace {BLUE} --from ffff --to 10.77.0.2"), "endpoint"),
        (format!("trace green --from {endpoint} --to 10.77.0.2"), "network"),
    ] {
        let said = cluster.refused(0, &line);
        assert!(said.contains(why), "{said}");
    }
}
