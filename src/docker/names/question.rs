//! DNS: a question comes in as it was sent, and the answer goes out, or nothing where it is not for weft to answer.
//!
//! RFC 1035 rules messages, RFC 6891 the larger ones. Only what resolvers of programs ask is looked at: one question of
//! the class IN for A, AAAA or PTR, with at most an OPT record behind it. All else, whatever it may be, is the engine's
//! resolver's to judge. So a message that is broken costs the reading of its first name, which has at most 255 bytes.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::is_plain;

/// How long an answer may be kept, in seconds: an address may be another's after a move.
const TTL: u32 = 5;

/// The largest answer over UDP, to those who take more than RFC 1035's.
const UDP_BYTES: u16 = 4096;
const UDP_BYTES_WITHOUT_EDNS: u16 = 512;

/// The length of an OPT record without options.
const OPT_BYTES: usize = 11;

/// The length of a record with an address: of one of IPv4 behind a pointer, of one of IPv6 behind the longest name.
const LEAST_BYTES: usize = 16;
const MOST_BYTES: usize = 281;

/// Who has which name.
pub(super) trait Directory {
    /// The addresses of a name, written small; `None` if it is not known here.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;
    /// The name of an address, with its network's.
    fn name_of(&self, address: IpAddr) -> Option<String>;
}

/// What carries the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Udp,
    Tcp,
}

/// A question that may be weft's to answer.
#[derive(Debug)]
pub(super) struct Question {
    head: Metadata,
    query: Query,
    /// How much the asker takes over UDP, if it says.
    payload: Option<u16>,
}

impl Question {
    /// Reads a message. `None`: it is no plain question.
    pub(super) fn read(message: &[u8]) -> Option<Question> {
        let mut decoder = BinDecoder::new(message);
        let Header { metadata: head, counts } = Header::read(&mut decoder).ok()?;
        let HeaderCounts { queries: 1, answers: 0, authorities: 0, additionals } = counts else { return None };
        if (head.message_type, head.op_code) != (MessageType::Query, OpCode::Query) {
            return None;
        }
        let query = Query::read(&mut decoder).ok()?;
        let rest = message.get(decoder.index()..)?;
        let payload = match additionals {
            0 if rest.is_empty() => None,
            1 => Some(payload(rest)?),
            _ => return None,
        };
        Some(Question { head, query, payload })
    }

    /// The answer, if the directory has one. Of several addresses those from the `turn`th on come first, so that askers
    /// get each of them in turn.
    pub(super) fn answer(&self, directory: &impl Directory, turn: usize, carrier: Carrier) -> Option<Vec<u8>> {
        if self.query.query_class != DNSClass::IN {
            return None;
        }
        let data: Vec<_> = match self.query.query_type {
            wanted @ (RecordType::A | RecordType::AAAA) => {
                let mut addresses = directory.addresses(&text(&self.query.name)?)?;
                addresses.retain(|address| address.is_ipv4() == (wanted == RecordType::A));
                if !addresses.is_empty() {
                    let turn = turn % addresses.len();
                    addresses.rotate_left(turn);
                }
                addresses.into_iter().map(of_address).collect()
            }
            RecordType::PTR => {
                let name = directory.name_of(host(&self.query.name)?)?;
                vec![RData::PTR(PTR(Name::from_ascii(name + ".").ok()?))]
            }
            _ => return None,
        };
        self.respond(&data, carrier)
    }

    /// Says that nobody could be asked.
    pub(super) fn fail(&self) -> Option<Vec<u8>> {
        let mut message = self.response();
        message.metadata.response_code = ResponseCode::ServFail;
        message.to_vec().ok()
    }

    /// An answer with as much as the asker takes; if that is not all of it, it is marked as cut (RFC 1035 section 4.1.1).
    fn respond(&self, data: &[RData], carrier: Carrier) -> Option<Vec<u8>> {
        let most = usize::from(match (carrier, self.payload) {
            (Carrier::Tcp, _) => u16::MAX,
            (Carrier::Udp, payload) => payload.unwrap_or(0).clamp(UDP_BYTES_WITHOUT_EDNS, UDP_BYTES),
        });
        let name = &self.query.name;
        let mut fits = data.len().min(most / LEAST_BYTES);
        loop {
            let mut message = self.response();
            message.metadata.truncation = fits < data.len();
            let records = data[..fits].iter().map(|data| Record::from_rdata(name.clone(), TTL, data.clone()));
            message.add_answers(records);
            let message = message.to_vec().ok()?;
            match message.len().saturating_sub(most) {
                0 => return Some(message),
                // How long a record is depends on what the encoder makes of its name, so this goes by steps.
                over => fits = fits.checked_sub(1 + over / MOST_BYTES)?,
            }
        }
    }

    fn response(&self) -> Message {
        let mut message = Message::response(self.head.id, OpCode::Query);
        message.metadata.recursion_desired = self.head.recursion_desired;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if self.payload.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES).set_version(0);
            message.set_edns(edns);
        }
        message
    }
}

fn of_address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// Reads an OPT record, which has to be all that there is.
fn payload(record: &[u8]) -> Option<u16> {
    const OPT: [u8; 2] = 41_u16.to_be_bytes();
    let (head, options) = record.split_first_chunk::<OPT_BYTES>()?;
    let [root, kind_high, kind_low, size_high, size_low, _, version, _, _, length_high, length_low] = *head;
    let whole = usize::from(u16::from_be_bytes([length_high, length_low])) == options.len();
    let known = root == 0 && [kind_high, kind_low] == OPT && version == 0;
    (known && whole).then_some(u16::from_be_bytes([size_high, size_low]))
}

/// A name as it is looked up. `None`: no container is called so.
fn text(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if !label.iter().copied().all(is_plain) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&std::str::from_utf8(label).ok()?.to_ascii_lowercase());
    }
    (!text.is_empty()).then_some(text)
}

/// The address that is asked for by a name under in-addr.arpa or ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn host(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
mod tests;
