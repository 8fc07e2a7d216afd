//! The prober's way to the underlay and back: once a second it says what to ask, the first worker seals that and sends it,
//! whichever worker opens an answer hands it in.
//!
//! The workers only put into lists and take out of them; the [`Prober`] itself they never wait for. Which paths are narrow
//! they see in their view.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Vtep;
use super::shared::{Shared, TapView};
use crate::frame::VLAN_LEN;
use crate::path::mtu;
use crate::path::probe::{Answer, Ask, PathNews, PathRow, Prober};

/// Answers that wait for the prober: what a thousand peers send in a second, many times over.
const ROOM: usize = 16_384;

/// Where prober and workers meet.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<Known>,
    asks: Mutex<Vec<Ask>>,
    /// There are asks.
    asking: AtomicBool,
    answers: Mutex<Vec<Answer>>,
}

#[derive(Debug, Default)]
struct Known {
    prober: Prober,
    news: Vec<(IpAddr, PathNews)>,
}

impl Desk {
    /// What is to be asked, taken out; on most turns of a worker nothing, at the cost of one comparison.
    #[inline]
    pub(super) fn asks(&self) -> Vec<Ask> {
        if self.asking.load(Ordering::Acquire) { self.take_asks() } else { Vec::new() }
    }

    #[cold]
    fn take_asks(&self) -> Vec<Ask> {
        let mut asks = lock(&self.asks);
        self.asking.store(false, Ordering::Release);
        std::mem::take(&mut asks)
    }

    /// Hands in an answer.
    pub(super) fn answer(&self, answer: Answer) {
        let mut answers = lock(&self.answers);
        if answers.len() < ROOM {
            answers.push(answer);
        }
    }

    /// The prober, with all answers so far.
    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = lock(&self.state);
        let Known { prober, news } = &mut *known;
        for answer in std::mem::take(&mut *lock(&self.answers)) {
            prober.answered(answer, news);
        }
        known
    }
}

impl Vtep {
    /// What is known of the paths to the VTEPs that this node has sessions with, by VTEP.
    pub fn paths(&self) -> Vec<PathRow> {
        self.shared.probes.known().prober.rows()
    }

    /// What has changed of them since the last call, in order.
    pub fn path_news(&self) -> Vec<(IpAddr, PathNews)> {
        std::mem::take(&mut self.shared.probes.known().news)
    }
}

/// Asks what is due, and lets the workers know of narrow paths. About once a second.
pub(super) fn tick(shared: &Shared) {
    let (_, view) = shared.view.load();
    let now = Duration::from_nanos(shared.now().ns);
    let sessions = view.sessions.sending().map(|session| (session.address, session.index));
    let mut asks = Vec::new();
    let narrow: HashMap<IpAddr, u16>;
    {
        let mut known = shared.probes.known();
        let Known { prober, news } = &mut *known;
        prober.tick(now, sessions, needed(&view), &mut asks, news);
        narrow = prober.rows().into_iter().filter_map(|row| Some((row.vtep, row.narrow()?))).collect();
    }
    if narrow != *view.narrow {
        let published = shared.view.update(|view| {
            view.narrow = Arc::new(narrow);
            Ok::<_, Infallible>(())
        });
        let Ok(()) = published;
    }
    if !asks.is_empty() {
        *lock(&shared.probes.asks) = asks;
        shared.probes.asking.store(true, Ordering::Release);
        // A full event counter is a worker that is awake already.
        let _ = shared.workers[0].wake.write(1);
    }
}

/// The largest outer IP packet that the networks of this node need; 0 for none.
fn needed(view: &TapView) -> u16 {
    let v6 = view.sessions.sending().next().is_some_and(|session| session.address.is_ipv6());
    let of_one = |spec: &crate::switch::NetworkSpec| {
        let tag = if spec.keep_vlan { VLAN_LEN as u16 } else { 0 };
        mtu::underlay_mtu(spec.mtu.saturating_add(tag), v6, spec.sealed)
    };
    view.segments.values().filter_map(|segment| of_one(&segment.spec)).max().unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
