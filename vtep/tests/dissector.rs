//! Wireshark, with `wireshark/weft.lua` and a key log, sees in sealed datagrams what was sealed; without, their header.
//!
//! The dissector's ciphers are its own: a second program agrees on the format, the nonces and the keys.

use std::path::Path;
use std::process::Command;

use etherparse::PacketBuilder;
use weft_vtep::addr::Vni;
use weft_vtep::seal::handshake::{SessionKeys, Terms};
use weft_vtep::seal::session::SendLane;
use weft_vtep::seal::suite::Suite;
use weft_vtep::seal::{PeerId, key_log};
use weft_vtep::wire::sealed::{Control, Echo, Kind, LEN, TAG};
use weft_vtep::wire::vxlan;

const LANES: u16 = 40;
const FIELDS: [&str; 8] =
    ["weft.type", "weft.lane", "weft.index", "weft.counter", "weft.suite", "vxlan.vni", "data.data", "weft.echo.id"];

fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    builder.udp(50_000, vxlan::PORT).write(&mut packet, payload).unwrap();
    packet
}

/// A capture file (pcap, Ethernet) of these packets.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut file = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for packet in packets {
        file.extend(words(&[0, 0, packet.len() as u32, packet.len() as u32]));
        file.extend(packet);
    }
    file
}

fn tshark(capture: &Path, keys: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wireshark/weft.lua");
    let mut command = Command::new("tshark");
    command.arg("-X").arg(format!("lua_script:{}", script.display()));
    command.arg("-o").arg(format!("weft.keys:{}", keys.display())).arg("-r").arg(capture);
    command.args(["-T", "fields", "-E", "separator=|"]).args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua"), "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn wireshark_reads_sealed_datagrams() {
    if Command::new("tshark").arg("--version").output().is_err() {
        assert!(std::env::var_os("WEFT_REQUIRE_DEVICES").is_none(), "this test needs tshark");
        eprintln!("SKIPPED: needs tshark");
        return;
    }
    let vni = Vni::new(5151).unwrap();
    // Several blocks of either cipher, and a part of one.
    let data: Vec<u8> = (0..=255).chain(0..77).collect();
    let frame = [&[2; 6][..], &[4; 6], &[0x88, 0xb5], &data].concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (mut packets, mut log, mut expected, mut blind) = (Vec::new(), String::new(), Vec::new(), Vec::new());
    for (suite, index) in [(Suite::Aes256Gcm, 0xdead_beef_u32), (Suite::ChaCha20Poly1305, 7)] {
        let terms = Terms { sender: PeerId(1), receiver: PeerId(2), suite, lanes: LANES };
        let keys = SessionKeys::derive(terms, &[1; 32], &[2; 32]).unwrap();
        log += &key_log::lines(&keys, index);
        for lane_number in [0, 39] {
            let mut lane = SendLane::new(&keys, lane_number, index);
            let echo = Control { echo: Echo::Request, id: 77, time_ns: 1 };
            let texts = [
                (Kind::Data, [&vxlan::header(vni)[..], &frame].concat(), format!("5151|{}|", hex(&data))),
                (Kind::Control, [&echo.write()[..], &[0; 50]].concat(), "||77".into()),
            ];
            for (counter, (kind, text, inside)) in texts.into_iter().enumerate() {
                let mut datagram = [&[0; LEN], &text[..], &[0; TAG]].concat();
                lane.seal(kind, &mut datagram).unwrap();
                packets.push(packet(&datagram));
                let header = format!("{:#04x}|{lane_number}|{index:#010x}|{counter}", kind as u8);
                expected.push(format!("{header}|{}|{inside}", suite.number()));
                blind.push(format!("{header}||||"));
            }
        }
    }
    // A plain datagram on the same port is still VXLAN.
    packets.push(packet(&[&vxlan::header(vni)[..], &frame].concat()));
    let plain = format!("|||||5151|{}|", hex(&data));
    expected.push(plain.clone());
    blind.push(plain);

    let directory = std::env::temp_dir().join(format!("weft-dissector-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [capture, keys] = ["capture.pcap", "keys"].map(|name| directory.join(name));
    std::fs::write(&capture, pcap(&packets)).unwrap();
    std::fs::write(&keys, log).unwrap();
    let (seen, seen_blind) = (tshark(&capture, &keys), tshark(&capture, Path::new("")));
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(seen, expected);
    assert_eq!(seen_blind, blind);
}
