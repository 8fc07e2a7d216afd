//! Sessions of the data plane with other members: made ahead for those that share a network, on demand for others, anew
//! when one is old, worn, or its peer has begun another life.
//!
//! One session per direction. The sender asks by a call over mutual TLS 1.3, which says who each side is and keeps both
//! contributions secret; the receiver can open before it answers. Two calls that cross make two sessions, one each way,
//! and need no tie-break.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tonic::Status;
use weft_control::cluster::Input;
use weft_control::id::NodeId;
use weft_control::membership::State;
use weft_control::table::Change;
use weft_proto::v1;
use weft_vtep::io::Wanted;
use weft_vtep::path::probe::PathRow;
use weft_vtep::seal::PeerId;
use weft_vtep::seal::handshake::{CONTRIBUTION, SessionKeys, Terms};
use weft_vtep::seal::suite::Suite;
use weft_vtep::seal::table::{Direction, SessionRow};

use super::{Membership, paths};
use crate::node::Node;

/// The longest wait before a peer is asked again; the first waits are shorter.
const BACK_OFF: Duration = Duration::from_secs(5);
/// All nodes that lost a peer ask it at once when it is back: not in the same moment.
const JITTER: Duration = Duration::from_millis(50);

/// What is known of the sessions beside the data plane's own table.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The suites of this node, best first.
    suites: [Suite; 2],
    state: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Peers that are being asked.
    asking: HashSet<NodeId>,
    /// Which of its lives a peer had when the session to it was made.
    lives: HashMap<NodeId, u64>,
    /// Datagrams opened of each peer, when last looked at.
    opened: HashMap<NodeId, u64>,
}

