//! The kernel's own devices: what labs, tests and comparisons are wired from. The daemon itself makes none of them.
