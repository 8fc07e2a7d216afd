//! The blocks that a subnet has.
//!
//! Every node divides a subnet in the same way: aligned blocks of one size, small enough that a few dozen nodes
//! find one each, and in IPv4 at most a /28. Each node tries them in an order of its own, so that nodes that do not
//! see each other rarely choose the same.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::NodeId;
use crate::ipam::{from_bits, is_host, to_bits};
use crate::network::Subnet;
use crate::spread::spread;

/// A subnet is divided into at least this many blocks, if it has as many addresses: 2 to this power.
const LEAST_BLOCKS_BITS: u8 = 5;
/// An IPv4 block has at most 16 addresses.
const MOST_BITS_V4: u8 = 4;
/// An IPv6 block has at most 65,536: there are enough of them, and each claim costs a question to every node.
const MOST_BITS_V6: u8 = 16;
/// An IPv6 subnet has so many blocks that it can be generous with them: 2 to this power at least.
const LEAST_BLOCKS_BITS_V6: u8 = 16;
/// No more blocks of a range are chosen from than 2 to this power: the rest of a /64 is for addresses asked for.
const MOST_BLOCKS_BITS: u8 = 32;

/// A subnet, divided into blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    subnet: IpNet,
    range: IpNet,
    reserved: Option<IpAddr>,
    /// The user named the gateway, and may therefore give it to an endpoint.
    named: bool,
    block_prefix: u8,
}

