//! The driver `macvlan`: interfaces with their own MAC addresses on a network that exists already.
//!
//! The parent receives for all of them. The host itself does not see them through it: the kernel hands nothing from a
//! macvlan interface to its parent.

use weft_control::local::MacvlanMode;

use super::DriverError;
use crate::sandbox::{LinkSpec, Netns, devices, link};

/// Says which MTU an interface on the parent has, or why there can be none.
pub(super) fn check(host: &Netns, parent: &str, mtu: Option<u32>) -> Result<u32, DriverError> {
    let link = link::lookup_name(host, parent)?.ok_or_else(|| DriverError::NoParent(parent.to_owned()))?;
    match mtu {
        _ if !link.up => Err(DriverError::ParentDown(parent.to_owned())),
        Some(mtu) if mtu > link.mtu => {
            Err(DriverError::ParentTooSmall { parent: parent.to_owned(), mtu, carries: link.mtu })
        }
        mtu => Ok(mtu.unwrap_or(link.mtu)),
    }
}

/// Makes an interface on the parent and moves it into the sandbox.
pub(super) fn attach(
    host: &Netns,
    parent: &str,
    mode: MacvlanMode,
    sandbox: &Netns,
    device: &str,
    spec: &LinkSpec,
) -> Result<u32, DriverError> {
    check(host, parent, Some(spec.mtu))?;
    devices::macvlan(host, device, parent, mode, spec.mac)?;
    Ok(host.run(|| link::plug(device, sandbox, spec))??)
}
