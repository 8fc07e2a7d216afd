//! Namespaces and links, on real ones.

mod harness;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{needs, privileged};
use tun_tap::{Iface, Mode};
use weft::lab::{Family, Lab, LabSpec, Underlay, kernel};
use weft::sandbox::{LinkError, LinkSpec, Netns, NetnsError, link};
use weft::traffic::{ping, tcp, udp};
use weft_vtep::addr::{Mac, Vni};

fn spec(ifname: &str) -> LinkSpec {
    LinkSpec {
        ifname: ifname.into(),
        alias: "test".into(),
        mac: Mac::new([2, 0, 0, 0, 0, 7]),
        mtu: 1450,
        super_frame: None,
        addresses: vec!["10.77.0.7/31".parse().unwrap(), "fd77::7/64".parse().unwrap()],
    }
}

/// Makes a TAP in a namespace that stands for the daemon's, and plugs it. It lives as long as its file.
fn plug_tap(daemon: &Netns, sandbox: &Netns, spec: &LinkSpec) -> (Iface, Result<u32, LinkError>) {
    let tap = daemon.run(|| Iface::without_packet_info("weft-t0", Mode::Tap)).unwrap().unwrap();
    let plugged = daemon.run(|| link::plug("weft-t0", sandbox, spec)).unwrap();
    (tap, plugged)
}

#[test]
fn a_plugged_device_is_what_was_asked_for_and_up() {
    privileged!();
    let (daemon, sandbox) = (Netns::anonymous().unwrap(), Netns::anonymous().unwrap());
    let (_tap, index) = plug_tap(&daemon, &sandbox, &spec("eth0"));
    let index = index.unwrap();
    let found = link::lookup(&sandbox, index).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.mac, found.mtu, found.up), ("eth0", Some(spec("eth0").mac), 1450, true));
    assert_eq!((found.alias.as_str(), link::lookup_alias(&sandbox, "test").unwrap()), ("test", Some(found.clone())));
    assert_eq!(link::lookup_name(&daemon, "d0").unwrap(), None);
    // Usable at once: an address under duplicate address detection could not be bound, nor the other half of a /31 pinged.
    for address in ["10.77.0.7:0", "[fd77::7]:0"] {
        sandbox.run(|| TcpListener::bind(address)).unwrap().unwrap();
    }
    let route = sandbox.run(|| Command::new("ip").args(["route", "get", "10.77.0.6"]).output()).unwrap();
    if let Ok(route) = route {
        assert!(!String::from_utf8_lossy(&route.stdout).contains("broadcast"), "{route:?}");
    }
    link::delete(&sandbox, index).unwrap();
    link::delete(&sandbox, index).unwrap();
    assert_eq!(link::name_of(&sandbox, index).unwrap(), None);
}

#[test]
fn a_taken_name_is_named_and_the_first_holder_keeps_it() {
    privileged!();
    let (daemon, sandbox) = (Netns::anonymous().unwrap(), Netns::anonymous().unwrap());
    let other = LinkSpec { mac: Mac::new([2, 0, 0, 0, 0, 8]), ..spec("eth0") };
    let (_first, first) = plug_tap(&daemon, &sandbox, &spec("eth0"));
    let (_second, second) = plug_tap(&daemon, &sandbox, &other);
    let error = second.unwrap_err();
    assert!(error.to_string().contains("already has an interface eth0; choose another with --ifname"), "{error}");
    assert!(link::lookup(&sandbox, first.unwrap()).unwrap().is_some());
    // The kernel had moved the second before it found the name taken.
    for netns in [&daemon, &sandbox] {
        assert_eq!(link::lookup_name(netns, "weft-t0").unwrap(), None);
    }
}

#[test]
fn a_failure_after_the_move_leaves_nothing() {
    privileged!();
    let (daemon, sandbox) = (Netns::anonymous().unwrap(), Netns::anonymous().unwrap());
    let twice = LinkSpec { addresses: vec!["10.0.0.1/24".parse().unwrap(); 2], ..spec("eth0") };
    let too_small = LinkSpec { mtu: 1000, ..spec("eth0") };
    let (_tap, plugged) = plug_tap(&daemon, &sandbox, &twice);
    assert!(matches!(plugged, Err(LinkError::System { .. })), "{plugged:?}");
    let (_tap, plugged) = plug_tap(&daemon, &sandbox, &too_small);
    assert!(matches!(plugged, Err(LinkError::Ipv6Off { .. })), "{plugged:?}");
    for (netns, name) in [(&daemon, "weft-t0"), (&sandbox, "eth0"), (&sandbox, "weft-t0")] {
        assert_eq!(link::lookup_name(netns, name).unwrap(), None);
    }
}

