//! The I/O shell: TAP devices, UDP sockets and worker threads around the pure core.
//!
//! [`Vtep`] is the façade. Each worker owns a share of the TAPs, a share of the TX sockets and one socket of the
//! SO_REUSEPORT group on the VXLAN port; workers share nothing that changes but the forwarding tables. All else reaches
//! them as a new [`View`](crate::switch::view::View), taken between two turns.

mod batch;
pub mod capture;
mod control;
mod probe;
mod rx;
mod sessions;
mod shared;
mod sockets;
pub mod sys;
mod tap;
#[cfg(test)]
mod tests;
pub mod trace;
mod tx;
mod underlay;
mod wanted;
mod worker;

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::warn;

use self::batch::MAX_LANES;
pub use self::batch::super_frame_size;
use self::shared::Shared;
pub use self::tap::Tap;
pub use self::wanted::Wanted;
use self::worker::{Parts, Worker};
use crate::addr::{Mac, PortId, Vni};
use crate::flow::FlowKey;
use crate::stats::Snapshot;
use crate::switch::view::{Port, Segment};
use crate::switch::{FdbRow, NetworkSpec};

/// How the data plane of a node starts.
#[derive(Clone, Debug)]
pub struct VtepConfig {
    /// The address that peers send to; tunnels leave from it.
    pub local: IpAddr,
    /// The UDP port of VXLAN, 4789 by IANA's assignment.
    pub port: u16,
    /// Worker threads, 1 to 16. `None`: one for every two cores. Each has a receive arena of 4 MB.
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
    #[error("cannot {doing}: {error}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
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

/// How long a change waits for the workers to let go of what it removed. They answer within one turn: microseconds.
const GRACE: Duration = Duration::from_secs(2);
/// How often learned addresses are looked at for their age.
const AGEING_STEP: Duration = Duration::from_secs(1);
/// The most workers: each needs a few lanes for its flows' source ports.
const MAX_WORKERS: usize = 16;

/// The most queues that a device is given. Each has room for thousands of frames, for every endpoint.
const MAX_QUEUES: usize = 8;

/// The running data plane of one node. Dropping it ends the workers and closes the sockets; persistent devices stay.
#[derive(Debug)]
pub struct Vtep {
    shared: Arc<Shared>,
    local: IpAddr,
    /// The UDP port where tunnels end.
    port: u16,
    next_port: AtomicU32,
    /// Held by whoever changes networks, ports or what the control plane says of them.
    turn: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Vtep {
    /// Binds the sockets and starts the workers.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind.
    pub fn start(config: VtepConfig) -> Result<Vtep, StartError> {
        sys::cpu::accelerate();
        let (mut vtep, workers) = Self::assemble(&config)?;
        let system = |doing| move |error| StartError::System { doing, error };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // A core to itself pays only where there are cores to spare: else the scheduler places better.
        let pinned = cores > 2 * workers.len();
        for (index, parts) in workers.into_iter().enumerate() {
            let body = move || {
                if pinned {
                    pin_to(index);
                }
                Worker::new(parts).run();
            };
            let thread = thread::Builder::new().name(format!("weft-worker-{index}")).spawn(body);
            vtep.threads.push(thread.map_err(system("start a worker thread"))?);
        }
        let shared = vtep.shared.clone();
        let thread = thread::Builder::new().name("weft-age".into()).spawn(move || age(&shared));
        vtep.threads.push(thread.map_err(system("start the ageing thread"))?);
        Ok(vtep)
    }

    /// Makes the sockets and the shared state, and what each worker is made of.
    fn assemble(config: &VtepConfig) -> Result<(Vtep, Vec<Parts>), StartError> {
        let system = |doing| move |error| StartError::System { doing, error };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = config.workers.unwrap_or(cores / 2).clamp(1, MAX_WORKERS);
        let random = random_bytes().map_err(system("read random bytes"))?;
        let [.., a, b] = random;
        let sockets = sockets::receive(config.local, config.port, count)?;
        let mut pool = sockets::transmit(config.local, MAX_LANES, u16::from_be_bytes([a, b]))?;
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |acc, byte| acc << 8 | u64::from(*byte));
        let lanes = shares(pool.len(), count);
        let shared =
            Shared::new(lanes, FlowKey::new([word(&random[..8]), word(&random[8..16])]), word(&random[16..24]))
                .map_err(|errno| system("make an event counter")(errno.into()))?;
        let shared = Arc::new(shared);
        let mut workers = Vec::with_capacity(count);
        for (index, socket) in sockets.into_iter().enumerate() {
            let share = pool.drain(..shared.lanes[index].len()).collect();
            let parts = Parts::new(shared.clone(), index, share, socket, (config.local, config.port));
            workers.push(parts.map_err(system("make an epoll set"))?);
        }
        let vtep = Vtep {
            shared,
            local: config.local,
            port: config.port,
            next_port: AtomicU32::new(0),
            turn: Mutex::default(),
            threads: Vec::new(),
        };
        Ok((vtep, workers))
    }

    /// Adds a network.
    ///
    /// # Errors
    /// [`TableError::VniInUse`], [`TableError::WrongFamily`].
    pub fn add_network(&self, spec: NetworkSpec) -> Result<(), TableError> {
        if let Some(remote) = spec.remotes.iter().find(|remote| remote.is_ipv6() != self.local.is_ipv6()) {
            return Err(TableError::WrongFamily(*remote));
        }
        let vni = spec.vni;
        let turn = self.turn();
        self.shared.view.update(|view| {
            if view.segments.contains_key(&vni) {
                return Err(TableError::VniInUse(vni));
            }
            view.segments.insert(vni, Segment::new(spec, self.shared.secret));
            Ok(())
        })?;
        drop(turn);
        self.shared.synchronize(GRACE);
        Ok(())
    }

