//! What the control port refused, told once.
//!
//! A flood must not become a flood of log lines: the first refusal of a source for a reason is told at once, further
//! ones within ten seconds are counted and told with the next.

use std::collections::HashMap;
use std::fmt;
use std::mem::{self, Discriminant};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::listener::Source;
use crate::security::authz::PeerRefused;

/// How long a source's further refusals of one kind are only counted.
const QUIET: Duration = Duration::from_secs(10);
/// How many sources and kinds are told apart; beyond, they count as one.
const REMEMBERED: usize = 1024;

/// Why a caller was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It did not finish its handshake.
    #[error("it did not finish the TLS handshake in time")]
    Silent,
    /// Too many connections.
    #[error("it or others opened too many connections at a time")]
    Crowded,
    /// It does not speak TLS 1.3, or broke off.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// Its certificate is refused.
    #[error("{0}")]
    Peer(PeerRefused),
    /// It came without a certificate and asked for more than to join.
    #[error("it asked for {0} without a certificate")]
    Stranger(String),
    /// Its join token was refused.
    #[error("its join token is wrong, used up, expired or revoked")]
    Token,
    /// It has tried too many tokens.
    #[error("it tried too many join tokens")]
    Throttled,
    /// Its certificate request was refused.
    #[error("its join was refused: {0}")]
    Request(String),
}

/// One refusal, or several of the same kind.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Where the last one came from.
    pub address: SocketAddr,
    /// Why the last one was turned away.
    pub reason: Reason,
    /// How many there were since this kind was last told.
    pub count: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused {} on the control port: {}", self.address.ip(), self.reason)?;
        if self.count > 1 { write!(f, " ({} times)", self.count) } else { Ok(()) }
    }
}

/// Where refusals are told. Clones are handles to the same.
#[derive(Clone)]
pub struct Refusals {
    shared: Arc<Shared>,
}

struct Shared {
    tell: Box<dyn Fn(Refusal) + Send + Sync>,
    /// When each source's refusals of a kind were last told, and how many came since.
    told: Mutex<HashMap<Kind, (Instant, u64)>>,
}

/// What is told together: refusals of one source for one reason. No source: one of too many.
type Kind = (Option<Source>, Discriminant<Reason>);

impl Refusals {
    /// Tells `tell`, which must not block.
    pub fn new(tell: impl Fn(Refusal) + Send + Sync + 'static) -> Refusals {
        Refusals { shared: Arc::new(Shared { tell: Box::new(tell), told: Mutex::default() }) }
    }

    /// Tells the log.
    pub fn log() -> Refusals {
        Refusals::new(|refusal| tracing::warn!("{refusal}"))
    }

    pub(crate) fn tell(&self, address: SocketAddr, reason: Reason) {
        self.tell_at(Instant::now(), address, reason);
    }

    fn tell_at(&self, now: Instant, address: SocketAddr, reason: Reason) {
        let kind = mem::discriminant(&reason);
        let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Some(Source::of(address.ip())), kind);
        if told.len() >= REMEMBERED && !told.contains_key(&key) {
            told.retain(|_, (last, _)| now.duration_since(*last) < QUIET);
            if told.len() >= REMEMBERED {
                key.0 = None;
            }
        }
        let count = match told.get_mut(&key) {
            Some((last, count)) if now.duration_since(*last) < QUIET => {
                *count += 1;
                return;
            }
            Some((last, count)) => {
                *last = now;
                mem::take(count) + 1
            }
            None => {
                told.insert(key, (now, 0));
                1
            }
        };
        drop(told);
        (self.shared.tell)(Refusal { address, reason, count });
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn refusals() -> (Refusals, mpsc::Receiver<Refusal>) {
        let (sender, receiver) = mpsc::channel();
        (Refusals::new(move |refusal| sender.send(refusal).unwrap()), receiver)
    }

    fn from(host: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from_bits(host), 1).into()
    }

    #[test]
    fn a_flood_is_told_once_and_then_with_its_number() {
        let (refusals, told) = refusals();
        let start = Instant::now();
        for _ in 0..100 {
            refusals.tell_at(start, from(1), Reason::Silent);
        }
        refusals.tell_at(start, from(1), Reason::Token);
        refusals.tell_at(start, from(2), Reason::Silent);
        assert_eq!(told.try_iter().map(|refusal| refusal.count).collect::<Vec<_>>(), [1, 1, 1]);
        refusals.tell_at(start + QUIET, from(1), Reason::Silent);
        let refusal = told.try_recv().unwrap();
        assert_eq!(refusal.count, 100);
        assert!(refusal.to_string().ends_with("(100 times)"), "{refusal}");
    }

    #[test]
    fn endless_sources_cost_bounded_memory_and_are_not_all_told() {
        let (refusals, told) = refusals();
        let start = Instant::now();
        for host in 0..10 * REMEMBERED as u32 {
            refusals.tell_at(start, from(host), Reason::Silent);
        }
        assert!(refusals.shared.told.lock().unwrap().len() <= REMEMBERED + 1);
        assert!(told.try_iter().count() <= REMEMBERED + 1);
    }
}
