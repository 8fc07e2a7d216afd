//! The lock and the atomic under what the façade hands over to its workers: views, and the lanes of sessions.
//!
//! They are std's. In tests with the feature `model` they are shuttle's, which runs the threads of a test in many orders
//! (`seal/model.rs`).

#[cfg(not(all(test, feature = "model")))]
pub(crate) use std::sync::{Mutex, atomic::AtomicU64};

#[cfg(all(test, feature = "model"))]
pub(crate) use shuttle::sync::{Mutex, atomic::AtomicU64};
