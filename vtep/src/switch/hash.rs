//! A keyed hash for small integer keys, such as MAC addresses.
//!
//! Enters: at most 64 bits of key and a secret that is new at each start. Leaves: 64 bits in which nobody who does
//! not know the secret can make keys collide on purpose. Two folded multiplications, some five times cheaper than
//! SipHash: the forwarding table is asked twice per frame.

use std::hash::{BuildHasher, Hasher};

/// The hash under one secret. As a [`BuildHasher`] it serves maps whose keys hash themselves as one integer.
#[derive(Clone, Copy)]
pub struct KeyedHash {
    secret: u64,
}

impl KeyedHash {
    /// The hash under `secret`.
    pub const fn new(secret: u64) -> Self {
        KeyedHash { secret }
    }

    /// The hash of one integer.
    // One round under a known constant would keep some differences of keys whatever the secret; the second is keyed
    // again and takes them away.
    #[inline]
    pub const fn mix(self, key: u64) -> u64 {
        let once = fold(key ^ self.secret, 0x9e37_79b9_7f4a_7c15);
        fold(once ^ self.secret.rotate_left(32), 0xd6e8_feb8_6659_fd93)
    }
}

/// Both halves of the 128-bit product: every input bit reaches high and low bits of the result.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { keyed: *self, hash: 0 }
    }
}

// No derived Debug: a secret does not belong in a log.
impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash")
    }
}

/// The [`Hasher`] that [`KeyedHash`] makes.
#[derive(Debug)]
pub struct KeyedHasher {
    keyed: KeyedHash,
    hash: u64,
}

impl Hasher for KeyedHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, key: u64) {
        self.hash = self.keyed.mix(self.hash ^ key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many keys share the fullest of 4,096 buckets, by the bits that a map would use.
    fn fullest(hash: KeyedHash, shift: u32, keys: impl Iterator<Item = u64>) -> usize {
        let mut buckets = vec![0; 4_096];
        for key in keys {
            buckets[(hash.mix(key) >> shift) as usize & 4_095] += 1;
        }
        buckets.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn regular_keys_spread_over_the_buckets() {
        // 40,960 keys, ten to a bucket; a random function puts more than 35 into one with a chance below 1 in 10,000.
        for secret in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            for step in [0, 8, 12, 16, 24, 32] {
                for shift in [0, 20, 45, 52] {
                    let most = fullest(KeyedHash::new(secret), shift, (0..40_960).map(|n| n << step));
                    assert!(most < 35, "secret {secret:x}: {most} keys (step {step}) in one bucket at bit {shift}");
                }
            }
        }
    }

    #[test]
    fn what_collides_under_one_secret_does_not_under_another() {
        let (here, there) = (KeyedHash::new(0x1111_2222_3333_4444), KeyedHash::new(0x9999_aaaa_bbbb_cccc));
        let bucket = |hash: KeyedHash, key| hash.mix(key) & 4_095;
        let aimed: Vec<u64> = (0..4_000_000).filter(|key| bucket(here, *key) == 0).collect();
        assert!(aimed.len() > 500);
        assert!(fullest(there, 0, aimed.into_iter()) < 12);
    }

    #[test]
    fn the_hash_of_a_map_is_the_hash_of_its_integer() {
        let hash = KeyedHash::new(42);
        assert_eq!(hash.hash_one(7_u64), hash.mix(7));
    }
}
