//! A lane against an underlay that flips, cuts, repeats, reorders and forges.

use std::collections::HashSet;

use super::super::PeerId;
use super::super::handshake::Terms;
use super::super::replay::SIZE;
use super::*;
use proptest::prelude::*;

const LANE: u16 = 5;
const INDEX: u32 = 0x1234_5678;

fn keys(suite: Suite, seed: u8) -> SessionKeys {
    let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite, lanes: 8 };
    SessionKeys::derive(terms, &[seed; 32], &[!seed; 32]).unwrap()
}

fn lanes(suite: Suite) -> (SendLane, ReceiveLane) {
    (SendLane::new(&keys(suite, 1), LANE, INDEX), ReceiveLane::new(&keys(suite, 1), LANE))
}

fn seal(lane: &mut SendLane, text: &[u8]) -> Vec<u8> {
    let mut datagram = [&[0; LEN], text, &[0; TAG]].concat();
    lane.seal(Kind::Data, &mut datagram).unwrap();
    datagram
}

/// As a worker does it: the header as it came, then the lane.
fn open(lane: &mut ReceiveLane, datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut datagram = datagram.to_vec();
    let header = Header::parse(&datagram)?;
    if header.index != INDEX {
        return Err(DropReason::UnknownIndex);
    }
    if header.lane != LANE {
        return Err(DropReason::WrongLane);
    }
    lane.open(&header, &mut datagram)?;
    Ok(datagram[LEN..datagram.len() - TAG].to_vec())
}

#[test]
fn what_is_sealed_opens_and_looks_like_nothing() {
    for suite in Suite::ALL {
        let (mut send, mut receive) = lanes(suite);
        for len in [0, 1, 15, 16, 17, 1400, 9000] {
            let text = b"a marker that must not show".repeat(400)[..len].to_vec();
            let datagram = seal(&mut send, &text);
            assert_eq!(datagram.len(), len + OVERHEAD);
            assert!(len < 9 || !datagram.windows(9).any(|window| window == &b"a marker "[..]));
            assert_eq!(open(&mut receive, &datagram), Ok(text));
        }
    }
}

#[test]
fn no_single_bit_may_change() {
    for suite in Suite::ALL {
        let (mut send, mut receive) = lanes(suite);
        let datagram = seal(&mut send, &[7; 60]);
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let reason = match bit / 8 {
                // 0x81 is a control message, so to the AEAD alone a changed header.
                0 if bit == 0 => DropReason::BadTag,
                0 | 1 => DropReason::NotVxlan,
                2 | 3 => DropReason::WrongLane,
                4..8 => DropReason::UnknownIndex,
                // A counter beyond what a key may seal is refused before the tag is looked at.
                _ if Header::parse(&flipped).unwrap().counter >= suite.hard_limit() => DropReason::KeyExhausted,
                _ => DropReason::BadTag,
            };
            assert_eq!(open(&mut receive, &flipped), Err(reason), "bit {bit}");
        }
        assert_eq!(open(&mut receive, &datagram), Ok(vec![7; 60]), "the window has not moved");
    }
}

#[test]
fn no_truncation_or_extension_opens() {
    let (mut send, mut receive) = lanes(Suite::Aes256Gcm);
    let datagram = seal(&mut send, &[7; 60]);
    for len in 0..datagram.len() {
        let reason = if len < OVERHEAD { DropReason::OuterTruncated } else { DropReason::BadTag };
        assert_eq!(open(&mut receive, &datagram[..len]), Err(reason), "length {len}");
    }
    assert_eq!(open(&mut receive, &[&datagram[..], &[0]].concat()), Err(DropReason::BadTag));
    assert!(open(&mut receive, &datagram).is_ok());
}

