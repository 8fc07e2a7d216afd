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
    decode_any(text, N).and_then(|bytes| bytes.try_into().ok()).ok_or(NotHex(2 * N))
}

/// The bytes of any number of digits, at most `2 * most`.
pub(crate) fn decode_any(text: &str, most: usize) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) || text.len() > 2 * most {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
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
