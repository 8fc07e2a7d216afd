//! A hostile underlay between a member and this node: nothing panics, and what opens is what the member sealed, each
//! datagram once, on the one worker that has its lane.
//!
//! Input: one step after another, each as {what, lane, length, bytes}. A step seals a text, hands over a datagram that
//! was sealed (again), one of them changed by the bytes, or the bytes themselves.

#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use weft_fuzz::Input;
use weft_vtep::drops::DropReason;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::session::SendLane;
use weft_vtep::seal::suite::Suite;
use weft_vtep::seal::table::Sessions;
use weft_vtep::seal::worker::Seals;
use weft_vtep::wire::sealed::{Control, Header, Kind, LEN, TAG};

const LANES: u16 = 5;
const WORKERS: usize = 2;
const INDEX: u32 = 0x0102_0304;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let suite = Suite::ALL[usize::from(input.byte() % 2)];
    let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite, lanes: LANES };
    let keys = SessionKeys::derive(terms, &[1; 32], &[2; 32]).expect("sound terms");
    let mut lanes: Vec<_> = (0..LANES).map(|lane| SendLane::new(&keys, lane, INDEX)).collect();
    let mut sessions = Sessions::default();
    let address = IpAddr::from([192, 0, 2, 1]);
    sessions.install_receive(Duration::ZERO, address, &keys, INDEX, WORKERS).expect("the first session");
    let mut workers = [0, 1].map(|worker| Seals::new(worker, WORKERS, 7));
    workers.iter_mut().for_each(|seals| seals.adopt(&sessions));

    // Every datagram that was sealed: what it carries, and whether it was opened.
    let mut sealed: Vec<(Vec<u8>, Vec<u8>, bool)> = Vec::new();
    while !input.is_empty() {
        let (what, lane, len) = (input.byte(), input.byte(), usize::from(input.byte()));
        let bytes = input.take(len);
        let known = sealed.get(usize::from(lane) % sealed.len().max(1)).map(|(datagram, ..)| datagram.clone());
        let mut datagram = match (what % 4, known) {
            (0, _) => {
                let mut datagram = [&[0; LEN], bytes, &[0; TAG]].concat();
                let kind = if what & 0x80 == 0 { Kind::Data } else { Kind::Control };
                lanes[usize::from(lane % LANES as u8)].seal(kind, &mut datagram).expect("room and a fresh key");
                sealed.push((datagram, bytes.to_vec(), false));
                continue;
            }
            (1, Some(known)) => known,
            (2, Some(mut known)) => {
                // Cut or lengthened to where the first byte says, then changed.
                let (cut, change) = bytes.split_first().map_or((0, bytes), |(first, rest)| (usize::from(*first), rest));
                known.resize((known.len() + cut).saturating_sub(128), 0xa5);
                known.iter_mut().zip(change).for_each(|(byte, change)| *byte ^= change);
                known
            }
            _ => bytes.to_vec(),
        };
        let before = datagram.clone();
        let parsed = Header::parse(&before);
        if let Ok(header) = parsed {
            assert_eq!(header.write(), before[..LEN], "nothing of the header is ignored");
        }
        let worker = usize::from(what >> 6 & 1);
        match workers[worker].open(&mut datagram, 1) {
            Ok(opened) => {
                let entry = sealed.iter_mut().find(|(other, ..)| *other == before);
                let (_, text, done) = entry.expect("opened what nobody sealed");
                assert!(!*done, "opened twice");
                *done = true;
                assert_eq!(datagram[LEN..datagram.len() - TAG], **text);
                assert_eq!((opened.peer, opened.address), (PeerId(1), address));
                let header = parsed.expect("a header");
                assert_eq!((opened.kind, usize::from(header.lane) % WORKERS), (header.kind, worker));
                let _ = Control::parse(text);
            }
            Err(reason) => {
                let intact = sealed.iter().find(|(other, ..)| *other == before);
                let mine = parsed.is_ok_and(|header| usize::from(header.lane) % WORKERS == worker);
                match intact {
                    Some((.., true)) => {
                        assert_eq!(reason, if mine { DropReason::Replay } else { DropReason::WrongLane })
                    }
                    Some(_) => assert!(!mine && reason == DropReason::WrongLane, "{reason:?} for a sound datagram"),
                    None => {}
                }
            }
        }
    }
});
