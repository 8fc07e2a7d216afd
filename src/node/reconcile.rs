//! Noticing endpoints whose sandbox has gone.
//!
//! A sandbox that ends takes the device with it, unless the device's file was opened inside: after a restart it
//! is the daemon that keeps the sandbox alive. So every few seconds the daemon looks whether anybody else still
//! knows it, by its path or by being in it, and lets go if not.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tracing::info;

use super::Node;
use super::daemon::is_effective;
use super::tables::Live;
use crate::sandbox::Identity;

/// How often to look.
pub const PERIOD: Duration = Duration::from_secs(5);

impl Node {
    /// Lets go of endpoints whose sandbox or device has gone. Blocks; the caller has the turn.
    pub fn reconcile(&self) {
        self.reconcile_local();
        let candidates: Vec<_> = self.tables().endpoints.values().filter(|l| l.port.is_some()).cloned().collect();
        if candidates.is_empty() {
            return;
        }
        let inhabited = if candidates.iter().any(pins) { Inhabited::look() } else { Ok(Inhabited::default()) };
        let Ok(inhabited) = inhabited else { return };
        for live in candidates {
            let Some(port) = live.port else { continue };
            let endpoint = &live.endpoint;
            let known = || identity_at(&endpoint.netns) == Some(endpoint.netns_identity);
            let abandoned = pins(&live) && !inhabited.seen.contains(&endpoint.netns_identity) && !known();
            if self.vtep.port_alive(port.id) && !abandoned {
                continue;
            }
            self.unplug(port.id);
            if let Some(live) = self.tables_mut().endpoints.get_mut(&endpoint.id) {
                live.port = None;
            }
            info!(
                "the endpoint {} is lost: its namespace has ended; `weft detach {0}` frees its addresses",
                endpoint.id
            );
        }
    }
}

fn pins(live: &Live) -> bool {
    live.port.is_some_and(|port| port.pins_netns)
}

/// CAP_SYS_PTRACE, as capabilities(7) numbers it.
const SYS_PTRACE: u32 = 19;

/// The network namespaces that some process is in.
#[derive(Debug, Default)]
pub(super) struct Inhabited {
    /// Those that were seen.
    pub(super) seen: HashSet<Identity>,
    /// There are processes whose namespaces are not shown to this one, containers' among them: that takes CAP_SYS_PTRACE.
    pub(super) hidden: bool,
}

impl Inhabited {
    pub(super) fn look() -> io::Result<Inhabited> {
        let mut inhabited = Inhabited::default();
        for process in fs::read_dir("/proc")? {
            match fs::metadata(process?.path().join("ns/net")) {
                Ok(meta) => drop(inhabited.seen.insert(Identity { dev: meta.dev(), inode: meta.ino() })),
                // It has ended meanwhile, or is none.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                Err(_) => inhabited.hidden = true,
            }
        }
        // What is hidden all the same, as the system's first process may be, is no container's.
        inhabited.hidden = inhabited.hidden && !is_effective(&fs::read_to_string("/proc/self/status")?, SYS_PTRACE);
        Ok(inhabited)
    }
}

pub(super) fn identity_at(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|meta| Identity { dev: meta.dev(), inode: meta.ino() })
}
