//! A made-up host: a network namespace for its underlay, and a mount namespace with a /run of its own.
//!
//! The private /run is where a daemon of the lab keeps its state and its socket, and where `ip netns add` puts its names
//! when it is run on the host: they vanish with the lab.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::process::{Child, Command, Output};
use std::thread;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::Container;
use crate::sandbox::{Netns, devices};

/// One host of a lab.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its network namespace, in which its underlay address and its VTEP are.
    pub netns: Netns,
    /// Its address on the underlay.
    pub address: IpAddr,
    /// Its containers.
    pub containers: Vec<Container>,
    mounts: File,
}

impl Host {
    pub(super) fn make(name: String, address: IpAddr) -> Result<Self> {
        let netns = Netns::anonymous().context("cannot make a network namespace for a host of the lab")?;
        devices::up(&netns, "lo")?;
        let mounts = on_thread(private_run).context("cannot make a mount namespace for a host of the lab")?;
        Ok(Host { name, netns, address, containers: Vec::new(), mounts })
    }

    /// Runs `work` on a thread of the host: in its network and mount namespaces. What it spawns is on the host too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            // A thread must stop sharing its root and working directory before it may change the mount namespace.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
            self.netns.enter()?;
            Ok(work())
        })
    }

    /// Spawns the command on the host.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())?
    }

    /// Runs the command on the host and waits for its end.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())?
    }
}

/// Gives the calling thread a mount namespace of its own, which nothing leaks out of, with an empty /run in it.
fn private_run() -> io::Result<File> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))?;
    File::open("/proc/thread-self/ns/mnt")
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("host".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
