//! How a network of one host comes to be.

use ipnet::IpNet;
use weft_proto::limits;
use weft_proto::request::CreateNetwork;

use super::{BRIDGE, Driver, HOST, LocalNetwork, MACVLAN, MacvlanMode};
use crate::define::{self, DefineError};
use crate::network::Subnet;

/// The option that names a macvlan network's parent. The command line has a flag for it.
const PARENT: &str = "parent";
/// The option that says how macvlan interfaces see each other: Docker's.
const MODE: &str = "macvlan_mode";
/// The largest MTU that an interface can have and fill.
const MAX_MTU: u32 = 65_535;

/// Why a network of one host is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// What is refused of any network.
    #[error(transparent)]
    Define(#[from] DefineError),
    /// Something that the driver has no use for.
    #[error("{what} is of no use with the driver {driver}{}: leave it out", why(.what))]
    NotForDriver {
        /// What was given.
        what: String,
        /// The driver.
        driver: &'static str,
    },
    /// A bridge without a subnet.
    #[error(
        "a bridge network needs --subnet: the bridge has its first address and leads out, endpoints have the others"
    )]
    NeedsSubnet,
    /// A subnet in which there is nobody beside the gateway.
    #[error("the subnet {0} has no room for a gateway and an endpoint: choose a larger one")]
    TooSmall(IpNet),
    /// Another bridge of this host has addresses of the subnet.
    #[error("the subnet {subnet} overlaps {other} of the network `{holder}` on this host: choose another")]
    SubnetInUse {
        /// The subnet.
        subnet: IpNet,
        /// The one that is there.
        other: IpNet,
        /// Whose it is.
        holder: String,
    },
    /// A macvlan network that leads nowhere.
    #[error("a macvlan network needs the host's interface that leads to the existing network: give it with --parent")]
    NeedsParent,
    /// The parent is no interface's name.
    #[error("`{0}` is no interface's name: give that of the host's interface, as in --parent eth0")]
    BadParent(String),
    /// There is no such mode.
    #[error("{MODE} cannot be `{0}`: write bridge, private or vepa")]
    BadMode(String),
    /// There is one host, and one network of it.
    #[error("there is a host network `{0}` already, and a host has one: use that")]
    HostTwice(String),
    /// The MTU is more than an interface can have.
    #[error("an MTU of {0} is too large: at most {MAX_MTU}")]
    MtuTooLarge(u32),
}

fn why(what: &str) -> &'static str {
    match what {
        "--vni" | "--remote" => ", whose frames travel in no tunnel",
        "--plain" => ", whose frames do not leave this host's networks and are never encrypted",
        _ => "",
    }
}

/// Makes the definition of a network of this host, beside `others`. That its name is free among overlays is the
/// caller's to know.
pub fn define(asked: CreateNetwork, id: String, others: &[&LocalNetwork]) -> Result<LocalNetwork, LocalError> {
    if !define::is_name(&asked.name) {
        return Err(DefineError::Name(asked.name).into());
    }
    if others.iter().any(|n| n.name == asked.name) {
        return Err(DefineError::NameInUse(asked.name).into());
    }
    let driver = driver(&asked, &id)?;
    check_flags(&asked, &driver)?;
    let subnets = subnets(&asked, &driver, others)?;
    if let Some(mtu) = asked.mtu {
        define::check_least_mtu(mtu, &subnets)?;
        if mtu > MAX_MTU {
            return Err(LocalError::MtuTooLarge(mtu));
        }
    }
    if let (Driver::Host, Some(other)) = (&driver, others.iter().find(|n| n.driver == Driver::Host)) {
        return Err(LocalError::HostTwice(other.name.clone()));
    }
    Ok(LocalNetwork { id, name: asked.name, driver, mtu: asked.mtu, subnets, internal: asked.internal })
}

