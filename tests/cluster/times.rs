//! How long a cluster takes: until an endpoint is reached from everywhere, until one that moved is, until a node that was
//! killed is dead to the others. Asserted is only that all of it happens; the times are printed, and mean something in a
//! release build on a quiet machine (`benches/README.md`).

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft::lab::LabSpec;
use weft::sandbox::Netns;
use weft::traffic::ping;

use crate::harness::{PATIENCE, eventually, privileged};
use crate::{BLUE, Cluster, text};

/// Stations that are attached, and that move.
const TURNS: usize = 20;
/// Nodes that are killed.
const KILLS: usize = 5;

fn address(endpoint: &Value) -> IpAddr {
    text(&endpoint["ips"][0]).split('/').next().unwrap().parse().unwrap()
}

/// Prints the median and the time that 99 of 100 do not exceed.
fn print(hosts: u8, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_secs_f64() * 1e3;
    println!("{hosts} nodes, {what}: p50 {:.1} ms, p99 {:.1} ms of {}", at(50), at(99), times.len());
}

/// From the end of `weft attach` to the answer of the one ping that each other node's container sends.
fn attached(cluster: &Cluster) -> Vec<Duration> {
    let mut times = Vec::new();
    for turn in 0..TURNS {
        let (at, netns) = (turn % cluster.up().len(), Netns::anonymous().unwrap());
        let endpoint = cluster.json(at, &format!("attach {BLUE} --netns {}", netns.path().display()));
        let (begin, to) = (Instant::now(), address(&endpoint));
        let first = |from: usize| {
            cluster.ping(from, to);
            begin.elapsed()
        };
        times.extend(thread::scope(|scope| {
            let others = cluster.up().into_iter().filter(|from| *from != at);
            let pings: Vec<_> = others.map(|from| scope.spawn(move || first(from))).collect();
            pings.into_iter().map(|ping| ping.join().unwrap()).collect::<Vec<_>>()
        }));
        cluster.json(at, &format!("detach {}", text(&endpoint["endpoint"])));
    }
    times
}

/// From the end of `weft attach` at the new place to the first answer; the first node's container asks every 10 ms.
fn moved(cluster: &Cluster) -> Vec<Duration> {
    let line = "--mac 02:00:00:00:aa:01 --ip 10.77.8.8/16";
    let netns = Netns::anonymous().unwrap();
    let attach = |at: usize| {
        let line = format!("attach {BLUE} --netns {} {line} --json", netns.path().display());
        let mut said = None;
        // Its address is free as soon as the new place has heard of the detaching.
        eventually("the address is free", || {
            let output = cluster.run(at, &line);
            said = output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap());
            said.is_some()
        });
        said.unwrap()
    };
    let mut endpoint = attach(1);
    cluster.ping(0, address(&endpoint));
    let mut times = Vec::new();
    for turn in 0..TURNS {
        let (from, to) = if turn % 2 == 0 { (1, 2) } else { (2, 1) };
        cluster.json(from, &format!("detach {}", text(&endpoint["endpoint"])));
        endpoint = attach(to);
        let (begin, ip) = (Instant::now(), address(&endpoint));
        let asks = || ping::once(&cluster.container(0).netns, ip, Duration::from_millis(10)).unwrap();
        while asks().is_none() {
            assert!(begin.elapsed() < PATIENCE, "{ip} is not reached at its new place");
        }
        times.push(begin.elapsed());
    }
    times
}

/// From the kill to each other's verdict, by that one's event; the clock is everybody's.
fn killed(cluster: &mut Cluster) -> Vec<Duration> {
    let mut times = Vec::new();
    for turn in 0..KILLS {
        let killed = 1 + turn % (cluster.up().len() - 1);
        let deaths = |cluster: &Cluster, n: usize| {
            let events = cluster.json(n, "events");
            let dead = events.as_array().unwrap().iter().filter(|event| event["kind"] == "member_dead");
            dead.map(|event| text(&event["time"])).collect::<Vec<_>>()
        };
        let others: Vec<_> = cluster.up().into_iter().filter(|n| *n != killed).collect();
        let before: Vec<_> = others.iter().map(|n| deaths(cluster, *n).len()).collect();
        let begin = OffsetDateTime::now_utc();
        cluster.crash(killed);
        for (n, before) in others.iter().zip(before) {
            eventually("it is declared dead", || deaths(cluster, *n).len() > before);
            let at = OffsetDateTime::parse(&deaths(cluster, *n)[before], &Rfc3339).unwrap();
            times.push(Duration::try_from(at - begin).unwrap_or_default());
        }
        cluster.start(killed);
        cluster.converge();
    }
    times
}

fn times(hosts: u8) {
    let mut cluster = Cluster::shared(LabSpec::new(hosts), &[]);
    print(hosts, "attach to first ping", attached(&cluster));
    print(hosts, "move to answer", moved(&cluster));
    print(hosts, "kill to dead", killed(&mut cluster));
}

#[test]
#[ignore = "long, and for its figures"]
fn times_among_three() {
    privileged!();
    times(3);
}

#[test]
#[ignore = "long, and for its figures"]
fn times_among_ten() {
    privileged!();
    times(10);
}

#[test]
#[ignore = "takes minutes, and for its figures"]
fn times_among_thirty() {
    privileged!();
    times(30);
}
