//! Joining received frames into super-frames: GRO in userspace.
//!
//! Frames of one receive batch enter with their layout and the verdict on their checksum; super-frames leave through a
//! [`Sink`] as an offload header, one corrected header and ranges of the receive arena, so payload is never copied.
//! Coalescing never waits: the caller flushes at the end of each batch.
//!
//! The rules are those of Linux's `tcp_gro_receive` and `udp_gro_receive`: cut again at the announced size, a
//! super-frame gives back the frames that it was made of (an IPv4 id of an atomic packet excepted, RFC 6864 section 4).
//! Frames of one flow leave in the order in which they came.

use arrayvec::ArrayVec;

use crate::addr::PortId;
use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{Layout, Network, Transport, be16, put16};
use crate::offload::check::{Check, pseudo};
use crate::offload::vnet_hdr::{Gso, VnetHdr};

/// The most frames in one super-frame.
pub const MAX_FRAMES: usize = 64;
const SLOTS: usize = 64;
/// The largest IP packet.
const MAX_PACKET: usize = 65_535;

const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// A range of the arena: where, and how many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Offset from the arena's first byte.
    pub at: u32,
    /// Bytes.
    pub len: u32,
}

impl Piece {
    /// A range of an arena of less than 4 GB.
    #[inline]
    pub fn new(at: usize, len: usize) -> Self {
        Piece { at: at as u32, len: len as u32 }
    }

    /// The bytes of the range.
    #[inline]
    pub fn of<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.at as usize..][..self.len as usize]
    }
}

/// What leaves: one frame or super-frame for one port.
#[derive(Debug)]
pub struct Output<'a> {
    /// The port that it goes to.
    pub port: PortId,
    /// The offload header.
    pub header: VnetHdr,
    /// The frame: header and first payload, then further payloads.
    pub pieces: &'a [Piece],
    /// How many frames it stands for.
    pub frames: u32,
    /// The bytes of those frames.
    pub bytes: u64,
    /// The hash of their flow.
    pub hash: u64,
}

/// Takes what leaves. `arena` is the one that the pieces point into.
pub trait Sink {
    /// Writes one frame or super-frame to its port.
    fn deliver(&mut self, arena: &[u8], output: Output<'_>);
    /// Counts a frame that ends here.
    fn drop_frame(&mut self, reason: DropReason);
}

/// One received frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The port that it goes to.
    pub port: PortId,
    /// Where it lies in the arena, from its Ethernet header on.
    pub piece: Piece,
    /// Where its headers lie.
    pub layout: Layout,
    /// The verdict on its transport checksum.
    pub check: Check,
    /// The hash of its flow.
    pub hash: u64,
    /// The largest inner packet of the network.
    pub mtu: u16,
    /// The size of the UDP datagrams in an uncut super-frame, where the kernel told it; else 0.
    pub cut: u16,
}

#[derive(Debug)]
struct Slot {
    frame: Frame,
    /// Payload bytes of each frame but the last.
    size: usize,
    payload: usize,
    count: usize,
    next_seq: u32,
    /// PSH and FIN of the last frame: the others have none.
    last_flags: u8,
    /// Nothing may follow.
    closed: bool,
    /// Listed among the coalescer's active slots.
    queued: bool,
    pieces: ArrayVec<Piece, MAX_FRAMES>,
}

/// The flow table of one receive worker. About 50 KB, all of it allocated when it is made.
#[derive(Debug)]
pub struct Coalescer {
    slots: Box<[Slot]>,
    /// Slots in use, oldest first.
    active: ArrayVec<u8, SLOTS>,
}

