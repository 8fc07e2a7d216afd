//! Memory for bytes on their way through: in huge pages, where the system has them (madvise(2), MADV_HUGEPAGE).
//!
//! An arena of 4 KB pages is more than a processor remembers the addresses of; the kernel copies to and from it for every
//! frame.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a huge page, on x86-64 and on arm64 with pages of 4 KB.
const HUGE: usize = 2 << 20;

/// Zeroed bytes. What nobody touches takes no memory.
pub struct Arena {
    mapping: NonNull<c_void>,
    mapped: NonZeroUsize,
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the arena alone and is reached only through it, as that of a `Box<[u8]>`.
unsafe impl Send for Arena {}
// SAFETY: as above; a shared arena is only read.
unsafe impl Sync for Arena {}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Arena {
    /// An arena of `len` bytes, at the start of a huge page. As any allocation it ends the process where there is no
    /// memory left.
    pub fn new(len: usize) -> Self {
        let usable = len.next_multiple_of(HUGE);
        let mapped = NonZeroUsize::MIN.saturating_add(usable + HUGE - 1);
        // SAFETY: a new mapping wherever there is room touches nothing that exists.
        let mapping = unsafe {
            mmap_anonymous(None, mapped, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
        };
        let Ok(mapping) = mapping else { handle_alloc_error(Layout::new::<[u8; HUGE]>()) };
        let ahead = mapping.align_offset(HUGE);
        // SAFETY: less than a huge page ahead of the mapping's start, which is one longer than what is used.
        let bytes = unsafe { mapping.cast::<u8>().add(ahead) };
        // SAFETY: the range lies within the mapping, and the advice changes none of its bytes. Refused, it costs speed.
        let _ = unsafe { madvise(bytes.cast(), usable, MmapAdvise::MADV_HUGEPAGE) };
        Arena { mapping, mapped, bytes, len }
    }
}

impl Deref for Arena {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes of the mapping, zeroed by the kernel, which lives as long as `self`.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed from `self` alone.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: all of the mapping that was made for this arena, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.mapping, self.mapped.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_zeroed_as_long_as_asked_for_and_begins_a_huge_page() {
        for len in [0, 1, HUGE - 1, HUGE, HUGE + 1] {
            let mut arena = Arena::new(len);
            assert_eq!(arena.len(), len);
            assert!(arena.iter().all(|byte| *byte == 0));
            assert!(arena.as_ptr().addr().is_multiple_of(HUGE));
            arena.fill(7);
            assert!(arena.iter().all(|byte| *byte == 7));
        }
    }
}
