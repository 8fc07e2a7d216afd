//! A TAP device: an endpoint's own interface, seen from its other end.
//!
//! Every read gives an offload header ([`vnet_hdr`](crate::offload::vnet_hdr)) and a frame of up to 64 KB; every write
//! takes the same. The device lives in whatever namespace it was moved to; the file stays here.
//!
//! A device may have several queues, a file for each. Which one a frame leaves by the kernel chooses by its flow: the
//! queue by which the flow's other direction last came in, else any (`tun_select_queue`).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio;
use tracing::info;

use super::sys::tun::{self, Mode, offload};
use crate::drops::DropReason;

/// The most bytes that one read can give: the offload header, an Ethernet header with a tag, the largest IP packet.
pub(super) const MAX_READ: usize = crate::offload::vnet_hdr::LEN + 18 + 65_535;

/// An open TAP device.
#[derive(Debug)]
pub struct Tap {
    /// At least one.
    queues: Vec<OwnedFd>,
    udp_super_frames: bool,
}

impl Tap {
    /// Creates the device `name`, with one queue or several, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, `EPERM` without CAP_NET_ADMIN, `ENOENT` or `EACCES` when `/dev/net/tun` cannot be
    /// opened. Nothing is left behind.
    pub fn create(name: &str, queues: usize) -> io::Result<Tap> {
        Self::open(name, Mode::Create, queues > 1, queues)
    }

    /// Opens the persistent device `name` in the calling thread's network namespace, with the flags of [`Tap::create`]:
    /// with as many queues, or with one where it was made for one.
    ///
    /// # Errors
    /// `ENODEV` when it is not there, `EBUSY` when it was made for one queue, which another process has, `EINVAL` when it
    /// was made otherwise.
    pub fn reattach(name: &str, queues: usize) -> io::Result<Tap> {
        let several = queues > 1;
        match Self::open(name, Mode::Reattach, several, queues) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                Self::open(name, Mode::Reattach, !several, 1)
            }
            opened => opened,
        }
    }

    fn open(name: &str, mode: Mode, several: bool, queues: usize) -> io::Result<Tap> {
        let first = tun::open(name, mode, several)?;
        let further = (1..queues).map(|_| tun::open(name, Mode::Reattach, several));
        let queues = std::iter::once(Ok(first)).chain(further).collect::<io::Result<_>>()?;
        let mut tap = Tap { queues, udp_super_frames: false };
        tap.ask_for_offloads(name)?;
        Ok(tap)
    }

    /// Asks for all offloads, and without the newest ones where the kernel does not know them.
    fn ask_for_offloads(&mut self, name: &str) -> io::Result<()> {
        const TCP: u32 = offload::CSUM | offload::TSO4 | offload::TSO6;
        const UDP: u32 = offload::USO4 | offload::USO6;
        let steps = [
            (TCP | offload::TSO_ECN | UDP, ""),
            (TCP | offload::TSO_ECN, "UDP super-frames (Linux 6.2): many small datagrams cost more"),
            (TCP, "super-frames of flows with ECN"),
            (offload::CSUM, "TCP super-frames: throughput falls to about a quarter"),
            (0, "checksum and segmentation offloads: throughput falls to about a tenth"),
        ];
        let mut last = Ok(());
        for (flags, lost) in steps {
            last = tun::set_offload(self.queues[0].as_fd(), flags);
            if last.is_ok() {
                self.udp_super_frames = flags & UDP != 0;
                if !lost.is_empty() {
                    info!(device = name, "the kernel's TUN driver lacks {lost}");
                }
                break;
            }
        }
        last
    }

    /// Whether the device takes super-frames of UDP. A kernel that gives none takes none; those of TCP every one takes.
    pub fn takes_udp_super_frames(&self) -> bool {
        self.udp_super_frames
    }

    /// Keeps the device when the last file on it is closed, or no longer.
    ///
    /// # Errors
    /// `EBADFD` when the device has vanished with its namespace.
    pub fn set_persist(&self, on: bool) -> io::Result<()> {
        tun::set_persist(self.queues[0].as_fd(), on)
    }

    /// How many queues it has: one or more.
    #[inline]
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Closes all queues but the first `most`, of which there is at least one.
    pub(super) fn keep(&mut self, most: usize) {
        self.queues.truncate(most.max(1));
    }

    /// The file of a queue.
    pub(super) fn queue(&self, queue: usize) -> BorrowedFd<'_> {
        self.queues[queue].as_fd()
    }

    /// Reads one frame with its offload header from a queue. `Ok(0)` never happens for a sound device.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; `EBADFD` when the device has vanished with its namespace.
    #[inline]
    pub fn read(&self, queue: usize, into: &mut [u8]) -> Result<usize, Errno> {
        nix::unistd::read(&self.queues[queue], into)
    }

    /// Writes one frame, offload header first. Flows with the same `spread` come in by the same queue, and their other
    /// directions leave by it: it must be a flow's own, and not depend on who writes, or flows would wander between queues.
    ///
    /// # Errors
    /// The reason for which the device did not take it.
    #[inline]
    pub fn write(&self, spread: u64, slices: &[IoSlice<'_>]) -> Result<(), DropReason> {
        let queue = (spread % self.queues.len() as u64) as usize;
        uio::writev(&self.queues[queue], slices).map(drop).map_err(|errno| match errno {
            Errno::EIO | Errno::EBADFD | Errno::ENETDOWN => DropReason::TapDown,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => DropReason::TapBusy,
            _ => DropReason::TapError,
        })
    }

    /// False when the device has vanished with its namespace.
    pub fn is_alive(&self) -> bool {
        // One byte is refused as too short by a device, and as "bad state" where there is none.
        !matches!(uio::writev(&self.queues[0], &[IoSlice::new(&[0])]), Err(Errno::EBADFD))
    }
}

impl Tap {
    /// Whether the device would take a frame now; nothing is written.
    ///
    /// # Errors
    /// [`DropReason::TapDown`] for a device that is down or gone. One whose queue is full looks alike for as long as that
    /// lasts.
    pub fn takes_frames(&self) -> Result<(), DropReason> {
        let mut file = [PollFd::new(self.queues[0].as_fd(), PollFlags::POLLOUT)];
        let ready = poll(&mut file, PollTimeout::ZERO).unwrap_or(0) > 0;
        // The driver calls a device writable that is up and has room, and in error one that has vanished.
        let up = file[0].revents().is_some_and(|events| events == PollFlags::POLLOUT);
        if ready && up { Ok(()) } else { Err(DropReason::TapDown) }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queues[0].as_fd()
    }
}
