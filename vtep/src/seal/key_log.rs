//! A key log: the keys of a session as text, for who has to look into sealed datagrams (`wireshark/weft.lua`).
//!
//! Whoever reads it can read, and forge, all that the session carries. Nothing here is written anywhere: to do that,
//! only when told to and never quietly, is the daemon's business.

use std::fmt::Write;

use zeroize::Zeroizing;

use super::handshake::SessionKeys;

/// One line for each lane: `WEFT index lane suite key`, the numbers in hexadecimal. `index` is the receiver's name for the
/// session.
pub fn lines(keys: &SessionKeys, index: u32) -> Zeroizing<String> {
    let terms = keys.terms();
    // All at once: a text that grows leaves copies of itself behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::from(terms.lanes) * LINE));
    for lane in 0..terms.lanes {
        let _ = write!(text, "WEFT {index:08x} {lane:04x} {:02x} ", terms.suite.number());
        for byte in keys.lane(lane).iter() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// Bytes of a line.
const LINE: usize = "WEFT 00000000 0000 00 \n".len() + 64;

#[cfg(test)]
mod tests {
    use super::super::PeerId;
    use super::super::handshake::Terms;
    use super::super::suite::Suite;
    use super::*;

    #[test]
    fn each_lane_has_a_line() {
        let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite: Suite::ChaCha20Poly1305, lanes: 3 };
        let keys = SessionKeys::derive(terms, &[1; 32], &[2; 32]).unwrap();
        let text = lines(&keys, 0xabc);
        assert_eq!((text.len(), text.capacity()), (3 * LINE, 3 * LINE));
        for (lane, line) in text.lines().enumerate() {
            let key = keys.lane(lane as u16).map(|byte| format!("{byte:02x}")).concat();
            assert_eq!(line, format!("WEFT 00000abc {lane:04x} 02 {key}"));
        }
    }
}
