//! What a change in membership means for the table, the streams and the user; and what a change of the table's view does.

use std::time::Duration;

use super::{Cluster, Event, Member, Output, Who};
use crate::id::NodeId;
use crate::membership::{Action, Identity, State};
use crate::objects::ObjectChange;
use crate::table::{Change, NodeRecord};

/// A pause that people should hear of.
const NOTEWORTHY: Duration = Duration::from_secs(1);
/// How long the news of a newcomer waits for its name, which its own record brings.
const NAMELESS: Duration = Duration::from_secs(2);

impl Cluster {
    pub(super) fn act(&mut self, mono: Duration, action: Action) {
        match action {
            Action::Send { to, address, datagram } => self.send(to, address, datagram),
            Action::Changed { now, state, before } => self.member_changed(mono, now, state, before),
            Action::Forgotten(node) => {
                self.unnamed.remove(&node);
                self.presented.remove(&node);
                self.refusals.remove(&node);
                self.roster_changed = true;
                self.neighbours_stale |= self.rings.set(node, false);
                self.outputs.push_back(Output::MemberForgotten(node));
            }
            Action::Returned => self.outputs.push_back(Output::Event(Event::ReturnedHere)),
            Action::Outranked { seen } => {
                let event = self.begin_life(mono, seen);
                self.outputs.push_back(Output::Event(event));
            }
            // Shorter ones are a busy machine's everyday life, and no news.
            Action::Paused(pause) if pause < NOTEWORTHY => {}
            Action::Paused(pause) => self.outputs.push_back(Output::Event(Event::Paused(pause))),
        }
    }

    fn member_changed(&mut self, mono: Duration, now: Identity, state: State, before: Option<(Identity, State)>) {
        match state {
            State::Alive | State::Suspect => {
                // One that had left may come back, in another life.
                self.table.readmit(now.node);
                self.table.unsuspend(mono, now.node);
            }
            State::Dead => self.table.suspend(mono, now.node),
            State::Left => {
                let record = self.table.node(now.node).cloned();
                self.presented.extend(record.map(|record| (now.node, record)));
                self.table.forget(mono, now.node);
            }
        }
        self.neighbours_stale |= self.rings.set(now.node, state.is_active());
        self.roster_changed = true;
        match event(self.who(now.node), &now, state, before) {
            Some(Event::Joined(Who { node, name: None })) => drop(self.unnamed.insert(node, mono + NAMELESS)),
            Some(event) => {
                self.tell_joined(now.node);
                self.outputs.push_back(Output::Event(event));
            }
            None => {}
        }
        let member = self.member(&now, state);
        self.outputs.push_back(Output::MemberChanged(member));
    }

    /// Tells that a node joined, if that is still to be told.
    fn tell_joined(&mut self, node: NodeId) {
        if self.unnamed.remove(&node).is_some() {
            let event = Event::Joined(self.who(node));
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Tells of newcomers whose names do not come.
    pub(super) fn tell_unnamed(&mut self, mono: Duration) {
        let due: Vec<_> = self.unnamed.iter().filter(|(_, at)| **at <= mono).map(|(node, _)| *node).collect();
        due.into_iter().for_each(|node| self.tell_joined(node));
    }

    pub(super) fn object_changed(&mut self, change: ObjectChange) {
        let ObjectChange { kind, id, value } = change;
        self.outputs.push_back(Output::ObjectChanged { kind, id, value });
        self.outputs.push_back(Output::SaveObjects);
    }

    pub(super) fn changed(&mut self, mono: Duration, change: Change) {
        let event = match &change {
            Change::Node { node, record: Some(_) } => {
                // A neighbour may send the log of a node that this one already holds for dead.
                if let Some((_, State::Dead)) = self.membership.get(*node) {
                    self.table.suspend(mono, *node);
                }
                self.presented.remove(node);
                self.roster_changed = true;
                self.tell_joined(*node);
                None
            }
            Change::MacFrozen { vni, mac, owner } => {
                Some(Event::MacFrozen { vni: *vni, mac: *mac, owner: self.who(*owner) })
            }
            Change::MacThawed { vni, mac } => Some(Event::MacThawed { vni: *vni, mac: *mac }),
            Change::DuplicateMac { vni, mac, nodes } => {
                let nodes = nodes.iter().map(|node| self.who(*node)).collect();
                Some(Event::DuplicateMac { vni: *vni, mac: *mac, nodes })
            }
            Change::DuplicateIp { vni, ip, holders } => {
                let holders = holders.iter().map(|(mac, node)| (*mac, self.who(*node))).collect();
                Some(Event::DuplicateIp { vni: *vni, ip: *ip, holders })
            }
            Change::Usurped { incarnation } => Some(self.begin_life(mono, *incarnation)),
            _ => None,
        };
        self.outputs.push_back(Output::Change(change));
        self.outputs.extend(event.map(Output::Event));
    }

    /// Begins a life after the highest that others have seen.
    fn begin_life(&mut self, mono: Duration, seen: u64) -> Event {
        let incarnation = seen.saturating_add(1);
        self.me.origin.incarnation = incarnation;
        self.table.reincarnate(mono, incarnation);
        self.membership.reincarnate(mono, incarnation);
        self.outputs.push_back(Output::SaveIncarnation(incarnation));
        Event::Usurped { incarnation }
    }

    pub(super) fn member(&self, identity: &Identity, state: State) -> Member {
        Member {
            node: identity.node,
            name: self.record(identity.node).map(|record| record.name.clone()),
            address: identity.address,
            incarnation: identity.incarnation,
            state,
        }
    }

    pub(super) fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        if node == self.me.origin.node {
            return Some(&self.me.record);
        }
        self.table.node(node).or_else(|| self.presented.get(&node))
    }

    pub(super) fn who(&self, node: NodeId) -> Who {
        Who { node, name: self.record(node).map(|record| record.name.clone()) }
    }
}

fn event(who: Who, now: &Identity, state: State, before: Option<(Identity, State)>) -> Option<Event> {
    let Some((identity, was)) = before else {
        return state.is_active().then_some(Event::Joined(who));
    };
    match state {
        State::Alive | State::Suspect if was == State::Left => Some(Event::Joined(who)),
        State::Alive | State::Suspect if now.incarnation > identity.incarnation => Some(Event::Restarted(who)),
        State::Alive if was == State::Dead => Some(Event::Returned(who)),
        State::Alive if was == State::Suspect => Some(Event::Cleared(who)),
        State::Suspect if was == State::Alive => Some(Event::Suspected(who)),
        State::Dead if was != State::Dead => Some(Event::Dead(who)),
        State::Left if was != State::Left => Some(Event::Left(who)),
        _ => None,
    }
}
