//! From a text to an expression. As with tcpdump, `and` and `or` bind alike and from the left; parentheses say otherwise.

use std::iter::Peekable;
use std::net::IpAddr;
use std::vec::IntoIter;

use super::{ARP, Expression, ICMP, ICMPV6, IPV4, IPV6, Primitive, Protocol, RARP, SCTP, Side, TCP, UDP};
use crate::addr::Mac;

/// Bytes of an expression.
const LONGEST: usize = 2_048;
/// Parentheses and negations inside each other.
const DEEPEST: usize = 32;

/// Why a text is no filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// A word that cannot stand there.
    #[error("the filter has `{word}` where {expected} should be")]
    Word {
        /// The word.
        word: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// It ends in the middle.
    #[error("the filter ends where {0} should be")]
    Ends(&'static str),
    /// A net with bits set that do not count.
    #[error("the filter's net {net} has bits set behind its prefix: write {meant}")]
    HostBits {
        /// The net as it was written.
        net: String,
        /// The net that it is in.
        meant: String,
    },
    /// Longer or deeper than anything sensible.
    #[error("the filter is too long or too deep: {LONGEST} bytes and {DEEPEST} levels are the most")]
    TooLong,
}

const PRIMITIVE: &str = "a primitive (host, net, port, portrange, tcp, udp, icmp, icmp6, arp, ip, ip6, ether, less, \
                         greater, broadcast, multicast)";
const FIELD: &str = "host, net, port or portrange";
const ADDRESS: &str = "an IP address, as in 10.1.0.5 or fd00::5";
const NET: &str = "a net, as in 10.1.0.0/16 or fd00::/64";
const MAC: &str = "a MAC address, as in 02:00:00:00:00:01";
const PORT: &str = "a port, from 0 to 65535";
const RANGE: &str = "a range of ports, as in 8000-8080";
const LENGTH: &str = "a number of bytes";

/// True for a word that a filter may begin with.
pub fn begins(word: &str) -> bool {
    const FIRST: [&str; 21] = [
        "not",
        "host",
        "net",
        "port",
        "portrange",
        "src",
        "dst",
        "tcp",
        "udp",
        "sctp",
        "icmp",
        "icmp6",
        "arp",
        "rarp",
        "ip",
        "ip6",
        "ether",
        "less",
        "greater",
        "broadcast",
        "multicast",
    ];
    word.starts_with(['!', '(']) || word.split([' ', ')']).next().is_some_and(|first| FIRST.contains(&first))
}

pub(super) fn expression(text: &str) -> Result<Expression, FilterError> {
    if text.len() > LONGEST {
        return Err(FilterError::TooLong);
    }
    let mut parser = Parser { words: words(text).into_iter().peekable() };
    let expression = parser.chain(0)?;
    match parser.words.next() {
        None => Ok(expression),
        Some(word) => Err(FilterError::Word { word, expected: "`and` or `or`" }),
    }
}

/// Splits at blanks, and around what needs none.
fn words(text: &str) -> Vec<String> {
    let mut spaced = text.to_owned();
    for sign in ["(", ")", "!", "&&", "||"] {
        spaced = spaced.replace(sign, &format!(" {sign} "));
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser {
    words: Peekable<IntoIter<String>>,
}

impl Parser {
    fn chain(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if depth > DEEPEST {
            return Err(FilterError::TooLong);
        }
        let mut left = self.term(depth)?;
        loop {
            let join = match self.words.peek().map(String::as_str) {
                Some("and" | "&&") => Expression::And,
                Some("or" | "||") => Expression::Or,
                _ => return Ok(left),
            };
            self.words.next();
            left = join(Box::new(left), Box::new(self.term(depth)?));
        }
    }

    fn term(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if depth > DEEPEST {
            return Err(FilterError::TooLong);
        }
        if self.takes("not") || self.takes("!") {
            return Ok(Expression::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.chain(depth + 1)?;
            let word = self.word("`)`")?;
            return if word == ")" { Ok(inner) } else { Err(FilterError::Word { word, expected: "`)`" }) };
        }
        self.primitive().map(Expression::Is)
    }

    fn primitive(&mut self) -> Result<Primitive, FilterError> {
        let ether = |kind| (Some(Protocol::Ether(kind)), Some(kind), None);
        let ip = |protocol| (Some(Protocol::Ip(protocol)), None, Some(protocol));
        // What the word means alone, and what it restricts addresses or ports to.
        let (alone, kind, transport) = match self.peeked() {
            "ether" => return self.ether(),
            "broadcast" | "multicast" => return self.group(),
            "icmp" => return self.alone(Protocol::V4(ICMP)),
            "icmp6" => return self.alone(Protocol::V6(ICMPV6)),
            "less" => return self.length(Primitive::AtMost),
            "greater" => return self.length(Primitive::AtLeast),
            "ip" => ether(IPV4),
            "ip6" => ether(IPV6),
            "arp" => ether(ARP),
            "rarp" => ether(RARP),
            "tcp" => ip(TCP),
            "udp" => ip(UDP),
            "sctp" => ip(SCTP),
            _ => (None, None, None),
        };
        if alone.is_some() {
            self.words.next();
        }
        let side = self.side();
        match (alone, self.peeked()) {
            (_, "host") if transport.is_none() => {
                self.words.next();
                self.host(kind, side)
            }
            (_, "net") if transport.is_none() => {
                self.words.next();
                self.net(kind, side)
            }
            (_, "port") if kind.is_none() => {
                self.words.next();
                let port = self.parsed(PORT)?;
                Ok(Primitive::Ports(transport, side.unwrap_or(Side::Either), port, port))
            }
            (_, "portrange") if kind.is_none() => {
                self.words.next();
                self.ports(transport, side)
            }
            // As in `src 10.1.0.5`.
            (_, word) if side.is_some() && transport.is_none() && word.parse::<IpAddr>().is_ok() => {
                self.host(kind, side)
            }
            (Some(protocol), _) if side.is_none() => Ok(Primitive::Protocol(protocol)),
            (None, _) if side.is_none() => Err(self.wrong(PRIMITIVE)),
            _ => Err(self.wrong(FIELD)),
        }
    }

    fn side(&mut self) -> Option<Side> {
        let side = match self.peeked() {
            "src" => Side::Source,
            "dst" => Side::Destination,
            _ => return None,
        };
        self.words.next();
        Some(side)
    }

    fn host(&mut self, kind: Option<u16>, side: Option<Side>) -> Result<Primitive, FilterError> {
        let address: IpAddr = self.parsed(ADDRESS)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Ok(Primitive::Net(kind, side.unwrap_or(Side::Either), address, bits))
    }

    fn net(&mut self, kind: Option<u16>, side: Option<Side>) -> Result<Primitive, FilterError> {
        let word = self.word(NET)?;
        let read = || -> Option<(IpAddr, u8)> {
            let (address, bits) = word.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            Some((address, bits.parse().ok().filter(|bits| *bits <= most)?))
        };
        let Some((address, bits)) = read() else { return Err(FilterError::Word { word, expected: NET }) };
        let net = truncated(address, bits);
        if net != address {
            return Err(FilterError::HostBits { net: word, meant: format!("{net}/{bits}") });
        }
        Ok(Primitive::Net(kind, side.unwrap_or(Side::Either), net, bits))
    }

    fn ports(&mut self, transport: Option<u8>, side: Option<Side>) -> Result<Primitive, FilterError> {
        let word = self.word(RANGE)?;
        let range = word.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match range {
            Some((first, last)) if first <= last => {
                Ok(Primitive::Ports(transport, side.unwrap_or(Side::Either), first, last))
            }
            _ => Err(FilterError::Word { word, expected: RANGE }),
        }
    }

    fn ether(&mut self) -> Result<Primitive, FilterError> {
        self.words.next();
        if matches!(self.peeked(), "broadcast" | "multicast") {
            return self.group();
        }
        let side = self.side();
        if !self.takes("host") && side.is_none() {
            return Err(self.wrong("host, src, dst, broadcast or multicast"));
        }
        Ok(Primitive::Mac(side.unwrap_or(Side::Either), self.parsed(MAC)?))
    }

    fn alone(&mut self, protocol: Protocol) -> Result<Primitive, FilterError> {
        self.words.next();
        Ok(Primitive::Protocol(protocol))
    }

    fn group(&mut self) -> Result<Primitive, FilterError> {
        let broadcast = self.takes("broadcast");
        if !broadcast {
            self.words.next();
        }
        Ok(if broadcast { Primitive::Mac(Side::Destination, Mac::BROADCAST) } else { Primitive::Group })
    }

    fn length(&mut self, compare: fn(usize) -> Primitive) -> Result<Primitive, FilterError> {
        self.words.next();
        self.parsed(LENGTH).map(compare)
    }

    fn peeked(&mut self) -> &str {
        self.words.peek().map_or("", String::as_str)
    }

    /// Takes the next word if it is this one.
    fn takes(&mut self, word: &str) -> bool {
        self.words.next_if(|next| next == word).is_some()
    }

    fn word(&mut self, expected: &'static str) -> Result<String, FilterError> {
        self.words.next().ok_or(FilterError::Ends(expected))
    }

    fn parsed<T: std::str::FromStr>(&mut self, expected: &'static str) -> Result<T, FilterError> {
        let word = self.word(expected)?;
        word.parse().map_err(|_| FilterError::Word { word, expected })
    }

    fn wrong(&mut self, expected: &'static str) -> FilterError {
        match self.words.next() {
            Some(word) => FilterError::Word { word, expected },
            None => FilterError::Ends(expected),
        }
    }
}

/// The net of so many bits that an address is in.
fn truncated(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}
