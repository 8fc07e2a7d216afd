//! Wire messages become typed requests here, or are refused.
//!
//! This is syntax and size alone: after it an address is an address, and every list and text is within
//! [`limits`]. Whether the request makes sense is decided by whoever holds the state.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::{limits, v1};

/// Why a message is no request. The text is one line for the user, and says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A required field is empty.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A text is longer than its limit.
    #[error("the {what} is too long: at most {limit} bytes")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its limit in bytes.
        limit: usize,
    },
    /// A list is longer than its limit.
    #[error("too many {what}: at most {limit}")]
    TooMany {
        /// The field.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// A text is not what the field holds.
    #[error("`{text}` is not {expected}")]
    Syntax {
        /// What was given.
        text: String,
        /// What the field holds, with an example.
        expected: &'static str,
    },
    /// A CIDR has bits set behind its prefix.
    #[error("`{given}` is an address, not a {what}: write {meant}")]
    HostBits {
        /// What was given.
        given: IpNet,
        /// The field.
        what: &'static str,
        /// The same without the host's bits.
        meant: IpNet,
    },
    /// A MAC address that is not six octets.
    #[error("a MAC address has 6 octets, this one has {0}")]
    MacLength(usize),
}

/// A network as the user asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateNetwork {
    /// Its name, not yet checked for form.
    pub name: String,
    /// The driver, `overlay` where none was given.
    pub driver: String,
    /// The VNI, if it was given.
    pub vni: Option<u32>,
    /// The subnets, free of host bits.
    pub subnets: Vec<IpNet>,
    /// The gateways, in no order.
    pub gateways: Vec<IpAddr>,
    /// The ranges, free of host bits, in no order.
    pub ip_ranges: Vec<IpNet>,
    /// The MTU in bytes, if it was given.
    pub mtu: Option<u32>,
    /// VXLAN in clear.
    pub plain: bool,
    /// No default route for endpoints.
    pub internal: bool,
    /// Static VTEPs.
    pub remotes: Vec<IpAddr>,
    /// Options by name.
    pub options: BTreeMap<String, String>,
}

/// An address that the user asks for: with its prefix, or leaving that to the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedAddress {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length, if it was given.
    pub prefix: Option<u8>,
}

/// An endpoint as the user asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// Name or id of the network.
    pub network: String,
    /// Name or path of the network namespace.
    pub netns: String,
    /// Name of the interface in there, `eth0` where none was given.
    pub ifname: String,
    /// Addresses, if any were asked for.
    pub ips: Vec<AskedAddress>,
    /// The MAC address in wire order, if one was asked for.
    pub mac: Option<[u8; 6]>,
}

const ADDRESS: &str = "an IP address, as in 192.0.2.1 or 2001:db8::1";
const CIDR: &str = "a subnet in CIDR notation, as in 10.1.0.0/16 or fd00:1::/64";
const ASKED: &str = "an IP address with or without its prefix, as in 10.1.0.5/16 or 10.1.0.5";

impl TryFrom<v1::CreateNetworkRequest> for CreateNetwork {
    type Error = Refused;

    fn try_from(wire: v1::CreateNetworkRequest) -> Result<Self, Refused> {
        bounded(&wire.options, "options", limits::OPTIONS, |m| m.len())?;
        for (key, value) in &wire.options {
            text(key, "name of an option", limits::OPTION_BYTES)?;
            text(value, "value of an option", limits::OPTION_BYTES)?;
        }
        Ok(CreateNetwork {
            name: required(wire.name, "network's name", limits::NAME_BYTES)?,
            driver: or_default(wire.driver, "driver", limits::NAME_BYTES, "overlay")?,
            vni: wire.vni,
            subnets: list(&wire.subnets, "subnets", limits::SUBNETS, |t| network(t, "subnet"))?,
            gateways: list(&wire.gateways, "gateways", limits::SUBNETS, |t| parse(t, ADDRESS))?,
            ip_ranges: list(&wire.ip_ranges, "address ranges", limits::SUBNETS, |t| network(t, "range"))?,
            mtu: wire.mtu,
            plain: wire.plain,
            internal: wire.internal,
            remotes: list(&wire.remotes, "remotes", limits::REMOTES, |t| parse(t, ADDRESS))?,
            options: wire.options,
        })
    }
}

impl TryFrom<v1::AttachRequest> for Attach {
    type Error = Refused;

    fn try_from(wire: v1::AttachRequest) -> Result<Self, Refused> {
        Ok(Attach {
            network: required(wire.network, "network", limits::NAME_BYTES)?,
            netns: required(wire.netns, "network namespace", limits::PATH_BYTES)?,
            ifname: or_default(wire.ifname, "interface's name", limits::IFNAME_BYTES, "eth0")?,
            ips: list(&wire.ips, "addresses", limits::SUBNETS, |t| t.parse())?,
            mac: match wire.mac.len() {
                0 => None,
                length => Some(wire.mac.try_into().map_err(|_| Refused::MacLength(length))?),
            },
        })
    }
}

impl FromStr for AskedAddress {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        if text.contains('/') {
            let with_prefix: IpNet = parse(text, ASKED)?;
            Ok(AskedAddress { address: with_prefix.addr(), prefix: Some(with_prefix.prefix_len()) })
        } else {
            Ok(AskedAddress { address: parse(text, ASKED)?, prefix: None })
        }
    }
}

/// A reference to a network or endpoint, by name or id.
pub fn reference(text: String, what: &'static str) -> Result<String, Refused> {
    required(text, what, limits::NAME_BYTES)
}

