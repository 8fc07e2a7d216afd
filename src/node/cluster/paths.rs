//! What the data plane's echoes find out about the paths to other members, for the user.

use std::collections::HashMap;
use std::net::IpAddr;

use weft_control::membership::State;
use weft_proto::v1;
use weft_vtep::path::probe::{PathNews, PathRow};

use super::Membership;
use crate::node::Node;

impl Node {
    /// The paths to the VTEPs that this node has sessions with.
    pub(in crate::node) fn paths(&self) -> HashMap<IpAddr, PathRow> {
        self.vtep.paths().into_iter().map(|path| (path.vtep, path)).collect()
    }

    /// Tells what has changed, as events.
    pub(super) fn tell_paths(&self, membership: &Membership) {
        for (vtep, news) in self.vtep.path_news() {
            let (kind, text) = told(&membership.peer_at(vtep), news);
            // That a dead member answers nothing is no news.
            if news != PathNews::Silent || membership.is_alive_at(vtep) {
                self.events.record(kind, text);
            }
        }
    }
}

impl Membership {
    /// The name and VTEP of a peer; of one that is no member, the VTEP alone.
    pub(in crate::node) fn peer_at(&self, vtep: IpAddr) -> String {
        let name = self
            .member_at(vtep)
            .and_then(|node| self.core.look(|cluster| cluster.table().node(node).map(|record| record.name.clone())));
        name.map_or_else(|| vtep.to_string(), |name| format!("{name} ({vtep})"))
    }

    fn is_alive_at(&self, vtep: IpAddr) -> bool {
        let Some(node) = self.member_at(vtep) else { return false };
        self.core.look(|cluster| cluster.members().any(|member| member.node == node && member.state == State::Alive))
    }
}

fn told(peer: &str, news: PathNews) -> (&'static str, String) {
    match news {
        PathNews::Narrow { mtu, needed } => (
            "path_narrow",
            format!(
                "the path to {peer} loses datagrams above {mtu} bytes without a word, and the networks here need {needed}; \
                 containers are told to send smaller packets there, which not all heed: let the underlay carry {needed} \
                 bytes, or make the networks anew with an --mtu that is {} smaller",
                needed - mtu
            ),
        ),
        PathNews::Wide { mtu } => ("path_wide", format!("the path to {peer} carries {mtu} bytes, as is needed")),
        PathNews::Silent => (
            "path_silent",
            format!(
                "{peer} answers no echo through the tunnel, though it is a member: see whether a firewall lets UDP of \
                 the VXLAN port through, both ways"
            ),
        ),
        PathNews::Answers => ("path_answers", format!("{peer} answers echoes through the tunnel again")),
    }
}

/// A path, as the user sees it.
pub(super) fn to_wire(path: &PathRow) -> v1::Path {
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    v1::Path {
        rtt_us: path.latency.map(|latency| micros(latency.rtt)),
        rtt_min_us: path.latency.map(|latency| micros(latency.min)),
        rtt_p99_us: path.latency.map(|latency| micros(latency.p99)),
        echoes: path.echoes.0,
        echoes_lost: path.echoes.1,
        silent: path.silent,
        mtu: path.mtu.map(u32::from),
        mtu_needed: path.needed.into(),
    }
}
