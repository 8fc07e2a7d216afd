//! Many small questions and answers over TCP, as remote procedure calls are: what they cost is latency, not bytes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sandbox::Netns;

/// Bytes of a question, and of an answer.
const MESSAGE: usize = 64;
/// How long a connection may take to be made, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct CallSpec {
    /// Callers at once, each on a connection of its own, with one question under way.
    pub callers: usize,
    /// For how long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CallReport {
    /// How long each answer took, shortest first.
    pub times: Vec<Duration>,
    /// In what time.
    pub elapsed: Duration,
}

impl CallReport {
    /// Answers per second.
    pub fn per_s(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Calls from sockets in `from` a server bound to `address` in `to`. A call without an answer is an error.
pub fn calls(from: &Netns, to: &Netns, address: IpAddr, spec: &CallSpec) -> Result<CallReport> {
    let listener =
        to.run(|| TcpListener::bind((address, 0)))?.with_context(|| format!("cannot listen on {address}"))?;
    let target = listener.local_addr()?;
    let connect = |_| -> Result<_> {
        let caller = from.run(|| TcpStream::connect_timeout(&target, PATIENCE))?;
        let caller = caller.with_context(|| format!("cannot connect to {target}"))?;
        let (server, _) = listener.accept()?;
        for socket in [&caller, &server] {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
        }
        Ok((caller, server))
    };
    let pairs = (0..spec.callers).map(connect).collect::<Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let times = thread::scope(|scope| {
        let callers: Vec<_> = pairs
            .iter()
            .map(|(caller, server)| {
                scope.spawn(|| answer(server));
                scope.spawn(|| {
                    let times = ask(caller, &over);
                    // By this the server's thread knows.
                    let _ = caller.shutdown(Shutdown::Both);
                    times
                })
            })
            .collect();
        thread::sleep(spec.duration);
        over.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let times: io::Result<Vec<Vec<_>>> = times;
    let elapsed = start.elapsed();
    let mut times = times.context("a call was not answered")?.concat();
    ensure!(!times.is_empty(), "no call was answered within {:?}", spec.duration);
    times.sort_unstable();
    Ok(CallReport { times, elapsed })
}

/// Asks until it is over, and says how long each answer took.
fn ask(mut socket: &TcpStream, over: &AtomicBool) -> io::Result<Vec<Duration>> {
    let mut message = [0x3f; MESSAGE];
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        socket.write_all(&message)?;
        socket.read_exact(&mut message)?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Gives back what it gets, until the connection ends.
fn answer(mut socket: &TcpStream) {
    let mut message = [0; MESSAGE];
    while socket.read_exact(&mut message).and_then(|()| socket.write_all(&message)).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_over_loopback_are_answered_and_counted() {
        let here = Netns::current().unwrap();
        let spec = CallSpec { callers: 3, duration: Duration::from_millis(100) };
        let report = calls(&here, &here, IpAddr::from([127, 0, 0, 1]), &spec).unwrap();
        assert!(report.times.len() > 3 && report.times.is_sorted(), "{report:?}");
        assert!(report.elapsed >= spec.duration && report.per_s() > 0.0, "{report:?}");
    }
}