impl Default for Coalescer {
    fn default() -> Self {
        let layout = Layout { network: Network::Other, transport: Transport::Other, l3: 0, l4: 0, payload: 0, end: 0 };
        let frame =
            Frame { port: PortId(0), piece: Piece::new(0, 0), layout, check: Check::Absent, hash: 0, mtu: 0, cut: 0 };
        let slot = || Slot {
            frame,
            size: 0,
            payload: 0,
            count: 0,
            next_seq: 0,
            last_flags: 0,
            closed: false,
            queued: false,
            pieces: ArrayVec::new(),
        };
        Coalescer { slots: (0..SLOTS).map(|_| slot()).collect(), active: ArrayVec::new() }
    }
}

impl Coalescer {
    /// Takes one frame. It may leave at once, join a flow's super-frame, or start one.
    pub fn push(&mut self, arena: &mut [u8], frame: Frame, sink: &mut impl Sink) {
        let cut = match cut_of(&frame) {
            Ok(cut) => cut,
            Err(reason) => return sink.drop_frame(reason),
        };
        let index = (frame.hash ^ frame.hash >> 32) as usize % SLOTS;
        let slot = &mut self.slots[index];
        let joinable = cut.is_none() && joinable(arena, &frame);
        if slot.count > 0 {
            if joinable && slot.accepts(arena, &frame) {
                slot.append(arena, &frame);
                return;
            }
            // Its own flow's next frame, or another flow in the slot: what was gathered goes first, in order.
            slot.flush(arena, sink);
        }
        if !joinable {
            deliver_alone(arena, &frame, cut, sink);
            return;
        }
        slot.start(arena, &frame);
        if !std::mem::replace(&mut slot.queued, true) {
            self.active.push(index as u8);
        }
    }

    /// Delivers a frame by itself, whatever is gathered: for frames that several ports get.
    pub fn push_alone(&mut self, arena: &[u8], frame: Frame, sink: &mut impl Sink) {
        match cut_of(&frame) {
            Ok(cut) => deliver_alone(arena, &frame, cut, sink),
            Err(reason) => sink.drop_frame(reason),
        }
    }

    /// Delivers everything gathered, oldest flow first.
    pub fn flush(&mut self, arena: &mut [u8], sink: &mut impl Sink) {
        for index in self.active.drain(..) {
            let slot = &mut self.slots[usize::from(index)];
            slot.queued = false;
            if slot.count > 0 {
                slot.flush(arena, sink);
            }
        }
    }
}

/// True for a frame that can be part of a super-frame.
#[inline]
fn joinable(arena: &[u8], frame: &Frame) -> bool {
    let Frame { layout, check, .. } = frame;
    if !matches!(check, Check::Verified | Check::Partial) || layout.payload_len() == 0 {
        return false;
    }
    let bytes = frame.piece.of(arena);
    // No IPv4 options and no IPv6 extension headers: what cannot be compared cannot be joined.
    let plain_ip = match layout.network {
        // A super-frame's header checksum is made anew: a wrong one must not become right on the way.
        Network::V4 => layout.l4 - layout.l3 == 20 && Sum::ZERO.add_bytes(&bytes[layout.l3..layout.l4]).is_valid(),
        Network::V6 => layout.l4 - layout.l3 == 40,
        Network::Other => false,
    };
    plain_ip
        && match layout.transport {
            Transport::Tcp => bytes[layout.l4 + TCP_FLAGS] & !(PSH | FIN | ECE) == ACK,
            Transport::Udp => true,
            Transport::Other => false,
        }
}

/// How many payload bytes each frame of an uncut super-frame has; `None` for a frame that is whole.
///
/// A kernel VTEP on the same machine sends its super-frames uncut, their checksum left partial. TCP is cut again to the
/// network's MTU; UDP only if the kernel said how long its datagrams were, and then also where the whole would fit.
///
/// # Errors
/// [`DropReason::InnerOversize`] for a frame that no offload explains.
#[inline]
fn cut_of(frame: &Frame) -> Result<Option<usize>, DropReason> {
    let Layout { l3, payload, transport, .. } = frame.layout;
    let partial = frame.check == Check::Partial;
    let told = partial && transport == Transport::Udp && (1..frame.layout.payload_len()).contains(&frame.cut.into());
    if !told && frame.piece.len as usize - l3 <= frame.mtu.into() {
        return Ok(None);
    }
    let room = usize::from(frame.mtu).saturating_sub(payload - l3);
    let size = match transport {
        _ if !partial => 0,
        Transport::Tcp => room,
        Transport::Udp => frame.cut.into(),
        Transport::Other => 0,
    };
    if (1..=room).contains(&size) { Ok(Some(size)) } else { Err(DropReason::InnerOversize) }
}

