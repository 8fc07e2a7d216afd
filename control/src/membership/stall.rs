//! A clock that stops when we do, and how well we keep up.
//!
//! A process that was stopped, starved or whose clock jumped must not take its own pause for the silence of others.
//! [`Steady`] is the failure detector's clock: time in which our timers should have fired and nobody woke us does not
//! count. After such a pause, intervals are stretched for a while, after Lifeguard (Dadgar, Phillips, Currey: "Lifeguard:
//! Local health awareness for more accurate failure detection", 2018): who is slow waits longer for others.

use std::time::Duration;

/// Lateness that a busy machine may have: it is not a pause.
const TOLERATED: Duration = Duration::from_millis(100);
/// The most that intervals are stretched by.
const WORST: u32 = 8;

/// Our own clock and health.
#[derive(Clone, Debug, Default)]
pub(super) struct Steady {
    /// The latest time that was seen: the clock never goes back.
    latest: Duration,
    /// How much of the time was lost in pauses.
    lost: Duration,
    /// 0: well. Each pause raises it, each round of probing in time lowers it by one.
    sickness: u32,
}

impl Steady {
    /// Reads the clock at `mono`, while the earliest timer is due at `due` of this clock. Says how long the pause was if
    /// there was one.
    pub(super) fn read(&mut self, mono: Duration, due: Option<Duration>) -> Option<Duration> {
        self.latest = self.latest.max(mono);
        let late = self.now().saturating_sub(due?);
        if late <= TOLERATED {
            return None;
        }
        self.lost += late;
        self.sickness = WORST.min(self.sickness + 1 + late.as_secs().min(u64::from(WORST)) as u32);
        Some(late)
    }

    /// The time of this clock.
    pub(super) fn now(&self) -> Duration {
        self.latest.saturating_sub(self.lost)
    }

    /// When `due` of this clock will be if no more is lost.
    pub(super) fn mono(&self, due: Duration) -> Duration {
        due + self.lost
    }

    /// A round of probing was in time.
    pub(super) fn kept_up(&mut self) {
        self.sickness = self.sickness.saturating_sub(1);
    }

    /// An interval as long as it should be, given how we do.
    pub(super) fn stretch(&self, interval: Duration) -> Duration {
        interval * (1 + self.sickness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_pause_is_no_time_and_makes_intervals_longer() {
        let mut clock = Steady::default();
        assert_eq!(clock.read(ms(1000), Some(ms(950))), None, "in time");
        assert_eq!((clock.now(), clock.stretch(ms(500))), (ms(1000), ms(500)));

        assert_eq!(clock.read(ms(3000), Some(ms(1500))), Some(ms(1500)));
        assert_eq!(clock.now(), ms(1500), "the timer is due just now");
        assert_eq!(clock.mono(ms(1600)), ms(3100));
        assert_eq!(clock.stretch(ms(500)), ms(1500));
        clock.kept_up();
        clock.kept_up();
        clock.kept_up();
        assert_eq!(clock.stretch(ms(500)), ms(500));

        clock.read(ms(1_000_000), Some(ms(1600)));
        assert_eq!(clock.stretch(ms(500)), ms(4500), "there is a bound");
        assert_eq!(clock.now(), ms(1600));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut clock = Steady::default();
        clock.read(ms(1000), None);
        clock.read(ms(10), None);
        assert_eq!(clock.now(), ms(1000));
    }
}
