//! The baseline: one thread reads frames from a TAP and sends each as a VXLAN datagram, another does the reverse.
//!
//! No offloads, no batches, blocking calls: the first version that anybody writes, and what weft's techniques are for.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{Shutdown, shutdown};
use tun_tap::{Iface, Mode};
use weft::lab::{Container, Host, cpu_time, kernel};
use weft::sandbox::{LinkSpec, Netns, link};
use weft_vtep::addr::{Mac, Vni};

/// The VXLAN header (RFC 7348 section 5).
const HEADER: usize = 8;

/// The two running threads of one host. They end with this value.
pub(crate) struct Naive {
    over: Arc<AtomicBool>,
    socket: Arc<UdpSocket>,
    threads: Vec<JoinHandle<()>>,
    stats: Vec<String>,
    container: Netns,
    ifindex: u32,
}

impl Naive {
    pub(crate) fn start(host: &Host, peer: IpAddr, vni: Vni, mtu: u32) -> Result<Self> {
        let container = &host.containers[0];
        let spec = inside(container, mtu, None);
        let tap = host.netns.run(|| Iface::without_packet_info("naive0", Mode::Tap))?.context("cannot make a TAP")?;
        let ifindex = host.netns.run(|| link::plug("naive0", &container.netns, &spec))??;
        let socket = host.netns.run(|| UdpSocket::bind((host.address, kernel::VXLAN_PORT)))??;
        let (tap, socket, over) = (Arc::new(tap), Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let transmit = {
            let (tap, socket, tell) = (Arc::clone(&tap), Arc::clone(&socket), tell.clone());
            thread::spawn(move || {
                let _ = tell.send(own_stat());
                transmit(&tap, &socket, (peer, kernel::VXLAN_PORT), vni);
            })
        };
        let receive = {
            let (socket, over) = (Arc::clone(&socket), Arc::clone(&over));
            thread::spawn(move || {
                let _ = tell.send(own_stat());
                receive(&tap, &socket, &over);
            })
        };
        let stats = told.iter().take(2).collect();
        let container = container.netns.try_clone()?;
        Ok(Naive { over, socket, threads: vec![transmit, receive], stats, container, ifindex })
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.stats.iter().map(|path| cpu_time(path)).sum()
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // A read from a socket that is shut down, or from a deleted device, ends; though Linux calls the first an error.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        let _ = link::delete(&self.container, self.ifindex);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn transmit(tap: &Iface, socket: &UdpSocket, peer: (IpAddr, u16), vni: Vni) {
    let mut buffer = [0; 65536];
    buffer[0] = 0x08;
    buffer[4..HEADER].copy_from_slice(&(vni.get() << 8).to_be_bytes());
    while let Ok(length) = tap.recv(&mut buffer[HEADER..]) {
        // A datagram that cannot be sent is lost, as on any wire.
        let _ = socket.send_to(&buffer[..HEADER + length], peer);
    }
}

fn receive(tap: &Iface, socket: &UdpSocket, over: &AtomicBool) {
    let mut buffer = [0; 65536];
    while !over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        if length > HEADER {
            let _ = tap.send(&buffer[HEADER..length]);
        }
    }
}

/// The end of a loop's device in a container.
pub(super) fn inside(container: &Container, mtu: u32, super_frame: Option<u32>) -> LinkSpec {
    let [.., last] = container.v4.addr().octets();
    let mac = Mac::new([2, 0, 0, 0, 1, last]);
    let addresses = vec![container.v4.into(), container.v6.into()];
    LinkSpec { ifname: kernel::INSIDE.into(), alias: "test".into(), mac, mtu, super_frame, addresses }
}

/// The path of the calling thread's `stat` file, good for other threads too.
pub(super) fn own_stat() -> String {
    let own = fs::read_link("/proc/thread-self").unwrap_or_default();
    format!("/proc/{}/stat", own.display())
}
