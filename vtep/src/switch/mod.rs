//! The switch: which port or VTEP a frame goes to.
//!
//! A network is one L2 segment. [`NetworkSpec`] says what the control plane (or the user) fixed about it;
//! [`fdb`] holds where each MAC lives, [`flood`] who gets group frames, [`neigh`] which MAC has an IP address.
//! In a managed network all three are what the control plane says ([`update`]), and nothing is learned from packets
//! but from VTEPs outside of the cluster.

pub mod announce;
pub mod cache;
pub mod fdb;
pub mod flood;
pub mod hash;
pub mod neigh;
pub mod storm;
pub mod update;
pub mod view;

use std::net::IpAddr;
use std::time::Duration;

use crate::addr::{Mac, PortId, Vni};

/// What is fixed about a network when it is made. Cloned into the worker's view; never read under a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The VXLAN network identifier.
    pub vni: Vni,
    /// The inner MTU in bytes: the largest inner IP packet.
    pub mtu: u16,
    /// The control plane says where stations live and who the members are; unknown unicast goes to the remotes alone.
    pub managed: bool,
    /// Frames cross the underlay sealed, and only so; else plain, and only so.
    pub sealed: bool,
    /// VTEPs outside of any cluster, to which group and unknown frames go and from which MACs are learned.
    pub remotes: Vec<IpAddr>,
    /// Let an endpoint send from MACs other than its own, and learn them; a managed network announces them.
    pub trust_macs: bool,
    /// Carry inner VLAN tags instead of stripping them on encapsulation and dropping them on decapsulation.
    pub keep_vlan: bool,
    /// How long a learned MAC stays without traffic. Default 300 s (RFC 7348 names no figure; IEEE 802.1Q's).
    pub ageing: Duration,
    /// The most learned MACs; about 100 bytes each. Default 16,384. What the control plane says does not count.
    pub fdb_cap: usize,
}

impl NetworkSpec {
    /// A network with the defaults and no remotes.
    pub fn new(vni: Vni, mtu: u16) -> Self {
        NetworkSpec {
            vni,
            mtu,
            managed: false,
            sealed: false,
            remotes: Vec::new(),
            trust_macs: false,
            keep_vlan: false,
            ageing: Duration::from_secs(300),
            fdb_cap: 16_384,
        }
    }
}

/// Where a MAC lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Behind a local port.
    Local(PortId),
    /// Behind a VTEP.
    Vtep(IpAddr),
}

/// How an address came into the forwarding table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdbKind {
    /// It is an endpoint's of this node.
    Local,
    /// The control plane told it.
    Remote,
    /// It was seen in traffic, and ages.
    Learned,
}

/// One row of the forwarding table, as shown to the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdbRow {
    /// The network.
    pub vni: Vni,
    /// The station.
    pub mac: Mac,
    /// Where it lives.
    pub place: Place,
    /// How this is known.
    pub kind: FdbKind,
}