/// Delivers a frame that is part of nothing; with `cut`, as the super-frame that it already is.
fn deliver_alone(arena: &[u8], frame: &Frame, cut: Option<usize>, sink: &mut impl Sink) {
    let Layout { l4, payload, end, transport, .. } = frame.layout;
    let csum = (frame.check == Check::Partial).then_some((l4 as u16, transport.check_offset() as u16));
    let mut header = VnetHdr { csum, ..VnetHdr::default() };
    let (mut piece, mut frames, mut bytes) = (frame.piece, 1, u64::from(frame.piece.len));
    if let Some(size) = cut {
        let count = frame.layout.payload_len().div_ceil(size);
        header.gso = gso_of(&frame.layout);
        (header.hdr_len, header.gso_size) = (payload as u16, size as u16);
        // What is behind the packet would become a part of its last segment.
        piece.len = end as u32;
        (frames, bytes) = (count as u32, (count * payload + end - payload) as u64);
    }
    sink.deliver(arena, Output { port: frame.port, header, pieces: &[piece], frames, bytes, hash: frame.hash });
}

/// The kind of super-frame that frames of this layout make.
fn gso_of(layout: &Layout) -> Gso {
    match (layout.transport, layout.network) {
        (Transport::Tcp, Network::V4) => Gso::TcpV4,
        (Transport::Tcp, _) => Gso::TcpV6,
        _ => Gso::Udp,
    }
}

fn seq(header: &[u8], l4: usize) -> u32 {
    u32::from_be_bytes([header[l4 + 4], header[l4 + 5], header[l4 + 6], header[l4 + 7]])
}

impl Slot {
    /// Starts a super-frame with `frame`.
    fn start(&mut self, arena: &[u8], frame: &Frame) {
        let Layout { l4, end, transport, .. } = frame.layout;
        let bytes = frame.piece.of(arena);
        let payload_len = frame.layout.payload_len();
        (self.size, self.count, self.closed) = (payload_len, 1, false);
        self.frame = *frame;
        self.payload = payload_len;
        self.pieces.clear();
        self.pieces.push(Piece { at: frame.piece.at, len: end as u32 });
        self.last_flags = 0;
        if transport == Transport::Tcp {
            self.next_seq = seq(bytes, l4).wrapping_add(payload_len as u32);
            self.last_flags = bytes[l4 + TCP_FLAGS] & (PSH | FIN);
            self.closed |= self.last_flags != 0;
        }
    }

