//! Making TCP respect the network's MTU from its first segment on.
//!
//! Enters: an IP packet with a TCP header. Leaves: the same, and where it is a SYN or SYN-ACK that announces segments
//! too large for the network, with the announcement lowered. What RFC 9293 section 3.7.1 calls the MSS is the MTU
//! without the fixed IP and TCP headers; options are the sender's business (RFC 6691). A path on which ICMP is lost
//! would otherwise be a black hole for TCP.

use crate::checksum;

const TCP_HEADER: usize = 20;
const V4_HEADERS: u16 = 20 + TCP_HEADER as u16;
const V6_HEADERS: u16 = 40 + TCP_HEADER as u16;

/// Offsets in the TCP header.
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;

const FLAG_SYN: u8 = 0x02;

/// Option kinds and the length of the MSS option (RFC 9293 section 3.2).
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MSS_LEN: usize = 4;

/// Lowers the MSS that a handshake segment announces to what `mtu` carries, and never raises it. True if it did.
///
/// `packet` starts at its IP header and its TCP header at `l4`. The TCP checksum stays as right or wrong as it was;
/// with `partial` it covers only the pseudo-header (NEEDS_CSUM), which no option changes. What is no whole TCP header,
/// and options from the first malformed one on, are left alone.
#[inline]
pub fn clamp(packet: &mut [u8], l4: usize, mtu: u16, partial: bool) -> bool {
    let headers = match packet.first() {
        Some(first) if first >> 4 == 6 => V6_HEADERS,
        Some(_) => V4_HEADERS,
        None => return false,
    };
    match packet.get_mut(l4..) {
        Some(tcp) if tcp.len() > TCP_HEADER && tcp[FLAGS] & FLAG_SYN != 0 => {
            clamp_options(tcp, mtu.saturating_sub(headers), partial)
        }
        _ => false,
    }
}

/// The rare part, once per connection and direction; `tcp` has more than its fixed header.
#[cold]
fn clamp_options(tcp: &mut [u8], limit: u16, partial: bool) -> bool {
    let end = usize::from(tcp[DATA_OFFSET] >> 4) * 4;
    if end > tcp.len() {
        return false;
    }
    let mut changed = false;
    let mut at = TCP_HEADER;
    // All MSS options, were there several: stacks differ in which they believe.
    while at < end {
        let (kind, len) = match tcp[at..end] {
            [OPTION_END, ..] => break,
            [OPTION_NOP, ..] => (OPTION_NOP, 1),
            [kind, len, ..] if len >= 2 => (kind, usize::from(len)),
            _ => break,
        };
        if at + len > end {
            break;
        }
        if kind == OPTION_MSS && len == OPTION_MSS_LEN {
            let old = u16::from_be_bytes([tcp[at + 2], tcp[at + 3]]);
            if old > limit {
                tcp[at + 2..at + 4].copy_from_slice(&limit.to_be_bytes());
                if !partial {
                    update_checksum(tcp, at + 2, old, limit);
                }
                changed = true;
            }
        }
        at += len;
    }
    changed
}

