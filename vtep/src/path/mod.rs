//! The path between two endpoints: how large a packet may be, and what routers on the way had to say.
//!
//! [`mtu`] computes the inner MTU, [`pmtu`] remembers where the underlay carries less, [`icmp`] tells a sender of either,
//! [`mss`] makes TCP respect it from the first segment on, and [`ecn`] carries congestion marks over the tunnel's ends
//! (RFC 6040). [`probe`] asks each peer through the tunnel itself:
//! [`rtt`] is how long that takes, [`search`] how large a datagram comes through.

pub mod ecn;
pub mod icmp;
pub mod mss;
pub mod mtu;
pub mod pmtu;
pub mod probe;
pub mod rtt;
pub mod search;
