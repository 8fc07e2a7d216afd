//! Scale: how the cost of a frame grows with what a node has to know, and how much memory that takes.
//!
//! Each curve has one thing that grows: endpoints, VTEPs, stations, sealed peers, workers. What is asked is the shape:
//! no cliff. The data plane is the real one, on real devices, in this process, so that its tables can be filled at will.

#[path = "support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use support::curve::Curve;
use support::stage::{self, Stage, far, memory, plug, station, vni};
use weft::lab::{self, Host, kernel};
use weft::sandbox::{LinkSpec, Netns};
use weft::traffic::ping::{self, PingSpec};
use weft::traffic::tcp::{self, TcpSpec};
use weft::traffic::udp::{self, FloodSpec};
use weft_vtep::addr::Mac;
use weft_vtep::io::Vtep;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::suite::Suite;
use weft_vtep::switch::NetworkSpec;
use weft_vtep::switch::update::Update;
use weft_vtep::wire::vxlan;

/// Inner bytes of a small frame.
const SMALL: usize = 64;
/// Payload bytes of frames nobody reads: an EtherType for experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// How many different frames a sender has at most; with more stations they are chosen from all of them.
const FRAMES: usize = 4096;

/// Measures how costs grow.
#[derive(Parser)]
struct Options {
    /// Rounds; each measures every point once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each point.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Curves: endpoints, towards, from, broadcast, stations, sealed, workers.
    #[arg(long, value_delimiter = ',')]
    curves: Vec<String>,
    /// Where tables and pictures go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/scale"))]
    results: PathBuf,
    /// One point of a curve, of which the values are printed: each is measured by a process of its own, so that what an
    /// earlier one left on the heap does not count.
    #[arg(long, hide = true, num_args = 2, value_names = ["CURVE", "SIZE"])]
    point: Vec<String>,
    /// Given by `cargo bench`; without it, as from `cargo test`, only a short run shows that the bench works.
    #[arg(long, hide = true)]
    bench: bool,
    /// Filters are for other benches.
    #[arg(hide = true)]
    filters: Vec<String>,
}

/// What grows, and what is measured as it does.
struct Growth {
    name: &'static str,
    what: &'static str,
    sizes: &'static [u32],
    columns: &'static [&'static str],
    /// A value for each column; `None` where there is none at this size.
    measure: fn(u32, Duration) -> Result<Vec<Option<f64>>>,
}

const CURVES: [Growth; 7] = [
    Growth {
        name: "endpoints",
        what: "endpoints on each of two nodes, one pair of which talks",
        sizes: &[1, 10, 100, 500],
        columns: &["64 B k/s", "CPU µs/frame", "ping p50 µs", "bytes each"],
        measure: endpoints,
    },
    Growth {
        name: "towards",
        what: "VTEPs that a node sends to, in turn",
        sizes: &[1, 10, 100, 1000],
        columns: &["k/s", "CPU µs/frame"],
        measure: towards,
    },
    Growth {
        name: "from",
        what: "VTEPs that a node receives from, in turn",
        sizes: &[1, 10, 100, 1000],
        columns: &["k/s", "CPU µs/frame"],
        measure: from,
    },
    Growth {
        name: "broadcast",
        what: "VTEPs that each broadcast frame goes to",
        sizes: &[1, 10, 100, 1000],
        columns: &["copies k/s", "CPU µs/copy"],
        measure: broadcast,
    },
    Growth {
        name: "stations",
        what: "stations in one forwarding table, frames to all of them in no order",
        sizes: &[100, 10_000, 100_000, 1_000_000],
        columns: &["k/s", "CPU µs/frame", "bytes each"],
        measure: stations,
    },
    Growth {
        name: "sealed",
        what: "peers with sessions both ways, frames to all in turn",
        sizes: &[1, 10, 100, 1000],
        columns: &["k/s", "CPU µs/frame", "bytes each"],
        measure: sealed,
    },
    Growth {
        name: "workers",
        what: "workers of each of two nodes",
        sizes: &[1, 2, 4, 8, 16],
        columns: &["TCP, 4 streams Gb/s", "64 B, 64 flows k/s"],
        measure: workers,
    },
];

fn main() -> Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        (options.rounds, options.seconds) = (1, 0.05);
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "rounds and seconds must be above zero");
    let known = |name: &String| CURVES.iter().any(|curve| curve.name == name);
    if let Some(name) = options.curves.iter().find(|name| !known(name)) {
        let names: Vec<_> = CURVES.iter().map(|curve| curve.name).collect();
        anyhow::bail!("there is no curve {name}; there are {}", names.join(", "));
    }
    if let Err(error) = lab::acquire() {
        eprintln!("SKIPPED: the scale bench needs network namespaces and a TUN device: {error:#}");
        return Ok(());
    }
    if let [name, size] = &options.point[..] {
        let growth = CURVES.iter().find(|curve| curve.name == name).context("no such curve")?;
        let values = (growth.measure)(size.parse()?, Duration::from_secs_f64(options.seconds))?;
        println!("{}", serde_json::to_string(&values)?);
        return Ok(());
    }
    fs::create_dir_all(&options.results)
        .with_context(|| format!("cannot make the folder {}", options.results.display()))?;
    let mut text = String::new();
    for growth in CURVES {
        if !options.curves.is_empty() && !options.curves.iter().any(|chosen| chosen == growth.name) {
            continue;
        }
        let curve = measure(&growth, &options)?;
        println!("{}", curve.table());
        fs::write(options.results.join(format!("{}.svg", growth.name)), curve.svg())?;
        text += &format!("{}\n![{}]({}.svg)\n", curve.table(), growth.what, growth.name);
        fs::write(options.results.join("scale.md"), &text)?;
    }
    println!("The results are in {}.", options.results.display());
    Ok(())
}