#[test]
fn a_replay_is_refused_now_later_and_beyond_the_window() {
    let (mut send, mut receive) = lanes(Suite::ChaCha20Poly1305);
    let first = seal(&mut send, b"first");
    assert!(open(&mut receive, &first).is_ok());
    assert_eq!(open(&mut receive, &first), Err(DropReason::Replay));
    for _ in 0..2 * SIZE {
        assert!(open(&mut receive, &seal(&mut send, b"more")).is_ok());
    }
    assert_eq!(open(&mut receive, &first), Err(DropReason::Replay));
}

#[test]
fn another_sessions_datagrams_do_not_open() {
    let (_, mut receive) = lanes(Suite::Aes256Gcm);
    let mut before = SendLane::new(&keys(Suite::Aes256Gcm, 9), LANE, INDEX);
    assert_eq!(open(&mut receive, &seal(&mut before, b"of the last epoch")), Err(DropReason::BadTag));
    // The same session's key of another lane, under this lane's name.
    let mut other = SendLane::new(&keys(Suite::Aes256Gcm, 1), LANE + 1, INDEX);
    other.lane = LANE;
    assert_eq!(open(&mut receive, &seal(&mut other, b"of another lane")), Err(DropReason::BadTag));
}

#[test]
fn a_lane_stops_at_its_hard_limit() {
    let (mut send, mut receive) = lanes(Suite::Aes256Gcm);
    send.next = Suite::Aes256Gcm.hard_limit() - 1;
    let last = seal(&mut send, b"last");
    let mut beyond = vec![0; 100];
    assert_eq!(send.seal(Kind::Data, &mut beyond), Err(DropReason::KeyExhausted));
    assert_eq!(beyond, [0; 100], "nothing of it was sealed");
    assert!(open(&mut receive, &last).is_ok());
    receive.failed = FAILED_OPENS - 1;
    let mut forged = last.clone();
    forged[15] ^= 1;
    assert_eq!(open(&mut receive, &forged), Err(DropReason::BadTag));
    assert_eq!(open(&mut receive, &forged), Err(DropReason::KeyExhausted));
}

#[test]
fn a_datagram_without_room_uses_no_counter() {
    let (mut send, _) = lanes(Suite::Aes256Gcm);
    assert_eq!(send.seal(Kind::Data, &mut [0; OVERHEAD - 1]), Err(DropReason::OuterTruncated));
    assert_eq!(send.sealed(), 0);
}

#[test]
fn tallies_add_up() {
    let tallies = [Arc::new(Tally::default()), Arc::new(Tally::default())];
    for n in 1..=3 {
        tallies[0].done(n, 10 * n);
    }
    tallies[1].done(1 << 26, 5);
    tallies[1].rejected(DropReason::Replay);
    tallies[0].rejected(DropReason::Replay);
    tallies[0].rejected(DropReason::BadTag);
    tallies[0].rejected(DropReason::UnknownVni);
    let totals = Totals::of(&tallies);
    assert_eq!(totals, Totals { done: 4, highest: 1 << 26, rejected: [0, 2, 1, 0, 0], last_ns: 30 });
    assert!(totals.is_worn(Suite::Aes256Gcm) && !totals.is_worn(Suite::ChaCha20Poly1305));
}

proptest! {
    /// In any order, with repetitions, within a window: each datagram opens exactly once, and no nonce is seen twice.
    #[test]
    fn each_opens_once(order in prop::collection::vec(0_usize..50, 1..200)) {
        let (mut send, mut receive) = lanes(Suite::ChaCha20Poly1305);
        let datagrams: Vec<_> = (0..50_u8).map(|n| seal(&mut send, &[n; 20])).collect();
        let nonces: HashSet<_> = datagrams.iter().map(|d| Header::parse(d).unwrap().nonce()).collect();
        prop_assert_eq!(nonces.len(), 50);
        let mut seen = HashSet::new();
        for n in order {
            let expected = if seen.insert(n) { Ok(vec![n as u8; 20]) } else { Err(DropReason::Replay) };
            prop_assert_eq!(open(&mut receive, &datagrams[n]), expected);
        }
    }
}
