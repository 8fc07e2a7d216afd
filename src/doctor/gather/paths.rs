//! The ways to other VTEPs, measured by ping: is there one, and how large a packet does it carry?
//!
//! A way that loses large packets without a word (a black hole, RFC 2923 section 2.1) shows in small pings that come back
//! and large ones that do not. Linux sends pings that fit the interface with DF set, so routers must not cut them up.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::super::facts::Path;
use crate::sandbox::Netns;
use crate::traffic::ping::{PingSpec, ping};

/// The most ways that are measured.
const MOST: usize = 256;
/// So many at a time.
const AT_ONCE: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// The smallest packet that a search for the largest begins with: every link carries it (RFC 791).
const LEAST: u16 = 576;
/// How exact the search is, in bytes.
const EXACT: u16 = 8;

/// A way to measure.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) name: String,
    pub(super) to: IpAddr,
    pub(super) remote: bool,
    /// The outer packet that has to pass; 0 where there is no network yet.
    pub(super) needed: u16,
}

/// Measures all ways. Blocks for about a second, and three where there are black holes.
pub(super) fn measure(ways: Vec<Way>) -> Vec<Path> {
    let ways = &ways[..ways.len().min(MOST)];
    let Ok(here) = Netns::current() else { return Vec::new() };
    let mut paths = Vec::new();
    for some in ways.chunks(AT_ONCE) {
        let measured: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|way| scope.spawn(|| measure_one(&here, way))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        paths.extend(measured);
    }
    paths
}

fn measure_one(here: &Netns, way: &Way) -> Path {
    let Way { name, to, remote, needed } = way.clone();
    let mut path = Path { name, to: Some(to), remote, needed, ..Path::default() };
    match known_mtu(to) {
        Ok(mtu) => path.known_mtu = mtu,
        Err(error) => {
            path.no_route = Some(error.to_string());
            return path;
        }
    }
    let answers = |bytes: u16| answers(here, to, bytes);
    path.small = answers(64);
    path.large = path.small && (needed <= 64 || answers(needed));
    if path.small && !path.large && answers(LEAST) {
        path.largest = Some(largest(LEAST, needed, answers));
    }
    path.no_neighbour = !path.small && is_unresolved(to);
    path
}

/// The largest packet that passes: `passes` does, `lost` does not.
fn largest(mut passes: u16, mut lost: u16, answers: impl Fn(u16) -> bool) -> u16 {
    while lost.saturating_sub(passes) > EXACT {
        let middle = passes + (lost - passes) / 2;
        if answers(middle) {
            passes = middle;
        } else {
            lost = middle;
        }
    }
    passes
}

/// Whether one of two pings whose packets have so many bytes comes back.
fn answers(here: &Netns, to: IpAddr, bytes: u16) -> bool {
    let headers = if to.is_ipv6() { 48 } else { 28 };
    let payload_bytes = usize::from(bytes).saturating_sub(headers);
    let spec = PingSpec { count: 1, interval: Duration::ZERO, timeout: PATIENCE, payload_bytes };
    (0..2).any(|_| ping(here, to, &spec).is_ok_and(|report| !report.rtts.is_empty()))
}

/// What the kernel knows of the way's MTU, from the interface or from a router that said so; over IPv4 alone.
fn known_mtu(to: IpAddr) -> std::io::Result<Option<u32>> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    // It sends nothing.
    socket.connect(SocketAddr::new(to, 9))?;
    if to.is_ipv6() {
        return Ok(None);
    }
    Ok(getsockopt(&socket, sockopt::IpMtu).ok().and_then(|mtu| mtu.try_into().ok()))
}

/// The address is on a link of this host's, and nobody there has it.
fn is_unresolved(to: IpAddr) -> bool {
    is_unresolved_in(&fs::read_to_string("/proc/net/arp").unwrap_or_default(), to)
}

fn is_unresolved_in(table: &str, to: IpAddr) -> bool {
    table.lines().skip(1).any(|line| {
        let mut columns = line.split_whitespace();
        let (ip, flags) = (columns.next(), columns.nth(1));
        ip == Some(to.to_string().as_str()) && flags == Some("0x0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_size_that_passes() {
        for limit in [600u16, 1400, 1472, 1499] {
            let found = largest(LEAST, 1500, |bytes| bytes <= limit);
            assert!(found <= limit && found + EXACT >= limit, "{found} for {limit}");
        }
    }

    #[test]
    fn a_neighbour_that_does_not_answer_is_incomplete_in_the_table() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     192.0.2.2        0x1         0x2         02:00:00:00:00:02     *        eth0\n\
                     192.0.2.99       0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert!(is_unresolved_in(table, "192.0.2.99".parse().unwrap()));
        assert!(!is_unresolved_in(table, "192.0.2.2".parse().unwrap()));
        assert!(!is_unresolved_in(table, "192.0.2.9".parse().unwrap()));
    }
}
