//! Sessions come, are replaced, age and go, in simulated hours; workers take and use their lanes.

mod day;

use std::collections::HashSet;

use super::super::handshake::Terms;
use super::super::worker::Seals;
use super::*;
use crate::wire::sealed::{Header, Kind, LEN, TAG};

const ME: PeerId = PeerId(1);
const PEER: PeerId = PeerId(2);
const LANES: u16 = 8;

fn here() -> IpAddr {
    [192, 0, 2, 1].into()
}

fn there() -> IpAddr {
    [192, 0, 2, 2].into()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn keys(sender: PeerId, receiver: PeerId, seed: u8) -> SessionKeys {
    let terms = Terms { sender, receiver, suite: Suite::ChaCha20Poly1305, lanes: LANES };
    SessionKeys::derive(terms, &[seed; 32], &[!seed; 32]).unwrap()
}

/// Two nodes, each with its workers: this one seals with 2, the other opens with `workers`.
struct Pair {
    mine: Sessions,
    theirs: Sessions,
    sealing: [Seals; 2],
    opening: Vec<Seals>,
}

impl Pair {
    fn new(workers: usize) -> Pair {
        let sealing = [0, 1].map(|worker| Seals::new(worker, 2, 7));
        let opening = (0..workers).map(|worker| Seals::new(worker, workers, 8)).collect();
        Pair { mine: Sessions::default(), theirs: Sessions::default(), sealing, opening }
    }

    fn receiver(&mut self, now: Duration, seed: u8) {
        let (workers, index) = (self.opening.len(), u32::from(seed));
        self.theirs.install_receive(now, here(), &keys(ME, PEER, seed), index, workers).unwrap();
        self.adopt();
    }

    fn sender(&mut self, now: Duration, seed: u8) {
        let (keys, shares) = (keys(ME, PEER, seed), [0..5, 5..LANES]);
        self.mine.install_send(now, there(), &keys, u32::from(seed), &shares).unwrap();
        self.adopt();
    }

    fn adopt(&mut self) {
        self.sealing.iter_mut().for_each(|seals| seals.adopt(&self.mine));
        self.opening.iter_mut().for_each(|seals| seals.adopt(&self.theirs));
    }

    fn tick(&mut self, now: Duration) {
        self.mine.tick(now);
        self.theirs.tick(now);
        self.adopt();
    }

    /// A datagram of each lane, sealed by its worker.
    fn sealed(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let seal = |(worker, lane): (usize, usize)| {
            let mut datagram = vec![0; LEN + 30 + TAG];
            let mut sealer = self.sealing[worker].sealer(there())?;
            sealer.seal(lane, Kind::Data, &mut datagram, now.as_nanos() as u64).ok().map(|()| datagram)
        };
        let lanes = (0..5).map(|lane| (0, lane)).chain((0..3).map(|lane| (1, lane)));
        lanes.filter_map(seal).collect()
    }

    /// Each datagram to each worker: how many opened, and why the others did not.
    fn open(&mut self, now: Duration, datagrams: &[Vec<u8>]) -> (usize, HashMap<DropReason, usize>) {
        let (mut opened, mut refused) = (0, HashMap::new());
        for datagram in datagrams {
            for seals in &mut self.opening {
                match seals.open(&mut datagram.clone(), now.as_nanos() as u64) {
                    Ok(from) => {
                        assert_eq!((from.peer, from.address), (ME, here()));
                        opened += 1;
                    }
                    Err(reason) => *refused.entry(reason).or_default() += 1,
                }
            }
        }
        (opened, refused)
    }
}

#[test]
fn each_lane_is_opened_by_the_one_worker_that_has_it() {
    for workers in [1, 2, 3, 5, 16] {
        let mut pair = Pair::new(workers);
        assert!(pair.sealed(seconds(1)).is_empty(), "no session, nothing sealed");
        pair.receiver(seconds(1), 1);
        pair.sender(seconds(1), 1);
        let datagrams = pair.sealed(seconds(2));
        let lanes: Vec<_> = datagrams.iter().map(|datagram| Header::parse(datagram).unwrap().lane).collect();
        assert_eq!(lanes, (0..LANES).collect::<Vec<_>>());
        let wrong = usize::from(LANES) * (workers - 1);
        let (opened, refused) = pair.open(seconds(2), &datagrams);
        assert_eq!((opened, refused.get(&DropReason::WrongLane).copied().unwrap_or(0)), (8, wrong));
        // Again, whoever gets it: no second window.
        let (opened, refused) = pair.open(seconds(3), &datagrams);
        assert_eq!((opened, refused[&DropReason::Replay]), (0, 8), "{workers} workers");
        let rows = pair.theirs.rows(seconds(5));
        assert_eq!((rows.len(), rows[0].datagrams, rows[0].idle), (1, 8, Some(seconds(3))));
        assert_eq!((rows[0].age, rows[0].epoch, rows[0].direction), (seconds(4), 1, Direction::Receive));
        let rejected: Vec<_> = rows[0].rejected().filter(|(_, count)| *count > 0).collect();
        let expected = [(DropReason::WrongLane, 2 * wrong as u64), (DropReason::Replay, 8)];
        assert_eq!(rejected, expected.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>());
    }
}

#[test]
fn lanes_that_were_not_agreed_on_are_refused() {
    let mut pair = Pair::new(2);
    pair.receiver(seconds(1), 1);
    pair.sender(seconds(1), 1);
    let mut datagram = pair.sealed(seconds(1)).remove(0);
    for lane in [LANES, LANES + 1, 63, 64, u16::MAX] {
        datagram[2..4].copy_from_slice(&lane.to_be_bytes());
        assert_eq!(
            pair.open(seconds(1), std::slice::from_ref(&datagram)).1,
            HashMap::from([(DropReason::WrongLane, 2)])
        );
    }
    let other = pair.mine.install_send(seconds(1), there(), &keys(ME, PEER, 3), 3, &[0..4, 4..7]);
    assert_eq!(other, Err(InstallError::Lanes(8, 7)));
    let taken = pair.theirs.install_receive(seconds(1), here(), &keys(ME, PEER, 3), 1, 2);
    assert_eq!(taken, Err(InstallError::IndexInUse));
}

#[test]
fn a_lane_is_taken_once() {
    let mut sessions = Sessions::default();
    sessions.install_send(seconds(0), there(), &keys(ME, PEER, 1), 1, &[0..5, 5..8]).unwrap();
    let session = sessions.sending().next().unwrap().clone();
    assert_eq!([0, 1, 0, 1, 2].map(|worker| session.take(worker).len()), [5, 3, 0, 0, 0]);
}

#[test]
fn a_rekey_loses_nothing_and_the_old_key_ends_thirty_seconds_after() {
    let mut pair = Pair::new(2);
    pair.receiver(seconds(0), 1);
    pair.sender(seconds(0), 1);
    let on_the_way = pair.sealed(seconds(1));
    pair.receiver(seconds(10), 2);
    let before = pair.sealed(seconds(10));
    pair.sender(seconds(10), 2);
    let after = pair.sealed(seconds(10));
    for (datagrams, index) in [(&before, 1), (&after, 2)] {
        assert!(datagrams.iter().all(|datagram| Header::parse(datagram).unwrap().index == index));
        assert_eq!(pair.open(seconds(11), datagrams).0, 8);
    }
    pair.tick(seconds(11));
    pair.tick(seconds(40));
    assert_eq!(pair.open(seconds(40), &on_the_way).0, 8, "late, but within the grace");
    assert_eq!(pair.open(seconds(40), &before).1[&DropReason::Replay], 8);
    pair.tick(seconds(41));
    assert_eq!(pair.open(seconds(41), &before).1, HashMap::from([(DropReason::UnknownIndex, 16)]));
    assert_eq!(pair.theirs.rows(seconds(41)).iter().map(|row| row.epoch).collect::<Vec<_>>(), [2]);
}

#[test]
fn answers_that_never_arrive_do_not_cost_the_session_in_use() {
    let mut pair = Pair::new(1);
    pair.receiver(seconds(0), 1);
    pair.sender(seconds(0), 1);
    assert_eq!(pair.sealed(seconds(0)).len(), 8);
    let first = pair.sealed(seconds(0));
    assert_eq!(pair.open(seconds(0), &first).0, 8);
    for n in 2..60 {
        pair.receiver(seconds(u64::from(n) * 60), n);
        pair.tick(seconds(u64::from(n) * 60));
        assert!(pair.theirs.receiving().count() <= MOST_OF_A_PEER);
        let datagrams = pair.sealed(seconds(u64::from(n) * 60));
        assert_eq!(pair.open(seconds(u64::from(n) * 60), &datagrams).0, 8);
    }
}

#[test]
fn sessions_are_due_after_an_hour_and_end_after_two() {
    let mut pair = Pair::new(1);
    pair.receiver(seconds(0), 1);
    pair.sender(seconds(0), 1);
    let due = |pair: &Pair, at| pair.mine.due(seconds(at)).collect::<Vec<_>>();
    assert_eq!(due(&pair, 3598), []);
    assert_eq!(due(&pair, 3599), [(PEER, there())], "index 1: a second early");
    pair.mine.outdate(seconds(5));
    assert_eq!(due(&pair, 5), [(PEER, there())]);
    pair.tick(seconds(7199));
    let datagrams = pair.sealed(seconds(7199));
    assert_eq!(datagrams.len(), 8);
    pair.tick(seconds(7200));
    assert!(pair.sealed(seconds(7200)).is_empty());
    assert_eq!(pair.open(seconds(7200), &datagrams).0, 8);
    pair.tick(seconds(7230));
    assert_eq!(pair.open(seconds(7230), &datagrams).1, HashMap::from([(DropReason::UnknownIndex, 8)]));
}

#[test]
fn a_peer_that_is_gone_is_forgotten_both_ways() {
    let mut pair = Pair::new(1);
    pair.receiver(seconds(0), 1);
    pair.sender(seconds(0), 1);
    let datagrams = pair.sealed(seconds(0));
    assert!(pair.mine.drop_send(PEER) && !pair.mine.drop_send(PEER));
    assert!(pair.theirs.drop_peer(ME) && !pair.theirs.drop_peer(ME));
    pair.adopt();
    assert!(pair.sealed(seconds(0)).is_empty());
    assert_eq!(pair.open(seconds(0), &datagrams).1, HashMap::from([(DropReason::UnknownIndex, 8)]));
}

/// A day of hourly rekeys with traffic every ten seconds: nothing is lost, no key sees a nonce twice, nothing piles up.
#[test]
fn a_day_of_epochs() {
    let mut pair = Pair::new(2);
    let mut seen = HashSet::new();
    let mut epoch = 0;
    for now in (0..24 * 3600).step_by(10).map(seconds) {
        if epoch == 0 || pair.mine.due(now).next().is_some() {
            epoch += 1;
            pair.receiver(now, epoch);
            pair.sender(now, epoch);
        }
        let datagrams = pair.sealed(now);
        for datagram in &datagrams {
            let header = Header::parse(datagram).unwrap();
            assert!(seen.insert((header.index, header.nonce())));
        }
        assert_eq!(pair.open(now, &datagrams).0, 8, "at {now:?}");
        pair.tick(now);
        assert!(pair.theirs.receiving().count() <= 2 && pair.mine.sending().count() == 1);
    }
    assert!((24..=27).contains(&epoch), "{epoch}: a session is replaced within the last twelfth of its hour");
}
