//! What a large table costs a daemon: to come to it, and to keep up with it. Asserted is only that nothing is missing; the
//! times are printed, and mean something in a release build on a quiet machine.

use std::time::{Duration, Instant};

use weft::lab::{Daemon, LabSpec};
use weft_control::cluster::Input;
use weft_control::table::{Key, Mobility, Value};
use weft_vtep::addr::{Mac, Vni};

use crate::harness::{eventually, privileged, weft};
use crate::stand_in::StandIn;
use crate::{BLUE, Cluster};

const STATIONS: u32 = 100_000;

fn station(number: u32) -> Key {
    let [a, b, c, d] = number.to_be_bytes();
    Key::Mac(Vni::new(5000).unwrap(), Mac::new([2, 0, a, b, c, d]))
}

/// A cluster of one daemon and a member that has so many stations.
fn with_stations(hosts: u8, count: u32) -> (Cluster, StandIn, String) {
    let cluster = Cluster::begun(LabSpec::new(hosts));
    cluster.network(0, BLUE, "--vni 5000");
    let token = cluster.token(0);
    let last = usize::from(hosts) - 1;
    let stand_in = StandIn::join(cluster.host(last), cluster.host(0), &token, 1..=1);
    for number in 0..count {
        stand_in.tell(Input::Put(station(number), Value::Mac(Mobility::default())));
    }
    eventually("the first daemon has all stations", || stations(&cluster, 0) == count as usize);
    (cluster, stand_in, token)
}

fn stations(cluster: &Cluster, n: usize) -> usize {
    cluster.json(n, &format!("fdb {BLUE}")).as_array().unwrap().len()
}

#[test]
#[ignore = "long, and for its figures"]
fn a_daemon_that_joins_a_table_of_a_hundred_thousand_is_ready_with_all_of_it() {
    privileged!();
    let (mut cluster, _stand_in, token) = with_stations(3, STATIONS);
    let begin = Instant::now();
    let daemon = Daemon::join(weft(), cluster.host(1), cluster.host(0), &token, &[]).unwrap();
    let ready = begin.elapsed();
    cluster.daemons[1] = Some(daemon);
    // It says that it is ready when its tables were a neighbour's: all stations are in its data plane.
    assert_eq!(stations(&cluster, 1), STATIONS as usize, "it was ready after {ready:?} without all stations");
    println!(
        "a daemon joins a table of {STATIONS} stations, and has them in its data plane, in {} ms",
        ready.as_millis()
    );
}

#[test]
#[ignore = "long, and for its figures"]
fn a_thousand_updates_a_second_all_arrive() {
    privileged!();
    const RATE: u32 = 1000;
    const SECONDS: u32 = 10;
    let (mut cluster, stand_in, token) = with_stations(3, 10_000);
    cluster.join(1, 0, &token);
    eventually("both have all stations", || stations(&cluster, 1) == 10_000);
    std::thread::sleep(Duration::from_secs(2));
    let cpu = |cluster: &Cluster| [0, 1].map(|n| cluster.daemon(n).cpu_time().unwrap());
    let (before, begin) = (cpu(&cluster), Instant::now());
    for round in 0..RATE * SECONDS / 2 {
        // Two updates every two milliseconds: a station goes, and comes back.
        let number = round % 5000;
        stand_in.tell(Input::Remove(station(number)));
        let at = begin + Duration::from_millis(1) * (2 * round + 1);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        stand_in.tell(Input::Put(station(number), Value::Mac(Mobility::default())));
        let at = begin + Duration::from_millis(1) * (2 * round + 2);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
    }
    let (after, took) = (cpu(&cluster), begin.elapsed());
    eventually("all that was said has arrived", || stations(&cluster, 1) == 10_000);
    let shares = [0, 1].map(|n| (after[n] - before[n]).as_secs_f64() / took.as_secs_f64() * 100.0);
    let rate = f64::from(RATE * SECONDS) / took.as_secs_f64();
    println!("{rate:.0} updates/s cost the two daemons {:.1} and {:.1} % of a core", shares[0], shares[1]);
}
