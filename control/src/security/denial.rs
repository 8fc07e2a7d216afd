//! A node that was removed for good: a line of the cluster's deny list.
//!
//! A denial is needed for as long as the node's certificates could live, so that it may end with the CA that signed it.

use super::statement::{Claim, Statement};

/// The value of a cluster object of kind `DENIED`: the node's certificates are refused.
pub type Denial = Statement<Denied>;

/// What a [`Denial`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {}

impl Claim for Denied {
    const CONTEXT: &'static [u8] = b"weft denial v1";
}
