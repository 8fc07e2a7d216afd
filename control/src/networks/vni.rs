//! Choosing a VNI for a network.
//!
//! Nodes that do not see each other must rarely choose the same, and all must choose the same where a network has
//! to move. So the choice follows from a hash of the network's random id.

use weft_vtep::addr::Vni;

use crate::spread::spread;

/// The first VNI that is given out: those below are left to people who choose by hand.
pub const FIRST_AUTOMATIC: u32 = 4096;

/// Every VNI that is given out, in the order in which the network with this id tries them.
pub fn candidates(id: &str) -> impl Iterator<Item = Vni> + use<> {
    let count = Vni::MAX - FIRST_AUTOMATIC + 1;
    let start = spread("vni", id.as_bytes()) % u64::from(count);
    (0..u64::from(count)).filter_map(move |step| {
        let offset = u32::try_from((start + step) % u64::from(count)).ok()?;
        Vni::new(FIRST_AUTOMATIC + offset)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_thousand_networks_rarely_choose_the_same() {
        let chosen: HashSet<_> = (0..1000).map(|i| candidates(&format!("{i:016x}")).next()).collect();
        assert!(chosen.len() > 998, "{} of 1000", chosen.len());
        assert!(chosen.iter().flatten().all(|vni| vni.get() >= FIRST_AUTOMATIC));
    }

    #[test]
    fn the_candidates_are_all_that_are_given_out() {
        let mut tried = vec![false; Vni::MAX as usize + 1];
        candidates("ab").for_each(|vni| assert!(!std::mem::replace(&mut tried[vni.get() as usize], true)));
        assert_eq!(tried.iter().filter(|t| **t).count() as u32, Vni::MAX + 1 - FIRST_AUTOMATIC);
    }
}
