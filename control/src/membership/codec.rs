//! Membership datagrams as bytes.
//!
//! A datagram's first octet says what it is: one of foca's, which begins with a [`Header`], or a [`Notice`] of ours. All
//! numbers are big-endian. What comes in may have been written by anybody: nothing is believed beyond its form.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

use super::identity::Identity;
use crate::id::NodeId;

/// The first octet of a datagram of foca's.
pub(super) const SWIM: u8 = 1;
/// The first octet of a [`Notice`].
pub(super) const NOTICE: u8 = 2;

/// The most members that a notice speaks of.
const NOTICE_MEMBERS: usize = 4;
const IPV6: u8 = 1;
const LEAVING: u8 = 2;

/// Not a datagram of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a membership datagram that is cut short or not of this protocol")]
pub(super) struct Malformed;

/// What one member tells another beside SWIM: that it suspects it, or that it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Who tells.
    pub(super) from: Identity,
    /// About whom: the receiver, or the teller itself.
    pub(super) about: Vec<Member<Identity>>,
}

impl Notice {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![NOTICE];
        put_identity(&mut out, &self.from);
        out.put_u8(self.about.len() as u8);
        self.about.iter().for_each(|member| put_member(&mut out, member));
        out
    }

    /// Reads what follows the first octet.
    pub(super) fn decode(mut from: &[u8]) -> Result<Notice, Malformed> {
        let teller = identity(&mut from)?;
        let count = usize::from(u8(&mut from)?);
        if count > NOTICE_MEMBERS {
            return Err(Malformed);
        }
        let about = (0..count).map(|_| member(&mut from)).collect::<Result<_, _>>()?;
        if from.has_remaining() { Err(Malformed) } else { Ok(Notice { from: teller, about }) }
    }
}

/// foca's messages in our form.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire;

