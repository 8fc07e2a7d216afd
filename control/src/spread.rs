//! Hashes that every node, of whatever version, computes alike.

use aws_lc_rs::digest::{SHA256, digest};

/// 64 bits of SHA-256 over `what`, told apart by `purpose`.
pub(crate) fn spread(purpose: &str, what: &[u8]) -> u64 {
    let mut text = Vec::with_capacity(purpose.len() + 1 + what.len());
    text.extend_from_slice(purpose.as_bytes());
    text.push(0);
    text.extend_from_slice(what);
    let hash = digest(&SHA256, &text);
    hash.as_ref().iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_versions_compute_stays_as_it_is() {
        // sha256 of `test`, a zero octet, `abc`: changing it would move every network whose VNI was contested, and every order of blocks.
        assert_eq!(spread("test", b"abc"), 0xe926_6133_719d_7b96);
    }
}
