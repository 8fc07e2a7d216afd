//! Many datagrams of seeded chance, and all of them accounted for.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weft::lab::Family;
use weft_vtep::addr::Mac;

use crate::harness::frames::{station, udp4, udp6, vxlan};
use crate::harness::{eventually, privileged};
use crate::{CALLS, KNOWN, Target, VNI, lab};

/// Datagrams of one round, which any socket has room for, and rounds.
const ROUND: usize = 100;
const ROUNDS: usize = 60;

#[test]
fn whatever_comes_is_delivered_or_counted() {
    privileged!();
    let lab = lab(Family::V4);
    let target = Target::on(&lab);
    let mut random = StdRng::seed_from_u64(0x5eed);
    let before = target.node.stats();
    for round in 1..=ROUNDS {
        for _ in 0..ROUND {
            let datagram = if round % 3 == 0 { noise(&mut random) } else { damaged(&target, &mut random) };
            target.remote.send(&datagram);
        }
        target.call();
        let entered = round as u64 * (ROUND as u64 + CALLS);
        let mut counted = 0;
        eventually("all are counted", || {
            let now = target.node.stats();
            let dropped: u64 = now.drops_since(&before).values().sum();
            counted = now.total("rx_frames") - before.total("rx_frames") + dropped;
            counted >= entered
        });
        assert_eq!(counted, entered, "what was delivered and what was dropped is what came");
    }
    target.node.is_well();
}

/// The same from the other side: a container that sends what it likes.
#[test]
fn whatever_leaves_is_sent_or_counted() {
    privileged!();
    let lab = lab(Family::V4);
    let target = Target::on(&lab);
    let mut random = StdRng::seed_from_u64(0x5eed);
    let before = target.node.stats();
    for round in 1..=ROUNDS {
        for _ in 0..ROUND {
            let mut frame = damage(&mut random, station(KNOWN), target.mac);
            // Anything shorter is refused by the container's own kernel.
            frame.resize(frame.len().max(14), 0);
            target.inside.send(&frame);
        }
        let entered = (round * ROUND) as u64;
        let mut counted = 0;
        eventually("all are counted", || {
            let now = target.node.stats();
            let dropped: u64 = now.drops_since(&before).values().sum();
            counted = now.total("tx_frames") - before.total("tx_frames") + dropped;
            counted >= entered
        });
        assert_eq!(counted, entered, "what was sent and what was dropped is what came");
    }
    target.node.is_well();
}

/// Any bytes, often with a sound VXLAN header before them.
fn noise(random: &mut StdRng) -> Vec<u8> {
    let bytes: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
    if random.random() { vxlan(VNI, &bytes) } else { bytes }
}

/// A datagram from the remote whose inner frame was damaged.
fn damaged(target: &Target<'_>, random: &mut StdRng) -> Vec<u8> {
    let mut datagram = vxlan(VNI, &damage(random, target.mac, station(KNOWN)));
    if random.random_range(0..8) == 0 {
        datagram[random.random_range(0..8)] = random.random();
    }
    datagram
}

/// A frame for a station or for all, with a few bytes changed, and sometimes cut off; never larger than the MTU.
fn damage(random: &mut StdRng, to: Mac, from: Mac) -> Vec<u8> {
    let destination = if random.random() { to } else { Mac::BROADCAST };
    let make = if random.random() { udp4 } else { udp6 };
    let payload = vec![0x77; random.random_range(0..1_388)];
    let mut frame = make(destination, from, random.random(), &payload);
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..frame.len().min(70));
        frame[at] = random.random();
    }
    if random.random_range(0..4) == 0 {
        frame.truncate(random.random_range(0..frame.len()));
    }
    frame
}
