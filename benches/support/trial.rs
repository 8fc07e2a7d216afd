//! What a contestant is put to: throughput, packets, latency, and what they cost.
//!
//! A trial has a name, by which the command line chooses it, and one or more columns in the results.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weft::sandbox::Netns;
use weft::traffic::calls::{self, CallSpec};
use weft::traffic::ping::{self, PingReport, PingSpec};
use weft::traffic::tcp::{self, TcpReport, TcpSpec};
use weft::traffic::udp::{self, FloodReport, FloodSpec, IMIX};

use super::machine;

/// A rate is called free of loss if at most one of ten thousand datagrams is lost.
const LOSS_FREE: f64 = 0.0001;
/// The payload of packets of 1,400 bytes, which all tunnels carry.
const LARGE: usize = 1372;
/// Scrapes whose CPU time is measured.
const SCRAPES: u32 = 100;
/// How often metrics are read.
const EACH: Duration = Duration::from_secs(1);
/// How often the search for that rate halves what is left of the interval.
const HALVINGS: u32 = 7;

/// Where a generator's socket is opened, and its address.
pub(crate) type End<'a> = (&'a Netns, IpAddr);

/// An overlay that is ready to be measured.
pub(crate) trait Subject: Sync {
    /// The ends between which is measured.
    fn ends(&self) -> [End<'_>; 2];

    /// CPU time that the overlay's own processes or threads have used; `None` where it has none.
    fn cpu_time(&self) -> Result<Option<Duration>>;

    /// Reads every node's metrics, and says how long the slowest took; `None` where there are none.
    fn scrape(&self) -> Result<Option<Duration>> {
        Ok(None)
    }
}

/// Which way the streams go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    There,
    Back,
    Both,
}

/// One kind of measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trial {
    /// TCP streams, as many bytes as go through.
    Tcp { streams: usize, way: Way },
    /// A stream, and another one while the metrics of all nodes are read each second.
    Scraped,
    /// 64-byte datagrams, all that one sender can.
    Flood { flows: usize },
    /// The highest rate of 64-byte datagrams at which nothing is lost, by search.
    LossFree { flows: usize },
    /// 64-byte datagrams at 150,000 a second.
    Paced,
    /// Full-sized datagrams.
    Large,
    /// A mix of sizes.
    Imix,
    /// Echoes on an idle network, without a pause between them.
    Ping,
    /// Echoes beside a stream that takes all that it gets.
    PingLoaded,
    /// Small questions and answers.
    Calls { callers: usize },
}

/// The kinds of trial that share a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    Tcp,
    Packets,
    Latency,
}

/// A column of the results.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) topic: Topic,
    /// False where the good value is zero, of which no ratio is made.
    pub(crate) ratio: bool,
}

impl Trial {
    /// All that the race measures.
    pub(crate) const ALL: &'static str = "tcp,tcp-back,tcp-both,tcp4,tcp4-back,tcp4-both,tcp16,tcp16-back,tcp16-both,\
        flood1,flood8,flood64,flood1000,lossfree1,lossfree8,lossfree64,lossfree1000,udp1400,imix,\
        ping,ping-loaded,calls1,calls16";

    /// How the columns are called, in the order of what [`Trial::run`] returns.
    pub(crate) fn columns(self) -> Vec<Column> {
        let column = |topic, name: String| Column { name, topic, ratio: true };
        match self {
            // One stream is what all is compared by; so of it the cost is said.
            Trial::Tcp { streams: 1, way: Way::There } => {
                ["TCP Gb/s", "CPU-s/GB machine", "CPU-s/GB overlay"].map(|n| column(Topic::Tcp, n.into())).into()
            }
            Trial::Tcp { streams, way } => {
                let way = match way {
                    Way::There => "",
                    Way::Back => " back",
                    Way::Both => " both ways",
                };
                vec![column(Topic::Tcp, format!("TCP {streams}{way} Gb/s"))]
            }
            Trial::Scraped => vec![
                column(Topic::Tcp, "TCP scraped Gb/s".into()),
                Column { name: "scraped ÷ not".into(), topic: Topic::Tcp, ratio: false },
                Column { name: "slowest scrape ms".into(), topic: Topic::Tcp, ratio: false },
                Column { name: "CPU ms/scrape".into(), topic: Topic::Tcp, ratio: false },
            ],
            Trial::Flood { flows } => ["k/s", "CPU-s/M machine"]
                .map(|what| column(Topic::Packets, format!("64 B, {flows} flows {what}")))
                .into(),
            Trial::LossFree { flows } => vec![column(Topic::Packets, format!("64 B, {flows} flows, loss-free k/s"))],
            Trial::Paced => {
                vec![Column { name: "lost at 150 k/s %".into(), topic: Topic::Packets, ratio: false }]
            }
            Trial::Large => vec![column(Topic::Packets, "UDP 1400 Gb/s".into())],
            Trial::Imix => vec![column(Topic::Packets, "IMIX k/s".into())],
            Trial::Ping => percentiles("ping"),
            Trial::PingLoaded => percentiles("ping under load"),
            Trial::Calls { callers } => vec![
                column(Topic::Latency, format!("{callers} callers, calls k/s")),
                column(Topic::Latency, format!("{callers} callers p99 µs")),
            ],
        }
    }

