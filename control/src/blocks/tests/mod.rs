//! One node's share of a network's addresses, asked and answered by hand; [`world`] lets many talk to each other.

mod checks;
mod replica;
mod weather;
mod world;

use std::collections::HashMap;

use proptest::prelude::*;
use weft_proto::request::AskedAddress;

use super::*;
use crate::network::Subnet;
use crate::network::tests::sample;
use crate::space::AssignError;

fn network(subnets: &[&str]) -> Network {
    let subnet = |text: &&str| Subnet { subnet: text.parse().unwrap(), gateway: None, ip_range: None };
    Network { subnets: subnets.iter().map(subnet).collect(), ..sample("blue", "01", 4096) }
}

/// A table of which the test says what is in it.
#[derive(Debug, Clone, Default)]
struct Table {
    blocks: Vec<(IpNet, NodeId)>,
    ips: Vec<(IpAddr, NodeId)>,
    reachable: Vec<NodeId>,
}

impl View for Table {
    fn blocks(&self) -> impl Iterator<Item = (IpNet, NodeId)> {
        self.blocks.iter().copied()
    }

    fn ip_owners(&self, address: IpAddr) -> impl Iterator<Item = NodeId> {
        self.ips.iter().filter(move |(ip, _)| *ip == address).map(|(_, node)| *node)
    }

    fn reachable(&self) -> impl Iterator<Item = NodeId> {
        self.reachable.iter().copied()
    }

    fn name(&self, node: NodeId) -> String {
        format!("n{}", node.0)
    }
}

const T0: Duration = Duration::from_secs(100);

fn asked(texts: &[&str]) -> Vec<AskedAddress> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn share(me: u64, subnets: &[&str]) -> Blocks {
    Blocks::new(NodeId(me), &network(subnets))
}

/// The first step of a request, which is expected to be the last.
fn attach(blocks: &mut Blocks, table: &Table, holder: &str, texts: &[&str]) -> Result<Vec<String>, AddressError> {
    let mut request = blocks.request(holder, &asked(texts))?;
    match blocks.step(T0, table, &mut request) {
        Step::Done(ips) => Ok(ips.iter().map(IpNet::to_string).collect()),
        Step::Refused(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn records(blocks: &mut Blocks) -> Vec<Record> {
    std::iter::from_fn(|| blocks.poll_record()).collect()
}

#[test]
fn a_node_alone_claims_without_asking_and_gives_out_from_its_block() {
    let mut blocks = share(1, &["10.1.0.0/16", "fd00::/64"]);
    let first = attach(&mut blocks, &Table::default(), "e1", &[]).unwrap();
    let second = attach(&mut blocks, &Table::default(), "e2", &[]).unwrap();
    assert_eq!((first.len(), second.len()), (2, 2));
    let owned: Vec<_> = blocks.owned().collect();
    assert_eq!(records(&mut blocks), owned.iter().copied().map(Record::Put).collect::<Vec<_>>());
    assert_eq!(owned.iter().map(IpNet::prefix_len).collect::<Vec<_>>(), [28, 112]);
    for given in first.iter().chain(&second) {
        assert!(owned.iter().any(|block| block.contains(&net(given).addr())), "{given}");
    }
    assert_ne!(first, second);
}

#[test]
fn all_who_can_be_reached_are_asked_until_all_have_agreed() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    let table = Table { reachable: vec![NodeId(2), NodeId(3)], ..Table::default() };
    let mut request = blocks.request("e1", &[]).unwrap();
    let Step::Claim { block, ask } = blocks.step(T0, &table, &mut request) else { panic!("no claim") };
    assert_eq!(ask, [NodeId(2), NodeId(3)]);
    blocks.claimed(&request, [(NodeId(2), ClaimAnswer::Granted), (NodeId(3), ClaimAnswer::Silent)]);
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Pause(_)));
    // The silent one is asked again, and one that has joined meanwhile as well.
    let table = Table { reachable: vec![NodeId(2), NodeId(3), NodeId(4)], ..Table::default() };
    let again = blocks.step(T0, &table, &mut request);
    assert_eq!(again, Step::Claim { block, ask: vec![NodeId(3), NodeId(4)] });
    // Dead nodes are not waited for.
    let table = Table { reachable: vec![NodeId(2), NodeId(4)], ..Table::default() };
    blocks.claimed(&request, [(NodeId(4), ClaimAnswer::Granted)]);
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Done(_)));
}