/// All rounds of one curve.
fn measure(growth: &Growth, options: &Options) -> Result<Curve> {
    let Growth { name, what, sizes, columns, .. } = *growth;
    // To show that it works takes no thousand peers.
    let sizes = if options.bench { sizes } else { &sizes[..2] };
    let mut curve = Curve::new(what, columns, sizes);
    for round in 0..options.rounds {
        for turn in 0..sizes.len() {
            let point = (round + turn) % sizes.len();
            let size = sizes[point].to_string();
            eprintln!("{name}: round {} of {}: {size}", round + 1, options.rounds);
            let mut measure = Command::new(env::current_exe()?);
            measure.args(["--seconds", &options.seconds.to_string(), "--point", name, &size, "--bench"]);
            let output = measure.stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "{name}: {size} could not be measured");
            curve.add(point, serde_json::from_slice(&output.stdout)?);
        }
    }
    Ok(curve)
}

/// A network on `vtep` that the control plane would fill.
fn managed(vtep: &Vtep, sealed: bool) -> Result<()> {
    Ok(vtep.add_network(NetworkSpec { managed: true, sealed, ..NetworkSpec::new(vni()?, 1400) })?)
}

/// The n-th host's container's interface.
fn measured(host: &Host, vtep: &Vtep, mac: Mac) -> Result<()> {
    let container = &host.containers[0];
    let spec = LinkSpec {
        ifname: kernel::INSIDE.into(),
        alias: "test".into(),
        mac,
        mtu: 1400,
        super_frame: None,
        addresses: vec![container.v4.into()],
    };
    plug(host, vtep, &container.netns, &spec)
}

/// The stations of the two measured containers.
const TALKERS: [u32; 2] = [0xff00_0001, 0xff00_0002];

/// VTEPs on both hosts that know each other's talker.
fn pair(stage: &Stage, workers: Option<usize>) -> Result<[Vtep; 2]> {
    let [near, away] = [stage.near(), stage.away()];
    let vteps = [Stage::vtep(near, workers)?, Stage::vtep(away, workers)?];
    for (n, (vtep, (host, other))) in vteps.iter().zip([(near, away), (away, near)]).enumerate() {
        managed(vtep, false)?;
        measured(host, vtep, station(TALKERS[n]))?;
        let (vni, mac) = (vni()?, station(TALKERS[1 - n]));
        vtep.apply(&[
            Update::Member { vni, vtep: other.address },
            Update::Station { vni, mac, vtep: other.address },
            Update::Neighbor { vni, ip: other.containers[0].ip(), mac },
        ]);
    }
    Ok(vteps)
}

fn endpoints(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let stage = Stage::bare()?;
    let vteps = pair(&stage, None)?;
    let [near, away] = [stage.near(), stage.away()];
    let idle = Netns::anonymous()?;
    // Idle is who says nothing: with IPv6 each new interface speaks to the whole network, for ten seconds.
    idle.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))??;
    let each = memory(2 * (count - 1), || {
        for (host, vtep) in [near, away].into_iter().zip(&vteps) {
            for n in 1..count {
                let ifname = format!("{}{n}", host.name);
                let spec = LinkSpec {
                    ifname,
                    alias: "test".into(),
                    mac: station(n),
                    mtu: 1400,
                    super_frame: None,
                    addresses: Vec::new(),
                };
                plug(host, vtep, &idle, &spec)?;
            }
        }
        Ok(())
    })?;
    let (from, to) = (&near.containers[0], &away.containers[0]);
    ping::once(&from.netns, to.ip(), Duration::from_secs(5))?.context("the ends do not reach each other")?;
    let received = || vteps[1].stats().rx_frames;
    let cost = stage::measure(received, || {
        udp::flood(&from.netns, &to.netns, to.ip(), &FloodSpec { duration: time, ..FloodSpec::default() }).map(drop)
    })?;
    let rtts = ping::ping(&from.netns, to.ip(), &PingSpec { count: 500, ..PingSpec::default() })?;
    let p50 = rtts.percentile(50.0).map(|rtt| rtt.as_secs_f64() * 1e6);
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6), p50, each])
}

/// A VTEP with one container, whose frames all go to the other host.
struct Outward {
    stage: Stage,
    vtep: Vtep,
}

impl Outward {
    fn new(sealed: bool) -> Result<Outward> {
        let stage = Stage::set()?;
        let vtep = Stage::vtep(stage.near(), None)?;
        managed(&vtep, sealed)?;
        measured(stage.near(), &vtep, station(TALKERS[0]))?;
        Ok(Outward { stage, vtep })
    }

