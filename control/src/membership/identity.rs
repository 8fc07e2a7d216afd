//! Who a member is to the failure detector: a node in one of its lives, and where it listens.

use std::net::SocketAddr;

use crate::id::{NodeId, Origin};

/// A node as members know it.
///
/// Two identities of one node are ordered: a later life outranks an earlier one, and within a life each
/// [renewal](Self::renewal) the one before. The address is not compared: a life keeps the one that it was first seen with.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its life: raised at each start.
    pub incarnation: u64,
    /// How often it came back in this life after others had given it up. The table does not know this number: a node
    /// that comes back so has lost nothing.
    pub renewal: u32,
    /// It said goodbye. Its last identity in this life, and never alive.
    pub leaving: bool,
    /// Its control port.
    pub address: SocketAddr,
}

impl Identity {
    /// A node at the beginning of a life.
    pub fn new(origin: Origin, address: SocketAddr) -> Identity {
        Identity { node: origin.node, incarnation: origin.incarnation, renewal: 0, leaving: false, address }
    }

    /// The identity that outranks every other of the node: who is held to be dead under it never comes back.
    pub(crate) fn last(node: NodeId, address: SocketAddr) -> Identity {
        Identity { node, incarnation: u64::MAX, renewal: u32::MAX, leaving: true, address }
    }

    /// The identity under which the node says goodbye.
    pub(crate) fn goodbye(self) -> Identity {
        Identity { renewal: self.renewal.saturating_add(1), leaving: true, ..self }
    }

    fn rank(&self) -> (u64, u32, bool) {
        (self.incarnation, self.renewal, self.leaving)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.rank() == other.rank()
    }
}

impl Eq for Identity {}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        let renewal = self.renewal.checked_add(1)?;
        (!self.leaving).then_some(Identity { renewal, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.rank() > adversary.rank()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foca::Identity as _;

    #[test]
    fn a_life_outranks_a_renewal_and_a_goodbye_its_life() {
        let address = "192.0.2.1:7956".parse().unwrap();
        let first = Identity::new(Origin { node: NodeId(1), incarnation: 4 }, address);
        let renewed = first.renew().unwrap();
        let gone = renewed.goodbye();
        let second = Identity { incarnation: 5, ..first };
        let order = [first, renewed, gone, second, Identity::last(NodeId(1), address)];
        for (lower, higher) in order.iter().zip(&order[1..]) {
            assert!(higher.win_addr_conflict(lower) && !lower.win_addr_conflict(higher));
            assert_ne!(lower, higher);
        }
        assert_eq!(gone.renew(), None, "who left does not defend itself");
        assert_eq!(first, Identity { address: "192.0.2.9:1".parse().unwrap(), ..first });
    }
}
