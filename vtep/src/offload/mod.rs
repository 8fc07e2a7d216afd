//! Offloads in software: a super-frame from a TAP is cut into segments, segments from the wire are joined into
//! super-frames. Both halves are pure: bytes in, bytes and ranges out.

pub mod check;
pub mod coalesce;
pub mod segment;
pub mod vnet_hdr;