impl Codec<Identity> for Wire {
    type Error = Malformed;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Result<(), Malformed> {
        let mut out = Vec::with_capacity(128);
        put_identity(&mut out, &header.src);
        out.put_u16(header.src_incarnation);
        put_identity(&mut out, &header.dst);
        let (kind, number, third) = match &header.message {
            Message::Ping(number) => (1, *number, None),
            Message::Ack(number) => (2, *number, None),
            Message::PingReq { target, probe_number } => (3, *probe_number, Some(target)),
            Message::IndirectPing { origin, probe_number } => (4, *probe_number, Some(origin)),
            Message::IndirectAck { target, probe_number } => (5, *probe_number, Some(target)),
            Message::ForwardedAck { origin, probe_number } => (6, *probe_number, Some(origin)),
            Message::Announce => (7, 0, None),
            Message::Feed => (8, 0, None),
            Message::Gossip => (9, 0, None),
            Message::Broadcast => (10, 0, None),
            Message::TurnUndead => (11, 0, None),
        };
        out.put_u8(kind);
        out.put_u8(number);
        third.into_iter().for_each(|identity| put_identity(&mut out, identity));
        put_all(&mut buf, &out)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, Malformed> {
        let src = identity(&mut buf)?;
        let src_incarnation = u16(&mut buf)?;
        let dst = identity(&mut buf)?;
        let (kind, probe_number) = (u8(&mut buf)?, u8(&mut buf)?);
        let message = match kind {
            1 => Message::Ping(probe_number),
            2 => Message::Ack(probe_number),
            3 => Message::PingReq { target: identity(&mut buf)?, probe_number },
            4 => Message::IndirectPing { origin: identity(&mut buf)?, probe_number },
            5 => Message::IndirectAck { target: identity(&mut buf)?, probe_number },
            6 => Message::ForwardedAck { origin: identity(&mut buf)?, probe_number },
            7 => Message::Announce,
            8 => Message::Feed,
            9 => Message::Gossip,
            10 => Message::Broadcast,
            11 => Message::TurnUndead,
            _ => return Err(Malformed),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut buf: impl BufMut) -> Result<(), Malformed> {
        let mut out = Vec::with_capacity(48);
        put_member(&mut out, member);
        put_all(&mut buf, &out)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, Malformed> {
        member(&mut buf)
    }
}

/// All or nothing: foca takes what does not fit for the end of the datagram.
fn put_all(buf: &mut impl BufMut, bytes: &[u8]) -> Result<(), Malformed> {
    if buf.remaining_mut() < bytes.len() {
        return Err(Malformed);
    }
    buf.put_slice(bytes);
    Ok(())
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    out.put_u64(identity.node.0);
    out.put_u64(identity.incarnation);
    out.put_u32(identity.renewal);
    let leaving = if identity.leaving { LEAVING } else { 0 };
    match identity.address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(leaving);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(leaving | IPV6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(identity.address.port());
}

fn put_member(out: &mut Vec<u8>, member: &Member<Identity>) {
    put_identity(out, member.id());
    out.put_u16(member.incarnation());
    out.put_u8(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
}

fn identity(from: &mut impl Buf) -> Result<Identity, Malformed> {
    let node = NodeId(u64(from)?);
    let incarnation = u64(from)?;
    let renewal = u32(from)?;
    let flags = u8(from)?;
    let ip: IpAddr = if flags & IPV6 == 0 { octets::<4>(from)?.into() } else { octets::<16>(from)?.into() };
    let port = u16(from)?;
    // The last life of all is kept for those who are gone for good.
    if flags & !(IPV6 | LEAVING) != 0 || incarnation == u64::MAX {
        return Err(Malformed);
    }
    let address = SocketAddr::new(ip, port);
    Ok(Identity { node, incarnation, renewal, leaving: flags & LEAVING != 0, address })
}

fn member(from: &mut impl Buf) -> Result<Member<Identity>, Malformed> {
    let id = identity(from)?;
    let incarnation = u16(from)?;
    let state = match u8(from)? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return Err(Malformed),
    };
    Ok(Member::new(id, incarnation, state))
}

fn octets<const N: usize>(from: &mut impl Buf) -> Result<[u8; N], Malformed> {
    let mut octets = [0; N];
    from.try_copy_to_slice(&mut octets).map_err(|_| Malformed)?;
    Ok(octets)
}

fn u8(from: &mut impl Buf) -> Result<u8, Malformed> {
    from.try_get_u8().map_err(|_| Malformed)
}

fn u16(from: &mut impl Buf) -> Result<u16, Malformed> {
    from.try_get_u16().map_err(|_| Malformed)
}

fn u32(from: &mut impl Buf) -> Result<u32, Malformed> {
    from.try_get_u32().map_err(|_| Malformed)
}

fn u64(from: &mut impl Buf) -> Result<u64, Malformed> {
    from.try_get_u64().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identities() -> impl Strategy<Value = Identity> {
        (any::<u64>(), 0..u64::MAX, any::<u32>(), any::<bool>(), any::<IpAddr>(), any::<u16>()).prop_map(
            |(node, incarnation, renewal, leaving, ip, port)| Identity {
                node: NodeId(node),
                incarnation,
                renewal,
                leaving,
                address: SocketAddr::new(ip, port),
            },
        )
    }

    fn members() -> impl Strategy<Value = Member<Identity>> {
        let states = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
        (identities(), any::<u16>(), states).prop_map(|(id, incarnation, state)| Member::new(id, incarnation, state))
    }

    fn messages() -> impl Strategy<Value = Message<Identity>> {
        (0_u8..11, any::<u8>(), identities()).prop_map(|(kind, probe_number, other)| match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: other, probe_number },
            3 => Message::IndirectPing { origin: other, probe_number },
            4 => Message::IndirectAck { target: other, probe_number },
            5 => Message::ForwardedAck { origin: other, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            _ => Message::TurnUndead,
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            src in identities(), src_incarnation: u16, dst in identities(), message in messages(),
            about in proptest::collection::vec(members(), 0..=NOTICE_MEMBERS),
        ) {
            let header = Header { src, src_incarnation, dst, message };
            let mut bytes = Vec::new();
            Wire.encode_header(&header, &mut bytes).unwrap();
            about.iter().for_each(|member| Wire.encode_member(member, &mut bytes).unwrap());
            let mut from = &bytes[..];
            prop_assert_eq!(Wire.decode_header(&mut from), Ok(header));
            for member in &about {
                let read = Wire.decode_member(&mut from).unwrap();
                prop_assert_eq!((&read, read.id().address), (member, member.id().address));
            }
            prop_assert!(from.is_empty());

            let notice = Notice { from: src, about };
            let bytes = notice.encode();
            prop_assert_eq!(Notice::decode(&bytes[1..]), Ok(notice));
            prop_assert_eq!(Notice::decode(&bytes[1..bytes.len() - 1]), Err(Malformed));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Notice::decode(&bytes);
            let _ = Wire.decode_header(&bytes[..]);
            let _ = Wire.decode_member(&bytes[..]);
        }
    }
}