    /// Removes a network and whatever ports it still has.
    ///
    /// # Errors
    /// [`TableError::NoSuchVni`].
    pub fn remove_network(&self, vni: Vni) -> Result<(), TableError> {
        let turn = self.turn();
        self.shared.view.update(|view| {
            view.segments.remove(&vni).ok_or(TableError::NoSuchVni(vni))?;
            view.ports.retain(|_, port| port.vni != vni);
            Ok(())
        })?;
        drop(turn);
        self.shared.synchronize(GRACE);
        Ok(())
    }

    /// How many queues a device should have, so that an endpoint's flows are not all one worker's work.
    pub fn queues(&self) -> usize {
        self.shared.workers.len().min(MAX_QUEUES)
    }

    /// Adds a port: from here on the workers read and write the device.
    ///
    /// # Errors
    /// [`TableError::NoSuchVni`], [`TableError::MacInUse`]; the device is closed then.
    pub fn add_port(&self, vni: Vni, mac: Mac, mut tap: Tap) -> Result<PortId, TableError> {
        // Nobody would read the others.
        tap.keep(self.shared.workers.len());
        let turn = self.turn();
        let id = PortId(self.next_port.fetch_add(1, Ordering::Relaxed));
        let port = Arc::new(Port::new(id, vni, mac, Arc::new(tap)));
        self.shared.view.update(|view| {
            let segment = view.segments.get_mut(&vni).ok_or(TableError::NoSuchVni(vni))?;
            if segment.ports.iter().any(|other| other.mac == mac) {
                return Err(TableError::MacInUse(mac));
            }
            segment.ports.push(port.clone());
            segment.fdb.set_local(mac, id);
            view.udp_alone |= !port.device.takes_udp_super_frames();
            view.ports.insert(id, port);
            Ok(())
        })?;
        drop(turn);
        self.shared.synchronize(GRACE);
        Ok(id)
    }

    /// Removes a port and gives its device back: no worker holds it any more, so dropping it closes the file. `None` when
    /// there is no such port, or somebody has held it all the while that a change waits for.
    pub fn remove_port(&self, id: PortId) -> Option<Tap> {
        let turn = self.turn();
        let removed = self.shared.view.update(|view| {
            let port = view.ports.remove(&id).ok_or(())?;
            let segment = view.segments.get_mut(&port.vni).ok_or(())?;
            segment.ports.retain(|other| other.id != id);
            // What is kept here must not keep the devices of other ports.
            let tables = Segment { ports: Vec::new(), ..segment.clone() };
            Ok::<_, ()>((port, tables))
        });
        drop(turn);
        let (port, tables) = removed.ok()?;
        if !self.shared.synchronize(GRACE) {
            warn!(port = id.0, "a worker has not let go of the endpoint's device for {GRACE:?}");
        }
        // Not earlier: until now a worker may still have learned what is behind the port.
        tables.fdb.remove_port(id, |row| control::went(&tables, row));
        // Whoever reads the tables at the moment has a view, too, and lets go of it soon.
        let deadline = Instant::now() + GRACE;
        alone(port, deadline).and_then(|port| alone(port.device, deadline))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The forwarding table, by network and MAC.
    pub fn fdb(&self) -> Vec<FdbRow> {
        let (_, view) = self.shared.view.load();
        let mut rows: Vec<_> = view.segments.values().flat_map(|segment| segment.fdb.rows()).collect();
        rows.sort_by_key(|row| (row.vni, row.mac));
        rows
    }

    /// The counters since the start.
    pub fn stats(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for worker in &self.shared.workers {
            sum.add(&worker.counters);
        }
        sum
    }

    /// False when the port's device has vanished with its namespace, or there is no such port.
    pub fn port_alive(&self, id: PortId) -> bool {
        let (_, view) = self.shared.view.load();
        view.ports.get(&id).is_some_and(|port| port.device.is_alive())
    }
}

impl Drop for Vtep {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake_all();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Forgets learned addresses that have gone silent and sessions that are over, until the façade says stop.
fn age(shared: &Shared) {
    while !shared.stopping() {
        thread::park_timeout(AGEING_STEP);
        sessions::age(shared);
        probe::tick(shared);
        let (_, view) = shared.view.load();
        for segment in view.segments.values() {
            let ageing_s = segment.spec.ageing.as_secs().try_into().unwrap_or(u32::MAX);
            segment.fdb.age(shared.now().s, ageing_s, |row| control::went(segment, row));
        }
    }
}

/// The value, once nobody else holds it; `None` if somebody still does at the deadline.
fn alone<T>(mut held: Arc<T>, deadline: Instant) -> Option<T> {
    loop {
        held = match Arc::try_unwrap(held) {
            Ok(value) => return Some(value),
            Err(_) if Instant::now() > deadline => return None,
            Err(held) => held,
        };
        thread::sleep(Duration::from_micros(50));
    }
}

/// Deals `lanes` out to `workers`, as equally as they go.
fn shares(lanes: usize, workers: usize) -> Vec<Range<u16>> {
    let end = |worker| (lanes * worker / workers) as u16;
    (0..workers).map(|worker| end(worker)..end(worker + 1)).collect()
}

/// Pins the calling thread to one core; a system that refuses only costs speed.
fn pin_to(core: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned = set.set(core).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        warn!("cannot pin a worker to core {core}: {error}");
    }
}

/// Random bytes from the kernel, for keys that live as long as the process.
fn random_bytes() -> io::Result<[u8; 26]> {
    use std::io::Read;
    let mut bytes = [0; 26];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
