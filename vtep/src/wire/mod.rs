//! What stands between the outer UDP header and the inner frame.

pub mod sealed;
pub mod vxlan;
