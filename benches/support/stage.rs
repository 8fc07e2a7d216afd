//! One real VTEP in this process, with tables as large as wanted, and what is needed to put frames through it.
//!
//! It stands on the first host of a lab of two. The second host has every address of [`FAR`] (a local route, no
//! interface for each), and takes all datagrams without looking at them.

use std::fs;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, MultiHeaders, bind, sendmmsg};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use weft::lab::{Host, Lab, LabSpec, Stat, kernel};
use weft::sandbox::{LinkSpec, Netns, link};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::io::{Tap, Vtep, VtepConfig};

/// What stands on the second host: 198.18.0.0/15, which RFC 2544 sets aside for benches.
const FAR: &str = "198.18.0.0/15";
/// Frames of one `sendmmsg`.
const BATCH: usize = 64;

/// The network of all measurements.
pub(crate) fn vni() -> Result<Vni> {
    Vni::new(77).context("77 is a VNI")
}

/// The station with this number.
pub(crate) fn station(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac::new([2, 7, a, b, c, d])
}

/// The VTEP with this number, on the second host.
pub(crate) fn far(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + n))
}

/// Two hosts; the second one takes what is sent to [`far`] addresses.
pub(crate) struct Stage {
    lab: Lab,
    _sink: Option<Socket>,
}

impl Stage {
    /// Two hosts and nothing on them.
    pub(crate) fn bare() -> Result<Stage> {
        Ok(Stage { lab: Lab::build(LabSpec::new(2))?, _sink: None })
    }

    /// Two hosts, and [`FAR`] on the second.
    pub(crate) fn set() -> Result<Stage> {
        let lab = Lab::build(LabSpec::new(2))?;
        let [near, away] = &lab.hosts[..] else { unreachable!("a lab of two hosts has two") };
        ip(near, &format!("route add {FAR} via {}", away.address))?;
        ip(away, &format!("route add local {FAR} dev lo"))?;
        let sink = away.run(|| -> Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            // Dropped by the kernel before it costs anything; without a socket each would be answered by ICMP.
            socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
            socket.bind(&std::net::SocketAddr::from(([0, 0, 0, 0], kernel::VXLAN_PORT)).into())?;
            Ok(socket)
        })??;
        Ok(Stage { lab, _sink: Some(sink) })
    }

    /// The host with the VTEP.
    pub(crate) fn near(&self) -> &Host {
        &self.lab.hosts[0]
    }

    /// The host with all others'.
    pub(crate) fn away(&self) -> &Host {
        &self.lab.hosts[1]
    }

    /// A VTEP on `host`.
    pub(crate) fn vtep(host: &Host, workers: Option<usize>) -> Result<Vtep> {
        let config = VtepConfig { local: host.address, port: kernel::VXLAN_PORT, workers };
        Ok(host.run(|| Vtep::start(config))??)
    }
}

/// A container's interface, as the daemon makes it.
pub(crate) fn plug(host: &Host, vtep: &Vtep, sandbox: &Netns, spec: &LinkSpec) -> Result<()> {
    let tap = host.run(|| -> Result<Tap> {
        let tap = Tap::create("bench0", vtep.queues())?;
        link::plug("bench0", sandbox, spec)?;
        Ok(tap)
    })??;
    vtep.add_port(vni()?, spec.mac, tap)?;
    Ok(())
}

fn ip(host: &Host, arguments: &str) -> Result<()> {
    let output = host.output(Command::new("ip").args(arguments.split(' ')))?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Sends frames out of an interface, as fast as they are taken.
pub(crate) struct Sender {
    socket: Socket,
}

impl Sender {
    pub(crate) fn open(netns: &Netns, ifname: &str) -> Result<Sender> {
        let open = || -> Result<_> {
            let link = getifaddrs()?.filter(|interface| interface.interface_name == ifname);
            let link = link.filter_map(|interface| interface.address?.as_link_addr().copied()).next();
            Ok((Socket::new(Domain::PACKET, Type::RAW, None)?, link))
        };
        let (socket, link) = netns.run(open)??;
        let link: LinkAddr = link.with_context(|| format!("no interface {ifname}"))?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Sender { socket })
    }

    /// All frames, in order and again, until the time is over.
    pub(crate) fn send(&self, frames: &[Vec<u8>], time: Duration) -> Result<()> {
        let over = Instant::now() + time;
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let mut next = 0;
        while Instant::now() < over {
            let slices: [_; BATCH] = std::array::from_fn(|k| [IoSlice::new(&frames[(next + k) % frames.len()])]);
            // The socket's own limit holds the sender back before the device's queue overflows.
            let sent = sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, [None; BATCH], [], MsgFlags::empty());
            next = (next + sent.context("cannot send frames")?.count()) % frames.len();
        }
        Ok(())
    }
}

/// Sends each socket's datagram to the VTEP at `to`, one after the other and again, until the time is over.
pub(crate) fn send_from(senders: &[(UdpSocket, Vec<u8>)], to: IpAddr, time: Duration) -> Result<()> {
    let over = Instant::now() + time;
    while Instant::now() < over {
        for (socket, datagram) in senders {
            socket.send_to(datagram, (to, kernel::VXLAN_PORT))?;
        }
    }
    Ok(())
}

/// CPU time of all workers in this process.
pub(crate) fn workers_cpu() -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = Stat::read(&task?.path().join("stat").display().to_string());
        sum += stat.ok().filter(|stat| stat.name.starts_with("weft-worker")).map_or(Duration::ZERO, |s| s.cpu_time);
    }
    Ok(sum)
}

/// Bytes that the process takes for each of `count` things when `fill` has made them; `None` if they are too few to show
/// beside what the allocator sets aside.
pub(crate) fn memory(count: u32, fill: impl FnOnce() -> Result<()>) -> Result<Option<f64>> {
    let before = resident()?;
    fill()?;
    let used = resident()?.saturating_sub(before);
    Ok((count >= 10).then(|| used as f64 / f64::from(count)))
}

/// Memory of this process that is in use, in bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes << 10)
}

/// What `work` made the workers do: rate and cost of what `count` counts.
pub(crate) fn measure(count: impl Fn() -> u64, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (before, used, start) = (count(), workers_cpu()?, Instant::now());
    work()?;
    let elapsed = start.elapsed();
    // What is still on its way.
    thread::sleep(Duration::from_millis(20));
    let frames = count() - before;
    ensure!(frames > 0, "no frame went through");
    let used = workers_cpu()? - used;
    Ok(Cost { rate: frames as f64 / elapsed.as_secs_f64(), seconds: used.as_secs_f64() / frames as f64 })
}

/// What came of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Frames a second.
    pub(crate) rate: f64,
    /// CPU seconds of the workers for each.
    pub(crate) seconds: f64,
}
