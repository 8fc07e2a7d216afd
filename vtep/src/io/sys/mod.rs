//! The system calls that no library wraps well enough: the only unsafe code of the project.
//!
//! Each submodule offers a safe face over one kernel interface; every unsafe block says why it is sound.
#![allow(unsafe_code)]

pub mod tun;
pub mod udp;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an integer socket option that neither `socket2` nor `nix` names.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which outlives the call; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of_val(&value) as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
