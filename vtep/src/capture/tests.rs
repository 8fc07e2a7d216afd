use super::*;
use crate::capture::ring::{BYTES, FRAMES, Record};

fn seen(vni: u32, mac: u8, way: Way, dropped: Option<DropReason>) -> Seen {
    let port = Some((PortId(mac.into()), Mac::new([2, 0, 0, 0, 0, mac])));
    Seen { vni: Vni::new(vni), port, way, peer: Peer::Nobody, dropped, cut: 0, unfinished: false }
}

fn everything() -> Selection {
    Selection { vni: None, endpoint: None, drops: false, filter: None, snap_len: usize::MAX }
}

fn running(selections: Vec<Selection>) -> Vec<Arc<Capture>> {
    selections.into_iter().map(|selection| Arc::new(Capture::new(selection, 2))).collect()
}

/// What a capture's reader gets of a worker.
fn taken(capture: &Capture, worker: usize) -> Vec<(Record, Vec<u8>)> {
    let mut batch = Batch::default();
    capture.take(worker, &mut batch);
    batch.frames().map(|(record, bytes)| (*record, bytes.to_vec())).collect()
}

#[test]
fn pieces_are_put_together_and_cut_at_the_snap_length() {
    let captures = running(vec![everything(), Selection { snap_len: 5, ..everything() }]);
    let seen = seen(7, 1, Way::Out, None);
    Mirror::new(&captures, 1, 42).show(&seen, [&b"abcd"[..], b"", b"efg"].into_iter());
    assert!(taken(&captures[0], 0).is_empty(), "it is the other worker's");
    let whole = taken(&captures[0], 1);
    assert_eq!((whole.len(), whole[0].1.as_slice(), whole[0].0.at_ns, whole[0].0.len), (1, &b"abcdefg"[..], 42, 7));
    assert_eq!(whole[0].0.seen, seen);
    let cut = taken(&captures[1], 1);
    assert_eq!((cut[0].1.as_slice(), cut[0].0.len), (&b"abcde"[..], 7));
    assert!(taken(&captures[1], 1).is_empty(), "each frame is handed over once");
}

#[test]
fn what_there_is_no_room_for_is_counted_and_a_reader_makes_room() {
    let captures = running(vec![everything()]);
    let mirror = Mirror::new(&captures, 0, 0);
    let seen = seen(7, 1, Way::Out, None);
    let large = vec![7; 60_000];
    let fit = BYTES / large.len();
    for _ in 0..fit + 3 {
        mirror.show(&seen, [&large[..]].into_iter());
    }
    assert_eq!(captures[0].lost(), 3);
    // A small one still fits.
    mirror.show(&seen, [&b"small"[..]].into_iter());
    assert_eq!(taken(&captures[0], 0).len(), fit + 1);
    for n in 0..FRAMES + 5 {
        mirror.show(&seen, [&n.to_be_bytes()[..]].into_iter());
    }
    let frames = taken(&captures[0], 0);
    assert_eq!((frames.len(), captures[0].lost()), (FRAMES, 8));
    assert!(frames.iter().enumerate().all(|(n, (_, bytes))| *bytes == n.to_be_bytes()), "in order");
}

/// The packet path never waits: what comes while the reader exchanges buffers is lost, and said to be.
#[test]
fn a_reader_and_a_worker_lose_nothing_unseen() {
    const COUNT: u32 = 200_000;
    let captures = running(vec![everything()]);
    let mut next = 0;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let seen = seen(7, 1, Way::Out, None);
            for n in 0..COUNT {
                Mirror::new(&captures, 0, n.into()).show(&seen, [&n.to_be_bytes()[..]].into_iter());
            }
        });
        let mut batch = Batch::default();
        let mut handed_over = 0;
        loop {
            let last = worker.is_finished();
            captures[0].take(0, &mut batch);
            for (record, bytes) in batch.frames() {
                assert_eq!(bytes, (record.at_ns as u32).to_be_bytes(), "record and bytes belong together");
                assert!(record.at_ns >= next, "in order, none twice");
                next = record.at_ns + 1;
                handed_over += 1;
            }
            if last {
                break;
            }
        }
        assert_eq!(handed_over + captures[0].lost(), COUNT.into());
        assert!(handed_over > 0);
    });
}

#[test]
fn a_selection_takes_what_it_names() {
    let frame = [0u8; 60];
    let wants = |selection: &Selection, seen: &Seen| selection.wants(seen, &frame, frame.len());
    let out = seen(7, 1, Way::Out, None);
    let dropped = seen(7, 1, Way::Out, Some(DropReason::Oversize));
    let flooded = Seen { port: None, way: Way::In, ..out };
    let underlay = Seen { vni: None, port: None, way: Way::In, dropped: Some(DropReason::BadTag), ..out };
    let cases: [(&str, Selection, [bool; 4]); 6] = [
        ("all", everything(), [true, true, true, true]),
        ("drops", Selection { drops: true, ..everything() }, [false, true, false, true]),
        ("a network", Selection { vni: Vni::new(7), ..everything() }, [true, true, true, false]),
        ("another", Selection { vni: Vni::new(8), ..everything() }, [false; 4]),
        (
            "another endpoint",
            Selection { endpoint: Some(Mac::new([2, 0, 0, 0, 0, 2])), ..everything() },
            [false, false, true, false],
        ),
        ("a filter", Selection { filter: Some("less 60".parse().unwrap()), ..everything() }, [true, true, true, false]),
    ];
    for (what, selection, expected) in cases {
        let got = [&out, &dropped, &flooded, &underlay].map(|seen| wants(&selection, seen));
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn a_frame_between_two_endpoints_is_seen_once() {
    let of = |mac| Selection { endpoint: Some(Mac::new([2, 0, 0, 0, 0, mac])), ..everything() };
    let captures = running(vec![everything(), of(1), of(2), of(3)]);
    let (out, to) = (seen(7, 1, Way::Out, None), seen(7, 2, Way::In, None));
    Mirror::new(&captures, 0, 0).show_either(&out, Some(&to), [&b"frame"[..]].into_iter());
    let ways = |capture: &Arc<Capture>| taken(capture, 0).iter().map(|(record, _)| record.seen.way).collect::<Vec<_>>();
    let expected: [&[Way]; 4] = [&[Way::Out], &[Way::Out], &[Way::In], &[]];
    assert_eq!(captures.iter().map(ways).collect::<Vec<_>>(), expected);
}
