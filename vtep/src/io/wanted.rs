//! What the data plane asks of the daemon: sessions, made or made anew.
//!
//! Workers put VTEPs in; the daemon takes them out, woken by a file that becomes readable. The list is bounded and holds
//! nobody twice, and each worker asks for a VTEP only now and then.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::seal::PeerId;

/// The most VTEPs that wait to be taken out.
const ROOM: usize = 1024;

/// A session that should be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// Frames wait for one to this VTEP.
    Session(IpAddr),
    /// The one to this node is old or worn: make the next one while it still serves.
    Rekey(PeerId, IpAddr),
}

/// The list and the file that wakes its reader.
#[derive(Debug)]
pub(super) struct Outlet {
    event: EventFd,
    list: Mutex<Vec<Wanted>>,
}

impl Outlet {
    pub(super) fn new() -> nix::Result<Self> {
        Ok(Outlet {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            list: Mutex::new(Vec::with_capacity(ROOM)),
        })
    }

    fn list(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a session to a VTEP.
    pub(super) fn ask(&self, vtep: IpAddr) {
        self.put(Wanted::Session(vtep));
    }

    /// Asks, unless that was asked already or the list is full.
    pub(super) fn put(&self, wanted: Wanted) {
        let mut list = self.list();
        if list.len() < ROOM && !list.contains(&wanted) {
            list.push(wanted);
            drop(list);
            // A full counter is readable already.
            let _ = self.event.write(1);
        }
    }

    /// Empties the list, in the order in which it was asked.
    pub(super) fn take(&self) -> Vec<Wanted> {
        let _ = self.event.read();
        // The room stays where the workers need it.
        self.list().drain(..).collect()
    }

    /// Readable while there is something to take.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_listed_once_and_the_list_is_bounded() {
        let outlet = Outlet::new().unwrap();
        let vtep = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in [1, 2, 1, 1, 2] {
            outlet.ask(vtep(n));
        }
        assert_eq!(outlet.take(), [vtep(1), vtep(2)].map(Wanted::Session));
        assert_eq!(outlet.take(), []);
        (0..5000).for_each(|n| outlet.ask(vtep(n)));
        assert_eq!(outlet.take().len(), ROOM);
    }
}
