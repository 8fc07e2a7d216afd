//! The node's figures for its metrics: a copy of counters that are kept elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_control::network::{Mode, Network};
use weft_proto::v1;
use weft_vtep::addr::Vni;
use weft_vtep::path::probe::PathRow;
use weft_vtep::switch::FdbKind;

use super::Node;
use super::state;
use crate::metrics::{Figures, NetworkFigures, PeerFigures};

/// Forwarding entries of a network: local, remote, learned.
type Entries = [usize; 3];

impl Node {
    /// What there is now. Blocks for as long as the forwarding tables take to be read.
    pub(crate) fn figures(&self) -> Figures {
        let (_, compared, agreeing) = self.convergence();
        Figures {
            node: self.identity.name.clone(),
            id: self.identity.id.clone(),
            mode: match self.identity.mode {
                state::Mode::Standalone => "standalone",
                state::Mode::Cluster => "cluster",
            },
            ready: self.is_ready(),
            totals: self.vtep.stats(),
            members: members_by_state(&self.members()),
            compared,
            agreeing,
            certificate_ends: self.certificate_life().map(|(_, end)| end),
            networks: self.network_figures(),
            peers: self.peer_figures(),
            events: self.events.counts(),
        }
    }

    /// Records that something happened. `kind` is a word, `text` one line.
    pub(crate) fn happened(&self, kind: &str, text: String) {
        self.events.record(kind, text);
    }

    /// The latest `count` events, the oldest first.
    pub(crate) fn latest_events(&self, count: usize) -> Vec<v1::Event> {
        self.events.latest(count)
    }

    fn peer_figures(&self) -> Vec<PeerFigures> {
        let paths = self.paths();
        self.session_list().into_iter().map(|session| peer(session, &paths)).collect()
    }

    fn network_figures(&self) -> Vec<NetworkFigures> {
        let mut entries: HashMap<Vni, Entries> = HashMap::new();
        for row in self.vtep.fdb() {
            let kind = match row.kind {
                FdbKind::Local => 0,
                FdbKind::Remote => 1,
                FdbKind::Learned => 2,
            };
            entries.entry(row.vni).or_default()[kind] += 1;
        }
        let tables = self.tables();
        let overlay = |network: &Network| {
            let (up, lost): (Vec<_>, Vec<_>) = tables.endpoints_of(&network.id).partition(|live| live.port.is_some());
            let [local, remote, learned] = entries.get(&network.vni).copied().unwrap_or_default();
            NetworkFigures {
                name: network.name.clone(),
                driver: Network::DRIVER.to_owned(),
                mode: if network.mode == Mode::Plain { "plain" } else { "sealed" },
                mtu: Some(network.mtu.into()),
                up: up.len(),
                lost: lost.len(),
                entries: vec![("local", local), ("remote", remote), ("learned", learned)],
            }
        };
        let overlays: Vec<_> = tables.networks.values().map(overlay).collect();
        drop(tables);
        let of_host = self.local.each(|network, up, lost| NetworkFigures {
            name: network.name.clone(),
            driver: network.driver.name().to_owned(),
            mode: "local",
            mtu: network.mtu,
            up,
            lost,
            entries: Vec::new(),
        });
        overlays.into_iter().chain(of_host).collect()
    }
}

fn members_by_state(members: &[v1::Member]) -> Vec<(&'static str, usize)> {
    let states = [
        ("alive", v1::MemberState::Alive),
        ("suspect", v1::MemberState::Suspect),
        ("dead", v1::MemberState::Dead),
        ("left", v1::MemberState::Left),
    ];
    states.map(|(name, state)| (name, members.iter().filter(|member| member.state() == state).count())).to_vec()
}

fn peer(session: v1::Session, paths: &HashMap<IpAddr, PathRow>) -> PeerFigures {
    PeerFigures {
        path: session.address.parse().ok().and_then(|vtep: IpAddr| paths.get(&vtep)).copied(),
        name: session.peer,
        address: session.address,
        suite: session.suite,
        epoch: session.epoch,
        age_seconds: session.age_seconds,
        sealed: session.sealed,
        opened: session.opened,
        rejected: session.rejected,
    }
}