impl Sessions {
    /// None yet; `first` is the suite that the node shall like best, whatever its CPU does.
    pub(super) fn new(first: Option<Suite>) -> Self {
        let mut suites = Suite::preferred();
        if first.is_some_and(|first| suites[0] != first) {
            suites.reverse();
        }
        Sessions { suites, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Makes the sessions that the data plane asks for, for as long as the daemon lives.
    pub(in crate::node) async fn keep_sessions(self: Arc<Self>) {
        // Deprecated for types whose descriptor may change; an owned one does not.
        #[allow(deprecated)]
        let event = self.vtep.wanted_event().try_clone_to_owned().and_then(AsyncFd::new);
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::error!("no session can be made when it is wanted: {error}");
                return;
            }
        };
        loop {
            match event.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(error) => return tracing::error!("the data plane asks for no sessions any more: {error}"),
            }
            for wanted in self.vtep.wanted() {
                match wanted {
                    Wanted::Rekey(peer, _) => self.ask_for_session(NodeId(peer.0)),
                    Wanted::Session(vtep) => {
                        if let Some(peer) = self.membership.as_ref().and_then(|m| m.member_at(vtep)) {
                            self.ask_for_session(peer);
                        }
                    }
                }
            }
        }
    }

    /// Makes a session in which this node sends to a peer, soon, unless that is under way.
    fn ask_for_session(self: &Arc<Self>, peer: NodeId) {
        let Some(membership) = self.membership.clone() else { return };
        if peer == membership.me || !membership.sessions.lock().asking.insert(peer) {
            return;
        }
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let mut wait = Duration::from_millis(100);
            while let Err(status) = node.make_session(&membership, peer).await {
                tracing::debug!("no session with {peer}: {}", status.message());
                if !membership.is_there(peer) {
                    break;
                }
                sleep(wait + jitter()).await;
                wait = (2 * wait).min(BACK_OFF);
            }
            membership.sessions.lock().asking.remove(&peer);
        });
    }

    async fn make_session(&self, membership: &Membership, peer: NodeId) -> Result<(), Status> {
        let address = membership.vtep_of(peer).ok_or_else(|| Status::not_found("its VTEP is not known"))?;
        let mine = contribution()?;
        let lanes = self.vtep.lanes();
        let request = v1::OpenSessionRequest {
            random: mine.to_vec(),
            suites: membership.sessions.suites.map(Suite::number).to_vec(),
            lanes: lanes.into(),
            incarnation: self.incarnation(),
        };
        let answer = membership.call(peer, |mut client| async move { client.open_session(request).await }).await?;
        let suite = Suite::of_number(answer.suite).ok_or_else(|| Status::unimplemented("it chose an unknown suite"))?;
        let terms = Terms { sender: PeerId(membership.me.0), receiver: PeerId(peer.0), suite, lanes };
        let keys = SessionKeys::derive(terms, &mine[..], &answer.random);
        let keys = keys.map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Some(log) = self.key_log.get() {
            log.write(&keys, answer.receiver_index, &self.events);
        }
        let installed = self.vtep.install_send(address, &keys, answer.receiver_index);
        installed.map_err(|error| Status::internal(error.to_string()))?;
        membership.sessions.lock().lives.insert(peer, answer.incarnation);
        Ok(())
    }

    /// Agrees to a session in which a peer sends.
    pub(super) fn accept_session(
        &self,
        membership: &Membership,
        peer: NodeId,
        asked: &v1::OpenSessionRequest,
    ) -> Result<v1::OpenSessionResponse, Status> {
        let unknown = || Status::failed_precondition("this node does not know where the caller's VTEP is yet");
        let address = membership.vtep_of(peer).ok_or_else(unknown)?;
        let theirs: Vec<_> = asked.suites.iter().filter_map(|number| Suite::of_number(*number)).collect();
        let none = || Status::failed_precondition("there is no suite that both can use");
        let suite = Suite::agree(&membership.sessions.suites, &theirs).ok_or_else(none)?;
        let wrong = |error: &dyn std::error::Error| Status::invalid_argument(error.to_string());
        let lanes = u16::try_from(asked.lanes).map_err(|error| wrong(&error))?;
        let terms = Terms { sender: PeerId(peer.0), receiver: PeerId(membership.me.0), suite, lanes };
        let mine = contribution()?;
        let keys = SessionKeys::derive(terms, &asked.random, &mine[..]).map_err(|error| wrong(&error))?;
        let installed = self.vtep.install_receive(address, &keys);
        let receiver_index = installed.map_err(|error| Status::unavailable(error.to_string()))?;
        if let Some(log) = self.key_log.get() {
            log.write(&keys, receiver_index, &self.events);
        }
        Ok(v1::OpenSessionResponse {
            random: mine.to_vec(),
            suite: suite.number(),
            receiver_index,
            incarnation: self.incarnation(),
        })
    }

    /// A stream with a peer is up: a peer that has begun another life has forgotten its keys.
    pub(super) fn greeted(self: &Arc<Self>, membership: &Membership, peer: NodeId, incarnation: u64) {
        let known = membership.sessions.lock().lives.get(&peer).copied();
        if known.is_some_and(|life| life != incarnation) {
            membership.sessions.lock().lives.remove(&peer);
            self.vtep.drop_send(PeerId(peer.0));
            self.ask_for_session(peer);
        }
    }

    /// A peer is gone for good: nothing of it is opened any more.
    pub(super) fn end_sessions(&self, membership: &Membership, peer: NodeId) {
        self.vtep.drop_sessions(PeerId(peer.0));
        membership.sessions.lock().lives.remove(&peer);
    }

    /// Makes sessions ahead, with those that a sealed network is shared with.
    pub(super) fn share(self: &Arc<Self>, membership: &Membership, change: &Change) {
        let Change::Member { vni, node, present: true } = *change else { return };
        let sealed = |n: &weft_control::network::Network| n.vni == vni && n.mode == weft_control::network::Mode::Sealed;
        if !self.tables().networks.values().any(sealed) {
            return;
        }
        let members: Vec<_> = membership.core.look(|cluster| cluster.table().members(vni).collect());
        if !members.contains(&membership.me) {
            return;
        }
        let with = if node == membership.me { members } else { vec![node] };
        for peer in with.into_iter().filter(|peer| *peer != membership.me) {
            if !membership.sessions.lock().lives.contains_key(&peer) {
                self.ask_for_session(peer);
            }
        }
    }

    /// Tells the core whose data path spoke since the last time.
    pub(super) fn hear(&self, membership: &Membership) {
        let rows = self.vtep.session_rows();
        let mut opened: HashMap<NodeId, u64> = HashMap::new();
        for row in rows.iter().filter(|row| row.direction == Direction::Receive) {
            *opened.entry(NodeId(row.peer.0)).or_default() += row.datagrams;
        }
        let before = std::mem::replace(&mut membership.sessions.lock().opened, opened.clone());
        let spoke = opened.into_iter().filter(|(peer, count)| before.get(peer).is_some_and(|old| count > old));
        membership.core.tell_all(spoke.map(|(peer, _)| Input::Heard { peer }));
    }

    /// The sessions, as the user sees them: one line for each peer.
    pub(in crate::node) fn session_list(&self) -> Vec<v1::Session> {
        let Some(membership) = &self.membership else { return Vec::new() };
        let mut by_peer: BTreeMap<PeerId, Vec<SessionRow>> = BTreeMap::new();
        for row in self.vtep.session_rows() {
            by_peer.entry(row.peer).or_default().push(row);
        }
        let paths = self.paths();
        let one = |(peer, rows): (PeerId, Vec<SessionRow>)| one_peer(membership, NodeId(peer.0), &rows, &paths);
        by_peer.into_iter().filter_map(one).collect()
    }

    /// Makes every session anew. Returns how many peers that is with.
    pub(in crate::node) fn rekey(&self) -> Result<u32, crate::node::NodeError> {
        self.cluster()?;
        let sending = |row: &SessionRow| row.direction == Direction::Send;
        let peers = self.vtep.session_rows().iter().filter(|row| sending(row)).count();
        self.vtep.rekey();
        Ok(u32::try_from(peers).unwrap_or(u32::MAX))
    }
}

