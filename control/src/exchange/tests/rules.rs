//! What the exchange promises, one by one.

use super::*;

#[test]
fn a_change_is_everywhere_after_one_batch_and_then_it_is_quiet() {
    let mut net = Net::mesh(5, 1);
    net.settle();
    put(&mut net, 0, 4);
    net.run(20, NONE);
    for node in &net.nodes {
        assert_eq!(node.table.owner(vni(0), mac(4)), Some(node_id(0)));
        assert_eq!(node.exchange.pulls.len(), 0);
    }
    // A digest each second and a vector each ten, to each of four, and nothing else.
    net.nodes.iter_mut().for_each(|node| node.frames = 0);
    net.run(20_000, NONE);
    for node in &net.nodes {
        assert!((80..=4 * 22 + 4).contains(&node.frames), "{} frames", node.frames);
        assert_eq!(node.exchange.agreeing(&node.table, &node.objects), 4);
    }
}

/// In a large cluster somebody is always dead here and alive there. It cost a vector of all positions each second, to
/// each neighbour.
#[test]
fn vectors_that_find_no_log_different_become_rare_and_a_difference_is_found_at_once_again() {
    let mut net = Net::mesh(3, 1);
    net.settle();
    let now = net.now;
    net.nodes[0].table.suspend(now, node_id(2));
    net.nodes.iter_mut().for_each(|node| node.frames = 0);
    net.run(20_000, NONE);
    // Twenty digests from each neighbour; after 0.5, 1, 2, 4, and then each 5 s, a vector.
    let frames = net.nodes[1].frames;
    assert!((43..=2 * 20 + 9).contains(&frames), "{frames} frames");
    assert_eq!(net.nodes[1].exchange.agreeing(&net.nodes[1].table, &net.nodes[1].objects), 1);
    // A change that is lost.
    net.run(5_000, NONE);
    put(&mut net, 1, 4);
    net.run(100, Faults { loss: 100, ..NONE });
    net.run(6_000, NONE);
    assert!(net.nodes.iter().all(|node| node.table.owner(vni(0), mac(4)) == Some(node_id(1))));
}

#[test]
fn a_change_goes_around_a_ring_by_relays_alone() {
    let mut net = Net::new(6, true, (0..6).map(|a| (a, (a + 1) % 6)), 1);
    net.settle();
    put(&mut net, 0, 4);
    // Three hops of one batch each, long before the next digests.
    net.run(50, NONE);
    assert!(net.nodes.iter().all(|node| node.table.owner(vni(0), mac(4)) == Some(node_id(0))));
}

#[test]
fn a_node_that_joins_is_sent_each_log_about_once() {
    for relay in [false, true] {
        let mut net = Net::new(6, relay, (0..5).flat_map(|a| (0..a).map(move |b| (a, b))), 1);
        (0..32).for_each(|number| put(&mut net, number as usize % 5, number));
        net.run(3000, NONE);
        let size = |net: &Net, of: usize| {
            let all = net.nodes[of].table.snapshot(net.nodes[of].table.me(), 0, usize::MAX).expect("a log");
            prost::Message::encoded_len(&all)
        };
        // Two of five first, then all.
        net.link(5, 0);
        net.link(5, 1);
        net.run(300, NONE);
        (2..5).for_each(|peer| net.link(5, peer));
        net.settle();
        net.assert_equal();
        for of in 0..5 {
            let (sent, size) = (net.nodes[5].bytes[&node_id(of).0], size(&net, of));
            assert!(sent <= 2 * size + 200, "{sent} bytes of a log of {size}, relay {relay}");
        }
    }
}

#[test]
fn a_neighbour_that_reads_nothing_costs_a_window() {
    let mut net = Net::mesh(2, 1);
    net.settle();
    let now = net.now;
    for number in 0..5000u32 {
        let [_, _, c, d] = number.to_be_bytes();
        let key = Key::Mac(vni(0), Mac::new([2, 0, 0, 1, c, d]));
        net.nodes[0].table.put(now, key, Value::Mac(Mobility::default())).expect("room");
    }
    // Its frames are taken from the node as by a stream, and never arrive.
    let node = &mut net.nodes[0];
    let mut bytes = 0;
    for tick in 0..200u64 {
        node.exchange.tick(now + ms(5 * tick), &node.table, &node.objects);
        while let Some((_, frame)) = node.exchange.poll() {
            bytes += prost::Message::encoded_len(&frame);
        }
    }
    assert!(bytes < 400 + 300 + 2000, "{bytes} bytes in a second");
}

