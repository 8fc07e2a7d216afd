//! Datagrams of one turn, gathered into as few messages to the kernel as their kind allows.
//!
//! One message has one lane (socket, so source port), one VTEP, one TOS and one size: only its last datagram may be
//! shorter. Datagrams of a lane leave in the order in which they came, and a flow has one lane, so flows keep their
//! order. All storage is allocated when the batch is made.

use std::net::IpAddr;

use crate::frame::ETH_LEN;
use crate::offload::coalesce::Piece;
use crate::wire::{sealed, vxlan};

/// The most TX sockets of a node: source-port entropy, and the lanes of sealed datagrams.
pub(super) const MAX_LANES: usize = sealed::MAX_LANES as usize;
/// The most datagrams of one turn before a flush.
pub(super) const MAX_DATAGRAMS: usize = 1024;
/// The most datagrams that the kernel cuts out of one message (UDP_MAX_SEGMENTS of Linux before 6.9).
const MAX_SEGMENTS: u16 = 64;
/// The most bytes of one message: a UDP datagram's limit, less the outer headers.
const MAX_BYTES: u32 = 65_000;

/// What Linux sets aside of a device's limit for headers (MAX_TCP_HEADER + 1), rounded up.
const HEADROOM: u32 = 400;
/// Linux's limit for a device that nobody told otherwise (GSO_LEGACY_MAX_SIZE).
const MAX_SUPER_FRAME: u32 = 65_536;

/// The largest super-frame, in bytes, that an endpoint of a network with this inner MTU and mode should hand over: for its
/// IFLA_GSO_MAX_SIZE.
///
/// As many whole TCP segments as one message to the kernel holds. With Linux's own 64 KB, each super-frame of a bulk
/// flow would cost a second message of one or two datagrams.
pub fn super_frame_size(mtu: u16, sealed: bool) -> u32 {
    let mtu = u32::from(mtu);
    let around = ETH_LEN + vxlan::LEN + if sealed { sealed::OVERHEAD } else { 0 };
    let segments = (MAX_BYTES / (mtu + around as u32)).clamp(1, u32::from(MAX_SEGMENTS));
    // 72: the headers of TCP over IPv6 with timestamps. Flows with shorter ones hand over a segment less.
    (segments * mtu.saturating_sub(72) + HEADROOM).min(MAX_SUPER_FRAME)
}

const NONE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Datagram {
    /// In the header arena; empty where the payload piece holds all of the datagram.
    header: Piece,
    /// In the frame arena.
    payload: Piece,
    next: u16,
}

/// Datagrams that leave by one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// The VTEP.
    pub(super) vtep: IpAddr,
    /// The outer type of service or traffic class.
    pub(super) tos: u8,
    /// Bytes of each datagram but the last.
    pub(super) size: u16,
    /// How many datagrams there are.
    pub(super) count: u16,
    /// Their bytes together.
    pub(super) bytes: u32,
    /// What stands in front of and behind each inner frame, in bytes.
    pub(super) overhead: u8,
    closed: bool,
    head: u16,
    tail: u16,
    next: u16,
}

impl Message {
    /// Bytes of the inner frames.
    pub(super) fn inner_bytes(&self) -> u64 {
        u64::from(self.bytes) - u64::from(self.count) * u64::from(self.overhead)
    }
}

/// Where a datagram goes, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    /// The VTEP.
    pub(super) vtep: IpAddr,
    /// The outer type of service or traffic class.
    pub(super) tos: u8,
    /// What stands in front of and behind the inner frame, in bytes.
    pub(super) overhead: u8,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    head: u16,
    tail: u16,
}

/// The datagrams of one turn.
#[derive(Debug)]
pub(super) struct Batch {
    datagrams: Vec<Datagram>,
    messages: Vec<Message>,
    lanes: [Lane; MAX_LANES],
    /// Lanes with messages, in the order of their first.
    active: Vec<u8>,
    max_segments: u16,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            datagrams: Vec::with_capacity(MAX_DATAGRAMS),
            messages: Vec::with_capacity(MAX_DATAGRAMS),
            lanes: [Lane { head: NONE, tail: NONE }; MAX_LANES],
            active: Vec::with_capacity(MAX_LANES),
            max_segments: MAX_SEGMENTS,
        }
    }
}

