//! weft's data plane.

pub mod addr;
pub mod checksum;
pub mod drops;
#[cfg(feature = "io")]
pub mod io;
pub mod stats;
pub mod switch;
