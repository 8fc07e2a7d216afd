//! The state directory: what the node remembers over a restart.
//!
//! One directory belongs to one daemon, which holds a lock on it. The state is one JSON file that is replaced
//! as a whole: a new file is written and synced beside it ([`StateDir::prepare`]), where a full disk shows,
//! and renamed over it ([`Prepared::commit`]). A file that does not parse is reported and never written over.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weft_control::network::Network;
use weft_vtep::addr::Mac;

use super::cluster::FILES;
use super::lock::{self, LockError};
use crate::docker::store;
use crate::sandbox;

/// The version of the file's form. A newer one is not read; an older one would be converted here.
const VERSION: u32 = 1;

/// The file of the state.
const STATE: &str = "state.json";

/// How files begin that are not yet a file of the state directory.
const TEMPORARY: &str = ".state-";

/// The port of the control plane unless another is said.
pub const CONTROL_PORT: u16 = 7956;

/// How a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It knows itself and the VTEPs it was told.
    Standalone,
    /// It is a member of a cluster, whose secrets and objects are in the directory's `cluster`.
    Cluster,
}

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Random, hexadecimal, for good.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it lives.
    pub mode: Mode,
    /// The address that its tunnels end at.
    pub advertise: IpAddr,
    /// The UDP port of its VTEP.
    pub vxlan_port: u16,
    /// The TCP port of its control plane; only a member of a cluster listens there.
    #[serde(default = "default_control_port")]
    pub control_port: u16,
    /// Which of its lives this is, raised at each start: its records of an earlier life are not those of this one.
    #[serde(default)]
    pub incarnation: u64,
    /// Where its metrics are served; `None`: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Where its page is served; `None`: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<SocketAddr>,
}

fn default_control_port() -> u16 {
    CONTROL_PORT
}

/// An endpoint as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Random, hexadecimal.
    pub id: String,
    /// The identifier of its network.
    pub network: String,
    /// Its MAC address.
    #[serde(with = "mac_text")]
    pub mac: Mac,
    /// Its addresses.
    pub ips: Vec<IpNet>,
    /// Its interface's name when it was attached.
    pub ifname: String,
    /// Its interface's index in its namespace: names change, this does not.
    pub ifindex: u32,
    /// Where its namespace was when it was attached.
    pub netns: PathBuf,
    /// Which namespace that was.
    pub netns_identity: sandbox::Identity,
    /// The container engine's names for it, if an engine moves its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<Lent>,
}

/// An endpoint whose device a container engine moves into its sandbox, renames, and brings back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// The engine's identifier of the endpoint.
    pub endpoint: String,
    /// The engine's identifier of the network.
    pub network: String,
    /// The device had been in a sandbox when it was found at home again: it does not wait to be moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub came_back: bool,
    /// What the containers of the network call it, as the engine last said: names, aliases.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
}

/// All that a node remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Who it is.
    pub node: Identity,
    /// Its networks.
    pub networks: Vec<Network>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl State {
    /// The state of a node with these networks and endpoints.
    pub fn new(node: Identity, networks: Vec<Network>, endpoints: Vec<Endpoint>) -> State {
        State { version: VERSION, node, networks, endpoints }
    }
}

/// Why the state directory cannot be used. The state file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another daemon has it.
    #[error("the state directory {} is in use by another weft{holder}: end that one, or choose another with --state-dir", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// ` (process N)`, or nothing if it did not say.
        holder: String,
    },
    /// The file is damaged.
    #[error(
        "the state file {} is damaged ({why}): restore it from a copy, or move it away to start with nothing; \
         it was not changed", .file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is of another version.
    #[error("the state file {} has version {found}, and this weft reads version {VERSION}: start the weft that wrote it", .file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version that it has.
        found: u64,
    },
    /// The system refused something.
    #[error("cannot {doing} {}: {error}{}", .path.display(), advice(.error))]
    System {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that disk and try again",
        io::ErrorKind::PermissionDenied => "; run as root, or choose another directory with --state-dir",
        io::ErrorKind::ReadOnlyFilesystem => "; choose another directory with --state-dir",
        _ => "",
    }
}

fn system<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::System { doing, path: path.to_owned(), error }
}

