//! Paths that carry less than the network's MTU promised.
//!
//! Enters: the word of the kernel that a datagram was larger than the path to a VTEP, and what it knows of that path
//! (RFC 1191, RFC 8201). Leaves: the path's MTU, for as long as the kernel holds it so. Such paths are rare: where there
//! is none, asking costs one comparison.

use std::collections::HashMap;
use std::net::IpAddr;

/// How long a path's MTU is believed before the kernel is asked again, in seconds. The kernel itself forgets what a
/// router said after ten minutes.
const BELIEVED_S: u32 = 5;
/// The most paths that are remembered; others are answered for once they are refused again and there is room.
const PATHS_MAX: usize = 4_096;

/// What is remembered of one path.
#[derive(Clone, Copy, Debug)]
struct Path {
    mtu: u16,
    asked_s: u32,
}

/// The narrow paths that one worker has met.
#[derive(Debug, Default)]
pub struct NarrowPaths {
    paths: HashMap<IpAddr, Path>,
}

impl NarrowPaths {
    /// Takes note that a packet of `size` bytes to `vtep`, outer headers included, was refused as too large. `ask` gives
    /// the path's MTU, as the kernel knows it; it is called unless what is remembered explains the refusal.
    #[cold]
    pub fn refused(&mut self, vtep: IpAddr, size: usize, now_s: u32, ask: impl FnOnce() -> Option<u16>) {
        let explained = match self.paths.get(&vtep) {
            Some(path) => usize::from(path.mtu) < size,
            None => self.paths.len() >= PATHS_MAX,
        };
        if !explained && let Some(mtu) = ask() {
            self.paths.insert(vtep, Path { mtu, asked_s: now_s });
        }
    }

    /// The MTU of the path to `vtep`, if it was too small for something. `ask` as for [`NarrowPaths::refused`].
    #[inline]
    pub fn mtu(&mut self, vtep: IpAddr, now_s: u32, ask: impl FnOnce() -> Option<u16>) -> Option<u16> {
        if self.paths.is_empty() { None } else { self.remembered(vtep, now_s, ask) }
    }

    #[cold]
    fn remembered(&mut self, vtep: IpAddr, now_s: u32, ask: impl FnOnce() -> Option<u16>) -> Option<u16> {
        let path = self.paths.get_mut(&vtep)?;
        if now_s.saturating_sub(path.asked_s) < BELIEVED_S {
            return Some(path.mtu);
        }
        match ask() {
            Some(mtu) if mtu <= path.mtu => {
                *path = Path { mtu, asked_s: now_s };
                Some(mtu)
            }
            // It has become wider. If that is still too narrow, the next refusal says so.
            _ => {
                self.paths.remove(&vtep);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn nobody_asks() -> Option<u16> {
        panic!("the kernel was asked")
    }

    #[test]
    fn a_path_is_remembered_and_asked_for_now_and_then() {
        let mut paths = NarrowPaths::default();
        assert_eq!(paths.mtu(PEER, 1, nobody_asks), None);
        paths.refused(PEER, 1_500, 1, || Some(1_400));
        paths.refused(PEER, 1_401, 1, nobody_asks);
        assert_eq!(paths.mtu(PEER, BELIEVED_S, nobody_asks), Some(1_400));
        assert_eq!(paths.mtu([192, 0, 2, 2].into(), 1, nobody_asks), None);
        assert_eq!(paths.mtu(PEER, BELIEVED_S + 1, || Some(1_300)), Some(1_300));
        assert_eq!(paths.mtu(PEER, BELIEVED_S + 2, nobody_asks), Some(1_300));
    }

    /// Seen: a path became narrower twice within a second, and the second time was not asked for until the next one.
    #[test]
    fn what_is_remembered_does_not_stand_in_the_way_of_worse_news() {
        let mut paths = NarrowPaths::default();
        paths.refused(PEER, 1_500, 1, || Some(1_400));
        paths.refused(PEER, 1_400, 1, || Some(1_350));
        assert_eq!(paths.mtu(PEER, 1, nobody_asks), Some(1_350));
    }

    #[test]
    fn a_path_that_became_wider_is_forgotten() {
        for answer in [Some(1_500), None] {
            let mut paths = NarrowPaths::default();
            paths.refused(PEER, 1_500, 1, || Some(1_400));
            assert_eq!(paths.mtu(PEER, BELIEVED_S + 1, || answer), None);
            assert_eq!(paths.mtu(PEER, BELIEVED_S + 9, nobody_asks), None);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut paths = NarrowPaths::default();
        for n in 0..2 * PATHS_MAX as u32 {
            paths.refused(IpAddr::from(n.to_be_bytes()), 1_500, 1, || Some(1_400));
        }
        assert_eq!(paths.paths.len(), PATHS_MAX);
        paths.refused(IpAddr::from([0; 4]), 1_350, 1, || Some(1_300));
        assert_eq!(paths.mtu([0; 4].into(), 1, nobody_asks), Some(1_300));
    }
}