    /// Sends these frames; rate and cost of those that left.
    fn send(&self, frames: &[Vec<u8>], time: Duration) -> Result<stage::Cost> {
        let sender = stage::Sender::open(&self.stage.near().containers[0].netns, kernel::INSIDE)?;
        stage::measure(|| self.vtep.stats().tx_frames, || sender.send(frames, time))
    }
}

/// A small frame from the talker.
fn frame(to: Mac) -> Vec<u8> {
    let mut frame = [&to.octets()[..], &station(TALKERS[0]).octets(), &ETHERTYPE].concat();
    frame.resize(SMALL, 0);
    frame
}

fn towards(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let outward = Outward::new(false)?;
    let vni = vni()?;
    outward.vtep.apply(&(0..count).map(|n| Update::Station { vni, mac: station(n), vtep: far(n) }).collect::<Vec<_>>());
    let cost = outward.send(&(0..count).map(|n| frame(station(n))).collect::<Vec<_>>(), time)?;
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6)])
}

fn broadcast(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let outward = Outward::new(false)?;
    let vni = vni()?;
    outward.vtep.apply(&(0..count).map(|n| Update::Member { vni, vtep: far(n) }).collect::<Vec<_>>());
    let cost = outward.send(&[frame(Mac::BROADCAST)], time)?;
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6)])
}

fn stations(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let outward = Outward::new(false)?;
    let vni = vni()?;
    let each = memory(count, || {
        for first in (0..count).step_by(1000) {
            let some = first..count.min(first + 1000);
            let updates = some.map(|n| Update::Station { vni, mac: station(n), vtep: far(n % 16) });
            outward.vtep.apply(&updates.collect::<Vec<_>>());
        }
        Ok(())
    })?;
    // Steps of a number that shares no factor with the counts: far apart, none left out.
    let frames: Vec<_> = (0..FRAMES as u64).map(|n| frame(station((n * 611_953 % u64::from(count)) as u32))).collect();
    let cost = outward.send(&frames, time)?;
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6), each])
}

fn sealed(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let outward = Outward::new(true)?;
    let (vni, vtep) = (vni()?, &outward.vtep);
    let each = memory(count, || {
        for n in 0..count {
            let (here, peer) = (PeerId(u64::MAX), PeerId(n.into()));
            let terms = |sender, receiver| Terms { sender, receiver, suite: Suite::Aes256Gcm, lanes: vtep.lanes() };
            let keys = |terms| SessionKeys::derive(terms, &[1; 32], &[2; 32]);
            vtep.install_receive(far(n), &keys(terms(peer, here))?)?;
            vtep.install_send(far(n), &keys(terms(here, peer))?, n)?;
            vtep.apply(&[Update::Member { vni, vtep: far(n) }, Update::Station { vni, mac: station(n), vtep: far(n) }]);
        }
        Ok(())
    })?;
    let cost = outward.send(&(0..count).map(|n| frame(station(n))).collect::<Vec<_>>(), time)?;
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6), each])
}

fn from(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let outward = Outward::new(false)?;
    let (vni, near) = (vni()?, outward.stage.near());
    let members = (0..count).map(|n| Update::Member { vni, vtep: far(n) });
    let stations = (0..count).map(|n| Update::Station { vni, mac: station(n), vtep: far(n) });
    outward.vtep.apply(&members.chain(stations).collect::<Vec<_>>());
    let open = |n| Ok((UdpSocket::bind((far(n), 0))?, n));
    let sockets = outward.stage.away().run(|| (0..count).map(open).collect::<Result<Vec<_>>>())??;
    let datagram = |n| {
        let mut inner = [&station(TALKERS[0]).octets()[..], &station(n).octets(), &ETHERTYPE].concat();
        inner.resize(SMALL, 0);
        [&vxlan::header(vni)[..], &inner].concat()
    };
    let senders: Vec<_> = sockets.into_iter().map(|(socket, n)| (socket, datagram(n))).collect();
    let received = || outward.vtep.stats().rx_frames;
    let cost = stage::measure(received, || stage::send_from(&senders, near.address, time))?;
    Ok(vec![Some(cost.rate / 1e3), Some(cost.seconds * 1e6)])
}

fn workers(count: u32, time: Duration) -> Result<Vec<Option<f64>>> {
    let stage = Stage::bare()?;
    let _vteps = pair(&stage, Some(count as usize))?;
    let (from, to) = (&stage.near().containers[0], &stage.away().containers[0]);
    ping::once(&from.netns, to.ip(), Duration::from_secs(5))?.context("the ends do not reach each other")?;
    let spec = TcpSpec { streams: 4, duration: time, ..TcpSpec::default() };
    let streams = tcp::stream(&from.netns, &to.netns, to.ip(), &spec)?.gbit_per_s();
    let spec = FloodSpec { flows: 64, duration: time, ..FloodSpec::default() };
    let flood = udp::flood(&from.netns, &to.netns, to.ip(), &spec)?.received_per_s();
    Ok(vec![Some(streams), Some(flood / 1e3)])
}
