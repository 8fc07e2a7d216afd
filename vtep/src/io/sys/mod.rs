//! The system calls that no library wraps well enough, and what not every processor can run: the only unsafe code of the
//! project.
//!
//! Each submodule offers a safe face over one interface; every unsafe block says why it is sound.
#![allow(unsafe_code)]

pub mod arena;
pub mod cpu;
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

/// Reads an integer socket option.
pub(crate) fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to `value`, with its length, and to that length; both outlive the call.
    let done =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast::<libc::c_void>(), &raw mut len) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
