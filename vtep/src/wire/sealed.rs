//! The sealed datagram: weft's own format on the port of VXLAN.
//!
//! ```text
//! 0      1      2 3     4 5 6 7           8 .. 15            16 ..
//! 0x80   0x01   lane    receiver index    counter (u64 BE)   AEAD( VXLAN header ‖ inner frame ) ‖ tag (16)
//! ```
//!
//! All big-endian. The first byte has no I flag, so a plain VTEP drops it (RFC 7348 section 5). The 16 bytes are the
//! AEAD's associated data; lane and counter make its nonce, so that one key never sees one twice as long as each lane
//! has one writer. First byte 0x81 is *control*: the same header, lanes and keys, around a [`Control`].

use crate::drops::DropReason;

/// Bytes of the header.
pub const LEN: usize = 16;
/// Bytes of the tag behind the sealed part.
pub const TAG: usize = 16;
/// Bytes that sealing adds to a VXLAN datagram.
pub const OVERHEAD: usize = LEN + TAG;
/// Bytes of the AEAD's nonce.
pub const NONCE: usize = 12;
/// First byte of a sealed frame.
pub const TYPE_DATA: u8 = 0x80;
/// First byte of a sealed control message.
pub const TYPE_CONTROL: u8 = 0x81;
/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 0x01;
/// The most lanes that a sender may have.
pub const MAX_LANES: u16 = 64;

const AT_VERSION: usize = 1;
/// Where the lane stands, in two bytes.
pub const AT_LANE: usize = 2;
const AT_INDEX: usize = 4;
const AT_COUNTER: usize = 8;

/// What a sealed datagram carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A VXLAN header and an inner frame.
    Data = TYPE_DATA,
    /// A [`Control`].
    Control = TYPE_CONTROL,
}

/// The header of a sealed datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it carries.
    pub kind: Kind,
    /// The sender's TX socket: each has its own key, counter and replay window.
    pub lane: u16,
    /// The receiver's name for the session.
    pub index: u32,
    /// Rises by one with each datagram of the lane.
    pub counter: u64,
}

impl Header {
    /// The header as it stands on the wire.
    #[inline]
    pub fn write(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = self.kind as u8;
        bytes[AT_VERSION] = VERSION;
        bytes[AT_LANE..AT_INDEX].copy_from_slice(&self.lane.to_be_bytes());
        bytes[AT_INDEX..AT_COUNTER].copy_from_slice(&self.index.to_be_bytes());
        bytes[AT_COUNTER..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// Reads the header of a datagram that is long enough to hold a tag too.
    ///
    /// # Errors
    /// [`DropReason::OuterTruncated`]; [`DropReason::NotVxlan`] for another type or version.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Header, DropReason> {
        let kind = match datagram.first() {
            None => return Err(DropReason::OuterTruncated),
            Some(&TYPE_DATA) => Kind::Data,
            Some(&TYPE_CONTROL) => Kind::Control,
            Some(_) => return Err(DropReason::NotVxlan),
        };
        let Some(bytes) = datagram.first_chunk::<LEN>() else { return Err(DropReason::OuterTruncated) };
        if datagram.len() < OVERHEAD {
            return Err(DropReason::OuterTruncated);
        }
        if bytes[AT_VERSION] != VERSION {
            return Err(DropReason::NotVxlan);
        }
        let [_, _, l0, l1, i0, i1, i2, i3, counter @ ..] = *bytes;
        Ok(Header {
            kind,
            lane: u16::from_be_bytes([l0, l1]),
            index: u32::from_be_bytes([i0, i1, i2, i3]),
            counter: u64::from_be_bytes(counter),
        })
    }

    /// The AEAD's nonce: lane, two zero bytes, counter.
    #[inline]
    pub fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..2].copy_from_slice(&self.lane.to_be_bytes());
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }
}

/// True when the first byte says that `datagram` is sealed, whatever the rest says.
#[inline]
pub fn is_sealed(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(&(TYPE_DATA | TYPE_CONTROL)))
}

/// Question or answer of a [`Control`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Echo {
    /// Asks for a reply of the same id and time.
    Request = 1,
    /// Answers.
    Reply = 2,
}

