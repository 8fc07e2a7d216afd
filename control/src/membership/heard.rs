//! News that is none.
//!
//! Each piece of news comes to a member some twenty times, and for each foca looks through all members. Among a thousand of
//! whom some always stall, that costs more than all else; so what cannot change anything any more is taken out of a
//! datagram before foca sees it.

use std::collections::HashMap;

use bytes::{Buf as _, BufMut as _};
use foca::{Codec as _, Header, Identity as _, Member, Message, State};

use super::codec::Wire;
use super::identity::Identity;
use super::swim::DATAGRAM_BYTES;
use crate::id::NodeId;

/// For each node, news of it that foca has taken. What foca holds of it is that, or follows from something later.
#[derive(Debug, Default)]
pub(super) struct Heard(HashMap<NodeId, Member<Identity>>);

impl Heard {
    /// The datagram without news that is none, if that is shorter. Only for one whose news foca will take. `rest` is what
    /// follows `header` in it.
    pub(super) fn without_old(&mut self, header: &Header<Identity>, datagram: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
        let bare = matches!(header.message, Message::Announce | Message::Broadcast);
        if bare || rest.len() < 2 || datagram.len() > DATAGRAM_BYTES.get() {
            return None;
        }
        let mut from = rest;
        let count = from.get_u16();
        let mut kept = datagram[..datagram.len() - rest.len()].to_vec();
        let tally = kept.len();
        kept.put_u16(0);
        let mut fresh = Vec::new();
        for _ in 0..count {
            let before = from;
            // Malformed: foca refuses all of it.
            let member = Wire.decode_member(&mut from).ok()?;
            let node = member.id().node;
            // What is said of this node itself it may have to answer each time.
            if node == header.dst.node || self.0.get(&node).is_none_or(|heard| is_news(&member, heard)) {
                kept.extend_from_slice(&before[..before.len() - from.len()]);
                fresh.push(member);
            }
        }
        kept.extend_from_slice(from);
        kept[tally..tally + 2].copy_from_slice(&(fresh.len() as u16).to_be_bytes());
        self.0.extend(fresh.into_iter().map(|member| (member.id().node, member)));
        (kept.len() < datagram.len()).then_some(kept)
    }

    /// The datagram without news of third parties that `honest` does not hold for possible, if there is any.
    pub(super) fn only_honest(datagram: &[u8], rest: &[u8], honest: impl Fn(&Identity) -> bool) -> Option<Vec<u8>> {
        let mut from = rest;
        let count = if rest.len() < 2 { 0 } else { from.get_u16() };
        let (mut kept, mut some) = (Vec::new(), 0_u16);
        for _ in 0..count {
            let before = from;
            let member = Wire.decode_member(&mut from).ok()?;
            if honest(member.id()) {
                kept.extend_from_slice(&before[..before.len() - from.len()]);
                some += 1;
            }
        }
        let head = &datagram[..datagram.len() - rest.len()];
        (some < count).then(|| [head, &some.to_be_bytes(), &kept, from].concat())
    }

    /// foca has forgotten the node.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// It is not known what foca has taken.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}

/// True if `update` may change what is held by one who has taken `heard`: SWIM's order (Das, Gupta and Motivala 2002, section
/// 4.2), and of two lives the later.
fn is_news(update: &Member<Identity>, heard: &Member<Identity>) -> bool {
    if update.id() != heard.id() {
        return update.id().win_addr_conflict(heard.id());
    }
    match (heard.state(), update.state()) {
        (State::Down, _) => false,
        (_, State::Down) => true,
        (State::Alive, State::Suspect) => update.incarnation() >= heard.incarnation(),
        _ => update.incarnation() > heard.incarnation(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::swim::{self, Sink, Swim};
    use super::*;
    use crate::id::Origin;
    use proptest::prelude::*;

    fn identity(node: u64, incarnation: u64) -> Identity {
        Identity::new(Origin { node: NodeId(node), incarnation }, "192.0.2.1:7956".parse().unwrap())
    }

    fn news() -> impl Strategy<Value = Member<Identity>> {
        let states = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
        (3..7_u64, 1..3_u64, 0..3_u16, states)
            .prop_map(|(node, life, incarnation, state)| Member::new(identity(node, life), incarnation, state))
    }

    fn members(swim: &Swim) -> Vec<String> {
        let mut all: Vec<_> = swim.iter_membership_state().map(|member| format!("{member:?}")).collect();
        all.sort();
        all
    }

    proptest! {
        #[test]
        fn foca_holds_the_same_without_what_is_left_out(
            datagrams in proptest::collection::vec(proptest::collection::vec(news(), 0..6), 0..20),
        ) {
            let (me, other) = (identity(1, 1), identity(2, 1));
            let (mut all, mut some) = (swim::swim(me, 7), swim::swim(me, 7));
            let (mut heard, mut sinks) = (Heard::default(), [Sink::default(), Sink::default()]);
            for news in datagrams {
                let message = Message::Gossip;
                let header = Header { src: other, src_incarnation: 0, dst: me, message };
                let mut datagram = Vec::new();
                Wire.encode_header(&header, &mut datagram).unwrap();
                let start = datagram.len();
                datagram.put_u16(news.len() as u16);
                news.iter().for_each(|member| Wire.encode_member(member, &mut datagram).unwrap());
                let shorter = heard.without_old(&header, &datagram, &datagram[start..]);
                all.handle_data(&datagram, &mut sinks[0]).unwrap();
                some.handle_data(shorter.as_deref().unwrap_or(&datagram), &mut sinks[1]).unwrap();
                prop_assert_eq!(members(&all), members(&some));
                prop_assert_eq!(all.updates_backlog(), some.updates_backlog());
            }
            prop_assert_eq!(format!("{:?}", sinks[0]), format!("{:?}", sinks[1]));
        }
    }

    #[test]
    fn what_was_said_before_is_left_out_and_what_is_said_of_oneself_is_not() {
        let (me, other) = (identity(1, 1), identity(2, 1));
        let header = Header { src: other, src_incarnation: 0, dst: me, message: Message::Gossip };
        let mut datagram = vec![0; 3];
        datagram.put_u16(2);
        for node in [1, 3] {
            let suspect = Member::new(identity(node, 1), 0, State::Suspect);
            Wire.encode_member(&suspect, &mut datagram).unwrap();
        }
        let mut heard = Heard::default();
        assert_eq!(heard.without_old(&header, &datagram, &datagram[3..]), None, "all of it is new");
        let shorter = heard.without_old(&header, &datagram, &datagram[3..]).unwrap();
        assert_eq!(shorter[3..5], [0, 1]);
        assert_eq!(shorter[5..], datagram[5..5 + (datagram.len() - 5) / 2]);
        heard.forget(NodeId(3));
        assert_eq!(heard.without_old(&header, &datagram, &datagram[3..]), None);
    }
}
