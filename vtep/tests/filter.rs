//! Filters mean what tcpdump's mean: tcpdump itself is the judge, of random expressions and frames.

use std::fs;
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use weft_vtep::capture::filter::Filter;

/// Addresses, ports and the like are of a few, so that they meet.
const V4: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.168.7.9"];
const V6: [&str; 3] = ["fd00::1", "fd00::2", "fd00:0:0:1::1"];
const MACS: [&str; 3] = ["02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"];
const PORTS: [u16; 4] = [22, 80, 443, 65_535];

fn words<T: ToString>(prefix: &'static str, values: impl Strategy<Value = T>) -> impl Strategy<Value = String> {
    let sides = select(vec!["", "src ", "dst "]);
    (sides, values).prop_map(move |(side, value)| {
        let (before, after) = prefix.split_once("SIDE ").unwrap_or(("", prefix));
        format!("{before}{side}{after}{}", value.to_string())
    })
}

fn primitive() -> impl Strategy<Value = String> {
    let alone = "tcp udp sctp icmp icmp6 arp rarp ip ip6 broadcast multicast";
    let alone: Vec<_> = alone.split(' ').map(str::to_owned).chain(["ether multicast".into()]).collect();
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "10.0.0.2/31", "fd00::/16", "fd00:0:0:1::/64", "::/0"];
    let ranges = ["22-80", "80-443", "443-443", "0-65535"];
    prop_oneof![
        select(alone),
        words("SIDE host ", select(&V4[..])),
        words("SIDE host ", select(&V6[..])),
        words("ip SIDE host ", select(&V4[..])),
        words("arp SIDE host ", select(&V4[..])),
        words("SIDE net ", select(nets.to_vec())),
        words("ip6 SIDE net ", select(nets[4..].to_vec())),
        words("SIDE port ", select(&PORTS[..])),
        words("tcp SIDE port ", select(&PORTS[..])),
        words("udp SIDE port ", select(&PORTS[..])),
        words("SIDE portrange ", select(ranges.to_vec())),
        words("udp SIDE portrange ", select(ranges.to_vec())),
        words("ether SIDE host ", select(&MACS[..])),
        select(&V4[..]).prop_map(|address| format!("src {address}")),
        (40..120u16).prop_map(|len| format!("less {len}")),
        (40..120u16).prop_map(|len| format!("greater {len}")),
    ]
}

/// Written without more parentheses than it needs, so that the way in which operators bind is a part of the question.
fn expression() -> impl Strategy<Value = String> {
    primitive().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("! ( {a})")),
            (inner.clone(), select(vec!["and", "or", "&&", "||"]), inner.clone())
                .prop_map(|(a, join, b)| format!("{a} {join} {b}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} or {b})")),
        ]
    })
}

/// 160 bytes and so long enough for every field that an expression looks at.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let mac =
        || select(&MACS[..]).prop_map(|text| text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect());
    let macs = (mac(), mac()).prop_map(|(a, b): (Vec<u8>, Vec<u8>)| [a, b].concat());
    let v4 = || select(&V4[..]).prop_map(|text| text.parse::<std::net::Ipv4Addr>().unwrap().octets());
    let v6 = || select(&V6[..]).prop_map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let ports =
        || (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat());
    let protocol = || select(vec![1u8, 6, 17, 44, 58, 132, 99]);
    let ipv4 = (5..9u8, protocol(), select(vec![0u16, 0x2000, 0x4000, 0x0005]), v4(), v4(), ports()).prop_map(
        |(words, protocol, fragment, from, to, ports)| {
            let head = [&[0x40 | words, 0, 0, 146, 0, 0][..], &fragment.to_be_bytes(), &[64, protocol, 0, 0]].concat();
            [&[8, 0][..], &head, &from, &to, &vec![0; usize::from(words - 5) * 4], &ports].concat()
        },
    );
    let ipv6 = (protocol(), protocol(), v6(), v6(), ports()).prop_map(|(protocol, inner, from, to, ports)| {
        let mut packet = [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 106, protocol, 64][..], &from, &to, &ports].concat();
        if protocol == 44 {
            packet[42] = inner;
        }
        packet
    });
    let arp = (any::<bool>(), v4(), v4()).prop_map(|(reverse, from, to)| {
        let kind = if reverse { [0x80, 0x35] } else { [8, 6] };
        [&kind[..], &[0, 1, 8, 0, 6, 4, 0, 1], &[2; 6], &from, &[0; 6], &to].concat()
    });
    let other = any::<u16>().prop_map(|kind| kind.to_be_bytes().to_vec());
    let body = prop_oneof![4 => ipv4, 3 => ipv6, 1 => arp, 1 => other];
    (macs, body, 90..160usize).prop_map(|(macs, body, len)| {
        let mut frame = [macs, body].concat();
        frame.resize(len, 0);
        frame
    })
}

