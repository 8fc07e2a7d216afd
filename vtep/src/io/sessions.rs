//! The daemon's door to sealing: sessions come in from its handshakes, wishes for sessions go out.
//!
//! A handshake, seen from here. The receiver: [`Vtep::install_receive`], which returns once every worker can open, then
//! the answer with the index. The sender, with that answer: [`Vtep::install_send`]. Both sides make the
//! [`SessionKeys`] of the same [`Terms`](crate::seal::handshake::Terms), of which `lanes` is the sender's
//! [`Vtep::lanes`].

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use tracing::warn;

use super::shared::Shared;
use super::wanted::Wanted;
use super::{GRACE, Vtep};
use crate::seal::PeerId;
use crate::seal::handshake::SessionKeys;
use crate::seal::table::{InstallError, SessionRow, Sessions};

impl Vtep {
    /// How many lanes this node seals on: the `lanes` of the terms that it offers as a sender.
    pub fn lanes(&self) -> u16 {
        self.shared.lanes.iter().map(|share| share.len() as u16).sum()
    }

    /// Installs the keys of a session in which the peer, whose VTEP is `address`, will send. Returns the receiver index to
    /// answer with: every worker opens with the keys then. Sessions that the peer has go on.
    ///
    /// # Errors
    /// [`InstallError::WrongFamily`], [`InstallError::NoRandomness`], [`InstallError::Slow`].
    pub fn install_receive(&self, address: IpAddr, keys: &SessionKeys) -> Result<u32, InstallError> {
        self.check_family(address)?;
        loop {
            let mut index = [0; 4];
            aws_lc_rs::rand::fill(&mut index).map_err(|_| InstallError::NoRandomness)?;
            let index = u32::from_be_bytes(index);
            let (now, workers) = (now(&self.shared), self.shared.workers.len());
            match self.install(|sessions| sessions.install_receive(now, address, keys, index, workers)) {
                Err(InstallError::IndexInUse) => {}
                installed => return installed.map(|()| index),
            }
        }
    }

    /// Installs the keys of a session in which this node sends to the peer, whose VTEP is `address`, under the index that
    /// the peer answered with. They take the place of those before, and frames that wait for a session leave.
    ///
    /// # Errors
    /// [`InstallError::WrongFamily`], [`InstallError::Lanes`], [`InstallError::Slow`].
    pub fn install_send(&self, address: IpAddr, keys: &SessionKeys, index: u32) -> Result<(), InstallError> {
        self.check_family(address)?;
        let now = now(&self.shared);
        self.install(|sessions| sessions.install_send(now, address, keys, index, &self.shared.lanes))
    }

    /// Forgets the keys that this node sends to a peer with: it is said to have restarted, and has forgotten them too.
    /// False if there were none.
    pub fn drop_send(&self, peer: PeerId) -> bool {
        self.forget(|sessions| sessions.drop_send(peer))
    }

    /// Forgets all keys of sessions with a peer. False if there were none.
    pub fn drop_sessions(&self, peer: PeerId) -> bool {
        self.forget(|sessions| sessions.drop_peer(peer))
    }

    /// Asks the daemon, by [`Vtep::wanted`], to replace every session in which this node sends.
    pub fn rekey(&self) {
        let now = now(&self.shared);
        update(&self.shared, |sessions| {
            sessions.outdate(now);
            true
        });
        ask_for_due(&self.shared);
    }

    /// All sessions, by peer, direction and epoch.
    pub fn session_rows(&self) -> Vec<SessionRow> {
        let (_, view) = self.shared.view.load();
        view.sessions.rows(now(&self.shared))
    }

    /// The sessions that should be made, since the last call. A wish that is not met comes again: a session to a VTEP
    /// with the next frame for it after 100 ms, one that is due each second.
    pub fn wanted(&self) -> Vec<Wanted> {
        self.shared.wanted.take()
    }

    /// A file that is readable while [`Vtep::wanted`] has something to say.
    pub fn wanted_event(&self) -> BorrowedFd<'_> {
        self.shared.wanted.event()
    }

    fn check_family(&self, address: IpAddr) -> Result<(), InstallError> {
        if address.is_ipv6() == self.local.is_ipv6() { Ok(()) } else { Err(InstallError::WrongFamily(address)) }
    }

    /// Publishes a change of the sessions and waits until every worker has taken it.
    fn install(&self, change: impl FnOnce(&mut Sessions) -> Result<(), InstallError>) -> Result<(), InstallError> {
        self.shared.view.update(|view| change(&mut view.sessions))?;
        if self.shared.synchronize(GRACE) { Ok(()) } else { Err(InstallError::Slow) }
    }

    /// As for what is taken away: afterwards no worker uses it, and the keys are wiped.
    fn forget(&self, change: impl FnOnce(&mut Sessions) -> bool) -> bool {
        let changed = update(&self.shared, change);
        if changed && !self.shared.synchronize(GRACE) {
            warn!("a worker has not let go of a session's keys for {GRACE:?}");
        }
        changed
    }
}

/// Publishes a change of the sessions, if it is one.
fn update(shared: &Shared, change: impl FnOnce(&mut Sessions) -> bool) -> bool {
    shared.view.update(|view| if change(&mut view.sessions) { Ok(()) } else { Err(()) }).is_ok()
}

/// Ends sessions that are over, and asks for the next ones in time.
pub(super) fn age(shared: &Shared) {
    let now = now(shared);
    if update(shared, |sessions| sessions.tick(now)) {
        shared.wake_all();
    }
    ask_for_due(shared);
}

fn ask_for_due(shared: &Shared) {
    let (_, view) = shared.view.load();
    for (peer, address) in view.sessions.due(now(shared)) {
        shared.wanted.put(Wanted::Rekey(peer, address));
    }
}

fn now(shared: &Shared) -> Duration {
    Duration::from_nanos(shared.now().ns)
}
