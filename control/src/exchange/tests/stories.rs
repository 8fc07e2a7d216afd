//! Random stories: whatever happens, tables end equal, entry by entry.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put(usize, u8),
    Remove(usize, u8),
    Object(usize, u8),
    Run(u16),
    Cut(usize, usize),
    Link(usize, usize),
    Restart(usize),
    /// Time in which tombstones are forgotten, with nobody connected to this node.
    Away(usize),
    /// One takes another for dead, or for alive again.
    Judge(usize, usize, bool),
}

fn op(nodes: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..nodes, 0..NUMBERS).prop_map(|(node, number)| Op::Put(node, number)),
        6 => (0..nodes, 0..NUMBERS).prop_map(|(node, number)| Op::Remove(node, number)),
        2 => (0..nodes, 0..4u8).prop_map(|(node, number)| Op::Object(node, number)),
        8 => (1..400u16).prop_map(Op::Run),
        2 => (0..nodes, 0..nodes).prop_map(|(a, b)| Op::Cut(a, b)),
        2 => (0..nodes, 0..nodes).prop_map(|(a, b)| Op::Link(a, b)),
        1 => (0..nodes).prop_map(Op::Restart),
        1 => (0..nodes).prop_map(Op::Away),
        2 => (0..nodes, 0..nodes, any::<bool>()).prop_map(|(at, of, dead)| Op::Judge(at, of, dead)),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    (0..50u8, 0..30u8, 0..200u16).prop_map(|(loss, doubled, delay)| Faults { loss, doubled, delay })
}

fn story() -> impl Strategy<Value = (usize, bool, u64, Faults, Vec<Op>)> {
    (3..=5usize).prop_flat_map(|nodes| {
        (Just(nodes), any::<bool>(), any::<u64>(), faults(), proptest::collection::vec(op(nodes), 1..80))
    })
}

fn play(nodes: usize, relay: bool, seed: u64, faults: Faults, ops: Vec<Op>) {
    // With relays a ring is enough.
    let mut net = if relay {
        Net::new(nodes, true, (0..nodes).map(|a| (a, (a + 1) % nodes)), seed)
    } else {
        Net::mesh(nodes, seed)
    };
    for op in ops {
        match op {
            Op::Put(node, number) => put(&mut net, node, number),
            Op::Remove(node, number) => {
                let now = net.now;
                net.nodes[node].table.remove(now, &key(number));
            }
            Op::Object(node, number) => {
                let objects = &mut net.nodes[node].objects;
                let _ = objects.put(u64::from(number), objects::Kind::Network, &format!("o{number}"), vec![number]);
            }
            Op::Run(millis) => net.run(millis.into(), faults),
            Op::Cut(a, b) if a != b => net.cut(a, b),
            Op::Link(a, b) if a != b => net.link(a, b),
            Op::Cut(..) | Op::Link(..) => {}
            Op::Restart(node) => {
                net.restart(node, relay);
                for number in [4, 5] {
                    put(&mut net, node, number);
                }
                net.run(50, faults);
                net.nodes[node].table.complete();
            }
            Op::Judge(at, of, dead) => {
                let now = net.now;
                let table = &mut net.nodes[at].table;
                if dead { table.suspend(now, node_id(of)) } else { table.unsuspend(now, node_id(of)) }
            }
            Op::Away(node) => {
                let peers: Vec<usize> = (0..nodes).filter(|peer| *peer != node).collect();
                peers.iter().for_each(|peer| net.cut(node, *peer));
                net.now += Duration::from_secs(601);
                let now = net.now;
                net.nodes.iter_mut().for_each(|node| node.table.tick(now));
                peers.iter().for_each(|peer| net.link(node, *peer));
            }
        }
        let now = net.now;
        for node in &mut net.nodes {
            node.drain(now);
            assert_eq!(View::of(&node.table, NUMBERS), node.view, "look-ups and changes");
        }
    }
    let now = net.now;
    for node in &mut net.nodes {
        (0..nodes).for_each(|of| node.table.unsuspend(now, node_id(of)));
    }
    for a in 0..nodes {
        net.link(a, (a + 1) % nodes);
    }
    net.settle();
    net.assert_equal();
    for node in &net.nodes {
        assert_eq!(node.usurped, 0, "honest nodes are not accused");
        assert!(node.refused.iter().all(|why| *why == FrameRefused::Record(Refused::NotTheirs)), "{:?}", node.refused);
    }
}

proptest! {
    #[test]
    fn tables_end_equal_whatever_the_network_does((nodes, relay, seed, faults, ops) in story()) {
        play(nodes, relay, seed, faults, ops);
    }
}
