//! Echoes to every peer with a session: is the path there, how long does it take, how large a datagram does it carry.
//!
//! Enters: the moment, the send sessions, the size that the networks need, and the answers. Leaves: what to ask
//! ([`Ask`]), for each path what is known ([`PathRow`]), and what changed ([`PathNews`]). The questions go sealed through
//! the data plane as frames do (`wire::sealed::Control`): what they find is what frames find, whatever a firewall lets
//! through for others.
//!
//! A size is that of the outer IP packet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::mtu;
use super::rtt::{Histogram, Latency, RoundTrips};
use super::search::{Outcome, Search};
use crate::wire::sealed::{self, Control};

/// How often a path is asked for its latency.
pub const EVERY: Duration = Duration::from_secs(3);
/// Echoes without an answer, one after the other, after which a path counts as silent.
const SILENT: u32 = 4;
/// How often the path MTU is probed, besides with each new session.
const PROBE_EVERY: Duration = Duration::from_secs(300);
/// How often that of a narrow path is.
const NARROW_EVERY: Duration = Duration::from_secs(60);
/// How soon after a probe to which nothing was answered.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a round of a probe waits for answers: no path that carries a network takes longer.
const ROUND: Duration = Duration::from_secs(1);
/// How often each size of a round is asked for: one lost datagram is no finding.
const COPIES: usize = 2;

/// An echo to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// To whom.
    pub vtep: IpAddr,
    /// Its id.
    pub id: u32,
    /// Bytes of the outer IP packet.
    pub size: u16,
}

/// An answer that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// From whom: whose session opened it.
    pub vtep: IpAddr,
    /// The id of the question.
    pub id: u32,
    /// From the question's sealing to the answer's opening.
    pub rtt: Duration,
}

/// What is known of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathRow {
    /// The VTEP at its other end.
    pub vtep: IpAddr,
    /// How long it takes; `None` before the first answer.
    pub latency: Option<Latency>,
    /// How many echoes took how long, since the first.
    pub histogram: Histogram,
    /// The latest echoes were all lost.
    pub silent: bool,
    /// Echoes for the latency: asked and lost.
    pub echoes: (u64, u64),
    /// The largest outer IP packet that is known to come through, up to what is needed; `None` before the first probe.
    pub mtu: Option<u16>,
    /// What the networks of this node need, when it was last probed; 0 before.
    pub needed: u16,
}

impl PathRow {
    /// The path's MTU, if that is less than what is needed.
    pub fn narrow(&self) -> Option<u16> {
        self.mtu.filter(|mtu| *mtu < self.needed)
    }
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathNews {
    /// Larger datagrams than these vanish on the way, without a word: a black hole.
    Narrow {
        /// The largest outer IP packet that comes through.
        mtu: u16,
        /// What the networks need.
        needed: u16,
    },
    /// A narrow path carries what is needed, again.
    Wide {
        /// That size.
        mtu: u16,
    },
    /// Nothing is answered.
    Silent,
    /// Echoes are answered again.
    Answers,
}

/// All paths of a node.
#[derive(Debug, Default)]
pub struct Prober {
    paths: HashMap<IpAddr, Path>,
    next_id: u32,
}

#[derive(Debug)]
struct Path {
    /// The receiver's name for the present session.
    session: u32,
    trips: RoundTrips,
    echo_at: Duration,
    /// The id of the latest echo, until it is answered.
    echo: Option<u32>,
    asked: u64,
    lost: u64,
    lost_in_a_row: u32,
    probe: Probe,
    mtu: Option<u16>,
    needed: u16,
}

#[derive(Debug)]
enum Probe {
    Due(Duration),
    Round(Box<Round>),
}

#[derive(Debug)]
struct Round {
    search: Search,
    ends: Duration,
    /// What was asked: id and size.
    asked: Vec<(u32, u16)>,
    passed: Option<u16>,
}

impl Prober {
    /// Time has passed; meant to be called about once a second. `sessions` are the VTEPs with a send session and what
    /// their receivers call them, `needed` is the size that the networks need, 0 for none.
    pub fn tick(
        &mut self,
        now: Duration,
        sessions: impl IntoIterator<Item = (IpAddr, u32)>,
        needed: u16,
        asks: &mut Vec<Ask>,
        news: &mut Vec<(IpAddr, PathNews)>,
    ) {
        let mut before = std::mem::take(&mut self.paths);
        for (vtep, session) in sessions {
            let mut path = before.remove(&vtep).unwrap_or_else(|| Path::new(now, session));
            if path.session != session {
                path.session = session;
                path.probe = Probe::Due(now);
            }
            let mut ask = |size| {
                self.next_id = self.next_id.wrapping_add(1);
                asks.push(Ask { vtep, id: self.next_id, size });
                self.next_id
            };
            path.echo(now, small(vtep), &mut ask, |what| news.push((vtep, what)));
            path.probe(now, small(vtep), needed, &mut ask, |what| news.push((vtep, what)));
            self.paths.insert(vtep, path);
        }
    }

