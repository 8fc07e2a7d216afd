//! Filter expressions: the part of tcpdump's language (pcap-filter(7)) that names hosts, nets, ports and protocols.
//!
//! Enters: a text, once (`parse`); then frames. Leaves: whether a frame is meant. The meaning is tcpdump's: the tests
//! compare both. It differs in one thing: a field that the frame is too short for matches nothing, where tcpdump's
//! machine gives the whole expression up.

mod parse;

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

pub use self::parse::{FilterError, begins};
use crate::addr::Mac;
use crate::frame::{
    self, ETH_LEN, ETHERTYPE_IPV4 as IPV4, ETHERTYPE_IPV6 as IPV6, PROTO_TCP as TCP, PROTO_UDP as UDP, be16,
};

const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;

const ICMP: u8 = 1;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// An expression that frames are held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(Expression);

impl Filter {
    /// Whether the frame is meant; `head` is the frame of `len` bytes, or the beginning of it with all of its headers.
    pub fn matches(&self, head: &[u8], len: usize) -> bool {
        self.0.holds(head, len)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::expression(text).map(Filter)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Expression {
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Is(Primitive),
}

/// Which of two fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Source,
    Destination,
    Either,
}

/// What a word such as `tcp` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    /// By EtherType.
    Ether(u16),
    /// By IP protocol, over IPv4.
    V4(u8),
    /// By IP protocol, over IPv6.
    V6(u8),
    /// By IP protocol, over both.
    Ip(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Primitive {
    Protocol(Protocol),
    /// The EtherType that it is restricted to, if any; the net; the bits of it that count.
    Net(Option<u16>, Side, IpAddr, u8),
    /// The IP protocol that it is restricted to, if any; the first port and the last.
    Ports(Option<u8>, Side, u16, u16),
    Mac(Side, Mac),
    Group,
    AtMost(usize),
    AtLeast(usize),
}

impl Expression {
    fn holds(&self, head: &[u8], len: usize) -> bool {
        match self {
            Expression::Not(inner) => !inner.holds(head, len),
            Expression::And(a, b) => a.holds(head, len) && b.holds(head, len),
            Expression::Or(a, b) => a.holds(head, len) || b.holds(head, len),
            Expression::Is(primitive) => primitive.holds(head, len),
        }
    }
}

impl Side {
    fn holds<T: Copy>(self, fields: [T; 2], is: impl Fn(T) -> bool) -> bool {
        match self {
            Side::Source => is(fields[0]),
            Side::Destination => is(fields[1]),
            Side::Either => is(fields[0]) || is(fields[1]),
        }
    }
}

impl Primitive {
    fn holds(&self, head: &[u8], len: usize) -> bool {
        match *self {
            Primitive::Protocol(protocol) => protocol.holds(head),
            Primitive::Net(only, side, net, bits) => {
                let kind = frame::ethertype(head);
                let fields = match (net, kind) {
                    (IpAddr::V4(_), IPV4) => [26, 30],
                    (IpAddr::V4(_), ARP | RARP) => [28, 38],
                    (IpAddr::V6(_), IPV6) => [22, 38],
                    _ => return false,
                };
                only.is_none_or(|only| only == kind) && side.holds(fields, |at| begins_with(head, at, net, bits))
            }
            Primitive::Ports(only, side, first, last) => {
                let Some((protocol, at)) = ports(head) else { return false };
                let known = only.map_or(matches!(protocol, TCP | UDP | SCTP), |only| only == protocol);
                let within = |at| head.len() >= at + 2 && (first..=last).contains(&be16(head, at));
                known && side.holds([at, at + 2], within)
            }
            Primitive::Mac(side, mac) => {
                side.holds([frame::source(head), frame::destination(head)], |field| field == mac)
            }
            Primitive::Group => frame::destination(head).is_group(),
            Primitive::AtMost(bytes) => len <= bytes,
            Primitive::AtLeast(bytes) => len >= bytes,
        }
    }
}

impl Protocol {
    fn holds(self, head: &[u8]) -> bool {
        let field = |at: usize, value| head.get(at) == Some(&value);
        let v4 = |protocol| frame::ethertype(head) == IPV4 && field(23, protocol);
        // A fragment names what is inside in its own header.
        let v6 = |protocol| {
            frame::ethertype(head) == IPV6 && (field(20, protocol) || field(20, FRAGMENT) && field(54, protocol))
        };
        match self {
            Protocol::Ether(kind) => frame::ethertype(head) == kind,
            Protocol::V4(protocol) => v4(protocol),
            Protocol::V6(protocol) => v6(protocol),
            Protocol::Ip(protocol) => v4(protocol) || v6(protocol),
        }
    }
}

/// The IP protocol, and where the ports are if it has any: not in a later fragment, nor behind IPv6 extension headers.
fn ports(head: &[u8]) -> Option<(u8, usize)> {
    match frame::ethertype(head) {
        IPV4 if be16(head, 20) & 0x1fff == 0 => {
            let header = 4 * usize::from(head.get(ETH_LEN)? & 0x0f);
            Some((*head.get(23)?, ETH_LEN + header))
        }
        IPV6 => Some((*head.get(20)?, ETH_LEN + 40)),
        _ => None,
    }
}

/// Whether the address at an offset is of a net.
fn begins_with(head: &[u8], at: usize, net: IpAddr, bits: u8) -> bool {
    // One comparison for both families: of IPv4 the upper 32 of 128 bits.
    let (field, net) = match net {
        IpAddr::V4(net) => {
            let Some(field) = head.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return false };
            (u128::from(u32::from_be_bytes(*field)) << 96, u128::from(net.to_bits()) << 96)
        }
        IpAddr::V6(net) => {
            let Some(field) = head.get(at..).and_then(|rest| rest.first_chunk::<16>()) else { return false };
            (Ipv6Addr::from(*field).to_bits(), net.to_bits())
        }
    };
    bits == 0 || (field ^ net) >> (128 - u32::from(bits)) == 0
}
