//! What the daemon says, and what has changed since it said it before.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use anyhow::Result;
use weft_proto::v1;

use super::state::Tab;
use crate::cli::client::{Client, answer};
use crate::cli::view;

/// Events that are shown at most.
const EVENTS: usize = 200;

/// What is asked for beside what every table needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    tables: bool,
    events: bool,
}

impl Wanted {
    pub(super) fn of(tab: Tab) -> Wanted {
        Wanted { tables: matches!(tab, Tab::Nodes | Tab::Endpoints | Tab::Networks), events: tab == Tab::Events }
    }
}

/// What the daemon says at one moment; what was not asked for is `None`.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) status: view::Status,
    pub(super) members: Vec<view::Member>,
    pub(super) stats: view::Stats,
    pub(super) tables: Option<Tables>,
    pub(super) events: Option<Vec<view::Event>>,
}

/// Networks and stations.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) networks: Vec<view::Network>,
    pub(super) fdb: Vec<view::FdbEntry>,
    pub(super) neighbors: Vec<view::Neighbor>,
}

/// Asks for all that is wanted.
pub(super) async fn ask(client: &mut Client, wanted: Wanted) -> Result<Snapshot> {
    let status = view::Status::from(answer(client.status(v1::StatusRequest {}).await)?);
    let members = answer(client.members(v1::MembersRequest {}).await)?.members;
    let stats = answer(client.stats(v1::StatsRequest {}).await)?.into();
    let tables = if wanted.tables {
        let networks = answer(client.list_networks(v1::ListNetworksRequest {}).await)?.networks;
        let fdb = answer(client.fdb(v1::FdbRequest::default()).await)?.entries;
        // On a node that stands alone nobody says who has which address.
        let neighbors = match client.neighbors(v1::NeighborsRequest::default()).await {
            Ok(answer) => answer.into_inner().neighbors,
            Err(_) => Vec::new(),
        };
        Some(Tables {
            networks: networks.into_iter().map(Into::into).collect(),
            fdb: fdb.into_iter().map(Into::into).collect(),
            neighbors: neighbors.into_iter().map(Into::into).collect(),
        })
    } else {
        None
    };
    let events = if wanted.events { Some(latest_events(client).await?) } else { None };
    Ok(Snapshot { status, members: members.into_iter().map(Into::into).collect(), stats, tables, events })
}

async fn latest_events(client: &mut Client) -> Result<Vec<view::Event>> {
    let mut stream = answer(client.events(v1::EventsRequest { follow: false }).await)?;
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(event.into());
    }
    Ok(events.split_off(events.len().saturating_sub(EVENTS)))
}

/// What changes in a second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Bytes out and in.
    pub(super) bytes: [f64; 2],
    /// Frames out and in.
    pub(super) frames: [f64; 2],
    /// Frames, by reason.
    pub(super) drops: BTreeMap<String, f64>,
    /// Datagrams sealed and opened, by the peer's address.
    pub(super) peers: HashMap<String, [f64; 2]>,
}

impl Rates {
    /// How `after` differs from `before`, `seconds` earlier. A counter that has fallen is a new one: of a new session, or
    /// of a daemon that was started again; it says nothing yet.
    fn between(before: &Snapshot, after: &Snapshot, seconds: f64) -> Rates {
        let rate = |from: u64, to: u64| to.checked_sub(from).map_or(0.0, |grown| grown as f64 / seconds);
        let (then, now) = (&before.stats.totals, &after.stats.totals);
        let drops = &before.stats.drops;
        let peers: HashMap<_, _> = before.status.sessions.iter().map(|session| (&session.address, session)).collect();
        Rates {
            bytes: [rate(then.tx_bytes, now.tx_bytes), rate(then.rx_bytes, now.rx_bytes)],
            frames: [rate(then.tx_frames, now.tx_frames), rate(then.rx_frames, now.rx_frames)],
            drops: after
                .stats
                .drops
                .iter()
                .map(|(reason, count)| (reason.clone(), drops.get(reason).map_or(0.0, |then| rate(*then, *count))))
                .collect(),
            peers: after
                .status
                .sessions
                .iter()
                .filter_map(|now| {
                    let then = peers.get(&now.address)?;
                    Some((now.address.clone(), [rate(then.sealed, now.sealed), rate(then.opened, now.opened)]))
                })
                .collect(),
        }
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) last: Option<Snapshot>,
    pub(super) rates: Rates,
    pub(super) tables: Tables,
    pub(super) events: Vec<view::Event>,
    /// Why there is no answer; what is shown is old then.
    pub(super) lost: Option<String>,
    at: Option<Instant>,
}

