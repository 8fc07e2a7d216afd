//! Who lives where: a worker's cache, the shared table under it, and both while other threads write.
//!
//! Two kinds of writer. One *refreshes*: it sees known stations again, as every worker does all the time. The other
//! *churns*: it adds and removes stations of the same table without a pause, a thousand times what a busy network does;
//! each change puts every cached answer of that table out of date.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::switch::Place;
use weft_vtep::switch::cache::Cache;
use weft_vtep::switch::fdb::Fdb;

const STATIONS: u32 = 1_000;
const SECRET: u64 = 0xfeed_5eed_1234_5678;

fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac::new([2, 0, a, b, c, d])
}

fn vtep(n: u32) -> Place {
    Place::Vtep(IpAddr::from([192, 0, 2, n as u8]))
}

/// A table in which all stations are learned, in second 1.
fn table() -> Fdb {
    let fdb = Fdb::new(Vni::new(4096).expect("a VNI"), 2 * STATIONS as usize, SECRET);
    for n in 0..STATIONS {
        fdb.learn(station(n), vtep(n), 1);
    }
    fdb
}

/// Measures `lookup` while `writers` threads run `write` with a rising number.
fn beside<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    writers: usize,
    write: impl Fn(u32) + Sync,
    mut lookup: impl FnMut(Mac) -> T,
) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..writers {
            let (over, write) = (&over, &write);
            scope.spawn(move || {
                let mut n = writer as u32 * 7;
                while !over.load(Ordering::Relaxed) {
                    write(n);
                    n = n.wrapping_add(1);
                }
            });
        }
        // Stepping over the stations by a number that shares no factor with theirs: no two neighbours, none left out.
        let mut n = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                n = (n + 611) % STATIONS;
                black_box(lookup(station(n)))
            });
        });
        over.store(true, Ordering::Relaxed);
    });
}

fn fdb(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fdb");
    group.throughput(Throughput::Elements(1));
    let fdb = table();
    let mut cache = Cache::new(SECRET);
    let idle = |_| {};
    let refresh = |n| {
        fdb.learn(station(n % STATIONS), vtep(n % STATIONS), n / STATIONS);
    };
    let churn = |n| {
        let newcomer = station(STATIONS + n % STATIONS);
        fdb.learn(newcomer, vtep(1), 1);
        fdb.unlearn(newcomer);
    };
    beside(&mut group, "cache", 0, idle, |mac| cache.lookup(&fdb, mac));
    beside(&mut group, "table", 0, idle, |mac| fdb.lookup(mac));
    // As many as leave the reader a core; more would measure the scheduler.
    let mut writers = vec![1, thread::available_parallelism().map_or(1, usize::from) - 1];
    writers.retain(|count| *count > 0);
    writers.dedup();
    for writers in writers {
        let name = |what: &str, kind: &str| format!("{what} beside {writers} {kind}");
        beside(&mut group, &name("cache", "refreshing"), writers, refresh, |mac| cache.lookup(&fdb, mac));
        beside(&mut group, &name("table", "refreshing"), writers, refresh, |mac| fdb.lookup(mac));
        beside(&mut group, &name("cache", "churning"), writers, churn, |mac| cache.lookup(&fdb, mac));
        beside(&mut group, &name("table", "churning"), writers, churn, |mac| fdb.lookup(mac));
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group!(name = benches; config = config(); targets = fdb);
criterion_main!(benches);
