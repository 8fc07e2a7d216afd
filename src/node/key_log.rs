//! The key log: where whoever has to look into sealed datagrams gets the keys from.
//!
//! Off unless asked for twice. While it is on, its file lets its reader open and forge all that the node's sealed
//! networks carry, so the node says so when it starts and with every session.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use weft_vtep::seal::handshake::SessionKeys;
use weft_vtep::seal::key_log::lines;

use super::events::Events;

/// An open key log.
#[derive(Debug)]
pub(super) struct KeyLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl KeyLog {
    /// Opens the file (0600), and says that it is on.
    pub(super) fn open(path: &Path, events: &Events) -> Result<KeyLog> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        // One that was there before may have been open to others.
        let file = file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)).map(|()| file));
        let file = file.with_context(|| format!("cannot open the key log {}", path.display()))?;
        let log = KeyLog { path: path.to_owned(), file: Mutex::new(file) };
        log.warn(events);
        Ok(log)
    }

    /// Writes the keys of a session whose receiver calls it `index`.
    pub(super) fn write(&self, keys: &SessionKeys, index: u32, events: &Events) {
        let text = lines(keys, index);
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
        match written {
            Ok(()) => self.warn(events),
            Err(error) => {
                events.record("key_log", format!("cannot write the key log {}: {error}", self.path.display()));
            }
        }
    }

    fn warn(&self, events: &Events) {
        let path = self.path.display();
        tracing::warn!("KEY LOG: whoever reads {path} can open all that this node's sealed networks carry");
        events.record(
            "key_log",
            format!("session keys are written to {path}: sealed networks are not secret from its readers"),
        );
    }
}
