//! What the workers see: an immutable picture of networks and ports, replaced as a whole when either changes.
//!
//! A worker compares one number per turn ([`Published::generation`]) and takes a lock only when it moved. Between two
//! pictures nothing is shared but the forwarding tables.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::addr::{Mac, PortId, Vni};
use crate::capture::Capture;
use crate::seal::table::Sessions;
use crate::switch::NetworkSpec;
use crate::switch::announce::Announcements;
use crate::switch::fdb::Fdb;
use crate::switch::flood::FloodList;
use crate::switch::neigh::Neighbors;
use crate::switch::storm::Bucket;
use crate::sync::{AtomicU64, Mutex};

/// A local port. `D` is the device behind it; the pure core never looks at it.
#[derive(Debug)]
pub struct Port<D> {
    /// Its number.
    pub id: PortId,
    /// The network that it is a port of.
    pub vni: Vni,
    /// The endpoint's own address.
    pub mac: Mac,
    /// The device.
    pub device: D,
    /// How often its frames may be flooded.
    pub storm: Bucket,
    /// How often it may be told that a packet is too big.
    pub icmp: Bucket,
}

impl<D> Port<D> {
    /// Flooded frames: how many a second, and how many at once.
    const STORM: (u32, u32) = (25_000, 2_500);
    /// ICMP answers.
    const ICMP: (u32, u32) = (1_000, 50);

    /// A port with all of its allowances.
    pub fn new(id: PortId, vni: Vni, mac: Mac, device: D) -> Self {
        let [storm, icmp] = [Self::STORM, Self::ICMP].map(|(rate, burst)| Bucket::new(rate, burst));
        Port { id, vni, mac, device, storm, icmp }
    }
}

/// One network with its ports.
#[derive(Debug)]
pub struct Segment<D> {
    /// What is fixed about it.
    pub spec: Arc<NetworkSpec>,
    /// Where its stations live.
    pub fdb: Arc<Fdb>,
    /// Which of them has which address; empty unless the network is managed.
    pub neighbors: Arc<Neighbors>,
    /// What the control plane has still to be told of its ports.
    pub announcements: Arc<Announcements>,
    /// The VTEPs that group frames go to, and that frames are taken from.
    pub flood: Arc<FloodList>,
    /// Its local ports, in the order in which they came.
    pub ports: Vec<Arc<Port<D>>>,
}

impl<D> Clone for Segment<D> {
    fn clone(&self) -> Self {
        Segment {
            spec: self.spec.clone(),
            fdb: self.fdb.clone(),
            neighbors: self.neighbors.clone(),
            announcements: self.announcements.clone(),
            flood: self.flood.clone(),
            ports: self.ports.clone(),
        }
    }
}

impl<D> Segment<D> {
    /// A network without ports and, as yet, without members of the cluster.
    pub fn new(spec: NetworkSpec, secret: u64) -> Self {
        Segment {
            fdb: Arc::new(Fdb::new(spec.vni, spec.fdb_cap, secret)),
            neighbors: Arc::default(),
            announcements: Arc::default(),
            flood: Arc::new(FloodList::new(&BTreeSet::new(), &spec.remotes)),
            spec: Arc::new(spec),
            ports: Vec::new(),
        }
    }
}

/// All networks and ports at one moment.
#[derive(Debug)]
pub struct View<D> {
    /// Networks by VNI.
    pub segments: HashMap<Vni, Segment<D>>,
    /// Ports by number.
    pub ports: HashMap<PortId, Arc<Port<D>>>,
    /// The sessions that sealed networks use.
    pub sessions: Sessions,
    /// Paths that were found to carry less than the networks need: VTEP and outer MTU.
    pub narrow: Arc<HashMap<IpAddr, u16>>,
    /// Who looks on.
    pub captures: Vec<Arc<Capture>>,
    /// Frames of UDP go to the ports one by one: their devices take no super-frames of it.
    pub udp_alone: bool,
}

impl<D> Default for View<D> {
    fn default() -> Self {
        View {
            segments: HashMap::new(),
            ports: HashMap::new(),
            sessions: Sessions::default(),
            narrow: Arc::default(),
            captures: Vec::new(),
            udp_alone: false,
        }
    }
}

impl<D> Clone for View<D> {
    fn clone(&self) -> Self {
        View {
            segments: self.segments.clone(),
            ports: self.ports.clone(),
            sessions: self.sessions.clone(),
            narrow: self.narrow.clone(),
            captures: self.captures.clone(),
            udp_alone: self.udp_alone,
        }
    }
}

/// A value with a generation that moves each time it is replaced.
#[derive(Debug, Default)]
pub struct Published<T> {
    generation: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Published<T> {
    /// The number of replacements so far.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The value and its generation.
    pub fn load(&self) -> (u64, Arc<T>) {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        (self.generation(), value.clone())
    }

    /// Replaces the value by what `change` makes of a copy, unless it refuses. Writers wait for each other.
    ///
    /// # Errors
    /// What `change` refused with; the value is as it was.
    pub fn update<R, E>(&self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E>
    where
        T: Clone,
    {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = T::clone(&value);
        let result = change(&mut next)?;
        *value = Arc::new(next);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_change_leaves_value_and_generation() {
        let published: Published<u32> = Published::default();
        assert_eq!(
            published.update(|v| {
                *v = 7;
                Ok::<_, ()>(())
            }),
            Ok(())
        );
        assert_eq!(
            published.update(|v| {
                *v = 8;
                Err::<(), _>("no")
            }),
            Err("no")
        );
        let (generation, value) = published.load();
        assert_eq!((generation, *value), (1, 7));
    }
}