/// A capture file (pcap, Ethernet) of these frames.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut file = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for (second, frame) in frames.iter().enumerate() {
        file.extend(words(&[second as u32, 0, frame.len() as u32, frame.len() as u32]));
        file.extend(frame);
    }
    file
}

/// The numbers of the frames in a capture file.
fn numbers(file: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut numbers) = (24, Vec::new());
    while at < file.len() {
        numbers.push(word(at));
        at += 16 + word(at + 8);
    }
    numbers
}

#[test]
fn tcpdump_agrees() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        assert!(std::env::var_os("WEFT_REQUIRE_DEVICES").is_none(), "this test needs tcpdump");
        eprintln!("SKIPPED: needs tcpdump");
        return;
    }
    let directory = std::env::temp_dir().join(format!("weft-filter-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("frames.pcap");
    let mut runner = TestRunner::new(Config::default());
    let (mut some, mut judged) = (0, 0);
    for _ in 0..4 {
        let frames = prop::collection::vec(frame(), 300).new_tree(&mut runner).unwrap().current();
        fs::write(&file, pcap(&frames)).unwrap();
        for _ in 0..100 {
            let text = expression().new_tree(&mut runner).unwrap().current();
            let output = Command::new("tcpdump").arg("-r").arg(&file).args(["-w", "-", &text]).output().unwrap();
            if !output.status.success() {
                // It refuses what it has found out to be never true.
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(said.contains("expression rejects all packets"), "{text}: {said}");
                continue;
            }
            let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let meant = |(n, frame): (usize, &Vec<u8>)| filter.matches(frame, frame.len()).then_some(n);
            let ours: Vec<_> = frames.iter().enumerate().filter_map(meant).collect();
            assert_eq!(ours, numbers(&output.stdout), "{text}");
            judged += 1;
            some += usize::from(!ours.is_empty() && ours.len() < frames.len());
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert!(
        judged > 200 && some > 100,
        "{judged} expressions were judged, {some} of them meant some frames and not others"
    );
}

#[test]
fn what_is_no_filter_is_refused_in_one_line() {
    for (text, why) in [
        ("", "ends where a primitive"),
        ("tcp and", "ends where a primitive"),
        ("tcp udp", "`udp` where `and` or `or`"),
        ("host blue", "`blue` where an IP address"),
        ("host 10.0.0.0/8", "where an IP address"),
        ("net 10.0.0.1/8", "write 10.0.0.0/8"),
        ("net 10.0.0.0/33", "where a net"),
        ("port 70000", "`70000` where a port"),
        ("portrange 90-80", "where a range of ports"),
        ("icmp host 10.0.0.1", "`host` where `and` or `or`"),
        ("tcp host 10.0.0.1", "`host` where"),
        ("arp port 80", "`port` where"),
        ("src tcp", "`tcp` where host"),
        ("ether host 10.0.0.1", "where a MAC address"),
        ("(tcp", "ends where `)`"),
        ("tcp)", "`)` where `and` or `or`"),
        ("10.0.0.1", "where a primitive"),
    ] {
        let said = text.parse::<Filter>().unwrap_err().to_string();
        assert!(said.contains(why) && said.lines().count() == 1, "{text}: {said}");
    }
    for deep in ["(", "! ", "not "] {
        let text = deep.repeat(300) + "tcp";
        assert!(text.parse::<Filter>().unwrap_err().to_string().contains("too deep"), "{deep}");
    }
}

proptest! {
    #[test]
    fn no_text_and_no_frame_panics(text in "[a-z0-9 ().:/!|&-]{0,60}", words in prop::collection::vec(primitive(), 1..4),
                                   bytes in prop::collection::vec(any::<u8>(), 0..80), frame in frame(), cut in 0..160usize) {
        // Only that it returns counts.
        let _ = text.parse::<Filter>();
        let filter: Filter = words.join(" or ").parse().unwrap();
        filter.matches(&bytes, bytes.len());
        filter.matches(&frame[..cut.min(frame.len())], frame.len());
    }
}
