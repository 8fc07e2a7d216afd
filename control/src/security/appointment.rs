//! A node that is to hold the CA's key.
//!
//! Whoever asks for the key must have been appointed by one who has it: if a plain object were enough, every member
//! could write its own. Taking an appointment back does not take the key back; that takes a rotation of the CA.

use super::statement::{Claim, Statement};

/// The value of a cluster object of kind `SIGNER`: the node is given the CA's key when it asks.
pub type Appointment = Statement<Appointed>;

/// What an [`Appointment`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appointed {}

impl Claim for Appointed {
    const CONTEXT: &'static [u8] = b"weft signer v1";
}
