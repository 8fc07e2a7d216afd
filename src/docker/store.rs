//! The bindings that outlive the daemon: which network of the engine is which of the node's.
//!
//! The engine makes a network once and never again, not after its own restart nor after ours. The file lies beside the
//! node's state and is replaced as a whole; endpoints are remembered with the state itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of the file's form.
const VERSION: u32 = 1;

/// The file in the state directory.
pub(crate) const FILE: &str = "docker.json";

/// How files begin that are not yet this one.
pub(crate) const TEMPORARY: &str = ".docker-";

/// A network of the engine, and the one that it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The engine's identifier.
    pub id: String,
    /// The identifier of the node's network.
    pub network: String,
    /// The node's network was made for the engine's, and goes with it.
    pub made: bool,
    /// The name that the pools were asked for under, if the network was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_name: Option<String>,
    /// The network was there, but the pools were asked for as those of one to come.
    #[serde(default)]
    pub unforeseen: bool,
    /// The engine's network is gone; the node's goes as soon as nobody of the cluster uses it.
    #[serde(default)]
    pub leaving: bool,
    /// Endpoints get no way out.
    #[serde(default)]
    pub internal: bool,
    /// The engine has listed the network, so that one that it no longer lists is gone.
    #[serde(default)]
    pub listed: bool,
    /// Addresses that the engine keeps: gateways that nobody is, and the user's auxiliary addresses.
    #[serde(default)]
    pub reserved: Vec<IpAddr>,
}

impl Binding {
    /// Whether pools that were asked for under this name, as those of a network to come, are its network's.
    pub(crate) fn has_pools_of(&self, name: Option<&str>) -> bool {
        (self.made || self.unforeseen) && self.asked_name.as_deref() == name
    }

    /// Who holds the reserved addresses.
    pub(crate) fn holder(&self) -> String {
        format!("docker-network-{}", self.id.chars().take(12).collect::<String>())
    }
}

/// Why the bindings cannot be read or written. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged, or of another version.
    #[error("{} cannot be read ({why}): restore it from a copy, or move it away and make Docker's networks anew", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {error}", .file.display())]
    System {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said. Part of the text, therefore not its `source` as well.
        error: io::Error,
    },
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    version: u32,
    networks: Vec<Binding>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    hidden: BTreeSet<String>,
}

/// The bindings, by the engine's identifiers.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    file: PathBuf,
    bindings: BTreeMap<String, Binding>,
    /// Networks of the node's that the engine's user has removed from it: they do not appear there by themselves.
    hidden: BTreeSet<String>,
}

impl Store {
    /// Reads the bindings of the state directory; there are none before the first.
    pub fn load(dir: &Path) -> Result<Store, StoreError> {
        let (dir, file) = (dir.to_owned(), dir.join(FILE));
        let document = match fs::read(&file) {
            Ok(text) => {
                let corrupt = |why: String| StoreError::Corrupt { file: file.clone(), why };
                let document: Document = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
                if document.version != VERSION {
                    return Err(corrupt(format!("it has version {}, known is {VERSION}", document.version)));
                }
                document
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            Err(error) => return Err(StoreError::System { doing: "read", file, error }),
        };
        let bindings = document.networks.into_iter().map(|b| (b.id.clone(), b)).collect();
        Ok(Store { dir, file, bindings, hidden: document.hidden })
    }

    /// The binding of the engine's network.
    pub fn get(&self, id: &str) -> Option<&Binding> {
        self.bindings.get(id)
    }

    /// All of them.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    /// Remembers a binding.
    pub fn insert(&mut self, binding: Binding) -> Result<(), StoreError> {
        let mut bindings = self.bindings.clone();
        let mut hidden = self.hidden.clone();
        // What somebody has bound is wanted again.
        if !binding.leaving {
            hidden.remove(&binding.network);
        }
        bindings.insert(binding.id.clone(), binding);
        self.replace(bindings, hidden)
    }

    /// Forgets a binding.
    pub fn remove(&mut self, id: &str) -> Result<(), StoreError> {
        let mut bindings = self.bindings.clone();
        bindings.remove(id);
        self.replace(bindings, self.hidden.clone())
    }

    /// Remembers which of the engine's networks it lists.
    pub fn mark_listed(&mut self, is_listed: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let mut bindings = self.bindings.clone();
        for binding in bindings.values_mut() {
            binding.listed |= is_listed(&binding.id);
        }
        if bindings == self.bindings { Ok(()) } else { self.replace(bindings, self.hidden.clone()) }
    }

    /// Networks of the node's, by id, that the engine's user has removed from it.
    pub fn hidden(&self) -> &BTreeSet<String> {
        &self.hidden
    }

    /// Remembers that the engine's user does not want a network.
    pub fn hide(&mut self, network: &str) -> Result<(), StoreError> {
        let mut hidden = self.hidden.clone();
        hidden.insert(network.to_owned());
        self.set_hidden(hidden)
    }

    /// The engine may have a network again.
    pub fn show(&mut self, network: &str) -> Result<(), StoreError> {
        self.forget_hidden(|id| id != network)
    }

    /// Forgets of those that are not wanted all that `keep` does not name.
    pub fn forget_hidden(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let hidden = self.hidden.iter().filter(|id| keep(id)).cloned().collect();
        self.set_hidden(hidden)
    }

    fn set_hidden(&mut self, hidden: BTreeSet<String>) -> Result<(), StoreError> {
        if hidden == self.hidden { Ok(()) } else { self.replace(self.bindings.clone(), hidden) }
    }

    fn replace(&mut self, bindings: BTreeMap<String, Binding>, hidden: BTreeSet<String>) -> Result<(), StoreError> {
        let networks = bindings.values().cloned().collect();
        let document = Document { version: VERSION, networks, hidden: hidden.clone() };
        self.write(&document).map_err(|error| StoreError::System { doing: "write", file: self.file.clone(), error })?;
        (self.bindings, self.hidden) = (bindings, hidden);
        Ok(())
    }

    fn write(&self, document: &Document) -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::with_prefix_in(TEMPORARY, &self.dir)?;
        temporary.write_all(&serde_json::to_vec_pretty(document)?)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&self.file).map_err(|error| error.error)?;
        // The rename itself must reach the disk too.
        fs::File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(id: &str) -> Binding {
        let reserved = vec!["10.1.0.1".parse().unwrap()];
        Binding {
            id: id.into(),
            network: "00ff".into(),
            made: true,
            asked_name: None,
            unforeseen: false,
            leaving: false,
            internal: false,
            listed: false,
            reserved,
        }
    }

    #[test]
    fn what_is_bound_is_there_after_a_restart_and_gone_once_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::load(dir.path()).unwrap();
        store.insert(binding("a")).unwrap();
        store.insert(binding("b")).unwrap();
        store.remove("a").unwrap();
        store.hide("00fe").unwrap();
        store.hide("00ff").unwrap();
        store.insert(binding("b")).unwrap();
        let store = Store::load(dir.path()).unwrap();
        assert_eq!(store.hidden().iter().collect::<Vec<_>>(), ["00fe"]);
        assert_eq!(store.bindings().collect::<Vec<_>>(), [&binding("b")]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_reported_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "[]", r#"{"version":1}"#, r#"{"version":2,"networks":[]}"#] {
            fs::write(dir.path().join("docker.json"), text).unwrap();
            assert!(matches!(Store::load(dir.path()), Err(StoreError::Corrupt { .. })), "{text}");
        }
    }
}
