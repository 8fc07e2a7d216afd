//! weft's gRPC contracts.
//!
//! The contracts themselves are in `proto/weft/v1`; [`v1`] is generated from them. What comes in over a socket
//! is text and numbers that anybody may have written: [`request`] is the one place where such a message becomes
//! a typed request or is [`Refused`](request::Refused), within the bounds of [`limits`]. Nothing behind it sees
//! a wire message, and nothing here knows what a network is allowed to be: that is `weft-control`'s to say.

pub mod limits;
pub mod request;

/// Messages, client and server of package `weft.v1`, generated from its contracts.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("weft.v1");

    /// The contracts in compiled form, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weft.bin"));
}
