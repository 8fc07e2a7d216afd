//! A container that moves to another node with its addresses.

use weft::lab::LabSpec;

use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text};

#[test]
fn a_container_that_moves_with_its_mac_is_reached_at_its_new_place() {
    privileged!();
    for plain in ["", "--plain"] {
        let cluster = Cluster::bare(LabSpec::new(3));
        cluster.network(0, BLUE, plain);
        cluster.attach(0, BLUE, "");
        let (mac, ip) = ("02:00:00:00:aa:01", "10.77.8.8");
        let mut endpoint = cluster.attach(1, BLUE, &format!("--mac {mac} --ip {ip}/16"));
        cluster.ping(0, ip.parse().unwrap());
        for (from, to) in [(1, 2), (2, 1), (1, 2)] {
            cluster.json(from, &format!("detach {}", text(&endpoint["endpoint"])));
            endpoint = cluster.attach_soon(to, BLUE, &format!("--mac {mac} --ip {ip}/16"));
            assert_eq!(endpoint["mac"], mac);
            cluster.ping_soon(0, ip.parse().unwrap());
            for n in cluster.up() {
                let expected = if n == to { "local".to_owned() } else { cluster.host(to).address.to_string() };
                eventually("all know its new place", || cluster.place(n, mac).as_ref() == Some(&expected));
            }
        }
    }
}
