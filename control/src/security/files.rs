//! Keys and certificates on the disk.
//!
//! Two files in PEM (RFC 7468), mode 0600, in the node's state directory: `node.pem` with the node's key, its
//! certificate and the CAs that it trusts, and on a signer `ca.pem` with the CA's key and certificate. What belongs
//! together is in one file, and a file is replaced as a whole: a crash or a full disk leaves the old one. A file that
//! does not read is reported and never written over.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pem::Pem;
use zeroize::{Zeroize as _, Zeroizing};

use super::ca::Authority;
use super::credentials::Credentials;
use super::key::NodeKey;

const NODE_FILE: &str = "node.pem";
const CA_FILE: &str = "ca.pem";
/// How files begin that are not yet one of these.
const TEMPORARY: &str = ".key-";
const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

/// The files of one node.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    dir: PathBuf,
}

/// Why a file cannot be read or written. The files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not read.
    #[error(
        "the file {} is damaged ({why}): restore it from a copy, or move the state directory away and join again; \
         it was not changed", .file.display()
    )]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others than its owner can read it.
    #[error(
        "the file {} can be read by others (mode {mode:03o}), and holds a private key: if nobody has, run \
         `chmod 600` on it; else remove this node (`weft members rm`) and join again", .file.display()
    )]
    Exposed {
        /// Which file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system refused something.
    #[error("cannot {doing} {}: {error}{}", .path.display(), advice(.error))]
    System {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that disk",
        io::ErrorKind::PermissionDenied => "; run as root, or choose another directory with --state-dir",
        io::ErrorKind::ReadOnlyFilesystem => "; choose another directory with --state-dir",
        _ => "",
    }
}

fn system<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |error| FileError::System { doing, path: path.to_owned(), error }
}

impl KeyFiles {
    /// The files in `dir`, which is made (0700) if it is missing.
    pub fn open(dir: &Path) -> Result<KeyFiles, FileError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(system("make the directory", dir))?;
        Ok(KeyFiles { dir: dir.to_owned() })
    }

    /// The node's credentials, `None` if it has none yet.
    pub fn credentials(&self) -> Result<Option<Credentials>, FileError> {
        let file = self.dir.join(NODE_FILE);
        let Some(parts) = read(&file)? else { return Ok(None) };
        let corrupt = |why: String| FileError::Corrupt { file: file.clone(), why };
        let [own, roots @ ..] = &parts.certificates[..] else {
            return Err(corrupt("it holds no certificate".to_owned()));
        };
        let key = NodeKey::from_der(&parts.key).map_err(|error| corrupt(error.to_string()))?;
        Credentials::new(&key, own, roots).map(Some).map_err(|error| corrupt(error.to_string()))
    }

    /// Stores the node's credentials.
    pub fn store_credentials(&self, credentials: &Credentials) -> Result<(), FileError> {
        // Whatever is there now must be ours to replace.
        self.credentials()?;
        let certificates = std::iter::once(credentials.certificate());
        let certificates = certificates.chain(credentials.roots().iter().map(|root| root.as_ref()));
        self.replace(NODE_FILE, &text(credentials.key(), certificates))
    }

    /// The CA, if this node is a signer.
    pub fn authority(&self) -> Result<Option<Authority>, FileError> {
        let file = self.dir.join(CA_FILE);
        let Some(parts) = read(&file)? else { return Ok(None) };
        let corrupt = |why: String| FileError::Corrupt { file: file.clone(), why };
        let [certificate] = &parts.certificates[..] else {
            return Err(corrupt("it does not hold exactly one certificate".to_owned()));
        };
        Authority::from_parts(certificate, &parts.key).map(Some).map_err(|error| corrupt(error.to_string()))
    }

    /// Stores the CA: this node becomes a signer, or the CA was rotated.
    pub fn store_authority(&self, authority: &Authority) -> Result<(), FileError> {
        self.authority()?;
        self.replace(CA_FILE, &text(authority.key(), std::iter::once(authority.certificate().as_ref())))
    }

    /// Removes the CA: this node is no signer any more.
    pub fn remove_authority(&self) -> Result<(), FileError> {
        let file = self.dir.join(CA_FILE);
        match fs::remove_file(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(system("remove", &file)(error)),
            Ok(()) => self.sync(),
        }
    }

    /// Removes the files, for good, and the directory if there is nothing else in it.
    pub fn remove(&self) -> Result<(), FileError> {
        for entry in fs::read_dir(&self.dir).map_err(system("read the directory", &self.dir))?.flatten() {
            let name = entry.file_name();
            let ours = name == NODE_FILE || name == CA_FILE || name.to_string_lossy().starts_with(TEMPORARY);
            if ours && let Err(error) = fs::remove_file(entry.path()) {
                return Err(system("remove", &entry.path())(error));
            }
        }
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(system("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), FileError> {
        let file = self.dir.join(name);
        // A temporary file has mode 0600 from its first moment on, and is removed if it does not become the file.
        let temporary = tempfile::NamedTempFile::with_prefix_in(TEMPORARY, &self.dir);
        let mut temporary = temporary.map_err(system("write in", &self.dir))?;
        let written = temporary.write_all(text.as_bytes()).and_then(|()| temporary.as_file().sync_all());
        written.map_err(system("write in", &self.dir))?;
        temporary.persist(&file).map_err(|error| system("replace", &file)(error.error))?;
        self.sync()
    }

    /// A rename or removal must reach the disk too.
    fn sync(&self) -> Result<(), FileError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(system("sync the directory", &self.dir))
    }
}

