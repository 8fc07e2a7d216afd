//! The I/O shell.
use std::io;
use std::net::IpAddr;
use crate::addr::{Mac, PortId, Vni};
use crate::stats::Snapshot;
use crate::switch::{FdbRow, NetworkSpec};

/// How the data plane of a node starts.
#[derive(Clone, Debug)]
pub struct VtepConfig {
    /// The address that peers send to; tunnels leave from it.
    pub local: IpAddr,
    /// The UDP port of VXLAN, 4789 by IANA's assignment.
    pub port: u16,
    /// Transmit workers, and as many receive workers. `None`: from the number of cores.
    pub workers: Option<usize>,
}

/// Why the data plane did not start. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not this host's.
    #[error("cannot use {address} as the tunnel address: this host does not have it")]
    NoSuchAddress {
        /// The address.
        address: IpAddr,
    },
    /// The VXLAN port is taken.
    #[error("UDP port {port} on {address} is taken by another program")]
    PortTaken {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a network or port was not added. The tables are as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is a network with this VNI.
    #[error("VNI {0} is in use")]
    VniInUse(Vni),
    /// There is no network with this VNI.
    #[error("there is no network with VNI {0}")]
    NoSuchVni(Vni),
    /// Another port of the network has this MAC.
    #[error("another endpoint of the network has the MAC address {0}")]
    MacInUse(Mac),
    /// A remote is not of the address family of the tunnel address.
    #[error("the VTEP {0} is not of the same address family as this node's tunnel address")]
    WrongFamily(IpAddr),
}

/// A TAP device and the open file that is its other end.
#[derive(Debug)]
pub struct Tap;

impl Tap {
    /// Creates the device `name` in the calling thread's network namespace. Fails with EEXIST if the name is taken.
    pub fn create(_name: &str) -> io::Result<Tap> { Err(io::Error::other("stub")) }
    /// Opens the existing persistent device `name` in the calling thread's network namespace, as [`Tap::create`] made it.
    pub fn reattach(_name: &str) -> io::Result<Tap> { Err(io::Error::other("stub")) }
    /// Keeps the device when the last file on it is closed, or no longer.
    pub fn set_persist(&self, _on: bool) -> io::Result<()> { Ok(()) }
}

/// The running data plane of one node.
#[derive(Debug)]
pub struct Vtep;

impl Vtep {
    /// Binds the sockets and starts the workers.
    pub fn start(_config: VtepConfig) -> Result<Vtep, StartError> { Ok(Vtep) }
    /// Adds a network.
    pub fn add_network(&self, _spec: NetworkSpec) -> Result<(), TableError> { Ok(()) }
    /// Removes a network and whatever ports it still has.
    pub fn remove_network(&self, _vni: Vni) -> Result<(), TableError> { Ok(()) }
    /// Adds a port: from here on the workers own the device.
    pub fn add_port(&self, _vni: Vni, _mac: Mac, _tap: Tap) -> Result<PortId, TableError> { Ok(PortId(0)) }
    /// Removes a port. When this returns no worker holds the device: dropping the TAP closes it.
    pub fn remove_port(&self, _port: PortId) -> Option<Tap> { None }
    /// The forwarding table.
    pub fn fdb(&self) -> Vec<FdbRow> { Vec::new() }
    /// The counters since the start.
    pub fn stats(&self) -> Snapshot { Snapshot::default() }
    /// True while the port's device answers; false when the device has vanished with its namespace.
    pub fn port_alive(&self, _port: PortId) -> bool { true }
}