impl Batch {
    /// True when nothing was pushed since the last clear.
    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// True when the next push would not fit.
    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() == MAX_DATAGRAMS
    }

    /// From now on each message holds one datagram: the kernel or the device cannot cut.
    pub(super) fn never_segment(&mut self) {
        self.max_segments = 1;
    }

    /// Adds a datagram: `header` lies in the header arena, `payload` in the frame arena.
    ///
    /// # Panics
    /// When the batch is full, or `lane` is not below [`MAX_LANES`].
    #[inline]
    pub(super) fn push(&mut self, lane: usize, to: To, header: Piece, payload: Piece) {
        assert!(!self.is_full());
        let To { vtep, tos, overhead } = to;
        let len = header.len + payload.len;
        let index = self.datagrams.len() as u16;
        self.datagrams.push(Datagram { header, payload, next: NONE });
        let last = self.lanes[lane].tail;
        if let Some(message) = self.messages.get_mut(usize::from(last))
            && !message.closed
            && (message.vtep, message.tos, message.overhead) == (vtep, tos, overhead)
            && len <= u32::from(message.size)
            && message.bytes + len <= MAX_BYTES
        {
            self.datagrams[usize::from(message.tail)].next = index;
            message.tail = index;
            message.count += 1;
            message.bytes += len;
            message.closed = len < u32::from(message.size) || message.count >= self.max_segments;
            return;
        }
        let number = self.messages.len() as u16;
        self.messages.push(Message {
            vtep,
            tos,
            size: len.min(u32::from(u16::MAX)) as u16,
            count: 1,
            bytes: len,
            overhead,
            closed: self.max_segments == 1,
            head: index,
            tail: index,
            next: NONE,
        });
        if last == NONE {
            self.lanes[lane].head = number;
            self.active.push(lane as u8);
        } else {
            self.messages[usize::from(last)].next = number;
        }
        self.lanes[lane].tail = number;
    }

    /// The lanes that have messages.
    pub(super) fn lanes(&self) -> impl Iterator<Item = usize> {
        self.active.iter().map(|lane| usize::from(*lane))
    }

    /// The messages of a lane, in order.
    pub(super) fn messages(&self, lane: usize) -> impl Iterator<Item = &Message> {
        let mut next = self.lanes[lane].head;
        std::iter::from_fn(move || {
            let message = self.messages.get(usize::from(next))?;
            next = message.next;
            Some(message)
        })
    }

    /// The datagrams of a message: header piece and payload piece of each.
    pub(super) fn datagrams(&self, message: &Message) -> impl Iterator<Item = (Piece, Piece)> {
        let mut next = message.head;
        std::iter::from_fn(move || {
            let datagram = self.datagrams.get(usize::from(next))?;
            next = datagram.next;
            Some((datagram.header, datagram.payload))
        })
    }

    /// All bytes of a message, where they stand one behind the other in the header arena: as those of a sealed
    /// super-frame do.
    #[inline]
    pub(super) fn contiguous(&self, message: &Message) -> Option<Piece> {
        let [first, last] = [message.head, message.tail].map(|index| self.datagrams[usize::from(index)].header);
        // Bytes in another arena would be missing in the span.
        let span = (last.at + last.len).checked_sub(first.at)?;
        (span == message.bytes).then_some(Piece { at: first.at, len: span })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.datagrams.clear();
        self.messages.clear();
        for lane in self.active.drain(..) {
            self.lanes[usize::from(lane)] = Lane { head: NONE, tail: NONE };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vtep(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_super_frame_of_an_endpoint_is_one_message() {
        let plain = [(1450u32, 44), (8950, 7), (576, 64)].map(|(mtu, segments)| (mtu, false, segments));
        let sealed = [(1418, 44), (1398, 44), (8918, 7), (576, 64)].map(|(mtu, segments)| (mtu, true, segments));
        for (mtu, is_sealed, segments) in plain.into_iter().chain(sealed) {
            // Linux's arithmetic for TCP with timestamps over IPv6: tcp_bound_to_half_wnd(sk_gso_max_size).
            let payload = super_frame_size(mtu as u16, is_sealed) - 321;
            let mss = mtu - 72;
            assert_eq!(payload / mss, segments, "MTU {mtu}");
            let datagram = mtu + 22 + if is_sealed { sealed::OVERHEAD as u32 } else { 0 };
            assert!(segments * datagram <= MAX_BYTES, "MTU {mtu}");
        }
        assert_eq!(super_frame_size(65_000, false), 65_328);
    }

    #[test]
    fn equal_datagrams_share_a_message_and_a_shorter_one_ends_it() {
        let mut batch = Batch::default();
        for len in [100, 100, 60, 100] {
            batch.push(3, To { vtep: vtep(1), tos: 0, overhead: 8 }, Piece::new(0, 0), Piece::new(0, len));
        }
        let shapes: Vec<_> = batch.messages(3).map(|m| (m.size, m.count, m.bytes)).collect();
        assert_eq!(shapes, [(100, 3, 260), (100, 1, 100)]);
        batch.clear();
        assert!(batch.is_empty() && batch.messages(3).next().is_none());
    }

    #[test]
    fn what_stands_in_a_row_is_one_piece() {
        let mut batch = Batch::default();
        let to = To { vtep: vtep(1), tos: 0, overhead: 40 };
        let elsewhere = To { vtep: vtep(2), tos: 0, overhead: 40 };
        for (lane, to, at, len) in [(0, to, 0, 100), (0, to, 100, 100), (1, to, 200, 100), (0, to, 300, 90)] {
            batch.push(lane, to, Piece::new(at, len), Piece::new(0, 0));
        }
        batch.push(2, elsewhere, Piece::new(500, 50), Piece::new(0, 0));
        batch.push(2, elsewhere, Piece::new(550, 50), Piece::new(0, 0));
        batch.push(3, elsewhere, Piece::new(0, 0), Piece::new(10, 50));
        let pieces = |lane| batch.messages(lane).map(|m| batch.contiguous(m)).collect::<Vec<_>>();
        assert_eq!(pieces(0), [None], "another lane's stands between");
        assert_eq!(pieces(1), [Some(Piece::new(200, 100))]);
        assert_eq!(pieces(2), [Some(Piece::new(500, 100))]);
        assert_eq!(pieces(3), [None], "it is in the frame arena");
    }

    proptest! {
        /// Whatever is pushed leaves once, in its lane's order, in messages that one UDP_SEGMENT call can carry.
        #[test]
        fn nothing_is_lost_reordered_or_mixed(pushes in prop::collection::vec((0usize..4, 0u8..2, 0u8..2, 60u32..63), 0..300)) {
            let mut batch = Batch::default();
            for (index, (lane, peer, tos, len)) in pushes.iter().enumerate() {
                let to = To { vtep: vtep(*peer), tos: *tos, overhead: 8 };
                batch.push(*lane, to, Piece::new(index, 8), Piece::new(0, *len as usize));
            }
            for lane in 0..4 {
                let expected: Vec<_> = (0..pushes.len()).filter(|i| pushes[*i].0 == lane).collect();
                let mut seen = Vec::new();
                for message in batch.messages(lane) {
                    let datagrams: Vec<_> = batch.datagrams(message).collect();
                    prop_assert_eq!(datagrams.len(), usize::from(message.count));
                    prop_assert!(message.count <= MAX_SEGMENTS && message.bytes <= MAX_BYTES);
                    for (at, (header, payload)) in datagrams.iter().enumerate() {
                        let index = header.at as usize;
                        prop_assert_eq!((vtep(pushes[index].1), pushes[index].2), (message.vtep, message.tos));
                        let len = header.len + payload.len;
                        let last = at + 1 == datagrams.len();
                        prop_assert!(len == u32::from(message.size) || last && len < u32::from(message.size));
                        seen.push(index);
                    }
                    prop_assert_eq!(batch.contiguous(message), None, "half of each is elsewhere");
                }
                prop_assert_eq!(seen, expected);
            }
        }
    }
}
