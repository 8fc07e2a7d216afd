//! SIGHUP: the configuration is read again, and what can change while the daemon runs does.
//!
//! That is where metrics and the page are served. All else (name, addresses, ports, the state directory, Docker's socket) is fixed
//! when the daemon starts; where the file says something new of it, an event names it, and that it takes a restart. A
//! restart costs containers nothing. A file that is wrong changes nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Node;
use super::config::Config;
use super::served::Served;

/// What can be reloaded, and how to read it again.
pub(super) struct Reload<'a, F> {
    /// What the daemon was started with.
    started: &'a Config,
    /// Reads it anew.
    read: F,
    served: Served,
    hangups: Signal,
}

impl<'a, F: Fn() -> Result<Config>> Reload<'a, F> {
    /// From here on SIGHUP does not end the daemon.
    pub(super) fn new(started: &'a Config, read: F, served: Served) -> Result<Self> {
        let hangups = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
        Ok(Reload { started, read, served, hangups })
    }

    /// Obeys SIGHUP, for as long as the daemon lives.
    pub(super) async fn follow(mut self, node: &Arc<Node>) {
        loop {
            self.hangups.recv().await;
            match self.apply(node) {
                Ok(text) => node.events.record("reloaded", text),
                Err(error) => node.events.record("reload_refused", format!("nothing was changed: {error:#}")),
            }
        }
    }

    fn apply(&mut self, node: &Arc<Node>) -> Result<String> {
        let config = (self.read)()?;
        let mut text = "the configuration was read again".to_owned();
        for told in self.served.follow(&config, node)? {
            text += &format!("; {told}");
        }
        let fixed = fixed(self.started, &config);
        if !fixed.is_empty() {
            text += &format!("; what it says of {} takes a restart", fixed.join(", "));
        }
        Ok(text)
    }
}

/// The flags that were changed and cannot be while the daemon runs.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let changes = [
        ("state-dir", old.state_dir != new.state_dir),
        ("socket", old.socket != new.socket),
        ("name", old.name != new.name),
        ("advertise", old.advertise != new.advertise),
        ("vxlan-port", old.vxlan_port != new.vxlan_port),
        ("control-port", old.control_port != new.control_port),
        ("docker", old.docker != new.docker),
        ("key-log", old.key_log != new.key_log),
        ("log-format", old.log_json != new.log_json),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}
