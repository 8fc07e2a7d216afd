//! weft: the node. The library holds what the binary, the tests and the benches share.

pub mod cli;
pub mod demo;
pub mod docker;
pub mod doctor;
pub mod drivers;
pub mod http;
pub mod lab;
pub mod metrics;
pub mod node;
pub mod page;
pub mod sandbox;
pub mod traffic;
