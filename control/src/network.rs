//! What a network is: the definition that is fixed when it is made.
//!
//! A network is one L2 segment. [`Network`] holds what every node of it must agree on, and is what the state
//! file stores; `define` makes it out of a request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_vtep::addr::Vni;

use crate::ipam;

/// How a network's frames travel between VTEPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// VXLAN in clear (RFC 7348).
    Plain,
    /// Encrypted and authenticated between each pair of nodes.
    Sealed,
}

impl Mode {
    /// Bytes between the underlay's MTU and the inner MTU: outer IP and UDP, VXLAN and inner Ethernet headers,
    /// and in a sealed network the seal's header and tag.
    pub fn overhead(self, tunnel: IpAddr) -> u32 {
        let ip = if tunnel.is_ipv4() { 20 } else { 40 };
        let seal = if self == Mode::Sealed { 16 + 16 } else { 0 };
        ip + 8 + 8 + 14 + seal
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Plain => "plain",
            Mode::Sealed => "sealed",
        })
    }
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet, free of host bits.
    pub subnet: IpNet,
    /// The router's address, if the user named one. Endpoints get a default route to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The part that addresses are given out from, if not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
}

impl Subnet {
    /// The address that is kept for a router in a cluster's network, so that no endpoint gets it by chance: the gateway,
    /// or where none is named the first address. A point-to-point subnet has none to spare.
    pub fn reserved(&self) -> Option<IpAddr> {
        let spare = self.subnet.max_prefix_len() - self.subnet.prefix_len() > 1;
        let first = || ipam::from_bits(&self.subnet, ipam::to_bits(self.subnet.network()) + 1);
        self.gateway.or_else(|| spare.then(first))
    }
}

/// A network's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Random lasting identifier, hexadecimal.
    pub id: String,
    /// Unique among the networks that exist.
    pub name: String,
    /// Unique among the networks that exist.
    #[serde(with = "vni_number")]
    pub vni: Vni,
    /// Plain or sealed.
    pub mode: Mode,
    /// The largest inner IP packet in bytes, the same on every node.
    pub mtu: u16,
    /// Disjoint, in the order in which the user gave them.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Endpoints get no default route.
    #[serde(default)]
    pub internal: bool,
    /// VTEPs outside of any cluster, all of one address family. Only in a plain network.
    #[serde(default)]
    pub remotes: Vec<IpAddr>,
    /// Options as the user gave them; [`Options`](crate::options::Options) says what they mean.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Network {
    /// The driver of every network of this version.
    pub const DRIVER: &'static str = "overlay";

    /// The subnet that holds `address`.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.subnet.contains(&address))
    }
}

/// Finds a network by its name, its id, or a beginning of its id, in this order.
///
/// A beginning that several networks share finds nothing, like one that no network has: [`Lookup`] says which.
pub fn find<'a>(networks: impl Iterator<Item = &'a Network> + Clone, reference: &str) -> Result<&'a Network, Lookup> {
    if let Some(network) = networks.clone().find(|n| n.name == reference || n.id == reference) {
        return Ok(network);
    }
    let mut matching = networks.filter(|n| !reference.is_empty() && n.id.starts_with(reference));
    match (matching.next(), matching.next()) {
        (Some(network), None) => Ok(network),
        (None, _) => Err(Lookup::None { reference: reference.to_owned() }),
        (Some(_), Some(_)) => Err(Lookup::Several { reference: reference.to_owned() }),
    }
}

/// Why a reference names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lookup {
    /// No network matches.
    #[error("there is no network `{reference}`; `weft network ls` lists those that exist")]
    None {
        /// What was asked for.
        reference: String,
    },
    /// The beginning of an id is not enough.
    #[error("`{reference}` is the beginning of several networks' ids: give more of it")]
    Several {
        /// What was asked for.
        reference: String,
    },
}

/// A VNI is a plain number in the state file, checked when it is read.
mod vni_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use weft_vtep::addr::Vni;

    pub(super) fn serialize<S: Serializer>(vni: &Vni, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(vni.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vni, D::Error> {
        let number = u32::deserialize(deserializer)?;
        Vni::new(number).ok_or_else(|| D::Error::custom(format_args!("{number} is not a VNI")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plain network with nothing special.
    pub(crate) fn sample(name: &str, id: &str, vni: u32) -> Network {
        Network {
            id: id.to_owned(),
            name: name.to_owned(),
            vni: Vni::new(vni).unwrap(),
            mode: Mode::Plain,
            mtu: 1450,
            subnets: Vec::new(),
            internal: false,
            remotes: Vec::new(),
            options: BTreeMap::new(),
        }
    }

    #[test]
    fn overheads_are_those_of_the_headers() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!([Mode::Plain.overhead(v4), Mode::Plain.overhead(v6)], [50, 70]);
        assert_eq!([Mode::Sealed.overhead(v4), Mode::Sealed.overhead(v6)], [82, 102]);
    }

    #[test]
    fn a_name_comes_before_the_beginning_of_an_id() {
        let networks = [sample("blue", "ab12", 1), sample("ab1", "ff00", 2), sample("red", "ab34", 3)];
        let find = |reference| find(networks.iter(), reference).map(|n| n.vni.get());
        assert_eq!(find("blue"), Ok(1));
        assert_eq!(find("ab1"), Ok(2));
        assert_eq!(find("ab12"), Ok(1));
        assert_eq!(find("ab3"), Ok(3));
        assert!(matches!(find("ab"), Err(Lookup::Several { .. })));
        assert!(matches!(find(""), Err(Lookup::None { .. })));
        assert!(matches!(find("green"), Err(Lookup::None { .. })));
    }

    #[test]
    fn a_stored_network_comes_back_and_a_bad_vni_does_not() {
        let network = Network {
            subnets: vec![Subnet { subnet: "10.1.0.0/16".parse().unwrap(), gateway: None, ip_range: None }],
            ..sample("blue", "ab12", 4096)
        };
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
        let bad = text.replace("4096", "16777216");
        assert!(serde_json::from_str::<Network>(&bad).unwrap_err().to_string().contains("16777216 is not a VNI"));
    }
}