struct Parts {
    key: Zeroizing<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

fn read(file: &Path) -> Result<Option<Parts>, FileError> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => Zeroizing::new(text.map_err(system("read", file))?),
    };
    let mode = fs::metadata(file).map_err(system("read", file))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { file: file.to_owned(), mode });
    }
    let corrupt = |why: String| FileError::Corrupt { file: file.to_owned(), why };
    let (mut key, mut certificates) = (None, Vec::new());
    for part in pem::parse_many(&*text).map_err(|error| corrupt(error.to_string()))? {
        match part.tag() {
            KEY if key.is_none() => key = Some(Zeroizing::new(part.into_contents())),
            CERTIFICATE => certificates.push(part.into_contents()),
            other => return Err(corrupt(format!("there is one {other} too many"))),
        }
    }
    let key = key.ok_or_else(|| corrupt("it holds no private key".to_owned()))?;
    Ok(Some(Parts { key, certificates }))
}

fn text<'a>(key: &[u8], certificates: impl Iterator<Item = &'a [u8]>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    let parts = std::iter::once((KEY, key)).chain(certificates.map(|certificate| (CERTIFICATE, certificate)));
    for (tag, contents) in parts {
        let mut encoded =
            pem::encode_config(&Pem::new(tag, contents), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
        text.push_str(&encoded);
        encoded.zeroize();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::id::NodeId;
    use crate::security::ca::Permit;
    use crate::security::identity::Identity;

    fn sample() -> (Authority, Credentials) {
        let now = SystemTime::now();
        let authority = Authority::found(now);
        let (key, identity) = (NodeKey::generate(), Identity::new(NodeId(1), "left").unwrap());
        let certificate = authority.sign(&key.request(&identity), &Permit::Renewal(NodeId(1)), now).unwrap();
        let credentials = Credentials::new(&key, &certificate, &[authority.certificate()]).unwrap();
        (authority, credentials)
    }

    fn open() -> (tempfile::TempDir, KeyFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = KeyFiles::open(&dir.path().join("state")).unwrap();
        (dir, files)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_stored_is_read_back_and_is_its_owners_alone() {
        let (_dir, files) = open();
        assert!(files.credentials().unwrap().is_none() && files.authority().unwrap().is_none());
        let (authority, credentials) = sample();
        files.store_credentials(&credentials).unwrap();
        files.store_authority(&authority).unwrap();
        let read = files.credentials().unwrap().unwrap();
        assert_eq!((read.key(), read.certificate()), (credentials.key(), credentials.certificate()));
        assert_eq!(read.roots(), credentials.roots());
        assert_eq!(files.authority().unwrap().unwrap().hash(), authority.hash());
        assert_eq!(mode(&files.dir), 0o700);
        assert_eq!((mode(&files.dir.join(NODE_FILE)), mode(&files.dir.join(CA_FILE))), (0o600, 0o600));
        // Nothing temporary stays.
        assert_eq!(fs::read_dir(&files.dir).unwrap().count(), 2);
        files.remove_authority().unwrap();
        files.remove_authority().unwrap();
        assert!(files.authority().unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_reported_and_never_written_over() {
        let (_dir, files) = open();
        let (authority, credentials) = sample();
        files.store_credentials(&credentials).unwrap();
        files.store_authority(&authority).unwrap();
        for name in [NODE_FILE, CA_FILE] {
            let file = files.dir.join(name);
            let whole = fs::read(&file).unwrap();
            for length in (0..whole.len()).step_by(37) {
                fs::write(&file, &whole[..length]).unwrap();
                let error = if name == NODE_FILE {
                    files.credentials().map(drop).unwrap_err();
                    files.store_credentials(&credentials).unwrap_err()
                } else {
                    files.authority().map(drop).unwrap_err();
                    files.store_authority(&authority).unwrap_err()
                };
                assert!(error.to_string().contains(name) && matches!(error, FileError::Corrupt { .. }), "{error}");
                assert_eq!(fs::read(&file).unwrap(), whole[..length]);
            }
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_damage() {
        let (_dir, files) = open();
        let (authority, credentials) = sample();
        let (other, _) = sample();
        let file = files.dir.join(NODE_FILE);
        for (key, root) in [(other.key(), authority.certificate()), (credentials.key(), other.certificate())] {
            files.replace(NODE_FILE, &text(key, [credentials.certificate(), root].into_iter())).unwrap();
            assert!(matches!(files.credentials(), Err(FileError::Corrupt { .. })), "{}", file.display());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let (_dir, files) = open();
        files.store_credentials(&sample().1).unwrap();
        let file = files.dir.join(NODE_FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = files.credentials().map(drop).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn where_nothing_can_be_written_the_old_file_stays() {
        let (_dir, files) = open();
        let (_, credentials) = sample();
        files.store_credentials(&credentials).unwrap();
        let gone = KeyFiles { dir: files.dir.join("missing") };
        let error = gone.store_credentials(&credentials).unwrap_err();
        assert!(matches!(error, FileError::System { .. }) && error.to_string().contains("missing"), "{error}");
        assert!(files.credentials().unwrap().is_some());
    }
}