impl Grid {
    /// Divides a subnet.
    pub fn new(subnet: &Subnet) -> Grid {
        let range = subnet.ip_range.unwrap_or(subnet.subnet);
        let (reserved, named) = (subnet.reserved(), subnet.gateway.is_some());
        let block_prefix = range.max_prefix_len() - block_bits(range);
        Grid { subnet: subnet.subnet, range, reserved, named, block_prefix }
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Where addresses are chosen from.
    pub fn range(&self) -> IpNet {
        self.range
    }

    /// True if the address is kept for a router, and nobody said that an endpoint is to be it.
    pub fn keeps(&self, address: IpAddr) -> bool {
        self.reserved == Some(address) && !self.named
    }

    /// The block that an address of the subnet is in.
    pub fn block_of(&self, address: IpAddr) -> Option<IpNet> {
        if !self.subnet.contains(&address) {
            return None;
        }
        IpNet::new(address, self.block_prefix).ok().map(|net| net.trunc())
    }

    /// True if the subnet has this block.
    pub fn has(&self, block: &IpNet) -> bool {
        block.prefix_len() == self.block_prefix && self.subnet.contains(block) && *block == block.trunc()
    }

    /// How many blocks there are to choose from.
    pub fn count(&self) -> u64 {
        1 << self.count_bits()
    }

    /// The blocks to choose from, each once, in the order in which `node` tries them.
    pub fn order(&self, node: NodeId) -> impl Iterator<Item = IpNet> + use<> {
        let (mask, range, prefix) = (self.count() - 1, self.range, self.block_prefix);
        let start = spread("block", &node.0.to_be_bytes());
        // The number of blocks is a power of 2, so any odd stride meets each of them.
        let stride = spread("stride", &node.0.to_be_bytes()) | 1;
        let first = to_bits(range.network());
        let shift = range.max_prefix_len() - prefix;
        (0..=mask).filter_map(move |index| {
            let at = start.wrapping_add(index.wrapping_mul(stride)) & mask;
            IpNet::new(from_bits(&range, first + (u128::from(at) << shift)), prefix).ok()
        })
    }

    /// The addresses of a block that may be chosen, once around, beginning at `from` or where the block begins.
    pub fn addresses(&self, block: IpNet, from: Option<IpAddr>) -> impl DoubleEndedIterator<Item = IpAddr> {
        let (first, last) = (to_bits(block.network()), to_bits(block.broadcast()));
        let from = from.map_or(first, to_bits).clamp(first, last);
        let around = (from..=last).chain(first..from);
        around.map(move |bits| from_bits(&block, bits)).filter(|address| self.gives(*address))
    }

    /// True if the address may be chosen for an endpoint that asked for none.
    pub fn gives(&self, address: IpAddr) -> bool {
        self.range.contains(&address) && is_host(&self.subnet, address) && self.reserved != Some(address)
    }

    fn count_bits(&self) -> u8 {
        (self.block_prefix - self.range.prefix_len()).min(MOST_BLOCKS_BITS)
    }
}

/// How many bits of an address tell the hosts of a block apart.
fn block_bits(range: IpNet) -> u8 {
    let bits = range.max_prefix_len() - range.prefix_len();
    let small = bits.saturating_sub(LEAST_BLOCKS_BITS).min(MOST_BITS_V4);
    let large = bits.saturating_sub(LEAST_BLOCKS_BITS_V6).min(MOST_BITS_V6);
    if range.addr().is_ipv4() { small } else { small.max(large) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn grid(subnet: &str, range: Option<&str>) -> Grid {
        let ip_range = range.map(|r| r.parse().unwrap());
        Grid::new(&Subnet { subnet: subnet.parse().unwrap(), gateway: None, ip_range })
    }

    #[test]
    fn blocks_scale_with_the_subnet() {
        let expected = [
            ("10.0.0.0/8", 28, 1 << 20),
            ("10.1.0.0/16", 28, 4096),
            ("10.1.0.0/23", 28, 32),
            ("10.1.0.0/24", 29, 32),
            ("10.1.0.0/27", 32, 32),
            ("10.1.0.0/30", 32, 4),
            ("10.1.0.0/32", 32, 1),
            ("fd00::/48", 112, 1 << 32),
            ("fd00::/64", 112, 1 << 32),
            ("fd00::/96", 112, 65_536),
            ("fd00::/112", 124, 4096),
            ("fd00::/120", 125, 32),
            ("fd00::/128", 128, 1),
        ];
        for (subnet, prefix, count) in expected {
            let grid = grid(subnet, None);
            assert_eq!((grid.block_prefix, grid.count()), (prefix, count), "{subnet}");
        }
    }

    #[test]
    fn every_node_tries_each_block_once_and_in_its_own_order() {
        for (subnet, range) in [("10.1.0.0/20", None), ("10.1.0.0/16", Some("10.1.64.0/20")), ("10.1.0.0/32", None)] {
            let grid = grid(subnet, range);
            let orders: Vec<Vec<_>> = (0..3).map(|node| grid.order(NodeId(node)).collect()).collect();
            for order in &orders {
                assert_eq!(order.iter().collect::<BTreeSet<_>>().len() as u64, grid.count());
                assert!(order.iter().all(|block| grid.has(block) && grid.range().contains(block)));
            }
            assert!(grid.count() == 1 || orders[0] != orders[1] && orders[1] != orders[2]);
        }
    }

    #[test]
    fn what_is_not_for_endpoints_is_passed_over() {
        let grid = grid("10.1.0.0/29", None);
        let all: Vec<_> =
            grid.order(NodeId(7)).flat_map(|block| grid.addresses(block, None).collect::<Vec<_>>()).collect();
        let last: BTreeSet<_> = all.iter().map(|a| to_bits(*a) & 7).collect();
        // Not 0, the network, nor 1, the gateway, nor 7, the broadcast address.
        assert_eq!((all.len(), last), (5, (2..7).collect()));
        assert!(grid.keeps("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn a_search_goes_once_around_its_block() {
        let grid = grid("10.1.0.0/23", None);
        let around: Vec<_> = grid.addresses("10.1.0.16/28".parse().unwrap(), "10.1.0.30".parse().ok()).collect();
        assert_eq!((around.len(), around[0], around[2]), (16, [10, 1, 0, 30].into(), [10, 1, 0, 16].into()));
    }

    #[test]
    fn a_named_gateway_is_not_chosen_but_may_be_asked_for() {
        let gateway = "10.1.0.9".parse().ok();
        let grid = Grid::new(&Subnet { subnet: "10.1.0.0/24".parse().unwrap(), gateway, ip_range: None });
        let (named, first) = ([10, 1, 0, 9].into(), [10, 1, 0, 1].into());
        assert!(!grid.gives(named) && !grid.keeps(named) && grid.gives(first));
    }

    #[test]
    fn only_blocks_of_the_grid_are_blocks() {
        let grid = grid("10.1.0.0/24", None);
        for (net, expected) in
            [("10.1.0.8/29", true), ("10.1.0.0/24", false), ("10.1.0.8/30", false), ("10.2.0.8/29", false)]
        {
            assert_eq!(grid.has(&net.parse().unwrap()), expected, "{net}");
        }
        assert_eq!(grid.block_of([10, 1, 0, 13].into()), "10.1.0.8/29".parse().ok());
        assert_eq!(grid.block_of([10, 2, 0, 13].into()), None);
    }
}