fn update_checksum(tcp: &mut [u8], at: usize, old: u16, new: u16) {
    let check = u16::from_be_bytes([tcp[CHECKSUM], tcp[CHECKSUM + 1]]);
    // Behind an odd number of NOPs the value lies across two words, which sums as if its bytes were swapped.
    let check = if at.is_multiple_of(2) {
        checksum::update(check, old, new)
    } else {
        checksum::update(check, old.swap_bytes(), new.swap_bytes())
    };
    tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, Ipv4Header, Ipv6Header, NetHeaders, PacketHeaders, TcpHeader, TransportHeader};
    use proptest::prelude::*;

    const SYN: u8 = FLAG_SYN;
    const ACK: u8 = 0x10;

    /// An IP packet with these raw TCP options (a multiple of four bytes), its checksum right; and where TCP starts.
    fn packet(v6: bool, flags: u8, options: &[u8], payload: &[u8]) -> (Vec<u8>, usize) {
        let mut tcp = TcpHeader::new(40_000, 80, 0x1122_3344, 64_240);
        tcp.set_options_raw(options).unwrap();
        (tcp.syn, tcp.ack) = (flags & SYN != 0, flags & ACK != 0);
        let len = tcp.header_len() + payload.len();
        let mut bytes = Vec::new();
        if v6 {
            let ip = Ipv6Header {
                payload_length: len as u16,
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: [0xfd; 16],
                destination: [0xfe; 16],
                ..Default::default()
            };
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).unwrap();
            ip.write(&mut bytes).unwrap();
        } else {
            let ip = Ipv4Header::new(len as u16, 64, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).unwrap();
            ip.write(&mut bytes).unwrap();
        }
        let l4 = bytes.len();
        tcp.write(&mut bytes).unwrap();
        bytes.extend(payload);
        (bytes, l4)
    }

    /// The TCP header, once its checksum was found right.
    fn valid(bytes: &[u8]) -> TcpHeader {
        let headers = PacketHeaders::from_ip_slice(bytes).unwrap();
        let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("not TCP") };
        let want = match headers.net {
            Some(NetHeaders::Ipv4(ip, _)) => tcp.calc_checksum_ipv4(&ip, headers.payload.slice()),
            Some(NetHeaders::Ipv6(ip, _)) => tcp.calc_checksum_ipv6(&ip, headers.payload.slice()),
            _ => panic!("not IP"),
        };
        assert_eq!(tcp.checksum, want.unwrap());
        tcp
    }

    fn mss(value: u16) -> [u8; 4] {
        let [high, low] = value.to_be_bytes();
        [OPTION_MSS, 4, high, low]
    }

    #[test]
    fn both_sides_of_the_handshake_are_lowered_to_the_mtu() {
        for (v6, limit) in [(false, 1410), (true, 1390)] {
            for flags in [SYN, SYN | ACK] {
                let (mut bytes, l4) = packet(v6, flags, &mss(1460), &[]);
                assert!(clamp(&mut bytes, l4, 1450, false));
                assert_eq!(valid(&bytes).options.as_slice(), mss(limit));
            }
        }
    }

    #[test]
    fn nothing_is_raised_and_no_other_segment_is_touched() {
        for v6 in [false, true] {
            for (flags, value) in [(SYN, 536), (SYN, 1390), (ACK, 1460), (0, 9_000)] {
                let (before, l4) = packet(v6, flags, &mss(value), b"data");
                let mut bytes = before.clone();
                assert!(!clamp(&mut bytes, l4, 1450, false), "flags {flags:02x}, MSS {value}");
                assert_eq!(bytes, before);
            }
        }
    }

    #[test]
    fn a_value_across_two_words_keeps_the_checksum_right() {
        let [kind, len, high, low] = mss(65_535);
        let options = [OPTION_NOP, kind, len, high, low, 3, 3, 7];
        let (mut bytes, l4) = packet(false, SYN, &options, b"odd");
        assert!(clamp(&mut bytes, l4, 1450, false));
        let [_, _, high, low] = mss(1410);
        assert_eq!(valid(&bytes).options.as_slice(), [OPTION_NOP, kind, len, high, low, 3, 3, 7]);
    }

    #[test]
    fn every_mss_option_is_lowered() {
        let options = [mss(1400), mss(9_000), mss(1460)].concat();
        let (mut bytes, l4) = packet(false, SYN, &options, &[]);
        assert!(clamp(&mut bytes, l4, 1450, false));
        assert_eq!(valid(&bytes).options.as_slice(), [mss(1400), mss(1410), mss(1410)].concat());
    }

    #[test]
    fn a_partial_checksum_stays() {
        let (mut bytes, l4) = packet(true, SYN, &mss(8_000), &[]);
        bytes[l4 + CHECKSUM..l4 + CHECKSUM + 2].copy_from_slice(&[0xab, 0xcd]);
        assert!(clamp(&mut bytes, l4, 1450, true));
        assert_eq!(bytes[l4 + CHECKSUM..l4 + CHECKSUM + 2], [0xab, 0xcd]);
    }

    #[test]
    fn malformed_options_end_the_search() {
        let malformed: [&[u8]; 7] = [
            &[OPTION_END, OPTION_MSS, 4, 0xff],       // behind the end
            &[8, 1, OPTION_MSS, 4, 0xff, 0xff, 0, 0], // length 1: shorter than itself
            &[8, 0, OPTION_MSS, 4],                   // length 0 would never end
            &[OPTION_MSS, 3, 0xff, 0xff],             // wrong length
            &[OPTION_MSS, 5, 0xff, 0xff],             // ends outside
            &[OPTION_NOP, OPTION_MSS, 4, 0xff],       // value ends outside
            &[OPTION_NOP, OPTION_NOP, 1, 2],          // kind without a length
        ];
        for options in malformed {
            let (before, l4) = packet(false, SYN, options, &[]);
            let mut bytes = before.clone();
            assert!(!clamp(&mut bytes, l4, 1450, false), "{options:?}");
            assert_eq!(bytes, before);
        }
        // A data offset that points behind the packet.
        let (mut bytes, l4) = packet(false, SYN, &mss(9_000), &[]);
        bytes[l4 + DATA_OFFSET] = 0xf0;
        assert!(!clamp(&mut bytes, l4, 1450, false));
    }

    /// The options as a sender that knew the MTU would have written them.
    fn model(options: &[u8], limit: u16) -> Vec<u8> {
        match options {
            [] | [OPTION_END, ..] => options.to_vec(),
            [OPTION_NOP, rest @ ..] => [&[OPTION_NOP], &model(rest, limit)[..]].concat(),
            [_] => options.to_vec(),
            [_, len, ..] if *len < 2 || usize::from(*len) > options.len() => options.to_vec(),
            [OPTION_MSS, 4, high, low, rest @ ..] => {
                let value = u16::from_be_bytes([*high, *low]).min(limit);
                [&mss(value)[..], &model(rest, limit)].concat()
            }
            [_, len, ..] => {
                let (this, rest) = options.split_at(usize::from(*len));
                [this, &model(rest, limit)].concat()
            }
        }
    }

    /// Options as they come, mixed with well-formed MSS options so that the search gets anywhere.
    fn options() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u16>().prop_map(|value| mss(value).to_vec()),
            Just(vec![OPTION_NOP]),
            prop::collection::vec(any::<u8>(), 0..6),
            (3..9_u8, prop::collection::vec(any::<u8>(), 0..8)).prop_map(|(kind, data)| [
                &[kind, data.len() as u8 + 2],
                &data[..]
            ]
            .concat()),
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| {
            let mut options = pieces.concat();
            options.truncate(40);
            options.truncate(options.len() & !3);
            options
        })
    }

    proptest! {
        #[test]
        fn any_options_are_lowered_as_the_model_says(options in options(), v6: bool, mtu in 576..9_000_u16) {
            let (mut bytes, l4) = packet(v6, SYN, &options, b"x");
            let want = model(&options, mtu - if v6 { 60 } else { 40 });
            prop_assert_eq!(clamp(&mut bytes, l4, mtu, false), want != options);
            prop_assert_eq!(&bytes[l4 + TCP_HEADER..bytes.len() - 1], &want[..]);
            valid(&bytes);
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), l4 in 0_usize..110, mtu: u16, partial: bool) {
            if let Some(flags) = bytes.get_mut(l4 + FLAGS) {
                *flags |= SYN;
            }
            clamp(&mut bytes, l4, mtu, partial);
        }
    }
}
