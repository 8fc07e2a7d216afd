//! Writes a starting corpus of sound inputs, so that the fuzzer need not find out what an IP header is.
//!
//! `cargo run --example seeds` in this directory, before the first `cargo fuzz run`.

use std::fs;
use std::io;
use std::path::Path;

use weft_fuzz::{PARTIAL, VNIS, endpoint, set_checksum};
use weft_vtep::addr::{Mac, Vni};
use weft_vtep::checksum::Sum;
use weft_vtep::frame::Layout;
use weft_vtep::offload::vnet_hdr::{Gso, VnetHdr};
use weft_vtep::wire::vxlan;

fn main() -> io::Result<()> {
    let stranger = Mac::new([2, 1, 1, 1, 1, 1]);
    for (number, (v6, udp)) in [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate() {
        for network in 0..2_u8 {
            let (mine, other) = (endpoint(u32::from(network) * 2), endpoint(u32::from(network) * 2 + 1));
            let vni = Vni::new(VNIS[usize::from(network)]).expect("a VNI");
            let mut decap = Vec::new();
            for (seq, to, len) in [(0, mine, 32), (32, mine, 32), (64, Mac::BROADCAST, 32), (64, mine, 1_600)] {
                let datagram = [&vxlan::header(vni)[..], &frame(to, stranger, v6, udp, seq, len)].concat();
                decap.extend([if len > 1_450 { PARTIAL } else { 0 }, 2]);
                decap.extend((datagram.len() as u16).to_be_bytes());
                decap.extend(datagram);
            }
            write("decap", &format!("{number}-{network}"), &decap)?;

            let gso = match (udp, v6) {
                (true, _) => Gso::Udp,
                (_, true) => Gso::TcpV6,
                (_, false) => Gso::TcpV4,
            };
            let mut encap = Vec::new();
            for (to, len, gso_size) in
                [(stranger, 100, 0), (stranger, 700, 200), (other, 700, 200), (stranger, 1_600, 0)]
            {
                let frame = frame(to, mine, v6, udp, 0, len);
                let start = Layout::of(&frame).l4 as u16;
                let csum = Some((start, if udp { 6 } else { 16 }));
                let gso = if gso_size == 0 { Gso::None } else { gso };
                let hdr = VnetHdr { csum, gso, ecn: false, hdr_len: 54, gso_size };
                let raw = [&hdr.write()[..], &frame].concat();
                encap.push(network * 2);
                encap.extend((raw.len() as u16).to_be_bytes());
                encap.extend(&raw);
                if gso_size != 0 {
                    write("segment", &format!("{number}-{network}-{len}"), &raw)?;
                }
            }
            write("encap", &format!("{number}-{network}"), &encap)?;
        }
        let steps: Vec<u8> = (0..40).flat_map(|n| [number as u8 + n % 2 * 4, 2, 0, 0, 200]).collect();
        write("coalesce", &number.to_string(), &steps)?;
    }
    // Seal on each lane, then hand each over: to its worker, again, changed, to the other worker.
    for suite in 0..2_u8 {
        let mut open = vec![suite];
        for lane in 0..5 {
            open.extend([0, lane, 20]);
            open.extend([lane; 20]);
        }
        for step in [1, 1, 0x41, 2, 0x42] {
            for lane in 0..5 {
                open.extend([step, lane, 2, 128, 0]);
            }
        }
        write("open", &suite.to_string(), &open)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), bytes)
}

/// A sound frame with all its checksums.
fn frame(to: Mac, from: Mac, v6: bool, udp: bool, seq: u32, len: usize) -> Vec<u8> {
    let protocol = if udp { 17 } else { 6 };
    let l4_len = len + if udp { 8 } else { 20 };
    let mut frame = [to.octets(), from.octets()].concat();
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0x20, 0, 0, (l4_len >> 8) as u8, l4_len as u8, protocol, 64]);
        frame.extend([0xfd; 32]);
    } else {
        let total = l4_len + 20;
        frame.extend([8, 0, 0x45, 2, (total >> 8) as u8, total as u8, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        let check = Sum::ZERO.add_bytes(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&check.to_be_bytes());
    }
    frame.extend([0x9c, 0x40, 0, 80]);
    if udp {
        frame.extend([(l4_len >> 8) as u8, l4_len as u8, 0, 0]);
    } else {
        frame.extend(seq.to_be_bytes());
        frame.extend([0, 0, 0, 7, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    }
    frame.extend((0..len).map(|n| n as u8));
    set_checksum(&mut frame, false);
    frame
}
