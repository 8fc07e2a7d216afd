//! The addresses of a whole network: one [`Pool`] for each subnet.
//!
//! What an endpoint asks for and what it is given besides is settled in one step, [`Space::assign`], which
//! gives all or nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use weft_proto::request::AskedAddress;

use crate::ipam::{Pool, PoolError};
use crate::network::{Network, Subnet};

/// Why an endpoint gets no addresses. Nothing was given to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// The subnet refuses.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The address is in none of several subnets.
    #[error("the address {address} is outside the network's subnets ({subnets}): choose one inside")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The subnets, as text.
        subnets: String,
    },
    /// The prefix is not the subnet's.
    #[error("{address}/{prefix} is inside the subnet {subnet} but has another prefix: write {address}/{}", .subnet.prefix_len())]
    Prefix {
        /// The address.
        address: IpAddr,
        /// The prefix length that was given.
        prefix: u8,
        /// The subnet.
        subnet: IpNet,
    },
    /// Nothing says how long the prefix is.
    #[error("the network has no subnet: write {address} with its prefix, as in {address}/{example}")]
    NoPrefix {
        /// The address.
        address: IpAddr,
        /// A usual length.
        example: u8,
    },
    /// An address that no interface can have.
    #[error("{0} is not the unicast address of a host: choose another")]
    NotUnicast(IpAddr),
    /// Two addresses of one family.
    #[error("two {0} addresses for one endpoint: give at most one of each family")]
    TwoOfFamily(&'static str),
    /// An address would be chosen where not all holders are known.
    #[error(
        "the network has remote VTEPs, whose stations' addresses are not known here, so none can be chosen: \
         give one with --ip"
    )]
    MustAsk,
}

/// Who holds which address of a network.
#[derive(Debug, Clone)]
pub struct Space {
    pools: Vec<Pool>,
    /// Addresses in a network without subnets.
    loose: BTreeMap<IpAddr, String>,
    /// Addresses are held outside of our knowledge.
    has_remotes: bool,
}

impl Space {
    /// The space of `network`, with no address held.
    pub fn new(network: &Network) -> Space {
        Space { has_remotes: !network.remotes.is_empty(), ..Space::of(&network.subnets) }
    }

    /// The space of these subnets, with no address held.
    pub fn of(subnets: &[Subnet]) -> Space {
        let pools = subnets.iter().map(|s| Pool::new(s.subnet, s.ip_range, s.gateway)).collect();
        Space { pools, loose: BTreeMap::new(), has_remotes: false }
    }

    /// Gives `holder` the addresses that it asks for and, of each family that it does not ask for, the next free
    /// one. Where the network has remotes nothing is chosen, and something must be asked for.
    pub fn assign(&mut self, asked: &[AskedAddress], holder: &str) -> Result<Vec<IpNet>, AssignError> {
        if asked.is_empty() && self.has_remotes {
            return Err(AssignError::MustAsk);
        }
        let assigned = self.try_assign(asked, holder);
        if assigned.is_err() {
            self.undo(holder);
        }
        assigned
    }

    fn try_assign(&mut self, asked: &[AskedAddress], holder: &str) -> Result<Vec<IpNet>, AssignError> {
        let mut given: Vec<IpNet> = Vec::new();
        for address in asked {
            if given.iter().any(|g| g.addr().is_ipv4() == address.address.is_ipv4()) {
                return Err(AssignError::TwoOfFamily(family(address.address)));
            }
            given.push(self.reserve(*address, holder)?);
        }
        for v4 in [true, false] {
            if !self.has_remotes && !given.iter().any(|g| g.addr().is_ipv4() == v4) {
                given.extend(self.allocate(v4, holder)?);
            }
        }
        Ok(given)
    }

    /// Gives `holder` exactly these addresses, all or none: an engine's own plan says which those are.
    pub fn reserve_all(&mut self, asked: &[AskedAddress], holder: &str) -> Result<Vec<IpNet>, AssignError> {
        let reserved: Result<Vec<_>, _> = asked.iter().map(|address| self.reserve(*address, holder)).collect();
        if reserved.is_err() {
            self.undo(holder);
        }
        reserved
    }

    /// Gives `holder` the next free address of `subnet`, or of `range` inside it.
    ///
    /// Where the network has remotes only a range is given out from: who names one says that it is this node's.
    pub fn allocate_in(&mut self, subnet: IpNet, range: Option<IpNet>, holder: &str) -> Result<IpNet, AssignError> {
        if self.has_remotes && range.is_none() {
            return Err(AssignError::MustAsk);
        }
        let Some(pool) = self.pools.iter_mut().find(|p| p.subnet() == subnet) else {
            let subnets: Vec<_> = self.pools.iter().map(|p| p.subnet().to_string()).collect();
            return Err(AssignError::Outside { address: subnet.addr(), subnets: subnets.join(", ") });
        };
        let address = match range {
            Some(range) => pool.allocate_from(range, holder)?,
            None => pool.allocate(holder)?,
        };
        Ok(IpNet::new(address, subnet.prefix_len()).unwrap_or_else(|_| IpNet::from(address)))
    }