#[test]
fn who_writes_in_anothers_name_is_refused_or_undone() {
    let forge = |net: &Net, after: u64| {
        let key = v1::Key { vni: 4096, of: Some(v1::key::Of::Mac(vec![2, 0, 0, 0, 0, 4])) };
        let value = v1::Value { of: Some(v1::value::Of::Mac(v1::Mobility { sequence: 9, orderly: true })) };
        let record = v1::Record { seq: after + 1, key: Some(key), value: Some(value) };
        let origin = net.nodes[0].table.me();
        Kind::Delta(v1::Delta {
            node: origin.node.0,
            incarnation: origin.incarnation,
            after,
            to: after + 1,
            records: vec![record],
            complete: true,
            head: after + 1,
            ..v1::Delta::default()
        })
    };
    let end = |net: &Net| net.nodes[0].table.position(node_id(0)).expect("a log").applied;

    // Everybody knows everybody: 1 tells 2 of 0.
    let mut net = Net::mesh(3, 1);
    net.settle();
    net.run(10_000, NONE);
    let (now, forged) = (net.now, forge(&net, end(&net)));
    let node = &mut net.nodes[2];
    let told = node.exchange.handle(now, 0, node_id(1), forged, &mut node.table, &mut node.objects);
    assert_eq!(told, Err(FrameRefused::Record(Refused::NotTheirs)));
    assert_eq!(node.table.owner(vni(0), mac(4)), None);

    // A ring: 1 tells 2 of 0, which is too far to be asked. 0 hears of it and begins a new life.
    let mut net = Net::new(4, true, (0..4).map(|a| (a, (a + 1) % 4)), 1);
    net.settle();
    let (now, forged) = (net.now, forge(&net, end(&net)));
    let node = &mut net.nodes[2];
    assert_eq!(node.exchange.handle(now, 0, node_id(1), forged, &mut node.table, &mut node.objects), Ok(()));
    net.run(3000, NONE);
    assert_eq!(net.nodes[0].usurped, 1);
    net.settle();
    net.assert_equal();

    // The same, before 0 uses the number itself: both have as many records.
    let (now, forged) = (net.now, forge(&net, end(&net)));
    let node = &mut net.nodes[2];
    assert_eq!(node.exchange.handle(now, 0, node_id(1), forged, &mut node.table, &mut node.objects), Ok(()));
    put(&mut net, 0, 5);
    net.run(30_000, NONE);
    net.settle();
    net.assert_equal();
    assert_eq!(net.nodes[2].table.owner(vni(0), mac(4)), None);
}

/// It was asked while the log's own node could not be, and never comes to an end.
#[test]
fn who_was_asked_for_a_log_does_not_go_on_when_its_own_node_is_there() {
    let mut net = Net::new(3, false, [(0, 1), (1, 2)], 1);
    net.settle();
    let forge = |net: &mut Net| {
        let (now, at) = (net.now, net.nodes[0].table.position(node_id(2)).expect("a log"));
        let to = at.applied + 1;
        let key = v1::Key { vni: 4096, of: Some(v1::key::Of::Mac(vec![2, 0, 0, 0, 0, to as u8])) };
        let value = v1::Value { of: Some(v1::value::Of::Mac(v1::Mobility { sequence: 9, orderly: true })) };
        let records = vec![v1::Record { seq: to, key: Some(key), value: Some(value) }];
        let (node, incarnation, after, head) = (at.node, at.incarnation, at.applied, to + 1000);
        let part = v1::Delta { node, incarnation, after, to, records, head, ..v1::Delta::default() };
        let node = &mut net.nodes[0];
        node.exchange.handle(now, 0, node_id(1), Kind::Delta(part), &mut node.table, &mut node.objects)
    };
    let asked = Pull { from: node_id(1), since: net.now };
    net.nodes[0].exchange.pulls.insert(node_id(2), asked);
    assert_eq!(forge(&mut net), Ok(()));
    net.link(0, 2);
    let mut told = Ok(());
    for _ in 0..12 {
        net.run(1000, NONE);
        told = forge(&mut net);
    }
    assert_eq!(told, Err(FrameRefused::Record(Refused::NotTheirs)));
    net.run(30_000, NONE);
    net.settle();
    net.assert_equal();
    // The same where so many have left that nobody passes on anything any more.
    net.nodes[0].exchange.set_relay(true);
    let asked = Pull { from: node_id(1), since: net.now };
    net.nodes[0].exchange.pulls.insert(node_id(2), asked);
    net.nodes[0].exchange.set_relay(false);
    assert_eq!(forge(&mut net), Err(FrameRefused::Record(Refused::NotTheirs)));
}

/// Positions that are none do not cover up the ones that are wrong.
#[test]
fn a_lie_that_is_not_believed_costs_no_patience() {
    let mut net = Net::mesh(2, 1);
    net.settle();
    let (now, mine) = (net.now, net.nodes[0].table.me().node.0);
    let told = |incarnation, applied| {
        let at = v1::Position { node: mine, incarnation, applied, ..v1::Position::default() };
        Kind::Vector(v1::Vector { positions: vec![at], objects: 0 })
    };
    let node = &mut net.nodes[0];
    for (vector, usurped) in [(told(u64::MAX, 1), None), (told(1, 1 << 20), Some(now))] {
        node.exchange.handle(now, 0, node_id(1), vector, &mut node.table, &mut node.objects).unwrap();
        assert_eq!(node.exchange.usurped, usurped);
    }
}

#[test]
fn a_node_put_back_to_an_older_state_takes_a_higher_life() {
    let mut net = Net::mesh(3, 1);
    put(&mut net, 0, 4);
    net.settle();
    net.restart(0, false);
    net.nodes[0].table.complete();
    net.settle();
    // The state directory says 1 again, where the others know 2.
    (1..3).for_each(|peer| net.cut(0, peer));
    net.nodes[0] = start(0, 1);
    net.nodes[0].table.complete();
    put(&mut net, 0, 5);
    (1..3).for_each(|peer| net.link(0, peer));
    net.run(1000, NONE);
    assert!(net.nodes[0].usurped >= 1);
    net.settle();
    net.assert_equal();
    assert!(net.nodes[0].table.me().incarnation > 2);
    assert_eq!(net.nodes[1].table.owner(vni(0), mac(5)), Some(node_id(0)));
}

#[test]
fn a_lost_change_is_sent_again_at_the_first_digest_after_it_counts_as_lost() {
    let mut net = Net::mesh(4, 1);
    net.settle();
    put(&mut net, 0, 4);
    net.run(50, Faults { loss: 100, ..NONE });
    assert!(net.nodes[1..].iter().all(|node| node.table.owner(vni(0), mac(4)).is_none()));
    // A stream loses nothing unless it breaks, so what is on its way is waited for.
    net.run(3100, NONE);
    assert!(net.nodes.iter().all(|node| node.table.owner(vni(0), mac(4)) == Some(node_id(0))));
}
