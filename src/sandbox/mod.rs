//! The sandbox of the Container Network Model: a network namespace, and the links inside it.
pub mod link;
pub mod netns;
