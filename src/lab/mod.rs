//! Labs: small networks of made-up hosts on this machine, for the demo, the benches and the tests.
//!
//! A [`LabSpec`] comes in; a [`Lab`] of [`Host`]s joined by an underlay comes out, each with its container namespaces.
//! Everything hangs on open files of this process: nothing is named in the machine's own namespaces, so a lab ends with
//! its process, however that ends.

mod daemon;
mod host;
pub mod kernel;
pub mod overlay;
mod rights;
mod stat;
mod underlay;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::sandbox::{Netns, devices, link};

pub use daemon::Daemon;
pub use host::Host;
pub use rights::acquire;
pub use stat::{Stat, cpu_time, ticks};
pub use underlay::Underlay;

/// The name of every host's interface on the underlay.
pub const UPLINK: &str = "eth0";

/// Bytes that VXLAN adds to a frame, over IPv4 and over IPv6 (RFC 7348 section 5): outer Ethernet aside, inner included.
const OVERHEAD: (u32, u32) = (50, 70);

/// More hosts than this know each other's MAC addresses from the start. The kernel learns 1,024 neighbours at most in
/// all namespaces together (net.ipv4.neigh.default.gc_thresh3), permanent ones not counted, and n hosts that flood
/// learn n² of them.
const MANY: usize = 16;

/// The address family of an underlay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a lab shall be.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Number of hosts: two are joined directly, more through a bridge in a namespace of its own. At most 250.
    pub hosts: u8,
    /// Container namespaces on each host. At most 250 in all.
    pub containers: u8,
    /// How the hosts are joined.
    pub underlay: Underlay,
    /// The underlay's address family.
    pub family: Family,
    /// The underlay's MTU in bytes.
    pub mtu: u32,
}

impl LabSpec {
    /// `hosts` hosts with one container each on a soft IPv4 underlay of 1500 bytes.
    pub fn new(hosts: u8) -> Self {
        LabSpec { hosts, containers: 1, underlay: Underlay::Soft, family: Family::V4, mtu: 1500 }
    }

    /// The MTU inside a plain VXLAN tunnel over this underlay.
    pub fn inner_mtu(&self) -> u32 {
        let (v4, v6) = OVERHEAD;
        self.mtu - if self.family == Family::V4 { v4 } else { v6 }
    }
}

/// A container: a bare namespace that an endpoint is to be plugged into, and the addresses meant for it.
#[derive(Debug)]
pub struct Container {
    /// The namespace.
    pub netns: Netns,
    /// Its IPv4 address on the overlay, from 10.77.0.0/16.
    pub v4: Ipv4Net,
    /// Its IPv6 address on the overlay, from fd77::/64.
    pub v6: Ipv6Net,
}

impl Container {
    /// The IPv4 address to reach it by.
    pub fn ip(&self) -> IpAddr {
        self.v4.addr().into()
    }

    /// The IPv6 address to reach it by.
    pub fn ip6(&self) -> IpAddr {
        self.v6.addr().into()
    }

    /// The namespace's path, for `weft attach --netns`.
    pub fn netns_arg(&self) -> String {
        self.netns.path().display().to_string()
    }
}

/// Hosts on one underlay. Ends when dropped, and with its process.
#[derive(Debug)]
pub struct Lab {
    /// What it was made from.
    pub spec: LabSpec,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The namespace of the bridge between them; two hosts have none.
    pub switch: Option<Netns>,
}

impl Lab {
    /// Builds it. On an error whatever was made is gone.
    pub fn build(spec: LabSpec) -> Result<Lab> {
        if spec.hosts < 2 || u32::from(spec.hosts) * u32::from(spec.containers) > 250 || spec.hosts > 250 {
            bail!("a lab has 2 to 250 hosts and at most 250 containers");
        }
        let mut hosts = (1..=spec.hosts).map(|n| make_host(&spec, n)).collect::<Result<Vec<_>>>()?;
        let switch = match &mut hosts[..] {
            [a, b] => {
                devices::veth((&a.netns, UPLINK), (&b.netns, UPLINK), spec.mtu)?;
                None
            }
            more => Some(make_switch(&spec, more)?),
        };
        for host in &hosts {
            spec.underlay.shape(&host.netns, UPLINK)?;
            let address = IpNet::new(host.address, if spec.family == Family::V4 { 24 } else { 64 })?;
            devices::address(&host.netns, UPLINK, address)?;
        }
        if hosts.len() > MANY {
            introduce(&hosts)?;
        }
        Ok(Lab { spec, hosts, switch })
    }

    /// The containers of all hosts, host by host.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.hosts.iter().flat_map(|host| &host.containers)
    }

    /// Makes the containers forget the neighbours that they have learnt, before all namespaces together have too many.
    pub fn forget_neighbours(&self) -> Result<()> {
        for container in self.containers() {
            devices::forget_neighbours(&container.netns, kernel::INSIDE)?;
        }
        Ok(())
    }

    /// The underlay addresses of all hosts but this one.
    pub fn peers_of(&self, host: &Host) -> Vec<IpAddr> {
        self.hosts.iter().map(|host| host.address).filter(|address| *address != host.address).collect()
    }
}

/// Tells every host the MAC addresses of all others.
fn introduce(hosts: &[Host]) -> Result<()> {
    let mut known = Vec::new();
    for host in hosts {
        let mac =
            link::lookup_name(&host.netns, UPLINK)?.and_then(|link| link.mac).context("an uplink without a MAC")?;
        known.push((host.address, mac));
    }
    for host in hosts {
        let others: Vec<_> = known.iter().copied().filter(|(address, _)| *address != host.address).collect();
        devices::neighbours(&host.netns, UPLINK, &others)?;
    }
    Ok(())
}

fn make_host(spec: &LabSpec, n: u8) -> Result<Host> {
    let address = match spec.family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into())),
    };
    let mut host = Host::make(format!("node{n}"), address)?;
    for k in 0..spec.containers {
        let index = u16::from(n - 1) * u16::from(spec.containers) + u16::from(k) + 1;
        host.containers.push(make_container(index).with_context(|| format!("cannot make container {index}"))?);
    }
    Ok(host)
}

fn make_container(index: u16) -> Result<Container> {
    let [high, low] = index.to_be_bytes();
    let netns = Netns::anonymous()?;
    devices::up(&netns, "lo")?;
    let v4 = Ipv4Net::new(Ipv4Addr::new(10, 77, high, low), 16)?;
    let v6 = Ipv6Net::new(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, index), 64)?;
    Ok(Container { netns, v4, v6 })
}

fn make_switch(spec: &LabSpec, hosts: &[Host]) -> Result<Netns> {
    const BRIDGE: &str = "br0";
    let switch = Netns::anonymous()?;
    devices::bridge(&switch, BRIDGE, spec.mtu)?;
    for (n, host) in hosts.iter().enumerate() {
        let port = format!("p{}", n + 1);
        devices::veth((&host.netns, UPLINK), (&switch, &port), spec.mtu)?;
        devices::enslave(&switch, &port, BRIDGE)?;
        spec.underlay.shape(&switch, &port)?;
    }
    Ok(switch)
}
