//! A network as an object of the cluster: JSON, written by any member, and therefore judged before it is believed.

use weft_proto::limits;

use crate::define::{self, DefineError};
use crate::network::{Mode, Network};
use crate::options::Options;

/// The longest object in bytes. What a request may hold fits several times.
pub const MAX_BYTES: usize = 64 * 1024;

/// Why an object is no network. It is passed over, and kept for those who can read it.
#[derive(Debug, thiserror::Error)]
pub enum NotANetwork {
    /// It is too long to be read.
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It is not the JSON of a network.
    #[error("it is not the JSON of a network: {0}")]
    Json(#[from] serde_json::Error),
    /// Its id is not the one that it is filed under.
    #[error("it says that its id is `{0}`")]
    OtherId(String),
    /// Its id was made for the other mode: nobody can turn a sealed network into a plain one, or back.
    #[error("it says that its mode is {0}, and its id says that it is not")]
    OtherMode(Mode),
    /// More of something than a network can have.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// What no user could have made.
    #[error(transparent)]
    Define(#[from] DefineError),
}

/// The id of a new network: 64 random bits in hexadecimal, of which the last says the mode. What refers to a network
/// names its id, so no member can change the mode under it.
pub fn id_for(mode: Mode, random: &str) -> String {
    let (head, last) = random.split_at(random.len().saturating_sub(1));
    let digit = u32::from_str_radix(last, 16).unwrap_or(0) & !1 | u32::from(mode == Mode::Sealed);
    format!("{head}{digit:x}")
}

/// The object of a network.
pub fn encode(network: &Network) -> Vec<u8> {
    // A network is strings, numbers and addresses: nothing in it can fail to be written.
    serde_json::to_vec(network).unwrap_or_default()
}

/// The network of the object that is filed under `id`.
pub fn decode(id: &str, value: &[u8]) -> Result<Network, NotANetwork> {
    if value.len() > MAX_BYTES {
        return Err(NotANetwork::TooLong);
    }
    let network: Network = serde_json::from_slice(value)?;
    if network.id != id || id.is_empty() || id.len() > limits::NAME_BYTES || !id.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return Err(NotANetwork::OtherId(network.id.escape_default().take(limits::NAME_BYTES).collect()));
    }
    if id_for(network.mode, id) != id {
        return Err(NotANetwork::OtherMode(network.mode));
    }
    let bounds = [
        ("letters in its name", network.name.len(), limits::NAME_BYTES),
        ("subnets", network.subnets.len(), limits::SUBNETS),
        ("remotes", network.remotes.len(), limits::REMOTES),
        ("options", network.options.len(), limits::OPTIONS),
    ];
    if let Some((what, ..)) = bounds.into_iter().find(|(_, count, limit)| count > limit) {
        return Err(NotANetwork::TooMany(what));
    }
    check(&network)?;
    Ok(network)
}

/// What `define` has made sure of on the node where the network was made.
fn check(network: &Network) -> Result<(), DefineError> {
    if !define::is_name(&network.name) {
        return Err(DefineError::Name(network.name.escape_default().collect()));
    }
    Options::parse(&network.options)?;
    if network.mode == Mode::Sealed && !network.remotes.is_empty() {
        return Err(DefineError::RemoteNeedsPlain);
    }
    define::check_subnets(&network.subnets)?;
    define::check_least_mtu(network.mtu.into(), &network.subnets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Subnet;
    use crate::network::tests::sample;

    fn network() -> Network {
        let subnet = |text: &str| Subnet { subnet: text.parse().unwrap(), gateway: None, ip_range: None };
        Network { subnets: vec![subnet("10.1.0.0/16"), subnet("fd00::/64")], ..sample("blue", "ab12", 4096) }
    }

    fn decoded(network: &Network) -> Result<Network, NotANetwork> {
        decode(&network.id, &encode(network))
    }

    #[test]
    fn a_network_comes_back_as_it_was() {
        assert_eq!(decoded(&network()).unwrap(), network());
    }

    #[test]
    fn what_no_user_could_have_made_is_refused() {
        let subnet = |text: &str| Subnet { subnet: text.parse().unwrap(), gateway: None, ip_range: None };
        let with_gateway = |g: &str| Subnet { gateway: Some(g.parse().unwrap()), ..subnet("10.1.0.0/16") };
        let with_range = |r: &str| Subnet { ip_range: Some(r.parse().unwrap()), ..subnet("10.1.0.0/16") };
        let with = |subnets: Vec<Subnet>| Network { subnets, ..network() };
        for bad in [
            Network { name: "blue~ab12".into(), ..network() },
            Network { mode: Mode::Sealed, ..network() },
            Network { mode: Mode::Plain, id: "ab13".into(), ..network() },
            Network { name: "x\ny".into(), ..network() },
            Network { name: "n".repeat(limits::NAME_BYTES + 1), ..network() },
            Network { mode: Mode::Sealed, remotes: vec!["192.0.2.1".parse().unwrap()], ..network() },
            Network { mtu: 1000, ..network() },
            Network { id: "not hex".into(), ..network() },
            Network { options: [("no-such".to_owned(), String::new())].into(), ..network() },
            with(vec![subnet("10.1.0.0/16"), subnet("10.1.2.0/24")]),
            with(vec![subnet("224.0.0.0/8")]),
            with(vec![subnet("10.1.2.3/16")]),
            with(vec![with_gateway("10.2.0.1")]),
            with(vec![with_gateway("10.1.0.0")]),
            with(vec![with_range("10.2.0.0/24")]),
            with(vec![with_range("10.0.0.0/8")]),
            with((0..=limits::SUBNETS).map(|i| subnet(&format!("10.{i}.0.0/16"))).collect()),
        ] {
            assert!(decoded(&bad).is_err(), "{bad:?}");
        }
        let sealed = Network { mode: Mode::Sealed, id: id_for(Mode::Sealed, "ab12"), ..network() };
        assert_eq!(decoded(&sealed).unwrap(), sealed);
        assert!(matches!(decode("ab13", &encode(&network())), Err(NotANetwork::OtherId(_))));
        assert!(matches!(decode("ab12", b"{}"), Err(NotANetwork::Json(_))));
        assert!(matches!(decode("ab12", &vec![b' '; MAX_BYTES + 1]), Err(NotANetwork::TooLong)));
    }
}