#[test]
fn a_namespace_is_found_again_by_its_identity() {
    privileged!();
    let netns = Netns::anonymous().unwrap();
    let mut sleeper = netns.run(|| Command::new("sleep").arg("60").stdin(Stdio::null()).spawn()).unwrap().unwrap();
    let moved = Netns::find("/run/netns/moved-away".as_ref(), netns.identity()).unwrap();
    assert_eq!(moved.identity(), netns.identity());
    assert!(moved.path().ends_with(format!("{}/ns/net", sleeper.id())), "{:?}", moved.path());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop(moved);
    let (path, identity) = (netns.path().to_owned(), netns.identity());
    assert!(Netns::find(&path, identity).is_ok());
    drop(netns);
    assert!(matches!(Netns::find("/none".as_ref(), identity), Err(NetnsError::Gone { .. })));
}

#[test]
fn other_kinds_of_namespace_are_refused() {
    privileged!();
    assert!(matches!(Netns::open("/proc/self/ns/mnt"), Err(NetnsError::NotANetns(_))));
}

#[test]
fn a_lab_names_nothing_outside_and_ends_with_its_owner() {
    privileged!();
    let links = || {
        let mut text = String::new();
        std::fs::File::open("/proc/net/dev").unwrap().read_to_string(&mut text).unwrap();
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = (links(), mounts());
    let lab = Lab::build(LabSpec::new(4)).unwrap();
    assert_eq!((links(), mounts()), before);
    let uplink = link::lookup_name(&lab.hosts[0].netns, "eth0").unwrap().unwrap();
    assert!(uplink.up && uplink.mtu == 1500);
    let names = lab.hosts[0].run(|| std::fs::read_dir("/run").unwrap().count()).unwrap();
    assert_eq!(names, 0, "a host's /run is its own and empty");
}

/// The kernel's overlay proves the lab and the generator on every kind of underlay.
fn kernel_overlay_carries(spec: LabSpec) {
    let lab = Lab::build(spec.clone()).unwrap();
    kernel::overlay(&lab, Vni::new(77).unwrap()).unwrap();
    let containers: Vec<_> = lab.containers().collect();
    for (from, a) in containers.iter().enumerate() {
        for (to, b) in containers.iter().enumerate().filter(|(to, _)| *to != from) {
            for address in [b.ip(), b.ip6()] {
                let rtt = ping::once(&a.netns, address, Duration::from_secs(2)).unwrap();
                assert!(rtt.is_some(), "{from} cannot reach {to} at {address} on {spec:?}");
            }
        }
    }
    let (a, b) = (containers[0], containers[1]);
    let load = tcp::TcpSpec { duration: Duration::from_millis(300), streams: 2, ..tcp::TcpSpec::default() };
    let report = tcp::stream(&a.netns, &b.netns, b.ip(), &load).unwrap();
    assert!(report.gbit_per_s() > 0.05, "{spec:?}: {report:?}");
    let load = udp::FloodSpec { rate: Some(5000), duration: Duration::from_millis(300), ..udp::FloodSpec::default() };
    let report = udp::flood(&a.netns, &b.netns, b.ip6(), &load).unwrap();
    assert!(report.sent > 1000 && report.loss() < 0.01, "{spec:?}: {report:?}");
}

#[test]
fn labs_of_all_kinds_carry_the_kernel_s_overlay() {
    privileged!();
    kernel_overlay_carries(LabSpec::new(2));
    kernel_overlay_carries(LabSpec { family: Family::V6, containers: 2, ..LabSpec::new(3) });
    needs!("ethtool");
    kernel_overlay_carries(LabSpec { underlay: Underlay::Wire, mtu: 1400, ..LabSpec::new(2) });
    kernel_overlay_carries(LabSpec { underlay: Underlay::WireGro, family: Family::V6, ..LabSpec::new(3) });
}