fn driver(asked: &CreateNetwork, id: &str) -> Result<Driver, LocalError> {
    let driver = match asked.driver.as_str() {
        // The whole id would be longer than the kernel takes.
        BRIDGE => Driver::Bridge { bridge: format!("wb{}", id.get(..12).unwrap_or(id)) },
        HOST => Driver::Host,
        MACVLAN => {
            let parent = asked.options.get(PARENT).ok_or(LocalError::NeedsParent)?;
            let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
            if parent.is_empty() || parent.len() > limits::IFNAME_BYTES || parent.contains(bad) {
                return Err(LocalError::BadParent(parent.escape_default().collect()));
            }
            let mode = match asked.options.get(MODE).map(String::as_str) {
                None | Some("bridge") => MacvlanMode::Bridge,
                Some("vepa") => MacvlanMode::Vepa,
                Some("private") => MacvlanMode::Private,
                Some(other) => return Err(LocalError::BadMode(other.escape_default().collect())),
            };
            Driver::Macvlan { parent: parent.clone(), mode }
        }
        other => return Err(DefineError::Driver(other.to_owned()).into()),
    };
    Ok(driver)
}

/// What was asked for and would not come true is refused, not passed over.
fn check_flags(asked: &CreateNetwork, driver: &Driver) -> Result<(), LocalError> {
    let host = *driver == Driver::Host;
    let macvlan = matches!(driver, Driver::Macvlan { .. });
    let flags = [
        ("--vni", asked.vni.is_some()),
        ("--plain", asked.plain),
        ("--remote", !asked.remotes.is_empty()),
        ("--subnet", host && !asked.subnets.is_empty()),
        ("--gateway", host && !asked.gateways.is_empty()),
        ("--ip-range", host && !asked.ip_ranges.is_empty()),
        ("--mtu", host && asked.mtu.is_some()),
        ("--internal", host && asked.internal),
    ];
    let driver = driver.name();
    if let Some((what, _)) = flags.into_iter().find(|(_, given)| *given) {
        return Err(LocalError::NotForDriver { what: what.to_owned(), driver });
    }
    let known = |option: &&String| macvlan && [PARENT, MODE].contains(&option.as_str());
    if let Some(option) = asked.options.keys().find(|option| !known(option)) {
        let what = format!("the option {}", option.escape_default());
        return Err(LocalError::NotForDriver { what, driver });
    }
    Ok(())
}

