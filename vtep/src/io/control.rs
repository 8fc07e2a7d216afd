//! The control plane's door to the switch: what it says of managed networks comes in, what the ports' stations do goes
//! out.

use std::convert::Infallible;
use std::sync::Arc;

use super::{GRACE, Vtep};
use crate::switch::announce::Announcement;
use crate::switch::update::{self, Update};
use crate::switch::view::Segment;
use crate::switch::{FdbKind, FdbRow, Place};

impl Vtep {
    /// Makes changes to managed networks, in order. Stations and neighbours count at once; the workers get one new view
    /// for all changes of members, which each takes up with its next turn: [`Vtep::settle`] waits for that.
    ///
    /// What is said of networks that are not here is ignored: after [`Vtep::add_network`] the caller tells all of it.
    pub fn apply(&self, updates: &[Update]) {
        let _turn = self.turn();
        let (_, view) = self.shared.view.load();
        let lists = update::apply(&view, self.local, updates);
        if lists.is_empty() {
            return;
        }
        let published = self.shared.view.update(|view| {
            for (vni, list) in lists {
                if let Some(segment) = view.segments.get_mut(&vni) {
                    segment.flood = Arc::new(list);
                }
            }
            Ok::<_, Infallible>(())
        });
        let Ok(()) = published;
    }

    /// Waits until every worker goes by all that was changed before; false if one has not for as long as any change waits.
    pub fn settle(&self) -> bool {
        self.shared.synchronize(GRACE)
    }

    /// The stations that have come and gone behind ports of managed networks with `trust_macs` since the last call, by
    /// network and MAC. Costs little when there are none: meant to be asked several times a second.
    pub fn take_announcements(&self) -> Vec<Announcement> {
        let (_, view) = self.shared.view.load();
        let mut taken: Vec<_> =
            view.segments.iter().flat_map(|(vni, segment)| segment.announcements.take(*vni)).collect();
        taken.sort_unstable_by_key(|announcement| (announcement.vni, announcement.mac));
        taken
    }
}

/// Takes note of a station that left the forwarding table, if it was one to announce.
pub(super) fn went<D>(segment: &Segment<D>, row: FdbRow) {
    if segment.spec.managed && row.kind == FdbKind::Learned && matches!(row.place, Place::Local(_)) {
        segment.announcements.went(row.mac);
    }
}
