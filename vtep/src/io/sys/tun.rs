//! `/dev/net/tun`: the ioctls behind a TAP device (linux/if_tun.h).

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The clone device.
pub const PATH: &str = "/dev/net/tun";

mod ioctl {
    nix::ioctl_write_int!(tunsetiff, b'T', 202);
    nix::ioctl_write_int!(tunsetpersist, b'T', 203);
    nix::ioctl_write_int!(tunsetoffload, b'T', 208);
    nix::ioctl_write_ptr!(tunsetvnethdrsz, b'T', 216, std::ffi::c_int);
}

/// Offloads that a device may hand over undone (TUN_F_*).
pub mod offload {
    /// Unfinished transport checksums.
    pub const CSUM: u32 = 0x01;
    /// TCP super-frames over IPv4.
    pub const TSO4: u32 = 0x02;
    /// TCP super-frames over IPv6.
    pub const TSO6: u32 = 0x04;
    /// TCP super-frames whose first segment carries CWR.
    pub const TSO_ECN: u32 = 0x08;
    /// UDP super-frames over IPv4; Linux 6.2 and later, only together with [`USO6`].
    pub const USO4: u32 = 0x20;
    /// UDP super-frames over IPv6.
    pub const USO6: u32 = 0x40;
}

/// What opening is to do about a device of that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It must not exist.
    Create,
    /// It must exist.
    Reattach,
}

/// Opens `/dev/net/tun` in the calling thread's network namespace and binds it to the TAP device `name`. With `several`
/// each file that is opened on the device is a queue of its own.
///
/// # Errors
/// `EBUSY`/`EEXIST` when the name is taken ([`Mode::Create`]), `ENODEV` when it is not there, `EINVAL` when it was made with
/// another `several` ([`Mode::Reattach`]), `EPERM` without CAP_NET_ADMIN, `ENOENT`/`EACCES` from the clone device itself.
/// Nothing is left behind.
pub fn open(name: &str, mode: Mode, several: bool) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|b| b == 0 || b == b'/' || b == b'%') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an interface name"));
    }
    let exists = nix::net::if_::if_nametoindex(name).is_ok();
    match mode {
        Mode::Create if exists => return Err(io::Error::from_raw_os_error(libc::EEXIST)),
        Mode::Reattach if !exists => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
        _ => {}
    }
    let file: File =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(PATH)?;
    // SAFETY: an all-zero `ifreq` is a valid value: plain integers and byte arrays in a union.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let exclusive = if mode == Mode::Create { libc::IFF_TUN_EXCL } else { 0 };
    let several = if several { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | exclusive | several) as libc::c_short;
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`, which it reads and writes during the call; ours outlives it.
    unsafe { ioctl::tunsetiff(file.as_raw_fd(), (&raw mut request) as libc::c_ulong) }?;
    let header = crate::offload::vnet_hdr::LEN as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer; `header` outlives the call.
    unsafe { ioctl::tunsetvnethdrsz(file.as_raw_fd(), &raw const header) }?;
    Ok(file.into())
}

/// Asks for super-frames and unfinished checksums; a set of `offload::*` flags.
///
/// # Errors
/// `EINVAL` when the kernel does not know one of them.
pub fn set_offload(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { ioctl::tunsetoffload(fd.as_raw_fd(), libc::c_ulong::from(flags)) }?;
    Ok(())
}

/// Keeps the device when its last file is closed, or no longer.
///
/// # Errors
/// `EBADFD` when the device is gone.
pub fn set_persist(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value.
    unsafe { ioctl::tunsetpersist(fd.as_raw_fd(), libc::c_ulong::from(on)) }?;
    Ok(())
}
