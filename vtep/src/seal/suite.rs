//! The AEADs: AES-256-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439), each with a 16-byte tag.
//!
//! Two backends: aws-lc-rs, and for ChaCha20-Poly1305 the pure-Rust crate of that name, which judges the first in the
//! tests and takes its place with the feature `pure-seal`. A key is wiped when it is dropped.

use aws_lc_rs::aead::{self, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use zeroize::Zeroizing;

use crate::wire::sealed::{NONCE, TAG};

/// Bytes of a key of either suite.
pub const KEY: usize = 32;

/// A key, wiped when it is dropped.
pub type Key = Zeroizing<[u8; KEY]>;

/// An AEAD, under the number by which nodes name it to each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

    /// What this CPU can use, best first: AES only leads where the CPU has it.
    pub fn preferred() -> [Suite; 2] {
        if has_aes() {
            [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]
        } else {
            [Suite::ChaCha20Poly1305, Suite::Aes256Gcm]
        }
    }

    /// The suite of two nodes, each of which says what it can use, best first. Who asks does not matter.
    ///
    /// What both like best; else ChaCha20-Poly1305, which no CPU is bad at; else whatever both can.
    pub fn agree(mine: &[Suite], theirs: &[Suite]) -> Option<Suite> {
        let both = |suite: &Suite| mine.contains(suite) && theirs.contains(suite);
        let best = mine.first().copied().filter(|first| theirs.first() == Some(first));
        best.or_else(|| Some(Suite::ChaCha20Poly1305).filter(both)).or_else(|| mine.iter().copied().find(both))
    }

    /// The number by which nodes name it.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The suite of that number, if this version knows it.
    pub fn of_number(number: u32) -> Option<Suite> {
        Suite::ALL.into_iter().find(|suite| suite.number() == number)
    }

    /// The name that the user sees.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::Aes256Gcm => "aes-256-gcm",
            Suite::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Datagrams of one lane after which its session should be replaced.
    pub const fn soft_limit(self) -> u64 {
        match self {
            Suite::Aes256Gcm => 1 << 26,
            Suite::ChaCha20Poly1305 => 1 << 60,
        }
    }

    /// Datagrams of one lane after which it seals no more.
    pub const fn hard_limit(self) -> u64 {
        match self {
            // Of 1,500 bytes each: as many bytes as TLS 1.3 lets one key seal (RFC 8446 section 5.5).
            Suite::Aes256Gcm => 1 << 28,
            Suite::ChaCha20Poly1305 => 1 << 61,
        }
    }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[allow(unreachable_code)]
    false
}

/// Which code does the arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// aws-lc-rs: both suites, in the CPU's widest instructions.
    AwsLc,
    /// The `chacha20poly1305` crate, all of it in Rust. AES-256-GCM stays with aws-lc-rs.
    Pure,
}

impl Backend {
    /// The backend of this build.
    pub const DEFAULT: Backend = if cfg!(feature = "pure-seal") { Backend::Pure } else { Backend::AwsLc };
}

/// The tag does not fit key, nonce, associated data and text: the datagram is not the sender's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the tag does not match")]
pub struct BadTag;

/// One key, ready for use. Wiped when dropped.
pub struct Cipher(Inner);

enum Inner {
    AwsLc(LessSafeKey),
    Pure(Box<ChaCha20Poly1305>),
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// The cipher of `suite` under `key`, in this build's backend.
    pub fn new(suite: Suite, key: &Key) -> Cipher {
        Cipher::with(Backend::DEFAULT, suite, key)
    }

    /// As [`Cipher::new`], in a backend of the caller's choice.
    pub fn with(backend: Backend, suite: Suite, key: &Key) -> Cipher {
        let algorithm: &'static aead::Algorithm = match suite {
            Suite::ChaCha20Poly1305 if backend == Backend::Pure => {
                return Cipher(Inner::Pure(Box::new(ChaCha20Poly1305::new(key.as_ref().into()))));
            }
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref());
        Cipher(Inner::AwsLc(LessSafeKey::new(unbound.expect("a key of 32 bytes fits both suites"))))
    }

    /// Encrypts `text` in place and returns the tag of text and `aad`. A nonce must never be used twice.
    #[inline]
    pub fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = match &self.0 {
            Inner::AwsLc(key) => key
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
                .map(|tag| tag.as_ref().try_into().expect("both suites have tags of 16 bytes"))
                .ok(),
            Inner::Pure(cipher) => {
                cipher.encrypt_in_place_detached(&nonce.into(), aad, text).map(|tag| tag.into()).ok()
            }
        };
        tag.expect("a datagram is far shorter than what one nonce may seal")
    }

    /// Decrypts `sealed`, text and tag, in place: the text is what stands before the tag then.
    ///
    /// # Errors
    /// [`BadTag`]; what the bytes are then is not said.
    #[inline]
    pub fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Result<(), BadTag> {
        let opened = match &self.0 {
            Inner::AwsLc(key) => key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).is_ok(),
            Inner::Pure(cipher) => match sealed.split_last_chunk_mut::<TAG>() {
                Some((text, tag)) => cipher.decrypt_in_place_detached(&nonce.into(), aad, text, (&*tag).into()).is_ok(),
                None => false,
            },
        };
        if opened { Ok(()) } else { Err(BadTag) }
    }
}

#[cfg(test)]
mod tests;