/// The state directory, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    file: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory (0700) if it is missing, and locks it until this value is dropped or the process ends.
    pub fn open(dir: &Path) -> Result<StateDir, StateError> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.map_err(system("make the state directory", dir))?;
        let path = dir.join("lock");
        let lock = lock::take(&path).map_err(|error| match error {
            LockError::Held(pid) => {
                let holder = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                StateError::InUse { dir: dir.to_owned(), holder }
            }
            LockError::System(error) => system("lock", &path)(error),
        })?;
        Ok(StateDir { dir: dir.to_owned(), file: dir.join(STATE), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Reads the state, `None` if there is none yet.
    pub fn load(&self) -> Result<Option<State>, StateError> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("read the state file", &self.file)(error)),
        };
        let corrupt = |why: String| StateError::Corrupt { file: self.file.clone(), why };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(found) => return Err(StateError::Version { file: self.file.clone(), found }),
            None => return Err(corrupt("it has no version".to_owned())),
        }
        serde_json::from_value(value).map(Some).map_err(|e| corrupt(e.to_string()))
    }

    /// Writes the state beside the present one. Dropped without a commit, it is as if it had never been.
    pub fn prepare(&self, state: &State) -> Result<Prepared<'_>, StateError> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::from);
        self.prepare_file(&self.file, &text.map_err(system("write the state in", &self.dir))?)
    }

    /// Removes all that is remembered, for good, but the networks of this host: they are no cluster's. What else lies in
    /// the directory is not the daemon's to remove.
    pub fn forget(&self) -> Result<(), StateError> {
        let doing = || system("empty the state directory", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(doing())? {
            let entry = entry.map_err(doing())?;
            let name = entry.file_name();
            let named = [STATE, store::FILE].iter().chain(&FILES).any(|file| name == *file);
            let unfinished =
                [TEMPORARY, store::TEMPORARY].iter().any(|start| name.to_string_lossy().starts_with(start));
            if named || unfinished {
                fs::remove_file(entry.path()).map_err(doing())?;
            }
        }
        Ok(())
    }

    /// Replaces the state.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        self.prepare(state)?.commit()
    }

    /// Reads another file of the directory, `None` if there is none.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let file = self.dir.join(name);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| StateError::Corrupt { file, why: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(system("read", &file)(error)),
        }
    }

    /// Replaces another file of the directory.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        self.prepare_as(name, value)?.commit()
    }

    /// As [`StateDir::prepare`], for another file of the directory.
    pub fn prepare_as<T: Serialize>(&self, name: &str, value: &T) -> Result<Prepared<'_>, StateError> {
        let file = self.dir.join(name);
        let text = serde_json::to_vec(value).map_err(io::Error::from).map_err(system("write", &file))?;
        self.prepare_file(&file, &text)
    }

    fn prepare_file(&self, file: &Path, text: &[u8]) -> Result<Prepared<'_>, StateError> {
        let doing = || system("write the state in", &self.dir);
        let mut temporary = tempfile::NamedTempFile::with_prefix_in(TEMPORARY, &self.dir).map_err(doing())?;
        temporary.write_all(text).and_then(|()| temporary.as_file().sync_all()).map_err(doing())?;
        Ok(Prepared { dir: self, file: file.to_owned(), temporary })
    }
}

/// A state that is on the disk but not yet the present one.
#[derive(Debug)]
pub struct Prepared<'a> {
    dir: &'a StateDir,
    file: PathBuf,
    temporary: tempfile::NamedTempFile,
}

impl Prepared<'_> {
    /// Makes it the present one.
    pub fn commit(self) -> Result<(), StateError> {
        let Prepared { dir: StateDir { dir, .. }, file, temporary } = self;
        temporary.persist(&file).map_err(|e| system("replace the state file", &file)(e.error))?;
        // The rename itself must reach the disk too.
        File::open(dir).and_then(|d| d.sync_all()).map_err(system("sync the state directory", dir))
    }
}

/// A MAC address is text in the state file.
mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use weft_vtep::addr::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        let node = Identity {
            id: "00ff".into(),
            name: "n1".into(),
            mode: Mode::Standalone,
            advertise: "192.0.2.1".parse().unwrap(),
            vxlan_port: 4789,
            control_port: CONTROL_PORT,
            incarnation: 0,
            metrics: None,
            page: None,
        };
        let endpoint = Endpoint {
            id: "0123456789ab".into(),
            network: "ab12".into(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            ips: vec!["10.1.0.5/16".parse().unwrap()],
            ifname: "eth0".into(),
            ifindex: 7,
            netns: "/run/netns/c1".into(),
            netns_identity: sandbox::Identity { dev: 4, inode: 4_026_532_000 },
            lent: None,
        };
        State::new(node, Vec::new(), vec![endpoint])
    }

    #[test]
    fn what_is_saved_is_loaded_and_no_other_file_stays() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&base.path().join("a/b")).unwrap();
        assert_eq!(dir.load().unwrap(), None);
        dir.save(&sample()).unwrap();
        dir.save(&sample()).unwrap();
        assert_eq!(dir.load().unwrap(), Some(sample()));
        let mut names: Vec<_> = fs::read_dir(&dir.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lock", "state.json"]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&dir.dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&dir.file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_not_the_daemons_is_left_where_it_is() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        dir.save(&sample()).unwrap();
        for name in ["objects.json", "roster.json", "denied.json", "blocks.json", "docker.json", "local.json"] {
            fs::write(base.path().join(name), "{}").unwrap();
        }
        fs::write(base.path().join(".state-x1"), "half").unwrap();
        fs::write(base.path().join("weft.toml"), "").unwrap();
        fs::create_dir(base.path().join("photos")).unwrap();
        dir.forget().unwrap();
        let mut names: Vec<_> = fs::read_dir(base.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["local.json", "lock", "photos", "weft.toml"]);
    }

    #[test]
    fn a_prepared_state_that_is_not_committed_never_was() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        drop(dir.prepare(&sample()).unwrap());
        assert_eq!(dir.load().unwrap(), None);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_daemon_is_refused_and_told_who_has_it() {
        let base = tempfile::tempdir().unwrap();
        let first = StateDir::open(base.path()).unwrap();
        let text = StateDir::open(base.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("--state-dir"), "{text}");
        drop(first);
        StateDir::open(base.path()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_reported_and_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path()).unwrap();
        let whole = serde_json::to_string(&sample()).unwrap();
        let newer = whole.replacen("\"version\":1", "\"version\":2", 1);
        for (text, expected) in [
            (&whole[..whole.len() / 2], "damaged"),
            ("", "damaged"),
            ("[]", "no version"),
            (&whole.replace("02:00:00:00:00:01", "02:00"), "not a MAC address"),
            (&newer, "has version 2"),
        ] {
            fs::write(&dir.file, text).unwrap();
            let error = dir.load().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("state.json"), "{error}");
            assert_eq!(fs::read_to_string(&dir.file).unwrap(), text);
        }
    }
}
