//! Plain questions are answered as RFC 1035 has it; whatever else comes is passed on, and costs next to nothing.

use std::collections::HashMap;

use hickory_proto::serialize::binary::BinEncodable;
use proptest::prelude::*;

use super::*;

struct Known(HashMap<&'static str, Vec<IpAddr>>);

impl Directory for Known {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.0.get(name).cloned()
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.0.iter().find(|(_, all)| all.contains(&address)).map(|(name, _)| format!("{name}.blue"))
    }
}

fn known() -> Known {
    let many = (0..=255_u8).flat_map(|a| [10, 11].map(|b| [10, b, 0, a].into())).collect();
    Known(HashMap::from([
        ("web", vec!["10.1.0.1".parse().unwrap(), "10.1.0.2".parse().unwrap(), "10.1.0.3".parse().unwrap()]),
        ("both", vec!["10.1.0.9".parse().unwrap(), "fd01::9".parse().unwrap()]),
        ("my_app.v2", vec!["10.1.0.4".parse().unwrap()]),
        ("many", many),
    ]))
}

fn asked(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answer(message: &Message, turn: usize, carrier: Carrier) -> Option<Message> {
    let question = Question::read(&message.to_bytes().unwrap())?;
    let answer = question.answer(&known(), turn, carrier)?;
    Some(Message::from_vec(&answer).unwrap())
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn a_name_is_answered_with_its_addresses_in_turn() {
    let question = asked("WeB.", RecordType::A);
    let first = answer(&question, 0, Carrier::Udp).unwrap();
    assert_eq!(
        (first.metadata.id, first.metadata.message_type, first.metadata.response_code),
        (0x1234, MessageType::Response, ResponseCode::NoError)
    );
    assert!(first.metadata.recursion_desired && first.metadata.recursion_available && !first.metadata.truncation);
    assert_eq!(first.queries[0].name.to_string(), "WeB.", "the question comes back as it was written");
    assert_eq!(data(&first), ["10.1.0.1", "10.1.0.2", "10.1.0.3"]);
    assert!(first.answers.iter().all(|record| record.ttl == TTL));
    assert_eq!(data(&answer(&question, 4, Carrier::Udp).unwrap()), ["10.1.0.2", "10.1.0.3", "10.1.0.1"]);
    assert_eq!(data(&answer(&asked("my_app.v2.", RecordType::A), 0, Carrier::Udp).unwrap()), ["10.1.0.4"]);
}

#[test]
fn a_name_without_addresses_of_a_family_exists_all_the_same() {
    let v6 = answer(&asked("both.", RecordType::AAAA), 7, Carrier::Udp).unwrap();
    assert_eq!(data(&v6), ["fd01::9"]);
    let none = answer(&asked("web.", RecordType::AAAA), 0, Carrier::Udp).unwrap();
    assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn an_address_is_answered_with_its_name() {
    let v4 = answer(&asked("9.0.1.10.in-addr.arpa.", RecordType::PTR), 0, Carrier::Udp).unwrap();
    assert_eq!(data(&v4), ["both.blue."]);
    let name = format!("9.{}1.0.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(data(&answer(&asked(&name, RecordType::PTR), 0, Carrier::Udp).unwrap()), ["both.blue."]);
    for other in ["8.0.1.10.in-addr.arpa.", "0.1.10.in-addr.arpa.", "x.0.1.10.in-addr.arpa.", "web."] {
        assert!(answer(&asked(other, RecordType::PTR), 0, Carrier::Udp).is_none(), "{other}");
    }
}

#[test]
fn what_is_not_known_is_passed_on() {
    for (name, kind) in [
        ("nobody.", RecordType::A),
        (".", RecordType::A),
        ("web.", RecordType::MX),
        ("web.", RecordType::ANY),
        ("web.", RecordType::PTR),
        ("web.example.", RecordType::A),
    ] {
        assert!(answer(&asked(name, kind), 0, Carrier::Udp).is_none(), "{name} {kind}");
    }
    let mut chaos = asked("web.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut two = asked("web.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("both.").unwrap(), RecordType::A));
    let mut response = asked("web.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let mut update = asked("web.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    let mut newer = asked("web.", RecordType::A);
    newer.set_edns({
        let mut edns = Edns::new();
        edns.set_version(1);
        edns
    });
    for message in [chaos, two, response, update, newer] {
        assert!(answer(&message, 0, Carrier::Udp).is_none(), "{message}");
    }
    // One label with a dot in it is another name than two labels.
    let dotted = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09my_app.v2\x00\x00\x01\x00\x01";
    assert!(Question::read(dotted).unwrap().answer(&known(), 0, Carrier::Udp).is_none());
}

#[test]
fn no_answer_is_longer_than_its_asker_takes() {
    let mut question = asked("many.", RecordType::A);
    let lengths = |question: &Message, carrier| {
        let read = Question::read(&question.to_bytes().unwrap()).unwrap();
        let bytes = read.answer(&known(), 3, carrier).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        (bytes.len(), message.answers.len(), message.metadata.truncation)
    };
    let (bytes, answers, cut) = lengths(&question, Carrier::Udp);
    assert!(bytes <= 512 && bytes > 480 && answers >= 28 && cut, "{bytes} {answers}");
    assert_eq!(lengths(&question, Carrier::Tcp).1, 512);
    for (payload, most) in [(0, 512), (1232, 1232), (65_535, 4096)] {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        question.set_edns(edns);
        let (bytes, _, cut) = lengths(&question, Carrier::Udp);
        assert!(bytes <= most && bytes + 40 > most && cut, "{payload}: {bytes}");
    }
    let edns = answer(&question, 0, Carrier::Udp).unwrap();
    assert!(edns.edns.is_some(), "RFC 6891 section 7: who says OPT is answered with OPT");
}

#[test]
fn a_failure_names_its_question() {
    let failed = Question::read(&asked("nobody.", RecordType::A).to_bytes().unwrap()).unwrap().fail().unwrap();
    let failed = Message::from_vec(&failed).unwrap();
    assert_eq!((failed.metadata.id, failed.metadata.response_code), (0x1234, ResponseCode::ServFail));
    assert_eq!(failed.queries[0].name.to_string(), "nobody.");
}

/// Reads a message, and answers it if it is a question. Returns how many bytes that took of memory.
fn cost(message: &[u8]) -> u64 {
    let known = known();
    let work = || {
        if let Some(question) = Question::read(message) {
            let _ = question.answer(&known, 1, Carrier::Udp);
            let _ = question.fail();
        }
    };
    allocation_counter::measure(work).bytes_max
}

#[test]
fn hostile_messages_cost_little() {
    let head = |counts: [u8; 8]| [&[0x12, 0x34, 1, 0][..], &counts].concat();
    let one = head([0, 1, 0, 0, 0, 0, 0, 0]);
    let all = head([255; 8]);
    let opt = head([0, 1, 0, 0, 0, 0, 0, 1]);
    let web = b"\x03web\x00\x00\x01\x00\x01";
    let pointers: Vec<u8> =
        (0..16_000_u16).flat_map(|at| (0xc000 | (12 + 2 * at.saturating_sub(1))).to_be_bytes()).collect();
    let labels = b"\x01a".repeat(32_000);
    let longest = [&[63_u8][..], &[b'a'; 63]].concat().repeat(4);
    let messages = [
        Vec::new(),
        one.clone(),
        all.clone(),
        // A name that points at itself, ahead, into the header, or through a long chain.
        [&one[..], &[0xc0, 12, 0, 1, 0, 1]].concat(),
        [&one[..], &[0xc0, 200, 0, 1, 0, 1]].concat(),
        [&one[..], &[0xc0, 0, 0, 1, 0, 1]].concat(),
        [&one[..], &pointers].concat(),
        [&all[..], &pointers].concat(),
        [&one[..], &labels].concat(),
        [&one[..], &longest, &[0, 0, 1, 0, 1]].concat(),
        // Lengths that are not so, and what stands behind the message.
        [&one[..], &[0x40, 1, 2, 3]].concat(),
        [&one[..], web, &[0; 60_000]].concat(),
        [&opt[..], web, &[0, 0, 41, 16, 0, 0, 0, 0, 0, 255, 255]].concat(),
        [&opt[..], web, &[0, 0, 41, 16, 0, 0, 0, 0, 0, 234, 96], &[7; 60_000]].concat(),
        vec![255; 65_535],
        vec![0; 65_535],
    ];
    for message in messages {
        let bytes = cost(&message);
        assert!(bytes < 32 << 10, "{bytes} bytes for {} of {:?}", message.len(), &message[..message.len().min(40)]);
    }
}

proptest! {
    #[test]
    fn no_message_is_answered_by_a_panic(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(cost(&message) < 64 << 10);
    }

    #[test]
    fn a_question_with_flipped_bytes_is_harmless(
        name in "[a-z.]{0,60}", at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0_usize..80,
    ) {
        let Ok(name) = Name::from_ascii(&name) else { return Ok(()) };
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, RecordType::A)).set_edns(Edns::new());
        let mut bytes = message.to_bytes().unwrap();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut % 40).max(cut));
        prop_assert!(cost(&bytes) < 64 << 10);
    }
}
