//! The published vectors, and one backend against the other.

use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Key, nonce, associated data, plaintext, ciphertext, tag.
type Vector<'a> = [&'a str; 6];

fn judge(backend: Backend, suite: Suite, [key, nonce, aad, plain, sealed, tag]: Vector<'_>) {
    let cipher = Cipher::with(backend, suite, &Key::new(bytes(key).try_into().unwrap()));
    let nonce: [u8; NONCE] = bytes(nonce).try_into().unwrap();
    let (aad, plain, sealed, tag) = (bytes(aad), bytes(plain), bytes(sealed), bytes(tag));
    let mut text = plain.clone();
    assert_eq!(cipher.seal(nonce, &aad, &mut text).to_vec(), tag);
    assert_eq!(text, sealed);
    let mut whole = [sealed, tag].concat();
    assert_eq!(cipher.open(nonce, &aad, &mut whole), Ok(()));
    assert_eq!(whole[..plain.len()], plain);
}

/// RFC 8439 section 2.8.2, by both backends.
#[test]
fn chacha20_poly1305_is_that_of_the_rfc() {
    let vector = [
        "808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f",
        "070000004041424344454647",
        "50515253c0c1c2c3c4c5c6c7",
        "4c616469657320616e642047656e746c 656d656e206f662074686520636c6173 73206f66202739393a20496620492063
         6f756c64206f6666657220796f75206f 6e6c79206f6e652074697020666f7220 746865206675747572652c2073756e73
         637265656e20776f756c642062652069 742e",
        "d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b
         1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
         3ff4def08e4b7a9de576d26586cec64b 6116",
        "1ae10b594f09e26a7e902ecbd0600691",
    ];
    judge(Backend::AwsLc, Suite::ChaCha20Poly1305, vector);
    judge(Backend::Pure, Suite::ChaCha20Poly1305, vector);
}

/// Test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", which NIST SP 800-38D goes by.
#[test]
fn aes_256_gcm_is_that_of_its_specification() {
    const ZERO: &str = "00000000000000000000000000000000 00000000000000000000000000000000";
    const KEY: &str = "feffe9928665731c6d6a8f9467308308 feffe9928665731c6d6a8f9467308308";
    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72
                         1c3c0c95956809532fcf0e2449a6b525 b16aedf5aa0de657ba637b39 1aafd255";
    const SEALED: &str = "522dc1f099567d07f47f37a32a84427d 643a8cdcbfe5c0c97598a2bd2555d1aa
                          8cb08e48590dbb3da7b08b1056828838 c5f61e6393ba7a0abcc9f662 898015ad";
    let short = |text: &'static str| &text[..text.len() - 9];
    let vectors = [
        [ZERO, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"],
        [
            ZERO,
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [KEY, "cafebabefacedbaddecaf888", "", PLAIN, SEALED, "b094dac5d93471bdec1a502270e3cc6c"],
        [
            KEY,
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            short(PLAIN),
            short(SEALED),
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ],
    ];
    for vector in vectors {
        judge(Backend::AwsLc, Suite::Aes256Gcm, vector);
    }
}

#[test]
fn both_nodes_come_to_the_same_suite() {
    use Suite::{Aes256Gcm as A, ChaCha20Poly1305 as C};
    let cases: [(&[Suite], &[Suite], Option<Suite>); 7] = [
        (&[A, C], &[A, C], Some(A)),
        (&[C, A], &[C, A], Some(C)),
        (&[A, C], &[C, A], Some(C)),
        (&[A], &[C, A], Some(A)),
        (&[A], &[A, C], Some(A)),
        (&[A], &[C], None),
        (&[], &[A], None),
    ];
    for (mine, theirs, suite) in cases {
        assert_eq!((Suite::agree(mine, theirs), Suite::agree(theirs, mine)), (suite, suite), "{mine:?} {theirs:?}");
    }
    for suite in Suite::ALL {
        assert_eq!(Suite::of_number(suite.number()), Some(suite));
    }
    assert_eq!((Suite::of_number(0), Suite::of_number(3)), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    /// Both backends make the same bytes, and each opens what the other sealed.
    #[test]
    fn the_backends_agree(
        key: [u8; 32], nonce: [u8; 12], aad in prop::collection::vec(any::<u8>(), 0..40),
        text in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let ciphers = [Backend::AwsLc, Backend::Pure].map(|b| Cipher::with(b, Suite::ChaCha20Poly1305, &Key::new(key)));
        let sealed = ciphers.each_ref().map(|cipher| {
            let mut sealed = text.clone();
            let tag = cipher.seal(nonce, &aad, &mut sealed);
            [sealed, tag.to_vec()].concat()
        });
        prop_assert_eq!(&sealed[0], &sealed[1]);
        for (cipher, mut sealed) in ciphers.iter().zip(sealed) {
            prop_assert_eq!(cipher.open(nonce, &aad, &mut sealed), Ok(()));
            prop_assert_eq!(&sealed[..text.len()], &text);
        }
    }

    /// Neither backend of neither suite opens what was changed, in text, tag, associated data or nonce.
    #[test]
    fn nothing_changed_is_opened(
        key: [u8; 32], nonce: [u8; 12], aad: [u8; 16], text in prop::collection::vec(any::<u8>(), 0..300),
        part in 0..3, at: prop::sample::Index, bit in 0..8_u32,
    ) {
        for (backend, suite) in [
            (Backend::AwsLc, Suite::Aes256Gcm),
            (Backend::AwsLc, Suite::ChaCha20Poly1305),
            (Backend::Pure, Suite::ChaCha20Poly1305),
        ] {
            let cipher = Cipher::with(backend, suite, &Key::new(key));
            let (mut nonce, mut aad, mut sealed) = (nonce, aad, text.clone());
            let tag = cipher.seal(nonce, &aad, &mut sealed);
            sealed.extend(tag);
            let changed: &mut [u8] = match part { 0 => &mut nonce, 1 => &mut aad, _ => &mut sealed };
            changed[at.index(changed.len())] ^= 1 << bit;
            prop_assert_eq!(cipher.open(nonce, &aad, &mut sealed), Err(BadTag));
        }
    }
}

#[test]
fn what_is_shorter_than_a_tag_is_not_opened() {
    for backend in [Backend::AwsLc, Backend::Pure] {
        for suite in Suite::ALL {
            let cipher = Cipher::with(backend, suite, &Key::new([7; 32]));
            for len in 0..TAG {
                assert_eq!(cipher.open([0; 12], &[], &mut vec![0; len]), Err(BadTag));
            }
        }
    }
}
