//! What metrics and the doctor see of a member that nothing else shows.

use std::time::SystemTime;

use crate::node::Node;

impl Node {
    /// When the node's certificate begins and ends; nothing on a node that stands alone.
    pub(in crate::node) fn certificate_life(&self) -> Option<(SystemTime, SystemTime)> {
        let credentials = self.membership.as_ref()?.trust.credentials();
        Some((credentials.not_before(), credentials.not_after()))
    }
}