#[test]
fn a_claim_that_takes_too_long_is_given_up_with_the_silent_node_named() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    let table = Table { reachable: vec![NodeId(2)], ..Table::default() };
    let mut request = blocks.request("e1", &[]).unwrap();
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Claim { .. }));
    blocks.claimed(&request, [(NodeId(2), ClaimAnswer::Granted)]);
    let late = blocks.step(T0 + CLAIM_TIME, &table, &mut request);
    assert!(matches!(late, Step::Refused(AddressError::Undecided { .. })), "a promise may have run out: {late:?}");
    let mut request = blocks.request("e1", &[]).unwrap();
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Claim { .. }));
    let Step::Refused(error) = blocks.step(T0 + CLAIM_TIME, &table, &mut request) else { panic!("not refused") };
    assert!(error.to_string().contains("node n2 is alive and does not answer"), "{error}");
    assert_eq!(blocks.owned().count(), 0);
}

#[test]
fn of_two_that_claim_one_block_the_lower_id_wins() {
    let table = |other| Table { reachable: vec![NodeId(other)], ..Table::default() };
    let (mut low, mut high) = (share(1, &["10.1.0.0/32"]), share(2, &["10.1.0.0/32"]));
    let (mut of_low, mut of_high) = (low.request("e1", &[]).unwrap(), high.request("e2", &[]).unwrap());
    let block = net("10.1.0.0/32");
    assert!(matches!(low.step(T0, &table(2), &mut of_low), Step::Claim { .. }));
    assert!(matches!(high.step(T0, &table(1), &mut of_high), Step::Claim { .. }));
    assert_eq!(low.judge_claim(T0, &table(2), NodeId(2), block), ClaimVerdict::Denied { holder: NodeId(1) });
    assert_eq!(high.judge_claim(T0, &table(1), NodeId(1), block), ClaimVerdict::Granted);
    high.claimed(&of_high, [(NodeId(1), ClaimAnswer::Granted)]);
    assert!(!matches!(high.step(T0, &table(1), &mut of_high), Step::Done(_)), "it has given way");
    low.claimed(&of_low, [(NodeId(2), ClaimAnswer::Granted)]);
    assert!(matches!(low.step(T0, &table(2), &mut of_low), Step::Done(_)));
    assert_eq!(high.judge_claim(T0, &table(1), NodeId(3), block), ClaimVerdict::Denied { holder: NodeId(1) });
}

#[test]
fn an_agreement_lasts_until_its_time_is_over() {
    let mut blocks = share(2, &["10.1.0.0/24"]);
    let (table, block) = (Table::default(), net("10.1.0.8/29"));
    assert_eq!(blocks.judge_claim(T0, &table, NodeId(5), block), ClaimVerdict::Granted);
    assert_eq!(blocks.judge_claim(T0, &table, NodeId(6), block), ClaimVerdict::Denied { holder: NodeId(5) });
    assert_eq!(blocks.judge_claim(T0, &table, NodeId(5), block), ClaimVerdict::Granted, "asked again");
    assert_eq!(blocks.judge_claim(T0, &table, NodeId(4), block), ClaimVerdict::Granted, "who the first gives way to");
    let mut request = blocks.request("e1", &asked(&["10.1.0.9"])).unwrap();
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Pause(_)), "it has been promised");
    assert!(matches!(blocks.step(T0 + PROMISE, &table, &mut request), Step::Done(_)));
    assert_eq!(blocks.judge_claim(T0, &table, NodeId(1), net("10.1.0.0/24")), ClaimVerdict::NoBlock);
}

