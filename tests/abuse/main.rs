//! What must not harm: datagrams that no honest VTEP sends, from those who may send and from those who may not.
//!
//! Every refusal has its own counter, and of what is refused nothing is learned and nothing delivered. All that enters is
//! accounted for: what came is what was delivered and what was dropped.

#[path = "../harness/mod.rs"]
mod harness;

mod datagrams;
mod flood;
mod fragments;
mod junk;
mod large;
mod storm;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;

use harness::eventually;
use harness::frames::{mark, number, station, vxlan};
use harness::node::{Node, Stats};
use harness::port::{ALL, Port};
use harness::vtep::Vtep;
use weft::lab::{Container, Family, Host, Lab, LabSpec, kernel::INSIDE};
use weft_vtep::addr::Mac;

/// Far from zero in every bit pattern that a test makes of it.
const VNI: u32 = 0x5a_a5_5a;
/// Frames of one [`Target::call`].
const CALLS: u64 = 2;
/// The station behind the remote that weft knows from the start.
const KNOWN: u32 = 1;

/// weft on the first host with one container, its only remote the second host; the third is a stranger. The VTEPs of both
/// are the test's.
struct Target<'a> {
    node: Node<'a>,
    /// The container's MAC.
    mac: Mac,
    remote: Vtep,
    stranger: Vtep,
    inside: Port,
    calls: Cell<u32>,
}

/// A lab for a target.
fn lab(family: Family) -> Lab {
    Lab::build(LabSpec { family, ..LabSpec::new(3) }).unwrap()
}

/// Puts the containers of the node's host on a network with these remotes, and returns their MACs. IPv6 is off in them,
/// which would speak by itself: what they send is what the test sends.
fn quiet(node: &Node<'_>, remotes: &[&Host]) -> Vec<Mac> {
    let remotes: String = remotes.iter().map(|host| format!(" --remote {}", host.address)).collect();
    node.run(&format!("network create blue --plain --vni {VNI} --subnet 10.77.0.0/16{remotes}"));
    let attach = |container: &Container| {
        let silence = || fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        container.netns.run(silence).unwrap().unwrap();
        let endpoint = node.daemon.attach(node.host, "blue", container, &[container.v4.to_string()]).unwrap();
        endpoint["mac"].as_str().unwrap().parse().unwrap()
    };
    node.host.containers.iter().map(attach).collect()
}

/// Does this to a target on an IPv4 underlay, and to one on an IPv6 underlay.
fn over_both(abuse: impl Fn(&Target<'_>)) {
    for family in [Family::V4, Family::V6] {
        let lab = lab(family);
        abuse(&Target::on(&lab));
    }
}

impl<'a> Target<'a> {
    fn on(lab: &'a Lab) -> Target<'a> {
        let [first, second, third] = &lab.hosts[..] else { panic!("a lab of three hosts") };
        let (remote, stranger) = (Vtep::on(second, first), Vtep::on(third, first));
        let node = Node::start(first);
        let [mac] = quiet(&node, &[second])[..] else { panic!("a lab of one container on each host") };
        let inside = Port::open(&first.containers[0].netns, INSIDE, ALL);
        let target = Target { node, mac, remote, stranger, inside, calls: Cell::new(1_000_000) };
        target.call();
        target
    }

    /// A sound frame from the known station to the container.
    fn sound(&self, number: u32) -> Vec<u8> {
        mark(self.mac, station(KNOWN), number)
    }

    /// Sends sound datagrams until whatever was sent before has been dealt with. Returns the other frames that the container
    /// got meanwhile.
    ///
    /// A frame that might become part of a super-frame leaves at the end of its batch. Once the container has the first
    /// sound frame, that batch is under way; the second one belongs to a later batch.
    fn call(&self) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        for _ in 0..CALLS {
            let call = self.calls.replace(self.calls.get() + 1);
            self.remote.send(&vxlan(VNI, &self.sound(call)));
            heard.extend(self.inside.until("a sound frame", |frame| number(frame) == Some(call)));
            heard.pop();
        }
        heard
    }

    /// Checks that of `count` datagrams every single one is dropped for `reason`, and nothing else comes of them.
    fn refuses(&self, reason: &str, count: u64, abuse: impl FnOnce(&Self)) {
        let (before, fdb) = (self.node.stats(), self.node.fdb());
        abuse(self);
        eventually(&format!("{count} times {reason}"), || {
            self.node.stats().dropped(reason) >= before.dropped(reason) + count
        });
        assert_eq!(self.call(), [[0; 0]; 0], "{reason} was delivered");
        assert_eq!(self.node.stats().drops_since(&before), BTreeMap::from([(reason.to_owned(), count)]));
        self.delivered_since(&before, CALLS);
        assert_eq!(self.node.fdb(), fdb, "something was learned from {reason}");
        self.node.is_well();
    }

    /// Checks that exactly `frames` are delivered, in this order, and nothing is dropped.
    fn takes(&self, frames: &[Vec<u8>], send: impl FnOnce(&Self)) {
        let before = self.node.stats();
        send(self);
        let heard = self.call();
        let missing: Vec<_> = frames.iter().filter(|frame| !heard.contains(frame)).collect();
        let drops = self.node.stats().drops_since(&before);
        assert_eq!(heard.len(), frames.len(), "missing: {missing:?}; dropped: {drops:?}");
        assert!(heard == frames, "other frames were delivered than {missing:?}");
        assert_eq!(self.node.stats().drops_since(&before), BTreeMap::new());
        self.delivered_since(&before, frames.len() as u64 + CALLS);
        self.node.is_well();
    }

    /// A delivery is counted once it is done, so a moment after the container has the frame.
    fn delivered_since(&self, before: &Stats, frames: u64) {
        eventually(&format!("{frames} frames are counted as delivered"), || {
            self.node.stats().total("rx_frames") == before.total("rx_frames") + frames
        });
    }
}
