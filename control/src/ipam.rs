//! The addresses of one subnet, for a node that stands alone.
//!
//! [`Pool`] knows who holds which address. It gives out the next free one after the last that it gave out, so
//! that an address just released is not at once another station's while neighbours still have the old one in
//! their caches. Nothing is kept back but what no host can have ([`is_host`]); a gateway is passed over by
//! [`Pool::allocate`] but may be asked for, since it is an endpoint's job to be one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why an address is not given. The pool is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is in another subnet.
    #[error("the address {address} is outside the subnet {subnet}: choose one inside")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpNet,
    },
    /// No host can have it.
    #[error("{address} is the network or broadcast address of {subnet}, which no endpoint can have: choose another")]
    NotHost {
        /// The address.
        address: IpAddr,
        /// The pool's subnet.
        subnet: IpNet,
    },
    /// Somebody has it.
    #[error("the address {address} is held by the endpoint {holder}: choose another, or detach that endpoint")]
    Held {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: String,
    },
    /// None is left.
    #[error("no address is left in {range}: detach an endpoint, or make the network with a larger subnet or range")]
    Exhausted {
        /// Where addresses are given out from.
        range: IpNet,
    },
}

/// True if a host of `subnet` can have `address`: inside, and neither the network address nor, in IPv4, the
/// broadcast address. Point-to-point subnets have neither (RFC 3021, RFC 6164).
pub fn is_host(subnet: &IpNet, address: IpAddr) -> bool {
    let point_to_point = subnet.max_prefix_len() - subnet.prefix_len() <= 1;
    let network = address == subnet.network();
    let broadcast = address.is_ipv4() && address == subnet.broadcast();
    subnet.contains(&address) && (point_to_point || !(network || broadcast))
}

/// Who holds which address of a subnet.
#[derive(Debug, Clone)]
pub struct Pool {
    subnet: IpNet,
    range: IpNet,
    gateway: Option<IpAddr>,
    held: BTreeMap<IpAddr, String>,
    /// Where the search for a free address begins, as an integer.
    next: u128,
}

