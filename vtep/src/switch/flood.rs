//! Who gets the frames that are for everybody: ingress replication (RFC 7348 section 4.2 with unicast in the place of
//! multicast, RFC 8365 section 8.1.1).
//!
//! Enters: the members of the network, from the control plane, and the VTEPs outside of the cluster, from the user.
//! Leaves: an immutable list, part of the workers' view. A frame out of a tunnel never goes to it: split horizon.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The VTEPs of one network. Nobody stands in it twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FloodList {
    /// Sorted: asked for each datagram.
    all: Box<[IpAddr]>,
    /// Sorted.
    remotes: Box<[IpAddr]>,
}

impl FloodList {
    /// A list of members and remotes. A VTEP that is named as both is a member: it is trusted less.
    pub fn new(members: &BTreeSet<IpAddr>, remotes: &[IpAddr]) -> Self {
        let remotes: BTreeSet<_> = remotes.iter().copied().filter(|remote| !members.contains(remote)).collect();
        FloodList { all: members.union(&remotes).copied().collect(), remotes: remotes.into_iter().collect() }
    }

    /// Everybody, to whom group frames go.
    #[inline]
    pub fn all(&self) -> &[IpAddr] {
        &self.all
    }

    /// The VTEPs outside of the cluster, whose stations nobody announces.
    #[inline]
    pub fn remotes(&self) -> &[IpAddr] {
        &self.remotes
    }

    /// The members of the cluster.
    pub fn members(&self) -> impl Iterator<Item = IpAddr> {
        self.all.iter().copied().filter(|vtep| !self.is_remote(*vtep))
    }

    /// True when frames go to `vtep`, and so may come from it.
    #[inline]
    pub fn contains(&self, vtep: IpAddr) -> bool {
        self.all.binary_search(&vtep).is_ok()
    }

    /// True when `vtep` is outside of the cluster.
    #[inline]
    pub fn is_remote(&self, vtep: IpAddr) -> bool {
        self.remotes.binary_search(&vtep).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vtep(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn the_order_of_remotes_does_not_matter_and_nobody_is_there_twice() {
        let list = FloodList::new(&BTreeSet::new(), &[9, 3, 9, 1].map(vtep));
        assert_eq!(list.all(), [1, 3, 9].map(vtep));
        assert!([1, 3, 9].into_iter().all(|n| list.contains(vtep(n)) && list.is_remote(vtep(n))));
        assert!(!list.contains(vtep(2)));
    }

    #[test]
    fn who_is_a_member_is_no_remote() {
        let list = FloodList::new(&[vtep(2), vtep(5)].into(), &[vtep(5), vtep(7)]);
        assert_eq!(list.all(), [2, 5, 7].map(vtep));
        assert_eq!(list.remotes(), [vtep(7)]);
        assert_eq!(list.members().collect::<Vec<_>>(), [2, 5].map(vtep));
        assert!(!list.is_remote(vtep(5)));
    }
}
