//! UDP floods: small datagrams by sendmmsg, numbered, so that loss and reordering are counted and not guessed.
//!
//! One flow is one source port. iperf3 sends at most about 130,000 datagrams a second on small machines, less than a
//! fast path carries: hence a generator of our own.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};

use crate::sandbox::Netns;

/// Datagrams per system call.
const BATCH: usize = 32;

/// Bytes of a datagram that the generator needs: the flow's number, and the datagram's number in its flow.
pub const MIN_PAYLOAD: usize = 16;

/// The largest payload that the sink takes whole.
pub const MAX_PAYLOAD: usize = 2048;

/// Wanted of the sink's socket buffer: about 0.1 s of a fast flood. Less where the system's limit says so.
const SINK_BUFFER: usize = 8 << 20;

/// How long after the last datagram was sent the sink still waits for stragglers.
const STRAGGLE: Duration = Duration::from_millis(200);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct FloodSpec {
    /// UDP payload bytes, from [`MIN_PAYLOAD`] to [`MAX_PAYLOAD`], one after the other and again.
    pub sizes: &'static [usize],
    /// Source ports, used in turn.
    pub flows: usize,
    /// Datagrams per second over all flows; `None`: as many as the sender can.
    pub rate: Option<u32>,
    /// For how long.
    pub duration: Duration,
}

/// Sizes as they are met on the Internet ("simple IMIX"): of 12 packets 7 of 64 bytes, 4 of 576, and 1 as large as every
/// tunnel carries, 1,400. IPv4's and UDP's headers are not counted here.
pub const IMIX: &[usize] = &[36, 548, 36, 36, 548, 36, 1372, 36, 548, 36, 548, 36];

impl Default for FloodSpec {
    fn default() -> Self {
        FloodSpec { sizes: &[64], flows: 4, rate: None, duration: Duration::from_secs(2) }
    }
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct FloodReport {
    /// Datagrams that the sender's kernel took.
    pub sent: u64,
    /// Datagrams that the sink read.
    pub received: u64,
    /// Of those, how many came after one that was sent later in the same flow.
    pub reordered: u64,
    /// The time of sending.
    pub elapsed: Duration,
}

impl FloodReport {
    /// Datagrams received per second of sending.
    pub fn received_per_s(&self) -> f64 {
        self.received as f64 / self.elapsed.as_secs_f64()
    }

    /// Datagrams sent per second.
    pub fn sent_per_s(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }

    /// The part that was lost, from 0 to 1.
    pub fn loss(&self) -> f64 {
        self.sent.saturating_sub(self.received) as f64 / self.sent.max(1) as f64
    }
}

/// Floods from sockets in `from` to a sink bound to `address` in `to`.
pub fn flood(from: &Netns, to: &Netns, address: IpAddr, spec: &FloodSpec) -> Result<FloodReport> {
    let payloads = MIN_PAYLOAD..=MAX_PAYLOAD;
    let possible = !spec.sizes.is_empty() && spec.sizes.iter().all(|size| payloads.contains(size));
    ensure!(possible, "a flood's payload is {payloads:?} bytes");
    ensure!(spec.flows > 0 && spec.rate != Some(0), "a flood has at least one flow and a rate above zero");
    let sink = to.run(|| open_sink(address))?.with_context(|| format!("cannot open a UDP sink on {address}"))?;
    let target = sink.local_addr()?;
    let flows = from.run(|| (0..spec.flows).map(|_| open_flow(target)).collect::<io::Result<Vec<_>>>())?;
    let flows = flows.with_context(|| format!("cannot send to {target}"))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sink = scope.spawn(|| drain(&sink, spec, &over));
        let sent = send(&flows, spec);
        over.store(true, Ordering::Relaxed);
        let received = sink.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (sent, elapsed) = sent?;
        Ok(FloodReport { sent, elapsed, ..received })
    })
}

fn open_sink(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    // Beyond the system's limit where we may, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &SINK_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SINK_BUFFER)?;
    }
    socket.set_read_timeout(Some(STRAGGLE))?;
    Ok(socket)
}

fn open_flow(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket)
}