#[test]
fn an_address_in_anothers_block_is_asked_for_and_its_holder_named() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    let owned = net("10.1.0.8/29");
    let table = Table { blocks: vec![(owned, NodeId(7))], reachable: vec![NodeId(7)], ..Table::default() };
    let mut request = blocks.request("e1", &asked(&["10.1.0.9"])).unwrap();
    let take = Step::Take { owner: NodeId(7), address: ip("10.1.0.9") };
    assert_eq!(blocks.step(T0, &table, &mut request), take);
    let mut owner = share(7, &["10.1.0.0/24"]);
    owner.restore_block(owned);
    assert_eq!(owner.judge_take(T0, &Table::default(), NodeId(1), ip("10.1.0.9")), TakeVerdict::Granted);
    blocks.taken(&table, &mut request, TakeAnswer::Granted);
    assert_eq!(blocks.step(T0, &table, &mut request), Step::Done(vec![net("10.1.0.9/24")]));

    owner.restore_address(ip("10.1.0.10"), "e9").unwrap();
    let TakeVerdict::Denied { holder } = owner.judge_take(T0, &Table::default(), NodeId(1), ip("10.1.0.10")) else {
        panic!("handed over")
    };
    let mut request = blocks.request("e2", &asked(&["10.1.0.10"])).unwrap();
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Take { .. }));
    blocks.taken(&table, &mut request, TakeAnswer::Denied(holder));
    let Step::Refused(error) = blocks.step(T0, &table, &mut request) else { panic!("not refused") };
    assert!(error.to_string().contains("of the node n7 is held by the endpoint e9"), "{error}");
}

#[test]
fn an_owner_that_is_dead_or_silent_is_named() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    let mut table = Table { blocks: vec![(net("10.1.0.8/29"), NodeId(7))], ..Table::default() };
    let error = attach(&mut blocks, &table, "e1", &["10.1.0.9"]).unwrap_err().to_string();
    assert!(error.contains("the block 10.1.0.8/29 of the node n7, which cannot be reached"), "{error}");
    table.reachable.push(NodeId(7));
    let mut request = blocks.request("e1", &asked(&["10.1.0.9"])).unwrap();
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Take { .. }));
    blocks.taken(&table, &mut request, TakeAnswer::Silent);
    assert!(matches!(blocks.step(T0, &table, &mut request), Step::Refused(AddressError::Unreachable { .. })));
}

#[test]
fn an_address_with_a_record_is_used_wherever_its_block_is() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    blocks.restore_block(net("10.1.0.8/29"));
    let table = Table { ips: vec![(ip("10.1.0.8"), NodeId(3)), (ip("10.1.0.9"), NodeId(1))], ..Table::default() };
    assert_eq!(attach(&mut blocks, &table, "e1", &[]).unwrap(), ["10.1.0.9/24"], "a record of its own is no obstacle");
    let error = attach(&mut blocks, &table, "e2", &["10.1.0.8"]).unwrap_err().to_string();
    assert!(error.contains("held by an endpoint on the node n3"), "{error}");
    let error = attach(&mut blocks, &table, "e2", &["10.1.0.9"]).unwrap_err().to_string();
    assert!(error.contains("held by the endpoint e1"), "{error}");
}

#[test]
fn the_first_address_is_kept_for_a_router_unless_a_gateway_is_named() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    let table = Table::default();
    let error = attach(&mut blocks, &table, "e1", &["10.1.0.1"]).unwrap_err();
    assert_eq!(error, AddressError::Reserved(ip("10.1.0.1")));
    let gateway = Some(ip("10.1.0.1"));
    let named =
        Network { subnets: vec![Subnet { subnet: net("10.1.0.0/24"), gateway, ip_range: None }], ..network(&[]) };
    let mut blocks = Blocks::new(NodeId(1), &named);
    assert_eq!(attach(&mut blocks, &table, "router", &["10.1.0.1"]).unwrap(), ["10.1.0.1/24"]);
}

#[test]
fn what_no_network_gives_is_refused_before_anybody_is_asked() {
    let blocks = share(1, &["10.1.0.0/24"]);
    let refused = |texts: &[&str]| match blocks.request("e1", &asked(texts)) {
        Err(AddressError::Assign(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&["10.1.0.5/16"]), AssignError::Prefix { .. }));
    assert!(matches!(refused(&["10.2.0.5"]), AssignError::Outside { .. }));
    assert!(matches!(refused(&["10.1.0.255"]), AssignError::Pool(PoolError::NotHost { .. })));
    assert!(matches!(refused(&["224.0.0.1"]), AssignError::NotUnicast(_)));
    assert!(matches!(refused(&["10.1.0.5", "10.1.0.6"]), AssignError::TwoOfFamily("IPv4")));
}

