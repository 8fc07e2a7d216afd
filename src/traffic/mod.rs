//! A traffic generator: what the demo, the benches and the tests load a network with.
//!
//! Namespaces and addresses come in, plain reports go out. Sockets are opened inside the namespaces and used by threads
//! of this process. Nothing is retried: what is lost is reported as lost.

pub mod calls;
pub mod ping;
pub mod tcp;
pub mod udp;
