//! What the switch has to tell the control plane: stations that came and went behind its own ports.
//!
//! Only a managed network with `trust-macs` has any. Enters: a station's MAC and the port, from the workers. Leaves: for
//! each station the latest, when the control plane asks. A station of which no note can be taken must not be learned
//! either, since all other nodes would refuse its frames: the worker asks first, and tries again with the next frame.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::addr::{Mac, PortId, Vni};

/// The most stations of a network of which the control plane has not heard yet. Those that went are not counted: they
/// were learned, so there are never more than the forwarding table's cap.
pub const WAITING_MAX: usize = 1_024;

/// A station behind a port that is not the endpoint's own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// The network.
    pub vni: Vni,
    /// The station.
    pub mac: Mac,
    /// The port behind which it speaks; `None`: it is gone.
    pub port: Option<PortId>,
}

/// What waits to be told of one network.
#[derive(Debug, Default)]
pub struct Announcements {
    waiting: Mutex<HashMap<Mac, Option<PortId>>>,
}

impl Announcements {
    /// Takes note that `mac` speaks from `port`. False if too many wait.
    pub fn came(&self, mac: Mac, port: PortId) -> bool {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&mac) {
            return false;
        }
        waiting.insert(mac, Some(port));
        true
    }

    /// Takes note that `mac` is no longer there.
    pub fn went(&self, mac: Mac) {
        self.lock().insert(mac, None);
    }

    /// Everything that waits, ordered by MAC.
    pub fn take(&self, vni: Vni) -> Vec<Announcement> {
        let mut taken: Vec<_> = self.lock().drain().map(|(mac, port)| Announcement { vni, mac, port }).collect();
        taken.sort_unstable_by_key(|announcement| announcement.mac);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Mac, Option<PortId>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: usize) -> Mac {
        let [.., a, b] = n.to_be_bytes();
        Mac::new([2, 0, 0, 0, a, b])
    }

    #[test]
    fn the_latest_counts_and_is_told_once() {
        let (notes, vni) = (Announcements::default(), Vni::new(5).unwrap());
        assert!(notes.came(mac(2), PortId(1)) && notes.came(mac(1), PortId(1)) && notes.came(mac(2), PortId(3)));
        notes.went(mac(1));
        let told = |mac, port| Announcement { vni, mac, port };
        assert_eq!(notes.take(vni), [told(mac(1), None), told(mac(2), Some(PortId(3)))]);
        assert_eq!(notes.take(vni), []);
    }

    #[test]
    fn a_flood_of_stations_is_bounded_and_none_that_went_is_forgotten() {
        let notes = Announcements::default();
        let taken = (0..5_000).filter(|n| notes.came(mac(*n), PortId(1))).count();
        assert_eq!(taken, WAITING_MAX);
        assert!(notes.came(mac(0), PortId(2)), "one that waits already may move");
        notes.went(mac(4_999));
        assert_eq!(notes.take(Vni::new(5).unwrap()).len(), WAITING_MAX + 1);
    }
}
