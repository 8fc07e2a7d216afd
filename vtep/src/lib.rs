//! weft's data plane: a VXLAN tunnel endpoint (RFC 7348) in userspace.
//!
//! Two halves. The *core* is pure: bytes, the time and a source go in, decisions and corrected headers come out; it
//! builds without the feature `io` and knows no socket, clock or thread. The *shell* under [`io`] feeds it from TAP
//! devices and UDP sockets.
//!
//! ```text
//! tap → offload::vnet_hdr → engine (switch) → offload::segment → wire → udp
//! udp → wire → engine (switch) → offload::check → offload::coalesce → tap
//! ```

pub mod addr;
pub mod capture;
pub mod checksum;
pub mod drops;
pub mod engine;
pub mod flow;
pub mod frame;
#[cfg(feature = "io")]
pub mod io;
pub mod offload;
pub mod path;
pub mod seal;
pub mod stats;
pub mod switch;
mod sync;
pub mod wire;
