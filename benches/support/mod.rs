//! What the end-to-end benches share.
#![allow(dead_code, reason = "the short form draws nothing and prints its tables in another way")]

pub(crate) mod contestant;
pub(crate) mod machine;
mod naive;
mod openvswitch;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod rounds;
mod taps;
pub(crate) mod trial;
mod tunnel;
