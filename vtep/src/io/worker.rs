//! A worker: one thread that runs frames to completion in both directions.
//!
//! It owns a share of the TAPs, a share of the TX sockets (so of the source ports) and one socket of the receive group,
//! and waits for all of them at once. One thread per share, not one per direction: a TCP flow's data and its
//! acknowledgements then need half the wake-ups (measured: benches/results/README.md).

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;
use tracing::warn;

use super::rx::{Echoed, Receive};
use super::shared::{Held, Shared};
use super::tx::{Drained, Share, Transmit};
use crate::addr::PortId;
use crate::engine::Engine;
use crate::seal::worker::Seals;

/// Ready files looked at in one turn.
const EVENTS: usize = 64;
/// Events that are not a port's.
pub(super) const WAKE: u64 = u64::MAX;
const RECEIVE: u64 = u64::MAX - 1;
/// How often frames that wait for a session are looked at when nothing else happens, in milliseconds.
const WAIT_STEP: u16 = 250;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    held: Held,
    epoll: Epoll,
    ports: HashMap<PortId, Share>,
    engine: Engine,
    seals: Seals,
    transmit: Transmit,
    receive: Receive,
}

/// What a worker is made of; made by the façade, so that a failure is its error, and sent to the worker's thread.
#[derive(Debug)]
pub(super) struct Parts {
    shared: Arc<Shared>,
    index: usize,
    epoll: Epoll,
    lanes: Vec<Socket>,
    socket: Socket,
    /// Where tunnels leave from, and the port where they end.
    tunnel: (IpAddr, u16),
}

impl Parts {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: usize,
        lanes: Vec<Socket>,
        socket: Socket,
        tunnel: (IpAddr, u16),
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&shared.workers[index].wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, RECEIVE))?;
        Ok(Parts { shared, index, epoll, lanes, socket, tunnel })
    }
}

impl Worker {
    /// Allocates the arenas: on the thread that will use them.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { shared, index, epoll, lanes, socket, tunnel } = parts;
        let mut worker = Worker {
            held: Held::new(&shared),
            engine: Engine::new(shared.secret),
            seals: Seals::new(index, shared.workers.len(), shared.secret),
            shared,
            index,
            epoll,
            ports: HashMap::new(),
            transmit: Transmit::new(index, lanes, tunnel),
            receive: Receive::new(index, socket),
        };
        worker.adopt();
        worker
    }

    /// Works until the façade says stop.
    pub(super) fn run(mut self) {
        while !self.shared.stopping() {
            // What waits for a session is looked at for its age.
            let patience = if self.transmit.waits() { WAIT_STEP.into() } else { EpollTimeout::NONE };
            self.turn(patience);
        }
    }

    /// One turn: waits up to `patience` for something to do, and does it.
    pub(super) fn turn(&mut self, patience: EpollTimeout) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = self.wait(&mut events, patience);
        self.work(&events[..ready]);
    }

    /// Waits up to `patience` for something to do, and takes the newest tables. Returns how many files are ready.
    pub(super) fn wait(&mut self, events: &mut [EpollEvent], patience: EpollTimeout) -> usize {
        let ready = self.epoll.wait(events, patience).unwrap_or(0);
        // Before anything is looked at: what changes after the look wakes the worker anew.
        if events[..ready].iter().any(|event| event.data() == WAKE) {
            let _ = self.shared.workers[self.index].wake.read();
        }
        if self.held.refresh(&self.shared) {
            self.adopt();
        }
        ready
    }

    /// Does what there is to do.
    pub(super) fn work(&mut self, events: &[EpollEvent]) {
        let Worker { shared, index, held, epoll, ports, engine, seals, transmit, receive } = self;
        let state = &shared.workers[*index];
        let now = shared.now();
        transmit.resume(shared, &held.view, &state.counters, engine, seals, now);
        if *index == 0 {
            transmit.probe(shared, seals, &state.counters);
        }
        for event in events {
            match event.data() {
                WAKE => {}
                RECEIVE => {
                    receive.batch(shared, &held.view, &state.counters, engine, seals, now);
                    for Echoed { vtep, control, len } in receive.replies() {
                        transmit.reply(seals, &state.counters, vtep, control, len, now);
                    }
                }
                port => {
                    let Some(own) = ports.get(&PortId(port as u32)) else { continue };
                    if transmit.drain(shared, &held.view, &state.counters, engine, seals, own, now) == Drained::Gone {
                        let _ = epoll.delete(own.port.device.queue(own.queue));
                    }
                }
            }
        }
        transmit.flush(&state.counters);
        state.counters.unlearned(engine.take_unlearned());
    }

    /// Follows the view: polls the ports that came, lets go of those that went.
    fn adopt(&mut self) {
        let Worker { shared, index, held, epoll, ports, seals, .. } = self;
        seals.adopt(&held.view.sessions);
        ports.retain(|id, own| {
            let stays = held.view.ports.contains_key(id);
            if !stays {
                let _ = epoll.delete(own.port.device.queue(own.queue));
            }
            stays
        });
        for (id, port) in &held.view.ports {
            let Some(queue) = share(*id, port.device.queues(), *index, shared.workers.len()) else { continue };
            ports.entry(*id).or_insert_with(|| {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(id.0));
                if let Err(error) = epoll.add(port.device.queue(queue), event) {
                    warn!(port = id.0, "cannot poll the endpoint's device: {error}");
                }
                Share { port: port.clone(), queue }
            });
        }
        held.acknowledge(&shared.workers[*index]);
    }
}

/// Which of a port's queues is this worker's; at most one is, as long as there are no more queues than workers. Where devices
/// have one queue the ports are dealt out by their numbers.
fn share(port: PortId, queues: usize, worker: usize, workers: usize) -> Option<usize> {
    let queue = (worker + workers - port.0 as usize % workers) % workers;
    (queue < queues).then_some(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_is_one_workers() {
        for workers in 1..=16 {
            for (port, queues) in (0..40).flat_map(|port| (1..=workers).map(move |queues| (PortId(port), queues))) {
                let mut read: Vec<_> = (0..workers).filter_map(|worker| share(port, queues, worker, workers)).collect();
                read.sort_unstable();
                assert_eq!(read, (0..queues).collect::<Vec<_>>(), "{port:?}, {workers} workers");
            }
        }
    }
}
