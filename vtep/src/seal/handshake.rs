//! The keys of a session: what both nodes contributed, stretched to one key per lane.
//!
//! Each side sends 32 random bytes over mutual TLS 1.3, which keeps them secret and says who sent them; the receiver
//! installs its keys before it answers. HKDF-SHA256 (RFC 5869) over both contributions, with the two node ids in the
//! order sender, receiver (which is the direction), the suite and the lane as its info: two directions, two lanes or two
//! suites never share a key. No randomness is made here.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::PeerId;
use super::suite::{KEY, Key, Suite};
use crate::wire::sealed::MAX_LANES;

/// Bytes of one side's contribution.
pub const CONTRIBUTION: usize = 32;

const SALT: &[u8] = b"weft sealed v1";

/// What the two sides agreed on in the clear of their TLS connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Who asked: it will send.
    pub sender: PeerId,
    /// Who answered: it will receive.
    pub receiver: PeerId,
    /// The AEAD, by [`Suite::agree`].
    pub suite: Suite,
    /// The sender's TX sockets, 1 to [`MAX_LANES`].
    pub lanes: u16,
}

/// Why no keys were made of what a peer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The number of lanes is zero, or more than a node may have.
    #[error("{0} lanes: a sender has 1 to {MAX_LANES}")]
    Lanes(u16),
    /// A contribution has the wrong length.
    #[error("a contribution of {0} bytes: it has {CONTRIBUTION}")]
    Contribution(usize),
    /// Sender and receiver are one node.
    #[error("a session of a node with itself")]
    Itself,
}

/// The keys of one session. They are derived lane by lane, and wiped when dropped.
pub struct SessionKeys {
    terms: Terms,
    prk: Prk,
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKeys").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl SessionKeys {
    /// The keys under `terms` of what sender and receiver contributed. Both sides call this with the same arguments.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn derive(terms: Terms, from_sender: &[u8], from_receiver: &[u8]) -> Result<SessionKeys, HandshakeError> {
        if terms.lanes == 0 || terms.lanes > MAX_LANES {
            return Err(HandshakeError::Lanes(terms.lanes));
        }
        if terms.sender == terms.receiver {
            return Err(HandshakeError::Itself);
        }
        let mut secret = Secret::new([0; 2 * CONTRIBUTION]);
        for (to, from) in secret.chunks_exact_mut(CONTRIBUTION).zip([from_sender, from_receiver]) {
            if from.len() != CONTRIBUTION {
                return Err(HandshakeError::Contribution(from.len()));
            }
            to.copy_from_slice(from);
        }
        let prk = Salt::new(HKDF_SHA256, SALT).extract(secret.as_ref());
        Ok(SessionKeys { terms, prk })
    }

    /// What was agreed on.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The key of a lane.
    pub fn lane(&self, lane: u16) -> Key {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                KEY
            }
        }
        let Terms { sender, receiver, suite, .. } = self.terms;
        let numbers = [sender.0.to_be_bytes(), receiver.0.to_be_bytes()];
        let info = [b"key", &numbers[0][..], &numbers[1], &suite.number().to_be_bytes(), &lane.to_be_bytes()];
        let mut key = Key::new([0; KEY]);
        let made = self.prk.expand(&info, Length).and_then(|okm| okm.fill(key.as_mut()));
        made.expect("32 bytes are within what HKDF can give");
        key
    }
}

type Secret = zeroize::Zeroizing<[u8; 2 * CONTRIBUTION]>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const TERMS: Terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite: Suite::Aes256Gcm, lanes: 64 };

    fn keys(terms: Terms, sender: u8, receiver: u8) -> SessionKeys {
        SessionKeys::derive(terms, &[sender; 32], &[receiver; 32]).unwrap()
    }

    /// Computed by Python's `hmac` from RFC 5869's two lines: another program must come to the same keys.
    #[test]
    fn a_known_session_has_known_keys() {
        let key = |lane| keys(TERMS, 0xaa, 0xbb).lane(lane).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(key(0), "609348a51f96dd16e7887a33a53db9ae46cf346797c9819e582b16babe4abe41");
        assert_eq!(key(63), "82c3b10b011a1c695c4556196769053a8c878601b13f0b77d0f95ca1e3782834");
    }

    #[test]
    fn whatever_differs_makes_other_keys() {
        let terms = [
            TERMS,
            Terms { sender: PeerId(2), receiver: PeerId(1), ..TERMS },
            Terms { receiver: PeerId(3), ..TERMS },
            Terms { suite: Suite::ChaCha20Poly1305, ..TERMS },
        ];
        let mut seen = HashSet::new();
        for terms in terms {
            for (sender, receiver) in [(7, 8), (8, 7), (7, 7)] {
                for lane in 0..64 {
                    assert!(seen.insert(*keys(terms, sender, receiver).lane(lane)), "{terms:?} lane {lane}");
                }
            }
        }
    }

    #[test]
    fn what_a_peer_must_not_say_is_refused() {
        let derive = |terms, a, b| SessionKeys::derive(terms, &[1; 40][..a], &[2; 40][..b]).err();
        assert_eq!(derive(Terms { lanes: 0, ..TERMS }, 32, 32), Some(HandshakeError::Lanes(0)));
        assert_eq!(derive(Terms { lanes: 65, ..TERMS }, 32, 32), Some(HandshakeError::Lanes(65)));
        assert_eq!(derive(Terms { receiver: PeerId(1), ..TERMS }, 32, 32), Some(HandshakeError::Itself));
        assert_eq!(derive(TERMS, 31, 32), Some(HandshakeError::Contribution(31)));
        assert_eq!(derive(TERMS, 32, 33), Some(HandshakeError::Contribution(33)));
        assert_eq!(derive(TERMS, 32, 32), None);
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", keys(TERMS, 1, 2)), format!("SessionKeys {{ terms: {TERMS:?}, .. }}"));
    }
}
