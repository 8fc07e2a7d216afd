//! Capture files: pcapng (draft-ietf-opsawg-pcapng), as Wireshark reads it.
//!
//! Enters: interfaces, frames with what is known of them. Leaves: blocks, each written as a whole, so that a file that
//! ends early is one with fewer frames. All numbers are little-endian, as the section header says.

use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const MAGIC: u32 = 0x1a2b_3c4d;

const COMMENT: u16 = 1;
/// Of an interface: its name, and what it is.
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
/// The grain of time: a power of ten.
const IF_TSRESOL: u16 = 9;
const NANOSECONDS: u8 = 9;
const USERAPPL: u16 = 4;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// What an interface's frames begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// An Ethernet header.
    Ethernet = 1,
    /// What only the user knows: LINKTYPE_USER0.
    Private = 147,
}

/// Bits of a packet's flags.
pub mod flags {
    /// To the endpoint.
    pub const INBOUND: u32 = 1;
    /// From the endpoint.
    pub const OUTBOUND: u32 = 2;
    /// The checksum is still to be finished.
    pub const CHECKSUM_NOT_READY: u32 = 1 << 9;
    /// A super-frame, which is cut later.
    pub const SEGMENTED_LATER: u32 = 1 << 11;
}

/// A frame, or the beginning of one.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface, from 0 on, in the order in which they were added.
    pub interface: u32,
    /// In nanoseconds since 1970.
    pub time_ns: u64,
    /// Bytes of the whole frame.
    pub length: u32,
    /// Those that were kept.
    pub bytes: &'a [u8],
    /// See [`flags`].
    pub flags: u32,
    /// Frames that were lost before this one.
    pub lost: u64,
    /// What is known of it.
    pub comment: &'a str,
}

/// Writes a capture file.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Vec<u8>,
    interfaces: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(out: W) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, block: Vec::new(), interfaces: 0 };
        writer.begin(&[MAGIC, 1, u32::MAX, u32::MAX]);
        writer.option(USERAPPL, concat!("weft ", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.end(SECTION)?;
        Ok(writer)
    }

    /// Adds an interface; `snap_len` is 0 for frames that are kept whole.
    pub fn interface(&mut self, link: Link, snap_len: u32, name: &str, description: &str) -> io::Result<()> {
        self.begin(&[link as u32, snap_len]);
        self.option(IF_NAME, name.as_bytes());
        self.option(IF_DESCRIPTION, description.as_bytes());
        self.option(IF_TSRESOL, &[NANOSECONDS]);
        self.interfaces += 1;
        self.end(INTERFACE)
    }

    /// Adds a frame.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let Packet { interface, time_ns, length, bytes, flags, lost, comment } = *packet;
        let kept = bytes.len() as u32;
        self.begin(&[interface, (time_ns >> 32) as u32, time_ns as u32, kept, length]);
        self.padded(bytes);
        self.option(COMMENT, comment.as_bytes());
        self.option(EPB_FLAGS, &flags.to_le_bytes());
        if lost > 0 {
            self.option(EPB_DROPCOUNT, &lost.to_le_bytes());
        }
        self.end(PACKET)
    }

    /// Says at the end how many frames there were, and how many were lost, and hands on what is buffered.
    pub fn finish(mut self, time_ns: u64, frames: u64, lost: u64) -> io::Result<()> {
        // It is said of an interface, and of the first here, since nobody knows which ones the lost frames were of.
        if self.interfaces > 0 {
            self.begin(&[0, (time_ns >> 32) as u32, time_ns as u32]);
            self.option(ISB_IFRECV, &(frames + lost).to_le_bytes());
            self.option(ISB_IFDROP, &lost.to_le_bytes());
            self.end(STATISTICS)?;
        }
        self.flush()
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A block's fixed fields; its type and length come in front at the end.
    fn begin(&mut self, fields: &[u32]) {
        self.block.clear();
        self.block.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // A text may be cut anywhere: what is written here is far shorter.
        let value = &value[..value.len().min(u16::MAX.into())];
        self.block.extend(code.to_le_bytes());
        self.block.extend((value.len() as u16).to_le_bytes());
        self.padded(value);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.block.extend(bytes);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// The end of the options, and the block's length before and behind it.
    fn end(&mut self, kind: u32) -> io::Result<()> {
        self.block.extend([0; 4]);
        let len = (self.block.len() + 12) as u32;
        self.block.extend(len.to_le_bytes());
        self.out.write_all(&[kind.to_le_bytes(), len.to_le_bytes()].concat())?;
        self.out.write_all(&self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into the types and bodies of its blocks, as a reader does.
    fn blocks(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut blocks) = (0, Vec::new());
        while at < file.len() {
            let len = word(at + 4) as usize;
            assert!(len.is_multiple_of(4) && word(at + len - 4) as usize == len, "the lengths at {at} agree");
            blocks.push((word(at), file[at + 8..at + len - 4].to_vec()));
            at += len;
        }
        blocks
    }

    #[test]
    fn blocks_are_whole_and_of_whole_words() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        writer.interface(Link::Ethernet, 0, "blue", "a network").unwrap();
        for kept in 0..6 {
            let bytes = &[0xee; 6][..kept];
            let comment = &"comment"[..kept];
            let packet = Packet { interface: 0, time_ns: 1 << 40, length: 60, bytes, flags: 1, lost: 7, comment };
            writer.packet(&packet).unwrap();
        }
        writer.finish(1, 6, 1).unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET, PACKET, PACKET, PACKET, PACKET, STATISTICS]);
        let packet = &blocks[4].1;
        // Interface, time in two halves, what was kept, the length, the bytes.
        let fields =
            [0, 1 << 8, 0, 2, 60, 0xeeee].iter().flat_map(|field: &u32| field.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(packet[..24], fields);
        assert_eq!(packet[24..32], [1, 0, 2, 0, b'c', b'o', 0, 0]);
        assert!(packet.ends_with(&[0; 4]), "the options end");
    }
}