    /// Gives back to `holder` an address that it had before a restart.
    pub fn restore(&mut self, address: IpNet, holder: &str) -> Result<(), AssignError> {
        let asked = AskedAddress { address: address.addr(), prefix: Some(address.prefix_len()) };
        self.reserve(asked, holder).map(drop)
    }

    /// Makes `to` the holder of an address that `from` has. False if `from` does not have it.
    pub fn hand_on(&mut self, address: IpAddr, from: &str, to: &str) -> bool {
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.subnet().contains(&address)) {
            return pool.hand_on(address, from, to);
        }
        let holder = self.loose.get_mut(&address).filter(|holder| *holder == from);
        holder.map(|holder| to.clone_into(holder)).is_some()
    }

    /// Takes back all that `holder` has.
    pub fn release(&mut self, holder: &str) {
        self.pools.iter_mut().for_each(|pool| pool.release(holder));
        self.loose.retain(|_, h| h != holder);
    }

    /// Takes back what `holder` was given and never used: it did not come to be.
    pub fn undo(&mut self, holder: &str) {
        self.pools.iter_mut().for_each(|pool| pool.undo(holder));
        self.loose.retain(|_, h| h != holder);
    }

    fn reserve(&mut self, asked: AskedAddress, holder: &str) -> Result<IpNet, AssignError> {
        let address = asked.address;
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return Err(AssignError::NotUnicast(address));
        }
        let prefix = match self.pools.iter().position(|p| p.subnet().contains(&address)) {
            Some(index) => {
                let subnet = self.pools[index].subnet();
                if let Some(prefix) = asked.prefix.filter(|p| *p != subnet.prefix_len()) {
                    return Err(AssignError::Prefix { address, prefix, subnet });
                }
                self.pools[index].reserve(address, holder)?;
                subnet.prefix_len()
            }
            None if !self.pools.is_empty() => {
                let subnets: Vec<_> = self.pools.iter().map(|p| p.subnet().to_string()).collect();
                return Err(AssignError::Outside { address, subnets: subnets.join(", ") });
            }
            None => {
                let example = if address.is_ipv4() { 24 } else { 64 };
                let prefix = asked.prefix.ok_or(AssignError::NoPrefix { address, example })?;
                if let Some(holder) = self.loose.get(&address) {
                    return Err(PoolError::Held { address, holder: holder.clone() }.into());
                }
                self.loose.insert(address, holder.to_owned());
                prefix
            }
        };
        Ok(IpNet::new(address, prefix).unwrap_or_else(|_| IpNet::from(address)))
    }

    /// The first subnet of the family that has room gives the address, none if there is no such subnet.
    fn allocate(&mut self, v4: bool, holder: &str) -> Result<Option<IpNet>, PoolError> {
        let mut refused = None;
        for pool in self.pools.iter_mut().filter(|p| p.subnet().addr().is_ipv4() == v4) {
            match pool.allocate(holder) {
                Ok(address) => return Ok(IpNet::new(address, pool.subnet().prefix_len()).ok()),
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Ok(None), Err)
    }
}

pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tests::sample;

    fn space(subnets: &[&str], remotes: &[&str]) -> Space {
        let subnet = |text: &&str| Subnet { subnet: text.parse().unwrap(), gateway: None, ip_range: None };
        Space::new(&Network {
            subnets: subnets.iter().map(subnet).collect(),
            remotes: remotes.iter().map(|r| r.parse().unwrap()).collect(),
            ..sample("blue", "01", 4096)
        })
    }

    fn assign(space: &mut Space, asked: &[&str], holder: &str) -> Result<Vec<String>, AssignError> {
        let asked: Vec<_> = asked.iter().map(|a| a.parse().unwrap()).collect();
        Ok(space.assign(&asked, holder)?.iter().map(IpNet::to_string).collect())
    }

    #[test]
    fn each_family_gives_one_address_and_what_is_asked_for_comes_first() {
        let mut space = space(&["10.1.0.0/16", "fd00:1::/64"], &[]);
        assert_eq!(assign(&mut space, &[], "e1").unwrap(), ["10.1.0.1/16", "fd00:1::1/64"]);
        assert_eq!(assign(&mut space, &["fd00:1::9"], "e2").unwrap(), ["fd00:1::9/64", "10.1.0.2/16"]);
        assert_eq!(assign(&mut space, &["10.1.0.9/16"], "e3").unwrap(), ["10.1.0.9/16", "fd00:1::2/64"]);
    }

    #[test]
    fn a_full_subnet_sends_on_to_the_next_of_its_family() {
        let mut space = space(&["10.1.0.0/31", "10.2.0.0/24"], &[]);
        for (holder, expected) in [("e1", "10.1.0.0/31"), ("e2", "10.1.0.1/31"), ("e3", "10.2.0.1/24")] {
            assert_eq!(assign(&mut space, &[], holder).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_refusal_leaves_nothing_held() {
        let mut space = space(&["10.1.0.0/30", "fd00:1::/64"], &[]);
        assign(&mut space, &["10.1.0.1", "fd00:1::1"], "e1").unwrap();
        assert!(matches!(assign(&mut space, &["10.1.0.2", "fd00:1::1"], "e2"), Err(AssignError::Pool(_))));
        assert_eq!(assign(&mut space, &["10.1.0.2"], "e3").unwrap()[0], "10.1.0.2/30");
        assert!(
            matches!(assign(&mut space, &["fd00:1::7"], "e4"), Err(AssignError::Pool(_))),
            "no IPv4 address is left"
        );
        assert_eq!(assign(&mut space, &["10.1.0.9"], "e5").unwrap_err().to_string().matches("10.1.0.0/30").count(), 1);
        space.release("e1");
        assert_eq!(assign(&mut space, &["fd00:1::7"], "e4").unwrap(), ["fd00:1::7/64", "10.1.0.1/30"]);
    }

    #[test]
    fn with_remotes_nothing_is_chosen() {
        let mut with = space(&["10.1.0.0/16", "fd00:1::/64"], &["192.0.2.2"]);
        assert_eq!(assign(&mut with, &[], "e1"), Err(AssignError::MustAsk));
        assert_eq!(assign(&mut with, &["10.1.0.5"], "e1").unwrap(), ["10.1.0.5/16"]);
    }

    #[test]
    fn an_engine_takes_exact_addresses_or_the_next_of_a_subnet_or_range() {
        let mut space = space(&["10.1.0.0/16", "fd00:1::/64"], &[]);
        let (subnet, range) = ("10.1.0.0/16".parse().unwrap(), "10.1.9.0/30".parse().unwrap());
        let given =
            |space: &mut Space, range, holder| space.allocate_in(subnet, range, holder).map(|ip| ip.to_string());
        assert_eq!(given(&mut space, None, "e1").unwrap(), "10.1.0.1/16");
        for expected in ["10.1.9.0/16", "10.1.9.1/16", "10.1.9.2/16", "10.1.9.3/16"] {
            assert_eq!(given(&mut space, Some(range), expected).unwrap(), expected);
        }
        assert!(matches!(given(&mut space, Some(range), "e2"), Err(AssignError::Pool(PoolError::Exhausted { .. }))));
        let asked = ["fd00:1::7".parse().unwrap(), "10.1.0.1".parse().unwrap()];
        assert!(space.reserve_all(&asked, "e3").is_err(), "one of them is held");
        assert_eq!(space.reserve_all(&asked[..1], "e4").unwrap(), ["fd00:1::7/64".parse().unwrap()]);
        let address = "fd00:1::7".parse().unwrap();
        assert!(!space.hand_on(address, "e3", "e5") && space.hand_on(address, "e4", "e5"));
        space.release("e4");
        assert!(space.reserve_all(&asked[..1], "e6").unwrap_err().to_string().contains("e5"));
    }

    #[test]
    fn with_remotes_only_a_range_is_given_out_from() {
        let mut with = space(&["10.1.0.0/16"], &["192.0.2.2"]);
        let subnet = "10.1.0.0/16".parse().unwrap();
        assert_eq!(with.allocate_in(subnet, None, "e1"), Err(AssignError::MustAsk));
        let given = with.allocate_in(subnet, Some("10.1.2.0/24".parse().unwrap()), "e1").unwrap();
        assert_eq!(given.to_string(), "10.1.2.0/16");
    }

    #[test]
    fn without_a_subnet_an_address_needs_its_prefix() {
        let mut space = space(&[], &[]);
        assert_eq!(assign(&mut space, &[], "e1").unwrap(), Vec::<String>::new());
        assert!(matches!(assign(&mut space, &["10.1.0.5"], "e1"), Err(AssignError::NoPrefix { .. })));
        assert_eq!(assign(&mut space, &["10.1.0.5/24"], "e1").unwrap(), ["10.1.0.5/24"]);
        assert!(assign(&mut space, &["10.1.0.5/24"], "e2").unwrap_err().to_string().contains("e1"));
    }

    #[test]
    fn a_prefix_other_than_the_subnets_and_two_of_a_family_are_refused() {
        let mut space = space(&["10.1.0.0/16"], &[]);
        let refused = assign(&mut space, &["10.1.0.5/24"], "e1").unwrap_err().to_string();
        assert!(refused.ends_with("write 10.1.0.5/16"), "{refused}");
        let refused = assign(&mut space, &["10.1.0.5", "10.1.0.6"], "e1");
        assert_eq!(refused, Err(AssignError::TwoOfFamily("IPv4")));
        assert!(matches!(assign(&mut space, &["224.0.0.5/24"], "e1"), Err(AssignError::NotUnicast(_))));
        assert_eq!(assign(&mut space, &["10.1.0.5"], "e2").unwrap(), ["10.1.0.5/16"]);
    }
}