impl Pool {
    /// An empty pool of `subnet` that gives out addresses of `range`, which is part of it.
    pub fn new(subnet: IpNet, range: Option<IpNet>, gateway: Option<IpAddr>) -> Pool {
        let range = range.unwrap_or(subnet);
        Pool { subnet, range, gateway, held: BTreeMap::new(), next: to_bits(range.network()) }
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Gives `holder` the address that it asks for.
    pub fn reserve(&mut self, address: IpAddr, holder: &str) -> Result<(), PoolError> {
        let subnet = self.subnet;
        if !subnet.contains(&address) {
            return Err(PoolError::Outside { address, subnet });
        }
        if !is_host(&subnet, address) {
            return Err(PoolError::NotHost { address, subnet });
        }
        if let Some(holder) = self.held.get(&address) {
            return Err(PoolError::Held { address, holder: holder.clone() });
        }
        self.held.insert(address, holder.to_owned());
        Ok(())
    }

    /// Gives `holder` the next free address.
    pub fn allocate(&mut self, holder: &str) -> Result<IpAddr, PoolError> {
        self.allocate_from(self.range, holder)
    }

    /// Gives `holder` the next free address of `range`, which is part of the subnet.
    pub fn allocate_from(&mut self, range: IpNet, holder: &str) -> Result<IpAddr, PoolError> {
        let (first, last) = (to_bits(range.network()), to_bits(range.broadcast()));
        let start = if (first..=last).contains(&self.next) { self.next } else { first };
        // Each address passed over is held, the gateway, or no host's, so this ends after as many steps.
        let free = (start..=last).chain(first..start).map(|bits| self.address(bits)).find(|a| self.is_free(*a));
        let address = free.ok_or(PoolError::Exhausted { range })?;
        self.held.insert(address, holder.to_owned());
        self.next = self.after(address);
        Ok(address)
    }

    /// Takes back all that `holder` has.
    pub fn release(&mut self, holder: &str) {
        self.held.retain(|_, h| h != holder);
    }

    /// Makes `to` the holder of an address that `from` has. False if `from` does not have it.
    pub fn hand_on(&mut self, address: IpAddr, from: &str, to: &str) -> bool {
        let holder = self.held.get_mut(&address).filter(|holder| *holder == from);
        holder.map(|holder| to.clone_into(holder)).is_some()
    }

    /// Takes back one address, whoever has it.
    pub fn free(&mut self, address: IpAddr) {
        self.held.remove(&address);
    }

    /// Takes back all that `holder` has and never used: the search goes on as if it had not been given out.
    pub fn undo(&mut self, holder: &str) {
        let unused: Vec<_> = self.held.iter().filter(|(_, h)| *h == holder).map(|(a, _)| *a).collect();
        for address in unused {
            self.held.remove(&address);
            if self.after(address) == self.next {
                self.next = to_bits(address);
            }
        }
    }

    /// Where the search goes on after `address`.
    fn after(&self, address: IpAddr) -> u128 {
        if address == self.range.broadcast() {
            to_bits(self.range.network())
        } else {
            to_bits(address).saturating_add(1)
        }
    }

    fn is_free(&self, address: IpAddr) -> bool {
        is_host(&self.subnet, address) && Some(address) != self.gateway && !self.held.contains_key(&address)
    }

    fn address(&self, bits: u128) -> IpAddr {
        from_bits(&self.subnet, bits)
    }
}

/// The address of the subnet's family that is this number.
pub(crate) fn from_bits(subnet: &IpNet, bits: u128) -> IpAddr {
    match (subnet, u32::try_from(bits)) {
        (IpNet::V4(_), Ok(bits)) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// An address as a number.
pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_network_and_broadcast_address_are_no_hosts_except_point_to_point() {
        assert!(!is_host(&net("10.1.0.0/24"), ip("10.1.0.0")) && !is_host(&net("10.1.0.0/24"), ip("10.1.0.255")));
        assert!(is_host(&net("10.1.0.0/31"), ip("10.1.0.0")) && is_host(&net("10.1.0.0/31"), ip("10.1.0.1")));
        assert!(is_host(&net("10.1.0.7/32"), ip("10.1.0.7")));
        assert!(
            !is_host(&net("fd00::/64"), ip("fd00::")) && is_host(&net("fd00::/64"), ip("fd00::ffff:ffff:ffff:ffff"))
        );
        assert!(is_host(&net("fd00::/127"), ip("fd00::")));
        assert!(!is_host(&net("10.1.0.0/24"), ip("fd00::1")));
    }

    #[test]
    fn a_held_address_is_refused_with_its_holder() {
        let mut pool = Pool::new(net("10.1.0.0/24"), None, None);
        pool.reserve(ip("10.1.0.5"), "e1").unwrap();
        let refused = pool.reserve(ip("10.1.0.5"), "e2").unwrap_err();
        assert_eq!(refused, PoolError::Held { address: ip("10.1.0.5"), holder: "e1".into() });
        pool.release("e1");
        pool.reserve(ip("10.1.0.5"), "e2").unwrap();
    }

    #[test]
    fn a_gateway_is_passed_over_but_may_be_asked_for() {
        let mut pool = Pool::new(net("10.1.0.0/30"), None, Some(ip("10.1.0.1")));
        assert_eq!(pool.allocate("e1").unwrap(), ip("10.1.0.2"));
        assert_eq!(pool.allocate("e2"), Err(PoolError::Exhausted { range: net("10.1.0.0/30") }));
        pool.reserve(ip("10.1.0.1"), "router").unwrap();
    }

    #[test]
    fn an_address_that_was_never_used_is_the_next_again() {
        let mut pool = Pool::new(net("10.1.0.0/29"), None, None);
        for holder in ["e1", "e2"] {
            pool.allocate(holder).unwrap();
        }
        pool.undo("e2");
        assert_eq!(pool.allocate("e3").unwrap(), ip("10.1.0.2"));
        pool.release("e3");
        assert_eq!(pool.allocate("e4").unwrap(), ip("10.1.0.3"), "a used address rests");
    }

    #[test]
    fn the_end_of_the_address_space_is_reached_without_overflow() {
        let last = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        let mut pool = Pool::new(net("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"), None, None);
        assert_eq!(pool.allocate("e1").unwrap(), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"));
        assert_eq!(pool.allocate("e2").unwrap(), last);
        assert!(pool.allocate("e3").is_err());
    }

    /// The same promises, kept by looking at every address of the subnet one by one.
    struct Model {
        holders: Vec<Option<u8>>,
        range: std::ops::Range<usize>,
        gateway: usize,
        next: usize,
    }

    impl Model {
        fn reserve(&mut self, at: usize, holder: u8) -> bool {
            let ok = at > 0 && at + 1 < self.holders.len() && self.holders[at].is_none();
            if ok {
                self.holders[at] = Some(holder);
            }
            ok
        }

        fn allocate(&mut self, holder: u8) -> Option<usize> {
            let mut at = self.next;
            for _ in self.range.clone() {
                let after = if at + 1 == self.range.end { self.range.start } else { at + 1 };
                if at != self.gateway && self.reserve(at, holder) {
                    self.next = after;
                    return Some(at);
                }
                at = after;
            }
            None
        }
    }

    proptest! {
        #[test]
        fn a_pool_does_what_the_slow_model_does(
            // A /27 and a /29 within it.
            range in 0usize..4,
            gateway in 0usize..32,
            steps in prop::collection::vec((0u8..3, 0usize..40, 0u8..12), 1..200),
        ) {
            let base = u32::from(Ipv4Addr::new(10, 1, 0, 32));
            let at = |index: usize| IpAddr::V4((base + index as u32).into());
            let range_net = IpNet::new(at(range * 8), 29).unwrap();
            let mut pool = Pool::new(net("10.1.0.32/27"), Some(range_net), Some(at(gateway)));
            let start = range * 8;
            let mut model = Model { holders: vec![None; 32], range: start..start + 8, gateway, next: start };
            for (kind, index, holder) in steps {
                let name = holder.to_string();
                match kind {
                    0 => {
                        let expected = index < 32 && model.reserve(index, holder);
                        prop_assert_eq!(pool.reserve(at(index), &name).is_ok(), expected);
                    }
                    1 => prop_assert_eq!(pool.allocate(&name).ok(), model.allocate(holder).map(at)),
                    _ => {
                        pool.release(&name);
                        model.holders.iter_mut().filter(|h| **h == Some(holder)).for_each(|h| *h = None);
                    }
                }
            }
        }
    }
}