/// The inside of a control message: an echo, padded to the size of the path that it tries.
///
/// ```text
/// 0      1 2 3   4 .. 7      8 .. 15          16 ..
/// kind   zero    id (u32)    time (u64 BE)    padding
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// Question or answer.
    pub echo: Echo,
    /// Chosen by who asks.
    pub id: u32,
    /// The asking node's clock, in nanoseconds; nobody else reads it.
    pub time_ns: u64,
}

impl Control {
    /// Bytes without padding.
    pub const LEN: usize = 16;

    /// The message without padding.
    pub fn write(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.echo as u8;
        bytes[4..8].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..].copy_from_slice(&self.time_ns.to_be_bytes());
        bytes
    }

    /// Reads an opened message. Padding and reserved bytes are ignored.
    ///
    /// # Errors
    /// [`DropReason::InnerTruncated`]; [`DropReason::BadControl`] for a kind that this version does not know.
    pub fn parse(body: &[u8]) -> Result<Control, DropReason> {
        let Some(bytes) = body.first_chunk::<{ Control::LEN }>() else { return Err(DropReason::InnerTruncated) };
        let echo = match bytes[0] {
            1 => Echo::Request,
            2 => Echo::Reply,
            _ => return Err(DropReason::BadControl),
        };
        let [.., i0, i1, i2, i3, _, _, _, _, _, _, _, _] = *bytes;
        let [_, _, _, _, _, _, _, _, time @ ..] = *bytes;
        Ok(Control { echo, id: u32::from_be_bytes([i0, i1, i2, i3]), time_ns: u64::from_be_bytes(time) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let header = Header { kind: Kind::Data, lane: 0x0102, index: 0x0304_0506, counter: 0x0708_090a_0b0c_0d0e };
        assert_eq!(header.write(), [0x80, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(header.nonce(), [1, 2, 0, 0, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(Header { kind: Kind::Control, ..header }.write()[0], 0x81);
    }

    #[test]
    fn bad_headers_have_their_reasons() {
        let header = Header { kind: Kind::Data, lane: 1, index: 2, counter: 3 };
        let whole = [&header.write()[..], &[0; TAG]].concat();
        assert_eq!(Header::parse(&whole), Ok(header));
        for len in 0..whole.len() {
            assert_eq!(Header::parse(&whole[..len]), Err(DropReason::OuterTruncated), "length {len}");
        }
        for (at, byte) in [(0, 0x82), (0, 0x00), (0, 0x88), (1, 0), (1, 2)] {
            let mut bad = whole.clone();
            bad[at] = byte;
            assert_eq!(Header::parse(&bad), Err(DropReason::NotVxlan), "byte {at} is {byte:#x}");
        }
        assert!(is_sealed(&[0x80]) && is_sealed(&[0x81, 9]) && !is_sealed(&[0x88]) && !is_sealed(&[]));
    }

    #[test]
    fn an_echo_round_trips_with_any_padding() {
        let control = Control { echo: Echo::Request, id: 7, time_ns: 0x1122_3344_5566_7788 };
        assert_eq!(control.write(), [1, 0, 0, 0, 0, 0, 0, 7, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(Control::parse(&[&control.write()[..], &[9; 1400]].concat()), Ok(control));
        assert_eq!(Control::parse(&[1; 15]), Err(DropReason::InnerTruncated));
        assert_eq!(Control::parse(&[3; 16]), Err(DropReason::BadControl));
    }

    proptest! {
        #[test]
        fn headers_round_trip(control in any::<bool>(), lane: u16, index: u32, counter: u64) {
            let kind = if control { Kind::Control } else { Kind::Data };
            let header = Header { kind, lane, index, counter };
            prop_assert_eq!(Header::parse(&[&header.write()[..], &[0; TAG]].concat()), Ok(header));
        }

        /// A nonce names its lane and counter: no two of a key are alike.
        #[test]
        fn nonces_differ_where_lane_or_counter_do(a: (u16, u64), b: (u16, u64)) {
            let nonce = |(lane, counter)| Header { kind: Kind::Data, lane, index: 0, counter }.nonce();
            prop_assert_eq!(nonce(a) == nonce(b), a == b);
        }
    }
}