fn subnets(asked: &CreateNetwork, driver: &Driver, others: &[&LocalNetwork]) -> Result<Vec<Subnet>, LocalError> {
    let mut subnets = define::arrange(asked)?;
    if !matches!(driver, Driver::Bridge { .. }) {
        return Ok(subnets);
    }
    if subnets.is_empty() {
        return Err(LocalError::NeedsSubnet);
    }
    for subnet in &mut subnets {
        // The bridge needs an address to be the way to, and to the host itself in an internal network.
        subnet.gateway = Some(subnet.reserved().ok_or(LocalError::TooSmall(subnet.subnet))?);
        if subnet.subnet.max_prefix_len() - subnet.subnet.prefix_len() <= 1 {
            return Err(LocalError::TooSmall(subnet.subnet));
        }
        // Two bridges with one subnet: the host would answer everybody on the first.
        let bridges = others.iter().filter(|n| matches!(n.driver, Driver::Bridge { .. }));
        for (holder, other) in bridges.flat_map(|n| n.subnets.iter().map(|s| (&n.name, s.subnet))) {
            if other.contains(&subnet.subnet) || subnet.subnet.contains(&other) {
                let holder = holder.clone();
                return Err(LocalError::SubnetInUse { subnet: subnet.subnet, other, holder });
            }
        }
    }
    Ok(subnets)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weft_proto::v1::CreateNetworkRequest;

    use super::*;

    fn asked(driver: &str) -> CreateNetworkRequest {
        CreateNetworkRequest { name: "lan".into(), driver: driver.into(), ..Default::default() }
    }

    fn options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn bridge(subnet: &str) -> CreateNetworkRequest {
        CreateNetworkRequest { subnets: vec![subnet.into()], ..asked("bridge") }
    }

    fn macvlan(given: &[(&str, &str)]) -> CreateNetworkRequest {
        CreateNetworkRequest { options: options(given), ..asked("macvlan") }
    }

    fn defined(wire: CreateNetworkRequest) -> Result<LocalNetwork, LocalError> {
        define(wire.try_into().unwrap(), "0123456789abcdef".into(), &[])
    }

    #[test]
    fn a_bridge_has_the_first_address_of_its_subnet() {
        let network = defined(bridge("10.88.0.0/24")).unwrap();
        assert_eq!(network.driver, Driver::Bridge { bridge: "wb0123456789ab".into() });
        assert_eq!(network.gateways().collect::<Vec<_>>(), ["10.88.0.1/24".parse().unwrap()]);
        let named = CreateNetworkRequest { gateways: vec!["10.88.0.9".into()], ..bridge("10.88.0.0/24") };
        assert_eq!(defined(named).unwrap().gateways().collect::<Vec<_>>(), ["10.88.0.9/24".parse().unwrap()]);
        assert_eq!(defined(asked("bridge")), Err(LocalError::NeedsSubnet));
        for small in ["10.88.0.0/31", "10.88.0.0/32", "fd00::/127"] {
            assert!(matches!(defined(bridge(small)), Err(LocalError::TooSmall(_))), "{small}");
        }
    }

    #[test]
    fn two_bridges_of_a_host_share_no_addresses() {
        let first = defined(bridge("10.88.0.0/16")).unwrap();
        let second = CreateNetworkRequest { name: "other".into(), ..bridge("10.88.7.0/24") };
        let refused = define(second.clone().try_into().unwrap(), "02".into(), &[&first]).unwrap_err().to_string();
        assert!(refused.contains("overlaps 10.88.0.0/16 of the network `lan`"), "{refused}");
        let elsewhere = Driver::Macvlan { parent: "eth0".into(), mode: MacvlanMode::Bridge };
        let first = LocalNetwork { driver: elsewhere, ..first };
        assert!(define(second.try_into().unwrap(), "02".into(), &[&first]).is_ok());
    }

    #[test]
    fn a_macvlan_network_has_a_parent_and_a_mode() {
        let expected = |mode| Ok(Driver::Macvlan { parent: "eth1".into(), mode });
        let driver = |given: &[(&str, &str)]| defined(macvlan(given)).map(|n| n.driver);
        assert_eq!(driver(&[("parent", "eth1")]), expected(MacvlanMode::Bridge));
        assert_eq!(driver(&[("parent", "eth1"), ("macvlan_mode", "private")]), expected(MacvlanMode::Private));
        assert_eq!(driver(&[]), Err(LocalError::NeedsParent));
        assert!(matches!(driver(&[("parent", "a/b")]), Err(LocalError::BadParent(_))));
        assert!(matches!(driver(&[("parent", "e"), ("macvlan_mode", "passthru")]), Err(LocalError::BadMode(_))));
    }

    #[test]
    fn what_a_driver_has_no_use_for_is_refused_by_name() {
        let with_vni = CreateNetworkRequest { vni: Some(7), ..bridge("10.88.0.0/24") };
        let text = defined(with_vni).unwrap_err().to_string();
        assert_eq!(text, "--vni is of no use with the driver bridge, whose frames travel in no tunnel: leave it out");
        for (wire, what) in [
            (CreateNetworkRequest { plain: true, ..bridge("10.88.0.0/24") }, "--plain"),
            (CreateNetworkRequest { remotes: vec!["192.0.2.1".into()], ..macvlan(&[("parent", "e")]) }, "--remote"),
            (CreateNetworkRequest { subnets: vec!["10.88.0.0/24".into()], ..asked("host") }, "--subnet"),
            (CreateNetworkRequest { mtu: Some(1500), ..asked("host") }, "--mtu"),
            (CreateNetworkRequest { internal: true, ..asked("host") }, "--internal"),
            (CreateNetworkRequest { options: options(&[("parent", "e")]), ..asked("host") }, "the option parent"),
            (
                CreateNetworkRequest { options: options(&[("vlan", "keep")]), ..bridge("10.88.0.0/24") },
                "the option vlan",
            ),
        ] {
            assert!(
                matches!(defined(wire), Err(LocalError::NotForDriver { what: named, .. }) if named == what),
                "{what}"
            );
        }
    }

    #[test]
    fn a_host_has_one_host_network() {
        let first = defined(asked("host")).unwrap();
        let second = CreateNetworkRequest { name: "other".into(), ..asked("host") };
        let refused = define(second.try_into().unwrap(), "02".into(), &[&first]);
        assert_eq!(refused, Err(LocalError::HostTwice("lan".into())));
    }

    #[test]
    fn a_stored_network_comes_back() {
        for network in [defined(bridge("10.88.0.0/24")), defined(asked("host")), defined(macvlan(&[("parent", "e")]))] {
            let network = network.unwrap();
            let text = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<LocalNetwork>(&text).unwrap(), network, "{text}");
        }
    }
}
