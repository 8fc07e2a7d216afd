//! The drivers for networks of one host, on real interfaces: each in a namespace that stands for the host, beside one
//! that stands for the world outside.

mod harness;

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use harness::{needs, privileged};
use weft::drivers::{self, DriverError};
use weft::sandbox::{LinkError, LinkSpec, Netns, devices, link, route};
use weft::traffic::ping;
use weft_control::local::{self, LocalNetwork};
use weft_proto::v1::CreateNetworkRequest;
use weft_vtep::addr::Mac;

/// How long an answer may take on a busy machine, and how long none must come.
const ANSWER: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(300);

/// A host with an interface to a network outside, and another host there.
struct Site {
    host: Netns,
    outside: Netns,
}

impl Site {
    fn new() -> Site {
        let (host, outside) = (Netns::anonymous().unwrap(), Netns::anonymous().unwrap());
        devices::veth((&host, "eth0"), (&outside, "eth0"), 1500).unwrap();
        for (netns, last) in [(&host, 1), (&outside, 2)] {
            devices::address(netns, "eth0", format!("192.0.2.{last}/24").parse().unwrap()).unwrap();
            devices::address(netns, "eth0", format!("2001:db8::{last}/64").parse().unwrap()).unwrap();
        }
        Site { host, outside }
    }

