//! Bounds on what a request may carry, so that nothing of unbounded size is ever stored or repeated in a message.

/// The longest name of a network or node, in bytes.
pub const NAME_BYTES: usize = 64;
/// The most subnets of a network, and so the most gateways and ranges.
pub const SUBNETS: usize = 16;
/// The most static VTEPs of a network. A group frame is copied to each of them.
pub const REMOTES: usize = 256;
/// The most options of a network.
pub const OPTIONS: usize = 32;
/// The longest key or value of an option, in bytes.
pub const OPTION_BYTES: usize = 256;
/// The longest interface name: the kernel's `IFNAMSIZ` without its terminating zero.
pub const IFNAME_BYTES: usize = 15;
/// The longest path: the kernel's `PATH_MAX` without its terminating zero.
pub const PATH_BYTES: usize = 4095;
/// The longest answer that a client takes, in bytes: a forwarding table of a million rows and more.
pub const ANSWER_BYTES: usize = 256 << 20;
