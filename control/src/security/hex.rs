//! Bytes as lower-case hexadecimal digits, of a length that is known.

use std::fmt::Write as _;

/// A text that is not the digits that were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected exactly {0} lower-case hexadecimal digits")]
pub struct NotHex(pub usize);

/// The digits of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all that is written");
        text
    })
}

/// The bytes of exactly `2 N` digits.
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return Err(NotHex(2 * N));
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or(NotHex(2 * N))?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_read_as_they_are_written() {
        assert_eq!(encode(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(decode("007fff"), Ok([0, 0x7f, 0xff]));
        for bad in ["", "007ff", "007fff0", "007FFF", "007fg0", "00 7ff"] {
            assert_eq!(decode::<3>(bad), Err(NotHex(6)), "{bad}");
        }
    }
}