    /// Attaches a new sandbox as the daemon does.
    fn attach(&self, network: &LocalNetwork, number: u8, addresses: &[&str]) -> Result<(Netns, u32), DriverError> {
        let sandbox = Netns::anonymous().unwrap();
        let spec = LinkSpec {
            ifname: "eth0".into(),
            alias: "test".into(),
            mac: Mac::new([2, 0, 0, 0, 0, number]),
            mtu: drivers::mtu(&self.host, network)?,
            super_frame: None,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        let index = drivers::attach(&self.host, network, &sandbox, &format!("wv{number}"), &spec)?.unwrap();
        Ok((sandbox, index))
    }

    fn names(&self) -> String {
        let links = self.host.run(|| Command::new("ip").args(["-o", "link"]).output()).unwrap().unwrap();
        let name = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        String::from_utf8_lossy(&links.stdout).lines().map(name).collect::<Vec<_>>().join(" ")
    }

    fn tables(&self) -> String {
        let tables = self.host.run(|| Command::new("nft").args(["list", "tables"]).output()).unwrap().unwrap();
        String::from_utf8_lossy(&tables.stdout).into_owned()
    }
}

fn network(wire: CreateNetworkRequest) -> LocalNetwork {
    local::define(wire.try_into().unwrap(), "0123456789abcdef".into(), &[]).unwrap()
}

fn bridge(internal: bool) -> LocalNetwork {
    let subnets = vec!["10.88.0.0/24".into(), "fd88::/64".into()];
    let (name, driver) = ("lan".into(), "bridge".into());
    network(CreateNetworkRequest { name, driver, subnets, internal, ..Default::default() })
}

fn macvlan(parent: &str) -> LocalNetwork {
    let options = [("parent".to_owned(), parent.to_owned())].into();
    network(CreateNetworkRequest { name: "lan".into(), driver: "macvlan".into(), options, ..Default::default() })
}

fn answers(from: &Netns, to: &str) -> bool {
    ping::once(from, to.parse::<IpAddr>().unwrap(), ANSWER).is_ok_and(|rtt| rtt.is_some())
}

fn is_silent(from: &Netns, to: &str) -> bool {
    !ping::once(from, to.parse::<IpAddr>().unwrap(), SILENCE).is_ok_and(|rtt| rtt.is_some())
}

fn default_routes(sandbox: &Netns, index: u32) {
    for gateway in ["10.88.0.1", "fd88::1"] {
        route::add_default(sandbox, index, gateway.parse().unwrap()).unwrap();
    }
}

#[test]
fn a_bridge_joins_sandboxes_and_leads_out_under_the_hosts_address() {
    privileged!();
    needs!("nft", "ip");
    let (site, network) = (Site::new(), bridge(false));
    drivers::create(&site.host, &network).unwrap();
    // As after a restart of the daemon.
    drivers::create(&site.host, &network).unwrap();
    let (first, index) = site.attach(&network, 1, &["10.88.0.2/24", "fd88::2/64"]).unwrap();
    let (second, _) = site.attach(&network, 2, &["10.88.0.3/24", "fd88::3/64"]).unwrap();
    default_routes(&first, index);
    for address in ["10.88.0.3", "fd88::3", "10.88.0.1", "fd88::1", "192.0.2.1"] {
        assert!(answers(&first, address), "{address}");
    }
    assert!(answers(&second, "10.88.0.2"));
    // The world outside has no way back to 10.88.0.0/24: only a translated address gets an answer.
    for address in ["192.0.2.2", "2001:db8::2"] {
        assert!(answers(&first, address), "{address}");
    }
    let seen = drivers::inspect(&site.host, &network).unwrap();
    let expected = [("bridge", "wb0123456789ab"), ("state", "up"), ("way_out", "masquerade")];
    assert_eq!(seen, expected.map(|(name, value)| (name, value.to_owned())));

    link::delete(&first, index).unwrap();
    assert!(!site.names().contains("wv1"), "one end of a pair takes the other along");
    // A sandbox that ends takes its interface with it.
    drop(second);
    harness::eventually("the second pair goes", || !site.names().contains("wv2"));
    drivers::remove(&site.host, &network).unwrap();
    drivers::remove(&site.host, &network).unwrap();
    assert!(!site.names().contains("wb0") && !site.tables().contains("wb0"), "{} {}", site.names(), site.tables());
    assert_eq!(
        drivers::inspect(&site.host, &network).unwrap()[1..],
        [("state", "missing".to_owned()), ("way_out", "missing".to_owned())]
    );
}

#[test]
fn an_internal_bridge_leads_nowhere() {
    privileged!();
    needs!("nft", "ip");
    let (site, network) = (Site::new(), bridge(true));
    drivers::create(&site.host, &network).unwrap();
    let (first, index) = site.attach(&network, 1, &["10.88.0.2/24", "fd88::2/64"]).unwrap();
    let (_second, _) = site.attach(&network, 2, &["10.88.0.3/24", "fd88::3/64"]).unwrap();
    assert!(answers(&first, "10.88.0.3") && answers(&first, "fd88::3") && answers(&first, "10.88.0.1"));
    // Not even for a sandbox that makes its own route, on a host that forwards, to a world that knows the way back.
    default_routes(&first, index);
    site.host.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap().unwrap();
    devices::route(&site.outside, "10.88.0.0/24".parse().unwrap(), "192.0.2.1".parse().unwrap()).unwrap();
    assert!(is_silent(&first, "192.0.2.2") && is_silent(&site.outside, "10.88.0.2"));
    // The same way is open as soon as the rules are gone: it was they that closed it.
    site.host.run(|| Command::new("nft").args(["delete", "table", "ip", "wb0123456789ab"]).status()).unwrap().unwrap();
    assert!(answers(&first, "192.0.2.2"));
}

#[test]
fn what_fails_on_a_bridge_leaves_no_interface() {
    privileged!();
    needs!("nft", "ip");
    let (site, network) = (Site::new(), bridge(false));
    drivers::create(&site.host, &network).unwrap();
    let before = site.names();
    let refused = site.attach(&network, 1, &["10.88.0.2/24", "10.88.0.2/24"]);
    assert!(matches!(refused, Err(DriverError::Link(LinkError::System { .. }))), "{:?}", refused.err());
    assert_eq!(site.names(), before);
}

#[test]
fn a_macvlan_interface_is_on_the_parents_network_with_its_own_address() {
    privileged!();
    needs!("ip");
    let (site, network) = (Site::new(), macvlan("eth0"));
    drivers::create(&site.host, &network).unwrap();
    let (first, index) = site.attach(&network, 1, &["192.0.2.11/24", "2001:db8::11/64"]).unwrap();
    let (second, _) = site.attach(&network, 2, &["192.0.2.12/24"]).unwrap();
    assert!(answers(&first, "192.0.2.2") && answers(&site.outside, "192.0.2.11"));
    assert!(answers(&first, "2001:db8::2"));
    assert!(answers(&first, "192.0.2.12") && answers(&second, "192.0.2.11"), "the mode is bridge");
    let neighbours = site.outside.run(|| Command::new("ip").args(["neigh", "show", "192.0.2.11"]).output());
    let neighbours = String::from_utf8_lossy(&neighbours.unwrap().unwrap().stdout).into_owned();
    assert!(neighbours.contains("02:00:00:00:00:01"), "{neighbours}");
    let seen = drivers::inspect(&site.host, &network).unwrap();
    let expected = [("parent", "eth0"), ("state", "up"), ("mode", "bridge")];
    assert_eq!(seen, expected.map(|(name, value)| (name, value.to_owned())));
    link::delete(&first, index).unwrap();
    assert!(is_silent(&site.outside, "192.0.2.11"));
}

#[test]
fn a_macvlan_network_says_what_is_wrong_with_its_parent() {
    privileged!();
    let site = Site::new();
    let refused = drivers::create(&site.host, &macvlan("eth7")).unwrap_err().to_string();
    assert!(refused.contains("no interface `eth7`"), "{refused}");
    let large = LocalNetwork { mtu: Some(9000), ..macvlan("eth0") };
    let refused = drivers::create(&site.host, &large).unwrap_err().to_string();
    assert!(refused.contains("MTU is 9000, but its parent eth0 carries 1500"), "{refused}");
    devices::down(&site.host, "eth0").unwrap();
    assert!(matches!(drivers::create(&site.host, &macvlan("eth0")), Err(DriverError::ParentDown(_))));
}

#[test]
fn the_host_network_is_the_host_and_nothing_else() {
    privileged!();
    let site = Site::new();
    let network = network(CreateNetworkRequest { name: "h".into(), driver: "host".into(), ..Default::default() });
    drivers::create(&site.host, &network).unwrap();
    let spec = LinkSpec {
        ifname: "eth0".into(),
        alias: "test".into(),
        mac: Mac::new([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        super_frame: None,
        addresses: vec![],
    };
    let itself = site.host.try_clone().unwrap();
    assert_eq!(drivers::attach(&site.host, &network, &itself, "wv1", &spec).unwrap(), None);
    let refused = drivers::attach(&site.host, &network, &site.outside, "wv1", &spec).unwrap_err().to_string();
    assert!(refused.contains("start the container in the host's namespace"), "{refused}");
    assert_eq!(drivers::inspect(&site.host, &network).unwrap(), [("netns", site.host.identity().to_string())]);
}