fn one_peer(
    membership: &Membership,
    peer: NodeId,
    rows: &[SessionRow],
    paths: &HashMap<IpAddr, PathRow>,
) -> Option<v1::Session> {
    let (send, receive): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.direction == Direction::Send);
    let newest = send.last().or(receive.last())?;
    let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in receive.iter().flat_map(|row| row.rejected()) {
        *rejected.entry(reason.name().to_owned()).or_default() += count;
    }
    let name = membership.core.look(|cluster| cluster.table().node(peer).map(|record| record.name.clone()));
    Some(v1::Session {
        peer: name.unwrap_or_else(|| peer.to_string()),
        address: newest.address.to_string(),
        suite: newest.suite.name().to_owned(),
        epoch: newest.epoch.into(),
        age_seconds: newest.age.as_secs(),
        sealed: send.iter().map(|row| row.datagrams).sum(),
        opened: receive.iter().map(|row| row.datagrams).sum(),
        rejected,
        path: paths.get(&newest.address).map(paths::to_wire),
    })
}

impl Membership {
    pub(super) fn vtep_of(&self, node: NodeId) -> Option<IpAddr> {
        self.core.look(|cluster| {
            let told = cluster.table().node(node).map(|record| record.address);
            told.or_else(|| cluster.members().find(|member| member.node == node).map(|member| member.address.ip()))
        })
    }

    /// The member whose VTEP has this address.
    pub(super) fn member_at(&self, vtep: IpAddr) -> Option<NodeId> {
        self.core.look(|cluster| {
            let there = cluster.members().filter(|member| member.state.is_active() && member.node != self.me);
            let at = |node: NodeId| cluster.table().node(node).is_some_and(|record| record.address == vtep);
            there.map(|member| member.node).find(|node| at(*node))
        })
    }

    /// Whether a member may answer.
    fn is_there(&self, node: NodeId) -> bool {
        let active = |state: State| state.is_active();
        self.core.look(|cluster| cluster.members().any(|member| member.node == node && active(member.state)))
    }
}

/// This side's part of the keys.
fn contribution() -> Result<zeroize::Zeroizing<[u8; CONTRIBUTION]>, Status> {
    let mut bytes = zeroize::Zeroizing::new([0; CONTRIBUTION]);
    let filled = OsRng.try_fill_bytes(&mut bytes[..]);
    filled.map_err(|error| Status::unavailable(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn jitter() -> Duration {
    rand::rng().random_range(Duration::ZERO..JITTER)
}
