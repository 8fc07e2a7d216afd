//! Why an endpoint of a cluster's network gets no addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::space::AssignError;

/// Why an endpoint gets no addresses. It holds none; nodes are named as the user knows them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// What is refused of any network: the address is no host's, or is outside, or an endpoint here has it.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// The first address of a subnet is a router's.
    #[error(
        "{0} is reserved for a router: choose another, or make the network with --gateway {0} to give it to an endpoint"
    )]
    Reserved(IpAddr),
    /// Another node's endpoint has it, says the table.
    #[error(
        "the address {address} is held by an endpoint on the node {node}: choose another, or detach that endpoint there"
    )]
    HeldOn {
        /// The address.
        address: IpAddr,
        /// Where it is held.
        node: String,
    },
    /// Another node's endpoint has it, says its owner.
    #[error("the address {address} of the node {node} is held by {holder}: choose another, or detach that endpoint")]
    HeldBy {
        /// The address.
        address: IpAddr,
        /// The owner of its block.
        node: String,
        /// Who has it, as the owner puts it.
        holder: String,
    },
    /// Another node is about to have it.
    #[error("the node {node} is just taking the address {address}: choose another, or try again in a moment")]
    BeingTaken {
        /// The address.
        address: IpAddr,
        /// Who takes it.
        node: String,
    },
    /// The owner of the block is dead, or does not answer.
    #[error(
        "the address {address} is in the block {block} of the node {node}, which cannot be reached: choose another, \
         bring that node back, or, if it is gone for good, `weft members rm {node}`"
    )]
    Unreachable {
        /// The address.
        address: IpAddr,
        /// Its block.
        block: IpNet,
        /// Who owns the block.
        node: String,
    },
    /// A block was claimed and nobody could say whether it is free.
    #[error("the addresses {block} are not known to be free: the node {node} is alive and does not answer; try again")]
    Undecided {
        /// The block.
        block: IpNet,
        /// Who did not answer.
        node: String,
    },
    /// Several nodes claim the same blocks.
    #[error("other nodes are just taking the addresses of {0}: try again in a moment")]
    Busy(IpNet),
    /// None is left.
    #[error(
        "no address is left in {range}{}: detach an endpoint, or make the network with a larger subnet or range",
        beyond(.unreachable)
    )]
    Exhausted {
        /// Where addresses are given out from.
        range: IpNet,
        /// Nodes that own blocks of it and cannot be reached.
        unreachable: Vec<String>,
    },
}

fn beyond(unreachable: &[String]) -> String {
    if unreachable.is_empty() {
        return String::new();
    }
    format!(" that could be had without {}, which cannot be reached", unreachable.join(", "))
}