    /// Measures once, for `time` where time makes a difference. `None` in a column: this contestant has no such value.
    pub(crate) fn run(self, subject: &impl Subject, time: Duration) -> Result<Vec<Option<f64>>> {
        let [(a, other), (b, address)] = subject.ends();
        Ok(match self {
            Trial::Tcp { streams, way } => {
                let spec = TcpSpec { streams, duration: time, ..TcpSpec::default() };
                let (machine, own) = (machine::busy()?, subject.cpu_time()?);
                let reports = match way {
                    Way::There => vec![tcp::stream(a, b, address, &spec)?],
                    Way::Back => vec![tcp::stream(b, a, other, &spec)?],
                    Way::Both => both(|| tcp::stream(a, b, address, &spec), || tcp::stream(b, a, other, &spec))?,
                };
                let rate = reports.iter().map(TcpReport::gbit_per_s).sum();
                if self.columns().len() == 1 {
                    return Ok(vec![Some(rate)]);
                }
                let gigabytes = reports.iter().map(|report| report.total_bytes).sum::<u64>() as f64 / 1e9;
                let machine = (machine::busy()?.saturating_sub(machine)).as_secs_f64() / gigabytes;
                let own = subject.cpu_time()?.zip(own).map(|(now, then)| (now - then).as_secs_f64() / gigabytes);
                vec![Some(rate), Some(machine), own]
            }
            Trial::Scraped => scraped(subject, time.max(EACH))?,
            Trial::Flood { flows } => {
                let machine = machine::busy()?;
                let report = udp::flood(a, b, address, &FloodSpec { flows, duration: time, ..FloodSpec::default() })?;
                let machine = (machine::busy()?.saturating_sub(machine)).as_secs_f64();
                vec![Some(report.received_per_s() / 1e3), Some(machine / (report.received as f64 / 1e6))]
            }
            Trial::LossFree { flows } => {
                let flood = |rate| {
                    let spec = FloodSpec { flows, rate, duration: time / 4, ..FloodSpec::default() };
                    udp::flood(a, b, address, &spec)
                };
                vec![Some(loss_free(flood)? / 1e3)]
            }
            Trial::Paced => {
                let spec = FloodSpec { rate: Some(150_000), duration: time, ..FloodSpec::default() };
                vec![Some(udp::flood(a, b, address, &spec)?.loss() * 100.0)]
            }
            Trial::Large => {
                let spec = FloodSpec { sizes: &[LARGE], duration: time, ..FloodSpec::default() };
                let report = udp::flood(a, b, address, &spec)?;
                vec![Some(report.received_per_s() * LARGE as f64 * 8.0 / 1e9)]
            }
            Trial::Imix => {
                let report =
                    udp::flood(a, b, address, &FloodSpec { sizes: IMIX, duration: time, ..FloodSpec::default() })?;
                vec![Some(report.received_per_s() / 1e3)]
            }
            // Without a pause: after one, most of the time is the processor's waking up.
            Trial::Ping => {
                let spec = PingSpec { count: 1000, interval: Duration::ZERO, ..PingSpec::default() };
                of_rtts(&ping::ping(a, address, &spec)?)
            }
            Trial::PingLoaded => {
                let spec = PingSpec { count: 500, interval: Duration::from_millis(1), ..PingSpec::default() };
                let load = TcpSpec { duration: time.max(Duration::from_millis(700)), ..TcpSpec::default() };
                let (mut rtts, mut stream) = (None, None);
                thread::scope(|scope| {
                    let beside = scope.spawn(|| tcp::stream(a, b, address, &load));
                    thread::sleep(load.warm_up);
                    rtts = Some(ping::ping(a, address, &spec));
                    stream = beside.join().ok();
                });
                stream.context("the load failed")??;
                of_rtts(&rtts.context("there was no ping")??)
            }
            Trial::Calls { callers } => {
                let report = calls::calls(a, b, address, &CallSpec { callers, duration: time })?;
                let p99 = report.times[(report.times.len() - 1) * 99 / 100];
                vec![Some(report.per_s() / 1e3), Some(p99.as_secs_f64() * 1e6)]
            }
        })
    }
}