#[test]
fn when_no_block_is_left_single_addresses_are_asked_for() {
    let mut blocks = share(1, &["10.1.0.0/29"]);
    // Eight blocks of one address; those of 0, 1 and 7 give none.
    let block = |last: u8| IpNet::from(IpAddr::from([10, 1, 0, last]));
    let mut table = Table { blocks: (0..8).map(|n| (block(n), NodeId(7))).collect(), ..Table::default() };
    let error = attach(&mut blocks, &table, "e1", &[]).unwrap_err().to_string();
    assert!(error.contains("no address is left in 10.1.0.0/29 that could be had without n7, which"), "{error}");
    table.reachable.push(NodeId(7));
    table.ips = [2, 3, 5].into_iter().map(|last| (block(last).addr(), NodeId(7))).collect();
    let mut request = blocks.request("e1", &[]).unwrap();
    let mut offered = Vec::new();
    let last = loop {
        match blocks.step(T0, &table, &mut request) {
            Step::Take { owner, address } => {
                assert_eq!(owner, NodeId(7));
                offered.push(address);
                blocks.taken(&table, &mut request, TakeAnswer::Denied("somebody".into()));
            }
            other => break other,
        }
    };
    offered.sort();
    assert_eq!(offered, [ip("10.1.0.4"), ip("10.1.0.6")]);
    assert!(matches!(last, Step::Refused(AddressError::Exhausted { unreachable, .. }) if unreachable.is_empty()));
}

#[test]
fn a_handed_over_address_returns_when_its_record_goes() {
    let mut owner = share(7, &["10.1.0.0/24"]);
    owner.restore_block(net("10.1.0.8/29"));
    let address = ip("10.1.0.8");
    let (empty, recorded) = (Table::default(), Table { ips: vec![(address, NodeId(1))], ..Table::default() });
    assert_eq!(owner.judge_take(T0, &empty, NodeId(1), address), TakeVerdict::Granted);
    assert!(matches!(owner.judge_take(T0, &empty, NodeId(2), address), TakeVerdict::Denied { .. }), "promised");
    owner.tick(T0, &recorded);
    assert!(matches!(owner.judge_take(T0, &recorded, NodeId(2), address), TakeVerdict::Denied { .. }), "in use");
    assert_eq!(owner.judge_take(T0, &empty, NodeId(2), address), TakeVerdict::Granted, "given back");
    assert_eq!(owner.judge_take(T0, &empty, NodeId(2), ip("10.1.0.16")), TakeVerdict::NotMine);
}

#[test]
fn a_record_of_an_earlier_use_does_not_keep_a_promise() {
    let address = ip("10.1.0.8");
    let (empty, recorded) = (Table::default(), Table { ips: vec![(address, NodeId(1))], ..Table::default() });
    // The first use's record is still there, or has not even come, when the same node asks again.
    for at_the_question in [&recorded, &empty] {
        let mut owner = share(7, &["10.1.0.0/24"]);
        owner.restore_block(net("10.1.0.8/29"));
        assert_eq!(owner.judge_take(T0, &empty, NodeId(1), address), TakeVerdict::Granted);
        if at_the_question.ips.is_empty() {
            assert_eq!(owner.judge_take(T0, &empty, NodeId(1), address), TakeVerdict::Granted);
        } else {
            owner.recorded(T0, address, NodeId(1));
            assert_eq!(owner.judge_take(T0, &recorded, NodeId(1), address), TakeVerdict::Granted);
        }
        owner.recorded(T0, address, NodeId(1));
        owner.tick(T0, &recorded);
        // It is taken back; that of the second use is on its way.
        assert!(matches!(owner.judge_take(T0, &empty, NodeId(2), address), TakeVerdict::Denied { .. }), "given twice");
        owner.tick(T0 + SETTLE, &recorded);
        assert_eq!(owner.judge_take(T0 + SETTLE, &empty, NodeId(2), address), TakeVerdict::Granted);
    }
}

