//! The right to build labs: root has it, and anybody may have it inside a user namespace where the system allows that.

use std::fs::{self, OpenOptions};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::sandbox::Netns;

/// Makes sure that this process may build a lab and open TUN devices in it.
///
/// Unless it is root it first becomes root of a user namespace of its own, which the kernel grants only to a process
/// with a single thread: call this before anything else. The error says what is refused and what would help.
pub fn acquire() -> Result<()> {
    if !geteuid().is_root() {
        enter_user_namespace()?;
    }
    Netns::anonymous()
        .context("labs are made of network namespaces, which this process may not make: run it as root")?;
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    tun.map(drop).context(
        "cannot open /dev/net/tun, which every endpoint needs: load the module `tun`, give a container the device \
         (docker run --device /dev/net/tun), or run as root",
    )
}

fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context(
        "not root, and a user namespace is refused (see sysctl kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces): run as root",
    )?;
    let map =
        |file: &str, text: String| fs::write(file, text).with_context(|| format!("cannot write {file}: run as root"));
    // A user may map its own ids alone, and its group only once it has given up setgroups(2): user_namespaces(7).
    map("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    map("/proc/self/setgroups", "deny\n".into())?;
    map("/proc/self/gid_map", format!("0 {gid} 1\n"))
}