    /// True when `frame` is the next one of this very flow and leaves the super-frame reversible.
    #[inline]
    fn accepts(&self, arena: &[u8], frame: &Frame) -> bool {
        let (Layout { l3, l4, payload, network, transport, .. }, theirs) = (self.frame.layout, frame.layout);
        let len = theirs.payload_len();
        if self.closed
            || frame.port != self.frame.port
            || (theirs.l3, theirs.l4, theirs.payload) != (l3, l4, payload)
            || (theirs.network, theirs.transport) != (network, transport)
            || frame.check != self.frame.check
            || len > self.size
            || self.pieces.len() == MAX_FRAMES
            || payload - l3 + self.payload + len > MAX_PACKET
        {
            return false;
        }
        let (a, b) = (self.frame.piece.of(arena), frame.piece.of(arena));
        if a[..l3] != b[..l3] {
            return false;
        }
        let same_ip = if network == Network::V4 {
            // Version, length and TOS; flags and fragment offset, TTL and protocol; addresses. The id rises by one
            // per frame, or means nothing (DF).
            let atomic = a[l3 + 6] & 0x40 != 0;
            let next_id = be16(a, l3 + 4).wrapping_add(self.count as u16);
            a[l3..l3 + 2] == b[l3..l3 + 2]
                && a[l3 + 6..l3 + 10] == b[l3 + 6..l3 + 10]
                && a[l3 + 12..l4] == b[l3 + 12..l4]
                && (atomic || be16(b, l3 + 4) == next_id)
        } else {
            a[l3..l3 + 4] == b[l3..l3 + 4] && a[l3 + 6..l4] == b[l3 + 6..l4]
        };
        if !same_ip {
            return false;
        }
        match transport {
            Transport::Tcp => {
                // Ports, then acknowledgement and offset, window, urgent pointer and options; flags but PSH and FIN.
                a[l4..l4 + 4] == b[l4..l4 + 4]
                    && seq(b, l4) == self.next_seq
                    && a[l4 + 8..l4 + 13] == b[l4 + 8..l4 + 13]
                    && (a[l4 + TCP_FLAGS] ^ b[l4 + TCP_FLAGS]) & !(PSH | FIN) == 0
                    && a[l4 + 14..l4 + 16] == b[l4 + 14..l4 + 16]
                    && a[l4 + 18..payload] == b[l4 + 18..payload]
            }
            _ => a[l4..l4 + 4] == b[l4..l4 + 4],
        }
    }

    #[inline]
    fn append(&mut self, arena: &[u8], frame: &Frame) {
        let Layout { l4, payload, transport, .. } = frame.layout;
        let len = frame.layout.payload_len();
        self.pieces.push(Piece { at: frame.piece.at + payload as u32, len: len as u32 });
        self.payload += len;
        self.count += 1;
        self.closed = len < self.size;
        if transport == Transport::Tcp {
            self.next_seq = self.next_seq.wrapping_add(len as u32);
            self.last_flags = frame.piece.of(arena)[l4 + TCP_FLAGS] & (PSH | FIN);
            self.closed |= self.last_flags != 0;
        }
    }

    /// Delivers the super-frame and frees the slot.
    fn flush(&mut self, arena: &mut [u8], sink: &mut impl Sink) {
        let count = std::mem::take(&mut self.count);
        if count == 1 {
            deliver_alone(arena, &self.frame, None, sink);
            return;
        }
        let layout = self.frame.layout;
        let Layout { l3, l4, payload, network, transport, .. } = layout;
        let l4_len = payload - l4 + self.payload;
        let header = &mut arena[self.frame.piece.at as usize..][..payload];
        if network == Network::V4 {
            put16(header, l3 + 2, (l4 - l3 + l4_len) as u16);
            put16(header, l3 + 10, 0);
            let check = Sum::ZERO.add_bytes(&header[l3..l4]).finish();
            put16(header, l3 + 10, check);
        } else {
            put16(header, l3 + 4, l4_len as u16);
        }
        if transport == Transport::Tcp {
            header[l4 + TCP_FLAGS] |= self.last_flags;
        } else {
            put16(header, l4 + 4, l4_len as u16);
        }
        let (partial, offset) = (pseudo(header, &layout, l4_len).fold(), transport.check_offset());
        put16(header, l4 + offset, partial);
        sink.deliver(
            arena,
            Output {
                port: self.frame.port,
                header: VnetHdr {
                    csum: Some((l4 as u16, offset as u16)),
                    gso: gso_of(&layout),
                    ecn: false,
                    hdr_len: payload as u16,
                    gso_size: self.size as u16,
                },
                pieces: &self.pieces,
                frames: count as u32,
                bytes: (count * payload + self.payload) as u64,
                hash: self.frame.hash,
            },
        );
    }
}