#[test]
fn an_address_that_was_used_only_for_a_moment_is_free_at_once() {
    let mut owner = share(7, &["10.1.0.0/24"]);
    owner.restore_block(net("10.1.0.8/29"));
    let (address, empty) = (ip("10.1.0.8"), Table::default());
    assert_eq!(owner.judge_take(T0, &empty, NodeId(1), address), TakeVerdict::Granted);
    owner.recorded(T0, address, NodeId(3));
    assert!(matches!(owner.judge_take(T0, &empty, NodeId(2), address), TakeVerdict::Denied { .. }), "another's record");
    owner.recorded(T0, address, NodeId(1));
    assert_eq!(owner.judge_take(T0, &empty, NodeId(2), address), TakeVerdict::Granted);
    owner.recorded(T0, address, NodeId(2));
    assert_eq!(attach(&mut owner, &empty, "e1", &["10.1.0.8"]).unwrap(), ["10.1.0.8/24"]);
}

/// A gateway or a spare address of Docker's, and a lease, have a holder and never a record.
#[test]
fn an_address_that_is_kept_without_a_record_stays_its_keepers() {
    let (mut owner, mut keeper) = (share(7, &["10.1.0.0/24"]), share(1, &["10.1.0.0/24"]));
    owner.restore_block(net("10.1.0.8/29"));
    let blocks = vec![(net("10.1.0.8/29"), NodeId(7))];
    let mut table = Table { blocks, reachable: vec![NodeId(1), NodeId(7)], ..Table::default() };
    let address = ip("10.1.0.9");
    let mut request = keeper.request("spare", &asked(&["10.1.0.9"])).unwrap();
    assert!(matches!(keeper.step(T0, &table, &mut request), Step::Take { .. }));
    assert_eq!(owner.judge_take(T0, &table, NodeId(1), address), TakeVerdict::Granted);
    keeper.taken(&table, &mut request, TakeAnswer::Granted);
    assert!(matches!(keeper.step(T0, &table, &mut request), Step::Done(_)));
    let mut second = |seconds, table: &Table, owner: &mut Blocks| {
        let now = T0 + Duration::from_secs(seconds);
        let renewals = keeper.renewals(now, table);
        for (node, address) in &renewals {
            assert_eq!((*node, owner.judge_take(now, table, NodeId(1), *address)), (NodeId(7), TakeVerdict::Granted));
        }
        owner.tick(now, table);
        renewals.len()
    };
    let times: usize = (0..1000).map(|s| second(s, &table, &mut owner)).sum();
    let later = T0 + Duration::from_secs(1000);
    let refused = TakeVerdict::Denied { holder: "the node n1, which is just attaching".into() };
    assert_eq!(owner.judge_take(later, &table, NodeId(2), address), refused);
    assert!((60..=70).contains(&times), "asked {times} times");
    // With a record, or the block its own, there is nothing to ask for.
    table.ips = vec![(address, NodeId(1))];
    assert_eq!((1000..1100).map(|s| second(s, &table, &mut owner)).sum::<usize>(), 0);
    table.ips.clear();
    keeper.release("spare");
    assert_eq!(keeper.renewals(later + HAND_OVER * 9, &table), []);
}

#[test]
fn an_empty_block_is_kept_a_while() {
    let mut blocks = share(1, &["10.1.0.0/24"]);
    attach(&mut blocks, &Table::default(), "e1", &[]).unwrap();
    let block = blocks.owned().next().unwrap();
    records(&mut blocks);
    blocks.tick(T0, &Table::default());
    blocks.tick(T0 + KEEP_EMPTY * 2, &Table::default());
    assert_eq!(blocks.owned().count(), 1, "an endpoint has an address of it");
    blocks.release("e1");
    let released = T0 + KEEP_EMPTY * 2;
    blocks.tick(released, &Table::default());
    let lent = Table { ips: vec![(block.addr(), NodeId(9)), (block.broadcast(), NodeId(9))], ..Table::default() };
    blocks.tick(released + KEEP_EMPTY, &lent);
    assert_eq!(blocks.owned().count(), 1, "another node's endpoint has an address of it");
    blocks.tick(released + KEEP_EMPTY, &Table::default());
    assert_eq!((blocks.owned().count(), records(&mut blocks)), (0, vec![Record::Remove(block)]));
}