impl Model {
    /// Takes what was said at `now`.
    pub(super) fn take(&mut self, mut snapshot: Snapshot, now: Instant) {
        if let (Some(before), Some(at), None) = (&self.last, self.at, &self.lost) {
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            // Two looks within a moment, as after a key, would tell rates of nothing.
            if seconds < 0.05 {
                self.keep(&mut snapshot);
                return;
            }
            self.rates = Rates::between(before, &snapshot, seconds);
        }
        self.keep(&mut snapshot);
        (self.last, self.at, self.lost) = (Some(snapshot), Some(now), None);
    }

    fn keep(&mut self, snapshot: &mut Snapshot) {
        self.tables = snapshot.tables.take().unwrap_or(std::mem::take(&mut self.tables));
        self.events = snapshot.events.take().unwrap_or(std::mem::take(&mut self.events));
    }

    /// There was no answer.
    pub(super) fn lose(&mut self, why: String) {
        (self.lost, self.rates) = (Some(why), Rates::default());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// What a node of a cluster of two says that has sent and dropped so many frames.
    pub(in crate::cli::top) fn snapshot(sent: u64, dropped: u64) -> Snapshot {
        let session = v1::Session {
            peer: "node2".into(),
            address: "192.0.2.2".into(),
            suite: "aes-256-gcm".into(),
            sealed: sent,
            path: Some(v1::Path { rtt_us: Some(249), mtu: Some(1500), ..v1::Path::default() }),
            ..v1::Session::default()
        };
        let status = v1::StatusResponse {
            node: "node1".into(),
            id: "1".into(),
            advertise: "192.0.2.1".into(),
            ready: true,
            members_alive: 2,
            members_compared: 2,
            members_agreeing: 2,
            sessions: vec![session],
            ..v1::StatusResponse::default()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let started = now - Duration::from_secs(7200);
        let member = |n: u32, state: v1::MemberState| v1::Member {
            name: format!("node{n}"),
            id: n.to_string(),
            address: format!("192.0.2.{n}"),
            state: state.into(),
            version: "0.9.0".into(),
            // An earlier daemon does not say when they started.
            started: (n == 1).then_some(started.as_millis() as u64),
            ..v1::Member::default()
        };
        let members = [member(1, v1::MemberState::Alive), member(2, v1::MemberState::Suspect)];
        let drops = [("replay".to_owned(), 0), ("storm_limit".to_owned(), dropped)].into();
        let stats = v1::StatsResponse { tx_frames: sent, tx_bytes: sent * 1000, drops, ..v1::StatsResponse::default() };
        let fdb = v1::FdbEntry {
            network: "blue".into(),
            vni: 4096,
            mac: vec![2, 0, 0, 0, 0, 1],
            kind: v1::FdbKind::Remote.into(),
            place: Some(v1::fdb_entry::Place::Vtep("192.0.2.2".into())),
        };
        let event = v1::Event { number: 1, time: 0, kind: "member_joined".into(), text: "node2 joined".into() };
        Snapshot {
            status: status.into(),
            members: members.into_iter().map(Into::into).collect(),
            stats: stats.into(),
            tables: Some(Tables { fdb: vec![fdb.into()], ..Tables::default() }),
            events: Some(vec![event.into()]),
        }
    }

    /// One that was asked twice, a second apart.
    pub(in crate::cli::top) fn model() -> Model {
        let (mut model, start) = (Model::default(), Instant::now());
        model.take(snapshot(1000, 5), start);
        model.take(snapshot(3000, 25), start + Duration::from_secs(2));
        model
    }

    #[test]
    fn rates_are_of_the_last_two_answers() {
        let mut model = model();
        assert_eq!((model.rates.frames, model.rates.bytes), ([1000.0, 0.0], [1e6, 0.0]));
        assert_eq!((model.rates.drops["storm_limit"], model.rates.drops["replay"]), (10.0, 0.0));
        assert_eq!(model.rates.peers["192.0.2.2"], [1000.0, 0.0]);
        // The daemon was away, and counts from the start: nothing is known of the time between.
        model.lose("gone".into());
        assert_eq!(model.rates.frames, [0.0; 2]);
        model.take(snapshot(10, 0), Instant::now() + Duration::from_secs(9));
        assert_eq!((model.rates.frames, model.lost), ([0.0; 2], None));
    }

    #[test]
    fn what_was_not_asked_for_stays_as_it_was() {
        let mut model = model();
        let later = Snapshot { tables: None, events: None, ..snapshot(4000, 25) };
        model.take(later, Instant::now() + Duration::from_secs(60));
        assert_eq!((model.tables.fdb.len(), model.events.len()), (1, 1));
    }
}
