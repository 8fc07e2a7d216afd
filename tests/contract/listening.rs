//! Where a daemon listens: nowhere that it was not told to, and on this host alone where only a port was given.

use std::collections::BTreeSet;
use std::fs;

use weft::lab::{Daemon, Host, Lab, LabSpec};

use crate::harness::{privileged, weft};

/// The addresses of the TCP sockets that listen on a host (proc_net_tcp(5)).
fn listening(host: &Host) -> BTreeSet<String> {
    // The address is a number in the order of this machine's octets, the port one in that of people.
    let v4 = |field: &str| {
        let (address, port) = field.split_once(':').unwrap();
        let address = u32::from_str_radix(address, 16).unwrap().to_ne_bytes();
        format!("{}:{}", std::net::Ipv4Addr::from(address), u16::from_str_radix(port, 16).unwrap())
    };
    let table = |name: &str| host.run(|| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap()).unwrap();
    let sockets = |text: &str| {
        let fields = text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        fields.filter(|fields| fields[3] == "0A").map(|fields| fields[1].clone()).collect::<Vec<_>>()
    };
    assert_eq!(sockets(&table("tcp6")), [""; 0], "nothing here listens on IPv6");
    sockets(&table("tcp")).iter().map(|field| v4(field)).collect()
}

/// The unix sockets that listen on a host, by their paths.
fn unix(host: &Host) -> BTreeSet<String> {
    let table = host.run(|| fs::read_to_string("/proc/thread-self/net/unix").unwrap()).unwrap();
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // __SO_ACCEPTCON, of linux/net.h.
    let listen = fields.filter(|fields| fields[3] == "00010000");
    listen.map(|fields| fields.get(7).copied().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_daemon_listens_where_it_was_told_to_and_nowhere_else() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let [a, b] = &lab.hosts[..] else { unreachable!() };
    let set = |addresses: &[&str]| addresses.iter().map(|&text| text.to_owned()).collect::<BTreeSet<_>>();

    let alone = Daemon::start(weft(), a, &["--docker", "off"]).unwrap();
    assert_eq!(listening(a), set(&[]));
    assert_eq!(unix(a), set(&["/run/weft/weft.sock"]));
    assert!(alone.stop().unwrap().success());
    let alone = Daemon::up(weft(), a, &["--docker", "off", "--metrics", "9469", "--page", "9470"]).unwrap();
    assert_eq!(listening(a), set(&["127.0.0.1:9469", "127.0.0.1:9470"]));
    assert_eq!(unix(a), set(&["/run/weft/weft.sock"]));
    drop(alone);

    // A cluster's node has its control port, for mutual TLS.
    let _first = Daemon::bootstrap(weft(), b, &["--docker", "off"]).unwrap();
    let tcp = listening(b);
    assert!(tcp.len() == 1 && tcp.iter().all(|address| address.ends_with(":7956")), "{tcp:?}");
    assert_eq!(unix(b), set(&["/run/weft/weft.sock"]));
}
