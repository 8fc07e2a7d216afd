//! `weft doctor`: what is wrong with this host and with the cluster as it sees it, and what to do about it.
//!
//! [`gather`] looks at the host and asks the daemon; what it finds are [`Facts`]. [`checks`] judge them: pure functions, so
//! that each fault is a test without the fault. Out come [`Finding`]s, for people or as JSON ([`report`]); [`bundle`] writes
//! all of it to an archive for whoever helps from afar.

pub mod bundle;
pub mod checks;
pub mod facts;
pub mod gather;
pub mod report;
mod run;

use serde::Serialize;

pub use facts::Facts;
pub use run::{Options, run};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// It could not be seen.
    Unknown,
    /// It works, and worse than it could; or it may be meant so.
    Warn,
    /// It does not work.
    Fail,
}

/// What one check found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How it ended.
    pub state: State,
    /// The peer, network or endpoint that it is about; nothing if it is about the host or the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What was seen.
    pub seen: String,
    /// What to do; empty where there is nothing to do.
    #[serde(rename = "do")]
    pub remedy: String,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: &'static str, seen: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, about: None, seen: seen.into(), remedy: String::new() }
    }

    /// It could not be seen.
    pub fn unknown(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, state: State::Unknown, about: None, seen: seen.into(), remedy: remedy.into() }
    }

    /// It is worse than it could be.
    pub fn warn(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, state: State::Warn, about: None, seen: seen.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub fn fail(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, state: State::Fail, about: None, seen: seen.into(), remedy: remedy.into() }
    }

    /// What it is about.
    pub fn about(self, about: impl Into<String>) -> Finding {
        Finding { about: Some(about.into()), ..self }
    }
}