#[test]
fn conflicts_are_reported_once_and_the_lower_id_keeps_the_block() {
    let (mut low, mut high) = (share(1, &["10.1.0.0/24"]), share(2, &["10.1.0.0/24"]));
    let (block, address) = (net("10.1.0.8/29"), ip("10.1.0.8"));
    let table = Table {
        blocks: vec![(block, NodeId(1)), (block, NodeId(2))],
        ips: vec![(address, NodeId(1)), (address, NodeId(2))],
        ..Table::default()
    };
    for (blocks, other) in [(&mut low, 2), (&mut high, 1)] {
        blocks.restore_block(block);
        blocks.restore_address(address, "e1").unwrap();
        let others = vec![NodeId(other)];
        let expected = [
            Conflict::Block { block, kept: NodeId(1), gave_up: NodeId(2) },
            Conflict::Address { address, endpoint: "e1".into(), others },
        ];
        assert_eq!(blocks.tick(T0, &table), expected);
        assert_eq!(blocks.tick(T0, &table), expected[..0]);
    }
    assert_eq!((low.owned().count(), high.owned().count()), (1, 0));
    assert_eq!(records(&mut high), [Record::Put(block), Record::Remove(block)]);
}

#[test]
fn without_subnets_each_address_is_claimed_by_itself() {
    let mut blocks = share(1, &[]);
    let table = Table { reachable: vec![NodeId(2)], ..Table::default() };
    assert_eq!(attach(&mut blocks, &table, "e0", &[]).unwrap(), Vec::<String>::new());
    assert!(matches!(
        blocks.request("e1", &asked(&["10.9.0.5"])),
        Err(AddressError::Assign(AssignError::NoPrefix { .. }))
    ));
    let mut request = blocks.request("e1", &asked(&["10.9.0.5/24"])).unwrap();
    let claim = Step::Claim { block: net("10.9.0.5/32"), ask: vec![NodeId(2)] };
    assert_eq!(blocks.step(T0, &table, &mut request), claim);
    blocks.claimed(&request, [(NodeId(2), ClaimAnswer::Granted)]);
    assert_eq!(blocks.step(T0, &table, &mut request), Step::Done(vec![net("10.9.0.5/24")]));
    blocks.release("e1");
    assert_eq!(records(&mut blocks), [Record::Put(net("10.9.0.5/32")), Record::Remove(net("10.9.0.5/32"))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_given_twice_while_all_see_each_other(seed: u64) {
        let mut world = world::World::new(seed, weather::Weather::Fair);
        world.run(60);
        world.check_unique()?;
        world.detach_all_and_wait();
        world.check_nothing_left()?;
    }

    #[test]
    fn what_is_given_twice_across_a_partition_is_reported_by_all_who_have_it(seed: u64) {
        let mut world = world::World::new(seed, weather::Weather::Partitions);
        world.run(60);
        world.heal_and_settle();
        world.check_reported()?;
        world.detach_all_and_wait();
        world.check_nothing_left()?;
    }
}

/// A node lent an address twice in a row, and the record of the first time was taken for that of the second.
#[test]
fn what_is_lent_to_one_node_again_is_lent_to_no_other() {
    let mut world = world::World::new(2_092_385_137_979_672_872, weather::Weather::Fair);
    world.run(60);
    world.check_unique().unwrap();
}

#[test]
fn a_subnet_is_given_out_to_its_last_address() {
    for seed in 0..8 {
        let mut world = world::World::new(seed, weather::Weather::Fair);
        let expected = world.usable();
        let mut refused = 0;
        let mut given = 0;
        // Each node has a turn; when all refuse there is nothing left.
        for node in (0..world.len()).cycle() {
            if world.attach_and_wait(node) {
                (given, refused) = (given + 1, 0);
            } else {
                refused += 1;
            }
            if refused == world.len() {
                break;
            }
        }
        assert_eq!(given, expected, "seed {seed}");
    }
}

#[test]
fn the_blocks_of_a_node_that_is_gone_for_good_are_given_out_again() {
    for seed in 0..8 {
        let mut world = world::World::new(seed, weather::Weather::Fair);
        let expected = world.usable();
        while world.attach_and_wait(0) {}
        world.evict(0);
        world.wait(PROMISE);
        let mut given: HashMap<usize, usize> = HashMap::new();
        while world.attach_and_wait(1) {
            *given.entry(1).or_default() += 1;
        }
        assert_eq!(given[&1], expected, "seed {seed}");
    }
}
