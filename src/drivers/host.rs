//! The driver `host`: the host's own namespace, with no isolation and no interface.

use super::DriverError;
use crate::sandbox::Netns;

/// The only sandbox on this network is the host itself: nothing is made, and nothing else can be attached.
pub(super) fn attach(host: &Netns, sandbox: &Netns) -> Result<(), DriverError> {
    if host.identity() == sandbox.identity() {
        Ok(())
    } else {
        Err(DriverError::NotTheHost(sandbox.path().display().to_string()))
    }
}
