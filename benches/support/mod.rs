//! What the end-to-end benches share.
#![allow(dead_code, reason = "each bench uses a part of it")]

mod bare;
pub(crate) mod contestant;
pub(crate) mod curve;
pub(crate) mod machine;
mod naive;
mod openvswitch;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod stage;
mod taps;
pub(crate) mod trial;
mod tunnel;
mod watched;
