//! Sealed networks between real daemons: what an onlooker sees, what an intruder can do, and keys that change.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use weft::lab::{Container, Family, LabSpec, UPLINK, kernel::INSIDE};
use weft::traffic::ping::{self, PingSpec};
use weft_vtep::addr::Mac;

use crate::harness::frames::{MARK, mark, number, numbers, vxlan};
use crate::harness::port::{ALL, Port};
use crate::harness::vtep::Vtep;
use crate::harness::{PATIENCE, eventually, privileged};
use crate::{BLUE, Cluster, text};

/// What nobody on the underlay may read.
const SECRET: &[u8] = b"the marker that nobody else may read";

/// What ends a capture: it goes from host to host and not through a tunnel.
const LAST: &[u8] = b"the last word";

/// Sends a datagram from one container to the other, which must hear it.
fn tell(from: &Container, to: &Container, what: &[u8]) {
    let hears = to.netns.run(|| UdpSocket::bind((to.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says = from.netns.run(|| UdpSocket::bind((from.ip(), 0))).unwrap().unwrap();
    says.send_to(what, hears.local_addr().unwrap()).unwrap();
    let mut heard = vec![0; what.len()];
    assert_eq!(hears.recv(&mut heard).unwrap(), what.len());
    assert_eq!(heard, what);
}

/// What comes in at the uplinks of two hosts while each container tells the other a secret.
fn overheard(cluster: &Cluster) -> Vec<Vec<u8>> {
    let wires = [0, 1].map(|n| Port::open(&cluster.host(n).netns, UPLINK, ALL));
    let secret = [SECRET, &[7; 900]].concat();
    for _ in 0..5 {
        tell(cluster.container(0), cluster.container(1), &secret);
        tell(cluster.container(1), cluster.container(0), &secret);
    }
    for (from, to) in [(0, 1), (1, 0)] {
        Vtep::from_port(cluster.host(from), cluster.host(to), 0).send(LAST);
    }
    wires.iter().flat_map(|wire| wire.until("the last word", |frame| frame.ends_with(LAST))).collect()
}

fn shows(frame: &[u8], what: &[u8]) -> bool {
    frame.windows(what.len()).any(|window| window == what)
}

/// The payload of a UDP packet to VXLAN's port.
fn datagram(frame: &[u8], family: Family) -> Option<&[u8]> {
    let udp = match family {
        Family::V4 => frame.get(34..).filter(|_| frame[12..14] == [8, 0] && frame[23] == 17)?,
        Family::V6 => frame.get(54..).filter(|_| frame[12..14] == [0x86, 0xdd] && frame[20] == 17)?,
    };
    (udp.get(2..4)? == 4789u16.to_be_bytes()).then(|| &udp[8..])
}

#[test]
fn an_onlooker_reads_nothing_of_a_sealed_network() {
    privileged!();
    for family in [Family::V4, Family::V6] {
        for more in [&["--plain"][..], &[]] {
            let sealed = more.is_empty();
            let cluster = Cluster::shared(LabSpec { family, ..LabSpec::new(2) }, more);
            let frames = overheard(&cluster);
            let read = frames.iter().filter(|frame| shows(frame, SECRET)).count();
            let tunnelled: Vec<_> = frames.iter().filter_map(|frame| datagram(frame, family)).collect();
            let tunnelled: Vec<_> = tunnelled.into_iter().filter(|payload| *payload != LAST).collect();
            assert!(tunnelled.len() >= 10, "the onlooker sees the datagrams: {}", tunnelled.len());
            if sealed {
                assert_eq!(read, 0, "the marker was read");
                let clear = tunnelled.iter().filter(|payload| !matches!(payload[..2], [0x80 | 0x81, 1])).count();
                assert_eq!(clear, 0, "{clear} of {} datagrams are not sealed", tunnelled.len());
            } else {
                // The onlooker can read.
                assert!(read >= 10, "{read}");
            }
        }
    }
}

/// From a member's host, with everything right but the seal.
#[test]
fn plain_frames_do_not_enter_a_sealed_network() {
    privileged!();
    for family in [Family::V4, Family::V6] {
        let cluster = Cluster::shared(LabSpec { family, ..LabSpec::new(3) }, &[]);
        let network = |n: usize| cluster.json(n, &format!("network inspect {BLUE}"));
        let vni = u32::try_from(network(0)["vni"].as_u64().unwrap()).unwrap();
        let [here, there] = [0, 1].map(|n| -> Mac { text(&network(n)["endpoints"][0]["mac"]).parse().unwrap() });
        let dropped = || cluster.json(0, "stats")["drops"]["plain_on_sealed"].as_u64().unwrap();
        assert_eq!(dropped(), 0);
        let hears = Port::open(&cluster.container(0).netns, INSIDE, MARK);
        let says = Port::open(&cluster.container(1).netns, INSIDE, MARK);
        for from in [1, 2] {
            let wire = Vtep::from_port(cluster.host(from), cluster.host(0), 0);
            for destination in [here, Mac::BROADCAST] {
                wire.send(&vxlan(vni, &mark(destination, there, 666)));
            }
        }
        eventually("each is counted", || dropped() == 4);
        says.send(&mark(here, there, 1));
        assert_eq!(numbers(&hears.until("the sealed frame", |frame| number(frame) == Some(1))), [1]);
    }
}

#[test]
fn sessions_are_shown_and_new_keys_lose_nothing() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(3), &[]);
    cluster.ping_all(&[0, 1, 2]);
    let epochs = |n: usize| -> Vec<u64> {
        let status = cluster.json(n, "status");
        let sessions = status["sessions"].as_array().unwrap();
        let epochs: BTreeMap<_, _> =
            sessions.iter().map(|s| (text(&s["peer"]), s["epoch"].as_u64().unwrap())).collect();
        epochs.into_values().collect()
    };
    let status = cluster.json(0, "status");
    for session in status["sessions"].as_array().unwrap() {
        assert!(session["sealed"].as_u64().unwrap() > 0 && session["opened"].as_u64().unwrap() > 0, "{session}");
    }
    let before = epochs(0);
    assert_eq!(before.len(), 2);
    let spec = PingSpec { count: 300, timeout: PATIENCE, ..PingSpec::default() };
    let report = std::thread::scope(|scope| {
        let (from, to) = (&cluster.container(0).netns, cluster.container(1).ip());
        let spec = &spec;
        let pings = scope.spawn(move || ping::ping(from, to, spec).unwrap());
        let mut rekeyed = 0;
        while !pings.is_finished() {
            for n in [0, 1] {
                assert_eq!(cluster.json(n, "rekey"), serde_json::json!({"peers": 2}));
            }
            rekeyed += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(rekeyed > 3, "{rekeyed}");
        pings.join().unwrap()
    });
    assert_eq!((report.sent, report.lost()), (300, 0));
    eventually("all keys are new", || epochs(0).iter().zip(&before).all(|(now, then)| now > then));
    let drops = cluster.json(1, "stats")["drops"].clone();
    let unopened = ["unknown_session", "not_authentic", "no_session", "replayed"].map(|reason| drops[reason].clone());
    assert!(unopened.iter().all(|count| count.as_u64().is_none_or(|count| count == 0)), "{drops}");
}
