//! What `define` accepts and refuses.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_proto::v1::CreateNetworkRequest;

use super::*;
use crate::network::tests::sample;
use crate::networks::vni::FIRST_AUTOMATIC as FIRST_AUTOMATIC_VNI;

fn tunnel() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn alone<'a>(networks: &'a [&'a Network]) -> Surroundings<'a> {
    Surroundings { networks, tunnel: tunnel(), underlay_mtu: 1500, can_seal: false, in_cluster: false }
}

fn plain() -> CreateNetworkRequest {
    CreateNetworkRequest { name: "blue".into(), plain: true, ..Default::default() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn options(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn defined_in(wire: CreateNetworkRequest, around: Surroundings<'_>) -> Result<Network, DefineError> {
    define(wire.try_into().unwrap(), "00ff".into(), around)
}

fn defined(wire: CreateNetworkRequest) -> Result<Network, DefineError> {
    defined_in(wire, alone(&[]))
}

#[test]
fn the_defaults_are_the_first_free_vni_and_the_largest_mtu() {
    let taken = [sample("red", "01", FIRST_AUTOMATIC_VNI)];
    let network = defined_in(plain(), alone(&[&taken[0]])).unwrap();
    assert_eq!((network.vni.get(), network.mtu, network.mode), (FIRST_AUTOMATIC_VNI + 1, 1450, Mode::Plain));
    let v6 = Surroundings { tunnel: "2001:db8::1".parse().unwrap(), ..alone(&[]) };
    assert_eq!(defined_in(plain(), v6).unwrap().mtu, 1430);
    // A tag that is kept needs its room on the underlay.
    let tagged = CreateNetworkRequest { options: options("vlan", "keep").into_iter().collect(), ..plain() };
    assert_eq!(defined(tagged).unwrap().mtu, 1446);
}

#[test]
fn a_loopback_underlay_carries_no_more_than_an_ip_packet_can_say() {
    let network = defined_in(plain(), Surroundings { underlay_mtu: 65_536, ..alone(&[]) }).unwrap();
    assert_eq!(network.mtu, 65_485);
}

#[test]
fn names_are_those_of_docker() {
    for good in ["a", "0", "blue-1", "a_b.c-D"] {
        assert!(defined(CreateNetworkRequest { name: good.into(), ..plain() }).is_ok(), "{good}");
    }
    for bad in ["-a", ".a", "_a", "a b", "a/b", "ä", "a\n"] {
        let refused = defined(CreateNetworkRequest { name: bad.into(), ..plain() });
        assert_eq!(refused, Err(DefineError::Name(bad.into())));
    }
}

#[test]
fn a_name_or_vni_in_use_is_refused_with_its_holder() {
    let red = sample("red", "01", 5000);
    let networks = [&red];
    let refused = defined_in(CreateNetworkRequest { name: "red".into(), ..plain() }, alone(&networks));
    assert_eq!(refused, Err(DefineError::NameInUse("red".into())));
    let refused = defined_in(CreateNetworkRequest { vni: Some(5000), ..plain() }, alone(&networks)).unwrap_err();
    assert!(refused.to_string().starts_with("VNI 5000 is in use by the network `red`"), "{refused}");
}

#[test]
fn a_vni_has_24_bits_and_is_not_zero() {
    for vni in [1, Vni::MAX] {
        assert_eq!(defined(CreateNetworkRequest { vni: Some(vni), ..plain() }).unwrap().vni.get(), vni);
    }
    for vni in [0, Vni::MAX + 1, u32::MAX] {
        assert_eq!(defined(CreateNetworkRequest { vni: Some(vni), ..plain() }), Err(DefineError::Vni(vni)));
    }
}

#[test]
fn a_node_that_stands_alone_seals_nothing() {
    let sealed = || CreateNetworkRequest { plain: false, ..plain() };
    assert_eq!(defined(sealed()), Err(DefineError::CannotSeal));
    let cluster = Surroundings { can_seal: true, ..alone(&[]) };
    let network = defined_in(sealed(), cluster).unwrap();
    assert_eq!((network.mode, network.mtu), (Mode::Sealed, 1418));
    let encrypted = CreateNetworkRequest { options: options("encrypted", ""), ..plain() };
    assert_eq!(defined(encrypted), Err(DefineError::PlainContradicts));
    let by_option = CreateNetworkRequest { options: options("plain", ""), ..sealed() };
    assert_eq!(defined(by_option).unwrap().mode, Mode::Plain);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let driver = CreateNetworkRequest { driver: "macvlan".into(), ..plain() };
    assert_eq!(defined(driver), Err(DefineError::Driver("macvlan".into())));
    let option = CreateNetworkRequest { options: options("speed", "9"), ..plain() };
    assert!(defined(option).unwrap_err().to_string().contains("`speed`"));
}

#[test]
fn remotes_are_other_hosts_of_one_family_in_a_plain_network() {
    let with = |remotes: &[&str]| CreateNetworkRequest { remotes: texts(remotes), ..plain() };
    assert!(defined(with(&["192.0.2.2", "192.0.2.3"])).is_ok());
    let sealed = CreateNetworkRequest { plain: false, ..with(&["192.0.2.2"]) };
    assert_eq!(defined(sealed), Err(DefineError::RemoteNeedsPlain));
    assert!(matches!(defined(with(&["2001:db8::2"])), Err(DefineError::RemoteFamily { .. })));
    assert!(matches!(defined(with(&["192.0.2.2", "192.0.2.2"])), Err(DefineError::RemoteTwice(_))));
    for bad in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"] {
        assert!(matches!(defined(with(&[bad])), Err(DefineError::RemoteAddress(_))), "{bad}");
    }
}

#[test]
fn gateways_and_ranges_find_their_subnet() {
    let network = defined(CreateNetworkRequest {
        subnets: texts(&["10.1.0.0/16", "fd00:1::/64"]),
        gateways: texts(&["fd00:1::1", "10.1.255.254"]),
        ip_ranges: texts(&["10.1.4.0/24"]),
        ..plain()
    });
    let subnets = network.unwrap().subnets;
    assert_eq!(subnets[0].gateway, Some("10.1.255.254".parse().unwrap()));
    assert_eq!(subnets[0].ip_range, Some("10.1.4.0/24".parse().unwrap()));
    assert_eq!((subnets[1].gateway, subnets[1].ip_range), (Some("fd00:1::1".parse().unwrap()), None));
}

#[test]
fn subnets_gateways_and_ranges_that_do_not_fit_are_refused() {
    let with = |subnets: &[&str], gateways: &[&str], ranges: &[&str]| {
        defined(CreateNetworkRequest {
            subnets: texts(subnets),
            gateways: texts(gateways),
            ip_ranges: texts(ranges),
            ..plain()
        })
    };
    use DefineError::*;
    assert!(matches!(with(&["10.1.0.0/16", "10.1.2.0/24"], &[], &[]), Err(Overlap(..))));
    assert!(matches!(with(&["10.1.2.0/24", "10.0.0.0/8"], &[], &[]), Err(Overlap(..))));
    assert!(matches!(with(&["224.0.0.0/8"], &[], &[]), Err(NotUnicast(_))));
    assert!(matches!(with(&[], &["10.1.0.1"], &[]), Err(GatewayOutside(_))));
    assert!(matches!(with(&["10.1.0.0/16"], &["10.2.0.1"], &[]), Err(GatewayOutside(_))));
    assert!(matches!(with(&["10.1.0.0/16"], &["10.1.255.255"], &[]), Err(GatewayNotHost(..))));
    assert!(matches!(with(&["10.1.0.0/16"], &["10.1.0.1", "10.1.0.2"], &[]), Err(TwoGateways(_))));
    assert!(matches!(with(&["10.1.0.0/16"], &[], &["10.2.0.0/24"]), Err(RangeOutside(_))));
    assert!(matches!(with(&["10.1.0.0/16"], &[], &["10.0.0.0/8"]), Err(RangeOutside(_))));
    assert!(matches!(with(&["10.1.0.0/16"], &[], &["10.1.1.0/24", "10.1.2.0/24"]), Err(TwoRanges(_))));
}

#[test]
fn an_mtu_that_does_not_fit_is_refused_with_both_numbers() {
    let with = |mtu, subnet: &str| CreateNetworkRequest { mtu: Some(mtu), subnets: texts(&[subnet]), ..plain() };
    assert_eq!(defined(with(576, "10.1.0.0/16")).unwrap().mtu, 576);
    assert_eq!(defined(with(1280, "fd00:1::/64")).unwrap().mtu, 1280);
    assert!(matches!(defined(with(575, "10.1.0.0/16")), Err(DefineError::MtuTooSmall { min: 576, .. })));
    assert!(matches!(defined(with(1279, "fd00:1::/64")), Err(DefineError::MtuTooSmall { min: 1280, .. })));
    let refused = defined(with(1500, "10.1.0.0/16")).unwrap_err().to_string();
    assert!(refused.contains("1500") && refused.contains("1450"), "{refused}");
    let narrow = Surroundings { underlay_mtu: 1300, ..alone(&[]) };
    let refused = defined_in(CreateNetworkRequest { mtu: None, ..with(0, "fd00:1::/64") }, narrow);
    assert_eq!(refused, Err(DefineError::UnderlayTooSmall { underlay: 1300, needed: 1330 }));
}

proptest! {
    /// Whatever is asked for, what comes out is within the promises that other rooms build on.
    #[test]
    fn a_definition_keeps_its_promises(
        name in "[a-zA-Z0-9_.-]{1,8}",
        vni in prop::option::of(0..Vni::MAX + 2),
        mtu in prop::option::of(0u32..70_000),
        underlay_mtu in 0u32..70_000,
        subnets in prop::collection::vec((0u32..8, 8u8..=32), 0..4),
    ) {
        let net = |(third, prefix): &(u32, u8)| {
            ipnet::Ipv4Net::new((0x0a00_0000 + (third << 20)).into(), *prefix).unwrap().trunc().to_string()
        };
        let wire = CreateNetworkRequest { name, vni, mtu, subnets: subnets.iter().map(net).collect(), ..plain() };
        if let Ok(network) = defined_in(wire, Surroundings { underlay_mtu, ..alone(&[]) }) {
            prop_assert!(u32::from(network.mtu) >= MIN_MTU);
            prop_assert!(u32::from(network.mtu) + 50 <= underlay_mtu);
            for (index, one) in network.subnets.iter().enumerate() {
                for other in &network.subnets[..index] {
                    let (a, b) = (one.subnet, other.subnet);
                    prop_assert!(a.broadcast() < b.network() || b.broadcast() < a.network());
                }
            }
        }
    }
}