    /// An answer has come. One that nobody waits for is ignored.
    pub fn answered(&mut self, answer: Answer, news: &mut Vec<(IpAddr, PathNews)>) {
        let Some(path) = self.paths.get_mut(&answer.vtep) else { return };
        if path.echo.take_if(|id| *id == answer.id).is_some() {
            path.trips.add(answer.rtt);
            if std::mem::take(&mut path.lost_in_a_row) >= SILENT {
                news.push((answer.vtep, PathNews::Answers));
            }
        } else if let Probe::Round(round) = &mut path.probe
            && let Some((_, size)) = round.asked.iter().find(|(id, _)| *id == answer.id)
        {
            round.passed = round.passed.max(Some(*size));
        }
    }

    /// What is known, by VTEP.
    pub fn rows(&self) -> Vec<PathRow> {
        let row = |(vtep, path): (&IpAddr, &Path)| PathRow {
            vtep: *vtep,
            latency: path.trips.latency(),
            histogram: path.trips.histogram(),
            silent: path.lost_in_a_row >= SILENT,
            echoes: (path.asked, path.lost),
            mtu: path.mtu,
            needed: path.needed,
        };
        let mut rows: Vec<_> = self.paths.iter().map(row).collect();
        rows.sort_unstable_by_key(|row| row.vtep);
        rows
    }
}

/// The least size of an echo.
fn small(vtep: IpAddr) -> u16 {
    (mtu::udp_ip(vtep.is_ipv6()) + sealed::OVERHEAD + Control::LEN) as u16
}

impl Path {
    fn new(now: Duration, session: u32) -> Path {
        Path {
            session,
            trips: RoundTrips::default(),
            echo_at: now,
            echo: None,
            asked: 0,
            lost: 0,
            lost_in_a_row: 0,
            probe: Probe::Due(now),
            mtu: None,
            needed: 0,
        }
    }

    fn echo(&mut self, now: Duration, small: u16, mut ask: impl FnMut(u16) -> u32, mut tell: impl FnMut(PathNews)) {
        if now < self.echo_at {
            return;
        }
        if self.echo.take().is_some() {
            self.lost += 1;
            self.lost_in_a_row += 1;
            if self.lost_in_a_row == SILENT {
                tell(PathNews::Silent);
            }
        }
        // Paths whose sessions began together are not asked together: the receiver chose the index at random.
        let first = self.asked == 0;
        let wait = if first { Duration::from_secs(1 + u64::from(self.session) % EVERY.as_secs()) } else { EVERY };
        self.echo_at = now + wait;
        self.echo = Some(ask(small));
        self.asked += 1;
    }

    fn probe(
        &mut self,
        now: Duration,
        small: u16,
        needed: u16,
        mut ask: impl FnMut(u16) -> u32,
        mut tell: impl FnMut(PathNews),
    ) {
        let search = match &mut self.probe {
            _ if needed < small => return,
            Probe::Round(round) if round.search.needed() == needed => {
                let whole = round.passed == round.asked.last().map(|(_, size)| *size);
                if !whole && now < round.ends {
                    return;
                }
                let mut search = round.search;
                match search.round(round.passed) {
                    Outcome::On => search,
                    Outcome::Silent => {
                        self.probe = Probe::Due(now + AGAIN);
                        return;
                    }
                    Outcome::Found(mtu) => return self.found(now, mtu, needed, &mut tell),
                }
            }
            Probe::Due(at) if now < *at && self.needed == needed => return,
            _ => Search::new(small, needed, self.mtu),
        };
        let sizes = search.sizes();
        let asked = sizes.iter().flat_map(|size| [*size; COPIES]).map(|size| (ask(size), size)).collect();
        self.probe = Probe::Round(Box::new(Round { search, ends: now + ROUND, asked, passed: None }));
    }

    fn found(&mut self, now: Duration, mtu: u16, needed: u16, tell: &mut impl FnMut(PathNews)) {
        let narrow = |mtu, needed| Some(mtu).filter(|mtu| *mtu < needed);
        let before = self.mtu.and_then(|mtu| narrow(mtu, self.needed));
        match (before, narrow(mtu, needed)) {
            (before, Some(mtu)) if before != Some(mtu) => tell(PathNews::Narrow { mtu, needed }),
            (Some(_), None) => tell(PathNews::Wide { mtu }),
            _ => {}
        }
        (self.mtu, self.needed) = (Some(mtu), needed);
        self.probe = Probe::Due(now + if mtu < needed { NARROW_EVERY } else { PROBE_EVERY });
    }
}

#[cfg(test)]
mod tests;
