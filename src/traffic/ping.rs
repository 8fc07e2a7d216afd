//! ICMP and ICMPv6 echo, over a raw socket: the kernel of the other namespace answers.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use weft_vtep::checksum::Sum;

use crate::sandbox::Netns;

/// The header of an echo message: type, code, checksum, identifier, sequence number (RFC 792, RFC 4443 section 4).
const HEADER: usize = 8;

/// How to ping.
#[derive(Clone, Copy, Debug)]
pub struct PingSpec {
    /// Echo requests.
    pub count: u16,
    /// The pause after each answer.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Bytes behind the ICMP header.
    pub payload_bytes: usize,
}

impl Default for PingSpec {
    fn default() -> Self {
        let (interval, timeout) = (Duration::from_millis(10), Duration::from_secs(1));
        PingSpec { count: 50, interval, timeout, payload_bytes: 56 }
    }
}

/// What came back.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PingReport {
    /// Echo requests sent.
    pub sent: u16,
    /// The round-trip times of those that were answered in time, rising.
    pub rtts: Vec<Duration>,
}

impl PingReport {
    /// The round-trip time that `percent` of the answers did not exceed; `None` without an answer.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let last = self.rtts.len().checked_sub(1)?;
        Some(self.rtts[(last as f64 * percent.clamp(0.0, 100.0) / 100.0).round() as usize])
    }

    /// Requests without an answer.
    pub fn lost(&self) -> usize {
        usize::from(self.sent) - self.rtts.len()
    }
}

/// Pings `address` from the namespace.
pub fn ping(from: &Netns, address: IpAddr, spec: &PingSpec) -> Result<PingReport> {
    let socket = from.run(|| open(address))?.with_context(|| format!("cannot ping {address}"))?;
    let mut report = PingReport::default();
    for sequence in 0..spec.count {
        report.sent += 1;
        report.rtts.extend(echo(&socket, address, sequence, spec).with_context(|| format!("cannot ping {address}"))?);
        std::thread::sleep(spec.interval);
    }
    report.rtts.sort_unstable();
    Ok(report)
}

/// Sends one echo request and says how long its answer took; `None` if none came in time.
pub fn once(from: &Netns, address: IpAddr, timeout: Duration) -> Result<Option<Duration>> {
    let spec = PingSpec { count: 1, interval: Duration::ZERO, timeout, ..PingSpec::default() };
    Ok(ping(from, address, &spec)?.rtts.first().copied())
}

fn open(address: IpAddr) -> io::Result<Socket> {
    let socket = match address {
        IpAddr::V4(_) => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?,
        IpAddr::V6(_) => Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?,
    };
    socket.connect(&SocketAddr::new(address, 0).into())?;
    Ok(socket)
}

fn echo(socket: &Socket, address: IpAddr, sequence: u16, spec: &PingSpec) -> io::Result<Option<Duration>> {
    // Raw sockets see every echo answer of the namespace; the random identifier tells ours.
    let identifier: u16 = rand::random();
    let request = request(address, identifier, sequence, spec.payload_bytes);
    let start = Instant::now();
    match socket.send(&request) {
        Ok(_) => {}
        // An error that an earlier request met, such as no answer to ARP: this one is unanswered too.
        Err(error) if matches!(error.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut buffer = vec![0; 65536];
    loop {
        let Some(left) = spec.timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        socket.set_read_timeout(Some(left))?;
        let length = match (&*socket).read(&mut buffer) {
            Ok(length) => length,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => continue,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => return Ok(None),
                _ => return Err(error),
            },
        };
        if is_answer(address, &buffer[..length], identifier, sequence) {
            return Ok(Some(start.elapsed()));
        }
    }
}

fn request(address: IpAddr, identifier: u16, sequence: u16, payload_bytes: usize) -> Vec<u8> {
    let mut message = vec![0x77; HEADER + payload_bytes];
    message[..4].copy_from_slice(&[if address.is_ipv4() { 8 } else { 128 }, 0, 0, 0]);
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    if address.is_ipv4() {
        // For ICMPv6 the kernel does it: the sum includes addresses that it chooses (RFC 3542 section 3.1).
        let sum = Sum::ZERO.add_bytes(&message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

fn is_answer(address: IpAddr, packet: &[u8], identifier: u16, sequence: u16) -> bool {
    // An IPv4 raw socket gives the IP header too, an IPv6 one does not.
    let (header, answer) = match address {
        IpAddr::V4(_) => (packet.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4), 0),
        IpAddr::V6(_) => (0, 129),
    };
    let Some(message) = packet.get(header..).filter(|message| message.len() >= HEADER) else { return false };
    message[0] == answer && message[4..6] == identifier.to_be_bytes() && message[6..8] == sequence.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let report = PingReport { sent: 6, rtts: (1..=5).map(Duration::from_secs).collect() };
        assert_eq!(report.percentile(50.0), Some(Duration::from_secs(3)));
        assert_eq!(report.percentile(100.0), Some(Duration::from_secs(5)));
        assert_eq!(report.percentile(0.0), Some(Duration::from_secs(1)));
        assert_eq!((report.lost(), PingReport::default().percentile(50.0)), (1, None));
    }
}
