//! Does what the core asks for: frames out, streams up and down, the data plane told, the user told, the disk written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use weft_control::cluster::{Event, Input, Member, Output};
use weft_control::membership::State;
use weft_control::objects::Kind;
use weft_control::security::credentials::Credentials;
use weft_control::security::key::NodeKey;
use weft_control::table::Change;
use weft_proto::v1;

use super::admission::SIGNERS;
use super::bridge::Directory;
use super::trusted::appointment;
use super::{Membership, store};
use crate::node::Node;

/// How far apart members ask for certificates of a new CA.
const EACH: Duration = Duration::from_millis(10);

/// What is to be written to disk.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    denied: AtomicBool,
    objects: AtomicBool,
    roster: AtomicBool,
    blocks: AtomicBool,
    some: Notify,
}

/// Writes are gathered for so long.
const GATHER: Duration = Duration::from_millis(200);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(5);
/// How long to wait before another try for a certificate or the CA's key.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Node {
    /// Does what the core asks for, for as long as the daemon lives.
    pub(in crate::node) async fn drive(self: Arc<Self>) {
        let Some(membership) = self.membership.clone() else { return };
        let (mut directory, mut updates) = (Directory::default(), Vec::new());
        loop {
            for output in membership.core.outputs().await {
                match output {
                    Output::Change(change) => {
                        membership.core.look(|cluster| directory.translate(cluster, &change, &mut updates));
                        self.share(&membership, &change);
                        match change {
                            Change::Ip { vni, ip, holder: Some((_, owner)) } => {
                                membership.address_recorded(&self, vni, ip, owner);
                            }
                            Change::Name { vni, name, addresses } => self.names.set(vni, name, addresses),
                            _ => {}
                        }
                    }
                    Output::Send { peer, frame } => membership.streams.send(peer, frame),
                    Output::SendSwim { peer, address, datagram } => self.send_datagram(peer, address, datagram),
                    Output::Connect { peer, address } => self.dial(peer, address),
                    Output::Disconnect { peer } => {
                        membership.streams.end(peer);
                        membership.hang_up(peer);
                    }
                    Output::ObjectChanged { kind, id, .. } => self.object_changed(&membership, kind, &id),
                    Output::Event(event) => self.events.record(event.kind(), event.to_string()),
                    Output::NotPut { error, .. } => self.events.record("not_announced", error.to_string()),
                    Output::ObjectNotPut { error, .. } => self.events.record("object_refused", error.to_string()),
                    Output::SaveObjects => membership.unsaved.mark(&membership.unsaved.objects),
                    Output::SaveRoster => membership.unsaved.mark(&membership.unsaved.roster),
                    Output::SaveIncarnation(_) => self.save_incarnation(),
                    Output::MemberForgotten(node) => {
                        membership.hang_up(node);
                        self.end_sessions(&membership, node);
                    }
                    // `weft leave` ends the daemon when it has cleared up.
                    Output::Left => {}
                    Output::MemberChanged(member) => {
                        // Its id is over: who comes to its address is another, with sessions of its own.
                        if member.state == State::Left {
                            self.end_sessions(&membership, member.node);
                        }
                        membership.share_key(&member);
                    }
                }
            }
            if !updates.is_empty() {
                self.vtep.apply(&updates);
                updates.clear();
            }
        }
    }

    fn object_changed(self: &Arc<Self>, membership: &Arc<Membership>, kind: Kind, id: &str) {
        match kind {
            Kind::Network => membership.networks_changed.notify_one(),
            Kind::Token => {}
            Kind::Denied => self.denied_changed(membership),
            Kind::Ca => {
                self.trust_changed(membership);
                let node = Arc::clone(self);
                tokio::spawn(async move { node.follow_appointment().await });
            }
            Kind::Signer if id.parse() == Ok(membership.me) => {
                let node = Arc::clone(self);
                tokio::spawn(async move { node.follow_appointment().await });
            }
            // Of the last a later version makes something.
            Kind::Signer | Kind::Other(_) => {}
        }
    }

    /// Takes the key of the CA in force from another signer, or lets go of that of an earlier one.
    ///
    /// An appointment that is gone is no reason to let go: every member could take them all away, and nobody would be left
    /// to admit anyone. Who dismisses a signer puts another CA in force.
    async fn follow_appointment(self: Arc<Self>) {
        let Some(membership) = self.membership.clone() else { return };
        if membership.has_ca_in_force() {
            return;
        }
        if !membership.is_named_signer() {
            if membership.authority().is_some() {
                membership.set_authority(None);
                self.save_secrets(&membership);
                self.present(&membership);
            }
            return;
        }
        while membership.is_named_signer() && !membership.has_ca_in_force() {
            match membership.fetch_authority().await {
                Some(_) if membership.has_ca_in_force() => {}
                Some(authority) => {
                    let new = membership.authority().is_none();
                    membership.set_authority(Some(Arc::new(authority)));
                    self.save_secrets(&membership);
                    self.present(&membership);
                    if new {
                        self.events.record("signer", format!("{} is a signer now", self.identity.name));
                    }
                }
                None => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Says of this node what it is now.
    pub(super) fn present(&self, membership: &Membership) {
        let record = self.record(membership.authority().is_some());
        let value = weft_control::table::Value::Node(Box::new(record));
        membership.core.tell(Input::Put(weft_control::table::Key::Node, value));
    }

    /// Renews the certificate at half of its life, and when another CA is in force: who holds a token of that one alone
    /// accepts no certificate that is many CAs old.
    pub(in crate::node) async fn renew(self: Arc<Self>) {
        let Some(membership) = self.membership.clone() else { return };
        loop {
            let credentials = membership.trust.credentials();
            let wait = credentials.renew_in(SystemTime::now());
            if !wait.is_zero() {
                tokio::select! {
                    // Not all at once: a suspended host's clock jumps.
                    () = sleep(wait.min(Duration::from_secs(3600))) => {}
                    () = membership.ca_changed.notified() => sleep(membership.after_a_change()).await,
                }
                continue;
            }
            match self.renewed(&membership).await {
                Ok(()) => self.events.record("renewed", "this node has a new certificate".to_owned()),
                Err(why) => {
                    let kind = if credentials.not_after() <= SystemTime::now() {
                        "certificate_expired"
                    } else {
                        "renewal_failed"
                    };
                    self.events.record(kind, format!("this node's certificate cannot be renewed: {why}"));
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    async fn renewed(self: &Arc<Self>, membership: &Membership) -> anyhow::Result<()> {
        let old = membership.trust.credentials();
        let key = NodeKey::generate();
        let request = key.request(old.identity());
        let certificate = match membership.authority() {
            Some(authority) => {
                let permit = weft_control::security::ca::Permit::Renewal(membership.me);
                authority.sign(&request, &permit, SystemTime::now())?
            }
            None => {
                let ask = || v1::SignRequest { request: request.clone(), ..v1::SignRequest::default() };
                let asked = membership.ask_signers(ask).await;
                asked.map_err(|status| anyhow::anyhow!("{}", status.message()))?.certificate
            }
        };
        let roots = membership.roots();
        let new = Credentials::new(&key, &certificate, &roots)?;
        let now = SystemTime::now();
        let due = new.renew_in(now).is_zero();
        if new.is_better_than(&old, now) {
            membership.trust.swap(new);
            self.save_secrets(membership);
        }
        anyhow::ensure!(
            !due,
            "what a signer gave is to be renewed at once: this host's clock or that one's is wrong, the CA ends soon, or \
             that signer has not heard of the one in force"
        );
        Ok(())
    }

    fn save_incarnation(self: &Arc<Self>) {
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let turn = node.turn().await;
            let save = spawn_blocking(move || {
                let _turn = turn;
                if let Err(error) = node.dir.save(&node.state()) {
                    node.events.record("not_saved", error.to_string());
                }
            });
            let _ = save.await;
        });
    }

    /// Writes what changed to the disk, soon after it did.
    pub(in crate::node) async fn keep_saved(self: Arc<Self>) {
        let Some(membership) = self.membership.clone() else { return };
        let mut failing = false;
        loop {
            membership.unsaved.some.notified().await;
            sleep(GATHER).await;
            let node = Arc::clone(&self);
            let saved = spawn_blocking(move || node.save_cluster()).await;
            match saved {
                Ok(Ok(())) if failing => {
                    failing = false;
                    self.events.record("saved", "the cluster's state can be written again".to_owned());
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut failing, true) {
                        self.events.record("not_saved", format!("{error}; the node goes on, and tries again"));
                    }
                    sleep(RETRY).await;
                    membership.unsaved.some.notify_one();
                }
                Err(_) => tracing::error!("writing the cluster's state failed"),
            }
        }
    }

    /// Writes what changed of the cluster's state. Blocks.
    pub(super) fn save_cluster(&self) -> Result<(), crate::node::state::StateError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let unsaved = &membership.unsaved;
        if unsaved.denied.swap(false, Ordering::AcqRel) {
            let denied = membership.denied();
            store::save_denied(&self.dir, &denied).inspect_err(|_| unsaved.denied.store(true, Ordering::Release))?;
        }
        if unsaved.objects.swap(false, Ordering::AcqRel) {
            let objects: Vec<_> = membership.core.look(|cluster| cluster.objects().all().collect());
            store::save_objects(&self.dir, &objects).inspect_err(|_| unsaved.objects.store(true, Ordering::Release))?;
        }
        if unsaved.roster.swap(false, Ordering::AcqRel) {
            let roster = membership.core.look(|cluster| cluster.roster());
            store::save_roster(&self.dir, &roster).inspect_err(|_| unsaved.roster.store(true, Ordering::Release))?;
        }
        if unsaved.blocks.swap(false, Ordering::AcqRel) {
            let blocks = membership.owned_blocks();
            store::save_blocks(&self.dir, &blocks).inspect_err(|_| unsaved.blocks.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    /// Takes the cluster's networks over as they change, and lets time pass for addresses.
    pub(in crate::node) async fn follow_networks(self: Arc<Self>) {
        let Some(membership) = self.membership.clone() else { return };
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = membership.networks_changed.notified() => {
                    let (turn, node) = (self.turn().await, Arc::clone(&self));
                    let adopting = spawn_blocking(move || {
                        let _turn = turn;
                        node.adopt_networks();
                    });
                    if adopting.await.is_err() {
                        tracing::error!("taking over the cluster's networks failed");
                    }
                }
                _ = seconds.tick() => self.second_passed(&membership),
            }
        }
    }

    fn second_passed(&self, membership: &Arc<Membership>) {
        self.announce_trusted(membership);
        self.hear(membership);
        self.tell_paths(membership);
        for conflict in membership.tick_blocks(self) {
            self.events.record("address_conflict", conflict);
        }
    }
}

impl Membership {
    /// How long a member waits before it asks for a certificate of a new CA: the signers fetch its key first, and all
    /// members ask.
    fn after_a_change(&self) -> Duration {
        let members = self.core.look(|cluster| cluster.members().count());
        Duration::from_secs(1) + EACH * rand::random_range(0..=members as u32)
    }
}

impl Unsaved {
    fn mark(&self, what: &AtomicBool) {
        what.store(true, Ordering::Release);
        self.some.notify_one();
    }

    pub(super) fn mark_denied(&self) {
        self.mark(&self.denied);
    }

    pub(super) fn mark_objects(&self) {
        self.mark(&self.objects);
    }

    pub(super) fn mark_blocks(&self) {
        self.mark(&self.blocks);
    }
}

impl Membership {
    /// The first members hold the CA's key, so that no single host's loss ends joins and renewals. One that was taken off
    /// the list stays off.
    fn share_key(&self, member: &Member) {
        if member.state != State::Alive {
            return;
        }
        let Some(authority) = self.authority() else { return };
        let id = member.node.to_string();
        let due = self.core.look(|cluster| {
            let signers = cluster.objects().iter(Kind::Signer).count();
            let unknown = cluster.objects().object(Kind::Signer, &id).is_none();
            unknown && signers < SIGNERS && cluster.members().count() <= SIGNERS
        });
        if due {
            self.core.tell(appointment(&authority, member.node));
        }
    }

    fn is_named_signer(&self) -> bool {
        self.appointed().contains(&self.me)
    }
}

/// A word for each kind of event.
pub(super) trait Word {
    /// The word.
    fn kind(&self) -> &'static str;
}

impl Word for Event {
    fn kind(&self) -> &'static str {
        match self {
            Event::Joined(_) => "member_joined",
            Event::Restarted(_) => "member_restarted",
            Event::Suspected(_) => "member_suspect",
            Event::Cleared(_) => "member_alive",
            Event::Dead(_) => "member_dead",
            Event::Returned(_) => "member_returned",
            Event::Left(_) => "member_left",
            Event::Evicted(_) => "member_removed",
            Event::EvictedHere => "removed",
            Event::ReturnedHere => "returned",
            Event::Paused(_) => "paused",
            Event::Usurped { .. } => "usurped",
            Event::Incompatible { .. } => "incompatible",
            Event::Refused { .. } => "refused",
            Event::Clock { ahead_ms: Some(_), .. } => "clock_off",
            Event::Clock { ahead_ms: None, .. } => "clock_right",
            Event::MacFrozen { .. } => "mac_frozen",
            Event::MacThawed { .. } => "mac_thawed",
            Event::DuplicateMac { .. } => "duplicate_mac",
            Event::DuplicateIp { .. } => "duplicate_ip",
            _ => "other",
        }
    }
}
