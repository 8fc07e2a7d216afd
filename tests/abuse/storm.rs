//! A container that calls to everybody as fast as it can.

use std::fs;
use std::time::{Duration, Instant};

use weft::lab::{Container, Lab, LabSpec, kernel::INSIDE};
use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number};
use crate::harness::node::Node;
use crate::harness::port::Port;
use crate::harness::vtep::Vtep;
use crate::harness::{PATIENCE, eventually, privileged};
use crate::quiet;

/// What one port may flood: frames per second, and at once.
const RATE: f64 = 25_000.0;
const BURST: f64 = 2_500.0;
/// A number that no frame of the storm has.
const LAST: u32 = 999_999;

#[test]
fn a_storm_is_held_to_its_port_s_rate() {
    privileged!();
    let lab = Lab::build(LabSpec { containers: 2, ..LabSpec::new(2) }).unwrap();
    let [first, second] = &lab.hosts[..] else { panic!("a lab of two hosts") };
    let vtep = Vtep::on(second, first);
    let node = Node::start(first);
    let macs = quiet(&node, &[second]);
    let ports = [0, 1].map(|n| Port::open(&first.containers[n].netns, INSIDE, MARK));
    let (before, start) = (node.stats(), Instant::now());
    std::thread::scope(|scope| {
        // Somebody on the wire listens, or the storm's own echo would fill the socket.
        let listener = scope.spawn(|| vtep.until("the quiet one's call", |d| number(&d[8..]) == Some(LAST)).len());
        let mut sent: u64 = 0;
        while node.stats().dropped("storm_limit") == 0 {
            assert!(start.elapsed() < PATIENCE, "{sent} frames made no storm");
            for n in 0..20_000 {
                sent += u64::from(ports[0].offer(&mark(Mac::BROADCAST, macs[0], n)));
            }
        }
        // Every frame is out, refused, or was never taken by the device, whose queue was full.
        let mut counted = (0, 0, 0);
        eventually("all frames of the storm are accounted for", || {
            let now = node.stats();
            let flooded = now.total("tx_frames") - before.total("tx_frames");
            counted = (flooded, now.dropped("storm_limit"), tx_dropped(&first.containers[0]));
            counted.0 + counted.1 + counted.2 >= sent
        });
        let (flooded, refused, lost) = counted;
        assert_eq!(flooded + refused + lost, sent, "{counted:?}");
        let most = BURST + RATE * start.elapsed().as_secs_f64() + 1.0;
        assert!((flooded as f64) <= most, "{flooded} frames flooded, {most} allowed");
        // Frames for somebody are not held, nor are another port's.
        let before = node.stats();
        while !listener.is_finished() {
            assert!(start.elapsed() < 2 * PATIENCE, "the quiet one was not heard");
            ports[1].send(&mark(Mac::BROADCAST, macs[1], LAST));
            std::thread::sleep(Duration::from_millis(20));
        }
        for n in 0..100 {
            ports[0].send(&mark(macs[1], macs[0], n));
        }
        ports[1].find("the last frame for the quiet one", |frame| {
            number(frame) == Some(99) && frame[..6] == macs[1].octets()
        });
        assert_eq!(node.stats().drops_since(&before), Default::default());
    });
    node.is_well();
}

/// Frames that the container's interface had to drop because its queue was full.
fn tx_dropped(container: &Container) -> u64 {
    // /proc/net belongs to the thread that reads it.
    let text = container.netns.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{INSIDE}:"))).unwrap();
    // Eight of receiving, then bytes, packets, errors, drops.
    line.split_whitespace().nth(11).unwrap().parse().unwrap()
}
