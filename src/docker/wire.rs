//! What the engine and its plugins say to each other, as libnetwork's remote driver has it.
//!
//! Go leaves fields out, or writes `null`, where there is nothing: both read as empty here. Fields that are not known are
//! passed over, since each engine adds some. A field of a wrong type is an error with its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// An empty value for `null`.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The request of all calls that name a network, an endpoint, or nothing but themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Names {
    /// The network, as the engine calls it.
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub network: String,
    /// The endpoint, as the engine calls it.
    #[serde(rename = "EndpointID", deserialize_with = "nullable")]
    pub endpoint: String,
    /// Where the sandbox is, in Join.
    #[serde(deserialize_with = "nullable")]
    pub sandbox_key: String,
}

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetwork {
    /// The network, as the engine calls it.
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub network: String,
    /// The engine's labels, the user's options among them.
    #[serde(deserialize_with = "nullable")]
    pub options: Map<String, Value>,
    /// The IPv4 pools.
    #[serde(rename = "IPv4Data", deserialize_with = "nullable")]
    pub ipv4: Vec<PoolData>,
    /// The IPv6 pools.
    #[serde(rename = "IPv6Data", deserialize_with = "nullable")]
    pub ipv6: Vec<PoolData>,
}

/// `NetworkDriver.AllocateNetwork`, from the manager of a Swarm.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocateNetwork {
    /// The network, as the Swarm calls it.
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub network: String,
    /// The user's options, and those that were answered before if the manager is a new one.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// The IPv4 pools.
    #[serde(rename = "IPv4Data", deserialize_with = "nullable")]
    pub ipv4: Vec<PoolData>,
    /// The IPv6 pools.
    #[serde(rename = "IPv6Data", deserialize_with = "nullable")]
    pub ipv6: Vec<PoolData>,
}

/// A pool as IPAM gave it, with what the engine took from it for the network itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolData {
    /// Whose pool it is.
    #[serde(deserialize_with = "nullable")]
    pub address_space: String,
    /// The subnet.
    #[serde(deserialize_with = "nullable")]
    pub pool: String,
    /// The gateway with its prefix.
    #[serde(deserialize_with = "nullable")]
    pub gateway: String,
    /// Addresses that the user keeps for devices of his own, by name.
    #[serde(deserialize_with = "nullable")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateEndpoint {
    /// The network, as the engine calls it.
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub network: String,
    /// The endpoint, as the engine calls it.
    #[serde(rename = "EndpointID", deserialize_with = "nullable")]
    pub endpoint: String,
    /// What the engine has decided already.
    #[serde(deserialize_with = "nullable")]
    pub interface: Interface,
}

/// An interface; in an answer, what the driver has decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Interface {
    /// IPv4, with the prefix.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// IPv6, with the prefix.
    #[serde(rename = "AddressIPv6", deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub address_ipv6: String,
    /// The MAC address.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
}

/// The answer to Join.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Joined {
    /// The device to move, and what to call it.
    pub interface_name: InterfaceName,
    /// Keeps the engine from giving the container another interface that leads outside.
    pub disable_gateway_service: bool,
}

/// A device's present name, and the beginning of its name inside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InterfaceName {
    /// Where the engine finds it.
    pub src_name: String,
    /// The engine appends a number.
    pub dst_prefix: &'static str,
}

/// `IpamDriver.RequestPool`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    /// One of those that the driver named.
    #[serde(deserialize_with = "nullable")]
    pub address_space: String,
    /// The subnet, if the user named one.
    #[serde(deserialize_with = "nullable")]
    pub pool: String,
    /// The range, if the user named one.
    #[serde(deserialize_with = "nullable")]
    pub sub_pool: String,
    /// `--ipam-opt`.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
    /// An IPv6 pool is wanted.
    #[serde(rename = "V6", deserialize_with = "nullable")]
    pub v6: bool,
}

/// The answer to RequestPool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PoolGiven {
    /// What the engine is to call it.
    #[serde(rename = "PoolID")]
    pub id: String,
    /// The subnet.
    pub pool: String,
    /// The gateway, under its label.
    pub data: BTreeMap<&'static str, String>,
}

/// `IpamDriver.RequestAddress`, `IpamDriver.ReleaseAddress` and `IpamDriver.ReleasePool`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolRequest {
    /// As RequestPool answered.
    #[serde(rename = "PoolID", deserialize_with = "nullable")]
    pub pool: String,
    /// The address, if it matters which.
    #[serde(deserialize_with = "nullable")]
    pub address: String,
    /// What it is for.
    #[serde(deserialize_with = "nullable")]
    pub options: BTreeMap<String, String>,
}

/// The label of the user's `-o` options.
pub const GENERIC: &str = "com.docker.network.generic";
/// The label of `--ipv6`.
pub const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
/// The label of `--internal`.
pub const INTERNAL: &str = "com.docker.network.internal";
/// The label of a gateway.
pub const GATEWAY: &str = "com.docker.network.gateway";
/// The label that says what an address is for.
pub const ADDRESS_TYPE: &str = "RequestAddressType";