/// An address, as the command line takes it.
pub fn address(text: &str) -> Result<IpAddr, Refused> {
    parse(text, ADDRESS)
}

/// A subnet or range, as the command line takes it; the host's bits are for later.
pub fn cidr(text: &str) -> Result<IpNet, Refused> {
    parse(text, CIDR)
}

fn required(value: String, what: &'static str, limit: usize) -> Result<String, Refused> {
    if value.is_empty() {
        return Err(Refused::Missing(what));
    }
    text(&value, what, limit)?;
    Ok(value)
}

fn or_default(value: String, what: &'static str, limit: usize, default: &str) -> Result<String, Refused> {
    if value.is_empty() { Ok(default.to_owned()) } else { required(value, what, limit) }
}

fn text(value: &str, what: &'static str, limit: usize) -> Result<(), Refused> {
    if value.len() > limit { Err(Refused::TooLong { what, limit }) } else { Ok(()) }
}

fn bounded<T>(value: &T, what: &'static str, limit: usize, len: impl Fn(&T) -> usize) -> Result<(), Refused> {
    if len(value) > limit { Err(Refused::TooMany { what, limit }) } else { Ok(()) }
}

fn list<T>(
    texts: &[String],
    what: &'static str,
    limit: usize,
    item: impl Fn(&str) -> Result<T, Refused>,
) -> Result<Vec<T>, Refused> {
    bounded(&texts, what, limit, |t| t.len())?;
    texts.iter().map(|t| item(t)).collect()
}

/// What a refusal repeats of a text: enough to recognise it, on one line.
fn quoted(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_default).collect()
}

fn parse<T: FromStr>(text: &str, expected: &'static str) -> Result<T, Refused> {
    text.parse().map_err(|_| Refused::Syntax { text: quoted(text), expected })
}

fn network(text: &str, what: &'static str) -> Result<IpNet, Refused> {
    let given: IpNet = parse(text, CIDR)?;
    let meant = given.trunc();
    if given == meant { Ok(given) } else { Err(Refused::HostBits { given, what, meant }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> v1::CreateNetworkRequest {
        v1::CreateNetworkRequest { name: "blue".into(), ..Default::default() }
    }

    #[test]
    fn an_empty_driver_is_overlay_and_an_empty_interface_eth0() {
        assert_eq!(CreateNetwork::try_from(create()).unwrap().driver, "overlay");
        let wire = v1::AttachRequest { network: "blue".into(), netns: "c1".into(), ..Default::default() };
        let attach = Attach::try_from(wire).unwrap();
        assert_eq!((attach.ifname.as_str(), attach.mac), ("eth0", None));
    }

    #[test]
    fn a_subnet_with_host_bits_is_refused_with_what_was_meant() {
        let wire = v1::CreateNetworkRequest { subnets: vec!["10.1.2.3/16".into()], ..create() };
        let refused = CreateNetwork::try_from(wire).unwrap_err();
        assert_eq!(refused.to_string(), "`10.1.2.3/16` is an address, not a subnet: write 10.1.0.0/16");
    }

    #[test]
    fn what_is_not_an_address_is_repeated_on_one_short_line() {
        let wire = v1::CreateNetworkRequest { remotes: vec!["x\n".repeat(500)], ..create() };
        let text = CreateNetwork::try_from(wire).unwrap_err().to_string();
        assert!(text.len() < 250 && !text.contains('\n') && text.contains("IP address"), "{text}");
    }

    #[test]
    fn an_asked_address_keeps_its_prefix_only_if_given() {
        let asked: AskedAddress = "10.1.0.5/16".parse().unwrap();
        assert_eq!(asked.prefix, Some(16));
        assert_eq!("fd00::5".parse::<AskedAddress>().unwrap().prefix, None);
        assert!("10.1.0.5/33".parse::<AskedAddress>().is_err());
        assert!("10.1.0".parse::<AskedAddress>().is_err());
    }

    #[test]
    fn every_list_and_text_is_bounded() {
        let many = |n: usize| vec!["192.0.2.1".to_owned(); n];
        let fits = v1::CreateNetworkRequest { remotes: many(limits::REMOTES), ..create() };
        assert!(CreateNetwork::try_from(fits).is_ok());
        let long = v1::CreateNetworkRequest { name: "n".repeat(limits::NAME_BYTES + 1), ..create() };
        let option = BTreeMap::from([("k".to_owned(), "v".repeat(limits::OPTION_BYTES + 1))]);
        let options = (0..=limits::OPTIONS).map(|i| (i.to_string(), String::new())).collect();
        for wire in [
            long,
            v1::CreateNetworkRequest { remotes: many(limits::REMOTES + 1), ..create() },
            v1::CreateNetworkRequest { gateways: many(limits::SUBNETS + 1), ..create() },
            v1::CreateNetworkRequest { options: option, ..create() },
            v1::CreateNetworkRequest { options, ..create() },
        ] {
            assert!(
                matches!(CreateNetwork::try_from(wire), Err(Refused::TooLong { .. } | Refused::TooMany { .. })),
                "accepted"
            );
        }
    }

    #[test]
    fn a_mac_address_has_six_octets() {
        let wire = |mac| v1::AttachRequest { network: "n".into(), netns: "c".into(), mac, ..Default::default() };
        assert_eq!(Attach::try_from(wire(vec![2, 0, 0, 0, 0, 1])).unwrap().mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(Attach::try_from(wire(vec![2, 0])), Err(Refused::MacLength(2)));
    }
}