fn send(flows: &[UdpSocket], spec: &FloodSpec) -> Result<(u64, Duration)> {
    let mut sizes = spec.sizes.iter().copied().cycle();
    let stride = spec.sizes.iter().copied().max().unwrap_or(MIN_PAYLOAD);
    let mut arena = vec![0; BATCH * stride];
    let mut lengths = [0; BATCH];
    let mut next = vec![0; flows.len()];
    let mut sent = 0;
    let start = Instant::now();
    for turn in (0..flows.len()).cycle() {
        let elapsed = start.elapsed();
        if elapsed >= spec.duration {
            break;
        }
        let due = spec.rate.map_or(u64::MAX, |rate| (f64::from(rate) * elapsed.as_secs_f64()) as u64);
        let batch = due.saturating_sub(sent).min(BATCH as u64) as usize;
        if batch == 0 {
            thread::sleep(Duration::from_micros(50));
            continue;
        }
        for (k, payload) in arena.chunks_exact_mut(stride).take(batch).enumerate() {
            stamp(payload, turn as u64, next[turn] + k as u64);
            lengths[k] = sizes.next().unwrap_or(MIN_PAYLOAD);
        }
        let taken = send_batch(&flows[turn], &arena, stride, &lengths[..batch]).context("cannot send the flood")?;
        next[turn] += taken as u64;
        sent += taken as u64;
    }
    Ok((sent, start.elapsed()))
}

fn send_batch(flow: &UdpSocket, arena: &[u8], stride: usize, lengths: &[usize]) -> io::Result<usize> {
    let slice = |k: usize| [IoSlice::new(&arena[k * stride..][..lengths.get(k).copied().unwrap_or_default()])];
    let slices: [_; BATCH] = std::array::from_fn(slice);
    let mut headers = MultiHeaders::<()>::preallocate(lengths.len(), None);
    let connected = [None; BATCH];
    match sendmmsg(flow.as_raw_fd(), &mut headers, &slices, connected, [], MsgFlags::empty()) {
        Ok(results) => Ok(results.count()),
        // A full queue, or an ICMP error that an earlier datagram met: this batch is not sent, the flood goes on.
        Err(nix::Error::ENOBUFS | nix::Error::ECONNREFUSED | nix::Error::EINTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn stamp(payload: &mut [u8], flow: u64, number: u64) {
    payload[..8].copy_from_slice(&flow.to_be_bytes());
    payload[8..16].copy_from_slice(&number.to_be_bytes());
}

fn read_stamp(payload: &[u8]) -> Option<(usize, u64)> {
    let (flow, rest) = payload.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((usize::try_from(u64::from_be_bytes(*flow)).ok()?, u64::from_be_bytes(*number)))
}

/// Counts until nothing has come for [`STRAGGLE`] after the flood was over.
fn drain(sink: &UdpSocket, spec: &FloodSpec, over: &AtomicBool) -> Result<FloodReport> {
    let mut report = FloodReport::default();
    let mut expected = vec![0; spec.flows];
    let mut buffers = vec![[0; MAX_PAYLOAD]; BATCH];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    loop {
        let was_over = over.load(Ordering::Relaxed);
        let lengths = match receive_batch(sink, &mut headers, &mut buffers) {
            Ok(lengths) => lengths,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if was_over {
                    return Ok(report);
                }
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("cannot receive the flood"),
        };
        for (length, buffer) in lengths.into_iter().zip(&buffers) {
            let Some((flow, number)) = length.and_then(|length| read_stamp(&buffer[..length])) else { continue };
            let Some(expected) = expected.get_mut(flow) else { continue };
            report.received += 1;
            report.reordered += u64::from(number < *expected);
            *expected = (number + 1).max(*expected);
        }
    }
}

/// Receives at least one datagram, and gives the length of each.
fn receive_batch(
    sink: &UdpSocket,
    headers: &mut MultiHeaders<()>,
    buffers: &mut [[u8; MAX_PAYLOAD]],
) -> io::Result<[Option<usize>; BATCH]> {
    let mut lengths = [None; BATCH];
    let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let received = recvmmsg(sink.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
    for (slot, message) in lengths.iter_mut().zip(received) {
        *slot = Some(message.bytes);
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_flood_over_loopback_arrives_whole_and_in_order() {
        let here = Netns::current().unwrap();
        let address = IpAddr::from([127, 0, 0, 1]);
        let spec = FloodSpec { rate: Some(2000), duration: Duration::from_millis(300), ..FloodSpec::default() };
        let report = flood(&here, &here, address, &spec).unwrap();
        assert_eq!((report.sent, report.reordered), (report.received, 0), "{report:?}");
        assert!((400..=660).contains(&report.sent), "{report:?}");
    }

    #[test]
    fn impossible_floods_are_refused() {
        let here = Netns::current().unwrap();
        let address = IpAddr::from([127, 0, 0, 1]);
        for spec in [
            FloodSpec { sizes: &[MIN_PAYLOAD - 1], ..FloodSpec::default() },
            FloodSpec { sizes: &[64, MAX_PAYLOAD + 1], ..FloodSpec::default() },
            FloodSpec { sizes: &[], ..FloodSpec::default() },
            FloodSpec { flows: 0, ..FloodSpec::default() },
            FloodSpec { rate: Some(0), ..FloodSpec::default() },
        ] {
            assert!(flood(&here, &here, address, &spec).is_err(), "{spec:?}");
        }
    }
}
