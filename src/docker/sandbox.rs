//! Where the engine takes the devices.
//!
//! The engine makes a sandbox only once all of its endpoints have joined, and moves the devices then, without a word. So
//! each device is followed for a while after its Join, and looked for now and then. A container may have an address that
//! another had a moment ago, with another MAC address, so it is announced as soon as its device is up.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, warn};

use super::Driver;
use super::names::ENGINE;
use crate::node::locate::device_in;
use crate::node::state::Endpoint;
use crate::sandbox::announce::announce;
use crate::sandbox::{Netns, queue};

/// How often to look for a device that has just joined. The engine needs some tens of milliseconds, and as many lie between
/// the device's coming and the container's first packet or question, before which its resolver is to run.
const STEP: Duration = Duration::from_millis(5);

/// How long to follow a device.
const FOLLOWED: Duration = Duration::from_secs(30);

/// How often to look after everything.
const PERIOD: Duration = Duration::from_secs(5);

/// Where an endpoint is about to be: its sandbox is there, its device perhaps not yet. Forgotten with this value.
struct Expected {
    driver: Arc<Driver>,
    endpoint: String,
}

impl Expected {
    fn at(&self, netns: &Netns) {
        let place = (netns.path().to_owned(), netns.identity());
        let before = self.driver.expected().insert(self.endpoint.clone(), place.clone());
        if before != Some(place) {
            self.driver.places.notify_one();
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.driver.expected().remove(&self.endpoint);
        self.driver.places.notify_one();
    }
}

/// Follows the device of an endpoint that has joined until it is up in its sandbox; announces it, and remembers the place.
///
/// Its resolver does not wait for that: the container may ask for a name as soon as the engine is done, and on a busy
/// machine the device is found, and its place written to the disk, only after that.
pub(super) async fn follow(driver: Arc<Driver>, endpoint: String, sandbox: PathBuf) {
    let until = Instant::now() + FOLLOWED;
    let expected = Expected { driver: Arc::clone(&driver), endpoint: endpoint.clone() };
    while Instant::now() < until {
        sleep(STEP).await;
        // Removed already: the container did not start.
        let Some(followed) = driver.node.endpoint(&endpoint) else { return };
        let path = sandbox.clone();
        let Ok(Some(netns)) = spawn_blocking(move || begun(&path)).await else { continue };
        expected.at(&netns);
        let found = spawn_blocking(move || inside(&netns, &followed).then_some(netns)).await;
        if let Ok(Some(netns)) = found {
            let turn = driver.node.turn().await;
            let placed = spawn_blocking(move || {
                let _turn = turn;
                driver.node.moved_to(&endpoint, &netns)
            });
            match placed.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!("{error}"),
                Err(_) => error!("remembering a sandbox failed"),
            }
            return;
        }
    }
    // The engine's mounts may be hidden from here.
    debug!(endpoint, "not seen at {} so far", sandbox.display());
}

/// The sandbox, once the engine has begun to furnish it: with its loopback, which has the address of resolvers.
fn begun(path: &Path) -> Option<Netns> {
    let netns = Netns::open_path(path).ok()?;
    let bound = netns.run(|| UdpSocket::bind((*ENGINE.ip(), 0))).ok()?;
    bound.is_ok().then_some(netns)
}

/// Whether the endpoint's device is up in there. Then what the kernel has put before its queues is taken away, and it is
/// announced.
fn inside(netns: &Netns, endpoint: &Endpoint) -> bool {
    let Ok(Some(link)) = device_in(netns, endpoint) else { return false };
    if !link.up {
        return false;
    }
    queue::none_before(netns, &link);
    let addresses = endpoint.ips.iter().map(|ip| ip.addr());
    if let Err(error) = announce(netns, &link.name, endpoint.mac, addresses) {
        warn!(endpoint = endpoint.id, "its addresses are not announced: {error}");
    }
    true
}

/// Looks now and then for devices that were not found where they were said to go, and for what the engine has
/// let go of without a word. Never returns.
pub(super) async fn look_after(driver: Arc<Driver>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (turn, driver) = (driver.node.turn().await, Arc::clone(&driver));
        let look = spawn_blocking(move || {
            let _turn = turn;
            driver.end_leases(Instant::now());
            driver.node.find_strays();
            driver.collect(Instant::now());
            driver.remove_leaving();
        });
        if look.await.is_err() {
            error!("looking after Docker's endpoints failed");
        }
    }
}