/// Half of it without and half of it with a scrape each [`EACH`], each half in two parts, so that what grows or fades
/// meanwhile is the same for both.
fn scraped(subject: &impl Subject, time: Duration) -> Result<Vec<Option<f64>>> {
    let [(a, _), (b, address)] = subject.ends();
    let spec = TcpSpec { duration: time, ..TcpSpec::default() };
    let (mut rates, mut slowest) = ([0.0; 2], Duration::ZERO);
    for scraping in [false, true, true, false] {
        let over = AtomicBool::new(!scraping);
        let rate = thread::scope(|scope| {
            let scraper = scope.spawn(|| scrape_until(subject, &over));
            let report = tcp::stream(a, b, address, &spec);
            over.store(true, Ordering::Relaxed);
            let times = scraper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            slowest = slowest.max(times);
            anyhow::Ok(report?.gbit_per_s())
        })?;
        rates[usize::from(scraping)] += rate / 2.0;
    }
    // Of an idle node, and many: a daemon's time is told in hundredths of a second.
    let before = subject.cpu_time()?;
    for _ in 0..SCRAPES {
        subject.scrape()?;
    }
    let used = subject.cpu_time()?.zip(before).map_or(Duration::ZERO, |(now, before)| now - before);
    let of_one = used.as_secs_f64() / f64::from(SCRAPES * subject.ends().len() as u32);
    let found = slowest > Duration::ZERO;
    let values = [rates[1], rates[1] / rates[0], slowest.as_secs_f64() * 1e3, of_one * 1e3];
    Ok(values.map(|value| found.then_some(value)).into())
}

/// Scrapes at once, and then each [`EACH`]. Returns the longest time that one took.
fn scrape_until(subject: &impl Subject, over: &AtomicBool) -> Result<Duration> {
    let (mut slowest, mut next) = (Duration::ZERO, Instant::now());
    while !over.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            let Some(took) = subject.scrape()? else { break };
            (slowest, next) = (slowest.max(took), next + EACH);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(slowest)
}

fn percentiles(what: &str) -> Vec<Column> {
    ["p50", "p99"].map(|p| Column { name: format!("{what} {p} µs"), topic: Topic::Latency, ratio: true }).into()
}

fn of_rtts(report: &PingReport) -> Vec<Option<f64>> {
    [50.0, 99.0].map(|p| report.percentile(p).map(|rtt| rtt.as_secs_f64() * 1e6)).into()
}

fn both<T: Send>(one: impl FnOnce() -> Result<T> + Send, other: impl FnOnce() -> Result<T> + Send) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(vec![one?, other?])
    })
}

/// The highest rate at which next to nothing was lost, in datagrams a second: between none and all that can be sent.
/// Zero if even the least that was tried lost some.
fn loss_free(flood: impl Fn(Option<u32>) -> Result<FloodReport>) -> Result<f64> {
    let all = flood(None)?;
    if all.loss() <= LOSS_FREE {
        return Ok(all.sent_per_s());
    }
    let (mut good, mut bad, mut best) = (0.0, all.sent_per_s(), 0.0);
    for _ in 0..HALVINGS {
        let rate = f64::midpoint(good, bad);
        let report = flood(Some(rate as u32))?;
        if report.loss() <= LOSS_FREE {
            // A sender that could not keep up has shown no more than what it sent.
            (good, best) = (rate, report.sent_per_s().min(rate));
        } else {
            bad = rate;
        }
    }
    Ok(best)
}

impl FromStr for Trial {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Trial> {
        let (name, way) = match (text.strip_suffix("-back"), text.strip_suffix("-both")) {
            (Some(name), _) => (name, Way::Back),
            (_, Some(name)) => (name, Way::Both),
            _ => (text, Way::There),
        };
        let number = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let count = number.parse().ok().filter(|count| (1..=1400).contains(count));
        let trial = match (name.strip_suffix(number).unwrap_or(name), count) {
            ("tcp", Some(streams)) => Trial::Tcp { streams, way },
            ("tcp", None) if number.is_empty() => Trial::Tcp { streams: 1, way },
            ("flood", Some(flows)) => Trial::Flood { flows },
            ("lossfree", Some(flows)) => Trial::LossFree { flows },
            ("calls", Some(callers)) => Trial::Calls { callers },
            ("udp", Some(1400)) => Trial::Large,
            ("scraped", None) => Trial::Scraped,
            ("paced", None) => Trial::Paced,
            ("imix", None) => Trial::Imix,
            ("ping", None) => Trial::Ping,
            ("ping-loaded", None) => Trial::PingLoaded,
            _ => return Err(anyhow!("there is no trial {text}; there are {}, paced, scraped", Trial::ALL)),
        };
        match (trial, way) {
            (Trial::Tcp { .. }, _) | (_, Way::There) => Ok(trial),
            _ => Err(anyhow!("{name} goes one way only")),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.columns().into_iter().map(|column| column.name).collect();
        f.write_str(&names.join(", "))
    }
}
