//! Frames that wait for a session: few, and not for long.
//!
//! Enters: frames as they came from an endpoint, for a VTEP to which there is no session. Leaves: the same frames, in
//! order, once there is one; those that waited too long are counted as dropped. All storage is allocated when it is
//! made, and one silent VTEP cannot fill it alone.

use std::net::IpAddr;
use std::time::Duration;

use crate::addr::Vni;

/// Bytes that wait, of all VTEPs together.
const BYTES: usize = 256 << 10;
/// Bytes that wait for one VTEP.
const BYTES_OF_ONE: usize = 80 << 10;
/// Frames that wait, of all VTEPs together.
const FRAMES: usize = 512;
/// Frames that wait for one VTEP.
const FRAMES_OF_ONE: usize = 64;
/// How long a frame waits: an endpoint's stack repeats what matters about that soon.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The queue of one worker.
#[derive(Debug)]
pub struct Pending {
    arena: Box<[u8]>,
    used: usize,
    /// In the order in which they came, and in the same order in the arena, without gaps.
    waiting: Vec<Waiting>,
}

/// A frame that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The VTEP that it is for.
    pub vtep: IpAddr,
    /// Its network's number.
    pub vni: Vni,
    /// Which network that was when the frame came: a number may be another's by now.
    pub network: u32,
    /// How many frames on the wire it stands for.
    pub frames: u64,
    since_ns: u64,
    at: usize,
    len: usize,
}

impl Default for Pending {
    fn default() -> Self {
        Pending { arena: vec![0; BYTES].into(), used: 0, waiting: Vec::with_capacity(FRAMES) }
    }
}

impl Pending {
    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a copy of a frame, given in parts. False if there is no room for it.
    pub fn push(
        &mut self,
        vtep: IpAddr,
        (vni, network): (Vni, u32),
        frames: u64,
        parts: [&[u8]; 2],
        now_ns: u64,
    ) -> bool {
        let len = parts[0].len() + parts[1].len();
        let of_one = self.waiting.iter().filter(|other| other.vtep == vtep);
        let (count, bytes) = of_one.fold((0, 0), |(count, bytes), other| (count + 1, bytes + other.len));
        let full = self.waiting.len() == FRAMES || self.used + len > BYTES;
        if full || count == FRAMES_OF_ONE || bytes + len > BYTES_OF_ONE {
            return false;
        }
        let at = self.used;
        for part in parts {
            self.arena[self.used..][..part.len()].copy_from_slice(part);
            self.used += part.len();
        }
        self.waiting.push(Waiting { vtep, vni, network, frames, since_ns: now_ns, at, len });
        true
    }

    /// Hands out and forgets the frames for which `ready` is true, up to `room` bytes, and those that waited too long;
    /// `true` goes with the former.
    pub fn take(
        &mut self,
        now_ns: u64,
        mut room: usize,
        mut ready: impl FnMut(IpAddr) -> bool,
        mut each: impl FnMut(&Waiting, &[u8], bool),
    ) {
        let Pending { arena, used, waiting } = self;
        let mut kept = 0;
        waiting.retain_mut(|frame| {
            let bytes = frame.at..frame.at + frame.len;
            let late = now_ns.saturating_sub(frame.since_ns) >= PATIENCE.as_nanos() as u64;
            let go = !late && frame.len <= room && ready(frame.vtep);
            if late || go {
                room -= if go { frame.len } else { 0 };
                each(frame, &arena[bytes], go);
                return false;
            }
            if kept < frame.at {
                arena.copy_within(bytes, kept);
                frame.at = kept;
            }
            kept += frame.len;
            true
        });
        *used = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vtep(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn vni() -> Vni {
        Vni::new(7).unwrap()
    }

    fn taken(pending: &mut Pending, now_ns: u64, ready: u8) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        pending.take(now_ns, 4096, |other| other == vtep(ready), |_, bytes, go| out.push((bytes.to_vec(), go)));
        out
    }

    #[test]
    fn frames_leave_in_order_and_the_others_stay() {
        let mut pending = Pending::default();
        for n in 0..10_u8 {
            assert!(pending.push(vtep(n % 2), (vni(), 1), 1, [&[n; 3], &[n; 2]], 1));
        }
        let odd: Vec<_> = [1, 3, 5, 7, 9].map(|n| (vec![n; 5], true)).into();
        assert_eq!(taken(&mut pending, 2, 1), odd);
        assert_eq!((pending.used, taken(&mut pending, 2, 1)), (25, vec![]));
        assert!(pending.push(vtep(0), (vni(), 1), 1, [&[10; 5], &[]], 2));
        let even: Vec<_> = [0, 2, 4, 6, 8, 10].map(|n| (vec![n; 5], true)).into();
        assert_eq!(taken(&mut pending, 3, 0), even);
        assert!(pending.is_empty() && pending.used == 0);
    }

    #[test]
    fn one_silent_vtep_does_not_fill_it() {
        let mut pending = Pending::default();
        let pushed = (0..1000).filter(|_| pending.push(vtep(1), (vni(), 1), 1, [&[0; 60], &[]], 1)).count();
        assert_eq!(pushed, FRAMES_OF_ONE);
        assert!(pending.push(vtep(2), (vni(), 1), 44, [&[0; 10], &[0; 65_549]], 1), "a super-frame fits");
        assert!(!pending.push(vtep(2), (vni(), 1), 44, [&[0; 10], &[0; 65_549]], 1));
        let others = (3..200).filter(|n| pending.push(vtep(*n), (vni(), 1), 1, [&[0; 4096], &[]], 1)).count();
        assert!((30..60).contains(&others), "{others}");
        assert!(pending.used <= BYTES);
    }

    #[test]
    fn what_waited_too_long_is_given_back_as_late() {
        let mut pending = Pending::default();
        let late = PATIENCE.as_nanos() as u64;
        assert!(pending.push(vtep(1), (vni(), 1), 1, [&[1], &[]], 10));
        assert!(pending.push(vtep(1), (vni(), 1), 1, [&[2], &[]], 20));
        assert_eq!(taken(&mut pending, late + 10, 9), [(vec![1], false)]);
        assert_eq!(taken(&mut pending, late + 20, 1), [(vec![2], false)], "even if there is a session now");
    }
}
