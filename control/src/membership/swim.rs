//! foca as we run it: how often it probes, how long it waits, and what it asks of us.
//!
//! foca (SWIM with suspicion, infection-style dissemination) is a state machine: it is given datagrams and expired timers,
//! and leaves datagrams, timers and news in a [`Sink`].

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, Foca, NoCustomBroadcast, Notification, OwnedNotification, PeriodicParams, Runtime, Timer};

use super::codec::Wire;
use super::identity::Identity;
use super::random::SplitMix;

/// One member is probed per period. With n nodes, somebody probes a dead one within five periods in 99 of 100 cases.
pub(super) const PROBE_PERIOD: Duration = Duration::from_millis(500);
/// How long a direct answer may take before others are asked to probe: a round trip, or the handshake of a new connection.
const PROBE_RTT: Duration = Duration::from_millis(200);
/// Others that are asked to probe. Four get through where three ways of four are bad.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// A dead member is remembered, and tried again, as long as its log is kept.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Datagrams travel in streams, so the path's MTU does not matter. Room for some 230 members.
pub(super) const DATAGRAM_BYTES: NonZeroUsize = NonZeroUsize::new(8 << 10).unwrap();

pub(super) type Swim = Foca<Identity, Wire, SplitMix, NoCustomBroadcast>;

/// A new member that knows nobody.
pub(super) fn swim(me: Identity, seed: u64) -> Swim {
    Foca::new(me, settings(1), SplitMix::new(seed), Wire)
}

/// How long a suspect has to defend itself among `members`: news takes a time to spread that grows with their logarithm.
pub(super) fn suspicion(members: usize) -> Duration {
    Duration::from_millis(1500).mul_f64((members.max(1) as f64).log10().max(1.0))
}

/// foca's settings for a cluster of `members`.
pub(super) fn settings(members: usize) -> Config {
    let periodic = |frequency, members| {
        Some(PeriodicParams { frequency, num_members: NonZeroUsize::new(members).unwrap_or(NonZeroUsize::MIN) })
    };
    // Each member passes a piece of news on so often, each time to a random other: with c, e^-c of all are missed, and with
    // 3 × ln(n) all n hear it with odds of 1 to n². A datagram has room for a hundred pieces of news.
    let transmissions = 3.0 * (members as f64).ln();
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: INDIRECT_PROBES,
        max_transmissions: NonZeroU8::new(transmissions.clamp(8.0, 30.0) as u8).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: suspicion(members),
        remove_down_after: Some(REMEMBERED),
        max_packet_size: DATAGRAM_BYTES,
        notify_down_members: true,
        periodic_announce: periodic(Duration::from_secs(10), 1),
        // Ours to do: foca would also call on those who left.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(Duration::from_millis(200), 3),
    }
}

/// What foca asked for since it was last emptied.
#[derive(Debug, Default)]
pub(super) struct Sink {
    /// Datagrams, without the first octet that says what they are.
    pub(super) sent: Vec<(Identity, Vec<u8>)>,
    pub(super) timers: Vec<(Timer<Identity>, Duration)>,
    pub(super) news: Vec<OwnedNotification<Identity>>,
}

impl Runtime<Identity> for Sink {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.news.push(notification.to_owned());
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sent.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}
