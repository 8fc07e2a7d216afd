//! The names of address pools.
//!
//! The engine keeps a pool's name and hands it back with every request, over restarts of both. So the name itself says
//! all that is to know of a pool, and no table of pools has to be kept: which network's subnet it is, or, while the
//! network does not exist yet, that of a network to come.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolName {
    /// Whose.
    pub owner: Owner,
    /// The subnet.
    pub subnet: IpNet,
    /// The part that this engine gives out from.
    pub range: Option<IpNet>,
}

/// Whose pool it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// That of a network that existed when the pool was asked for, by its identifier.
    Network(String),
    /// That of the network which the engine was about to make, with the name that was said for it.
    ToCome(Option<String>),
}

const SEPARATOR: char = '|';

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match &self.owner {
            Owner::Network(id) => ("network", id.as_str()),
            Owner::ToCome(name) => ("new", name.as_deref().unwrap_or_default()),
        };
        write!(f, "{kind}{SEPARATOR}{name}{SEPARATOR}{}", self.subnet)?;
        self.range.map_or(Ok(()), |range| write!(f, "{SEPARATOR}{range}"))
    }
}

/// The text names no pool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a pool of weft's", .0.chars().take(64).flat_map(char::escape_default).collect::<String>())]
pub struct NotAPool(pub String);

impl FromStr for PoolName {
    type Err = NotAPool;

    fn from_str(text: &str) -> Result<Self, NotAPool> {
        read(text).ok_or_else(|| NotAPool(text.to_owned()))
    }
}

fn read(text: &str) -> Option<PoolName> {
    let mut parts = text.split(SEPARATOR);
    let (kind, name) = (parts.next()?, parts.next()?);
    let owner = match kind {
        "network" if !name.is_empty() => Owner::Network(name.to_owned()),
        "new" => Owner::ToCome((!name.is_empty()).then(|| name.to_owned())),
        _ => return None,
    };
    let subnet: IpNet = parts.next()?.parse().ok()?;
    let range = match parts.next() {
        Some(range) => Some(range.parse().ok().filter(|range| subnet.contains(range))?),
        None => None,
    };
    parts.next().is_none().then_some(PoolName { owner, subnet, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for text in [
            "network|00ff|10.1.0.0/16",
            "network|00ff|10.1.0.0/16|10.1.2.0/24",
            "new||fd00::/64",
            "new|blue|10.1.0.0/16|10.1.2.0/24",
        ] {
            assert_eq!(text.parse::<PoolName>().unwrap().to_string(), text);
        }
        assert_eq!("new||fd00::/64".parse::<PoolName>().unwrap().owner, Owner::ToCome(None));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "|",
            "network||10.1.0.0/16",
            "new|blue",
            "new|blue|10.1.0.0",
            "other|x|10.1.0.0/16",
            "new|blue|10.1.0.0/16|10.2.0.0/24",
            "new|blue|10.1.0.0/16|10.1.2.0/24|",
            "LocalDefault/10.1.0.0/16",
        ] {
            assert_eq!(text.parse::<PoolName>(), Err(NotAPool(text.into())), "{text}");
        }
        assert!(NotAPool("\n".repeat(1000)).to_string().len() < 200);
    }
}
