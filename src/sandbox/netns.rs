//! Network namespaces: opening them, recognising them again, and running code inside them.
//!
//! A name or a path comes in; an open file that pins the namespace goes out. Nothing here changes the namespace of a
//! thread that it did not start, so a caller never has to find its way back.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Where `ip netns add` puts its namespaces.
const NAMED: &str = "/run/netns";

/// What tells a namespace from all others while it lives: the device and inode of its nsfs file.
///
/// The kernel may give the inode of a dead namespace to a new one, so equal identities are a strong hint after a
/// restart, not a proof: who re-attaches still has to find its own device inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The device number of nsfs.
    pub dev: u64,
    /// The namespace's inode on it.
    pub inode: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// Why a network namespace could not be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is no namespace with this name.
    #[error(
        "there is no network namespace `{name}` (looked for {}): make it with `ip netns add {name}` or give a path such as /proc/PID/ns/net",
        path.display()
    )]
    NoSuchName {
        /// The name as the user gave it.
        name: String,
        /// The path that was looked for.
        path: PathBuf,
    },
    /// There is nothing at the path.
    #[error("there is no network namespace at {}: give the path of one that exists, such as /proc/PID/ns/net", .0.display())]
    NoSuchPath(PathBuf),
    /// The file is something else.
    #[error("{} is not a network namespace: give a name under /run/netns or a path such as /proc/PID/ns/net", .0.display())]
    NotANetns(PathBuf),
    /// Entering the namespace needs a capability that this process lacks.
    #[error("cannot enter the network namespace {}: this needs CAP_SYS_ADMIN, run as root", .0.display())]
    NotPermitted(PathBuf),
    /// The namespace that was here, or anywhere, has gone.
    #[error("the network namespace {identity} that was at {} no longer exists", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// Which one it was.
        identity: Identity,
    },
    /// The system refused something else.
    #[error("cannot {doing} the network namespace {}: {error}", path.display())]
    System {
        /// What was being done.
        doing: &'static str,
        /// To which namespace.
        path: PathBuf,
        /// What the system said. Part of the text, therefore not its `source` as well.
        error: io::Error,
    },
}

/// An open network namespace. It lives at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl Netns {
    /// Opens a namespace by its name under /run/netns, or, if the text has a slash in it, by its path.
    pub fn open(name_or_path: &str) -> Result<Self, NetnsError> {
        if name_or_path.contains('/') {
            return Self::open_path(Path::new(name_or_path));
        }
        let path = Path::new(NAMED).join(name_or_path);
        Self::open_path(&path).map_err(|error| match error {
            NetnsError::NoSuchPath(path) => NetnsError::NoSuchName { name: name_or_path.to_owned(), path },
            other => other,
        })
    }

    /// Opens the namespace at `path` and checks that it is one and can be entered.
    pub fn open_path(path: &Path) -> Result<Self, NetnsError> {
        let system = |doing, error| NetnsError::System { doing, path: path.to_owned(), error };
        // O_NONBLOCK: a FIFO at the path must not hang us.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NetnsError::NoSuchPath(path.to_owned()),
            _ => system("open", source),
        })?;
        let filesystem = fstatfs(&file).map_err(|errno| system("examine", errno.into()))?;
        if filesystem.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NotANetns(path.to_owned()));
        }
        let netns = Self::from_file(file, path.to_owned()).map_err(|source| system("examine", source))?;
        // Any kind of namespace is an nsfs file; only setns tells the kinds apart.
        netns.run(|| ())?;
        Ok(netns)
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        const OWN: &str = "/proc/thread-self/ns/net";
        let open = || {
            let file = File::open(OWN)?;
            let path = fd_path(&file);
            Self::from_file(file, path)
        };
        open().map_err(|error| NetnsError::System { doing: "open", path: OWN.into(), error })
    }

    /// Makes a namespace without a name. It is held only by this value's open file (and by whatever runs inside), so it
    /// ends with its holder, however the holder ends.
    pub fn anonymous() -> Result<Self, NetnsError> {
        let made = thread::scope(|scope| {
            let maker = || {
                unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                Self::current().map_err(io::Error::other)
            };
            join(thread::Builder::new().spawn_scoped(scope, maker)?)
        });
        made.map_err(|error| {
            let path = PathBuf::from("(unnamed)");
            match error.kind() {
                io::ErrorKind::PermissionDenied => NetnsError::NotPermitted(path),
                _ => NetnsError::System { doing: "make", path, error },
            }
        })
    }

    /// Finds a namespace again: at `path` if that is still the one with this identity, else wherever a process is in it.
    ///
    /// The search is needed where a container engine's namespace mounts are private to it, or have been made anew.
    pub fn find(path: &Path, identity: Identity) -> Result<Self, NetnsError> {
        if let Ok(netns) = Self::open_path(path)
            && netns.identity == identity
        {
            return Ok(netns);
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for candidate in processes.map(|process| process.path().join("ns/net")) {
            let same = |meta: fs::Metadata| meta.dev() == identity.dev && meta.ino() == identity.inode;
            if fs::metadata(&candidate).is_ok_and(same)
                && let Ok(netns) = Self::open_path(&candidate)
                && netns.identity == identity
            {
                return Ok(netns);
            }
        }
        Err(NetnsError::Gone { path: path.to_owned(), identity })
    }

    /// Which namespace this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Where it was opened. For an unnamed namespace: the open file's path under /proc, good while this value lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns. Blocks until then.
    ///
    /// Sockets opened in there stay in the namespace, and a child process spawned in there starts in it. A panic of
    /// `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let entered = thread::scope(|scope| {
            let inside = || {
                self.enter()?;
                Ok(work())
            };
            join(thread::Builder::new().name("netns".into()).spawn_scoped(scope, inside)?)
        });
        entered.map_err(|error: io::Error| {
            let path = self.path.clone();
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EINVAL) => NetnsError::NotANetns(path),
                Some(Errno::EPERM) => NetnsError::NotPermitted(path),
                _ => NetnsError::System { doing: "enter", path, error },
            }
        })
    }

    /// Moves the calling thread into the namespace, for good: meant for threads that live and end in it.
    pub fn enter(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }

    /// A second handle on the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Netns { file: self.file.try_clone()?, path: self.path.clone(), identity: self.identity })
    }

    fn from_file(file: File, path: PathBuf) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Netns { identity: Identity { dev: meta.dev(), inode: meta.ino() }, file, path })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A path under which other processes find an open file of this one.
fn fd_path(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Waits for a scoped thread and hands its panic on.
fn join<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_says_where_it_was_looked_for_and_what_to_do() {
        let error = Netns::open("no-such-namespace").unwrap_err();
        assert!(matches!(error, NetnsError::NoSuchName { .. }));
        let text = error.to_string();
        assert!(
            text.contains("/run/netns/no-such-namespace") && text.contains("ip netns add no-such-namespace"),
            "{text}"
        );
        assert!(matches!(Netns::open("/proc/no/such").unwrap_err(), NetnsError::NoSuchPath(_)));
    }

    #[test]
    fn other_files_are_refused() {
        for path in ["/proc/self/status", "/dev/null", "/", "/etc/passwd"] {
            assert!(matches!(Netns::open(path), Err(NetnsError::NotANetns(_))), "{path}");
        }
    }

    #[test]
    fn the_current_namespace_is_the_thread_s_own() {
        let meta = fs::metadata("/proc/thread-self/ns/net").unwrap();
        let current = Netns::current().unwrap();
        assert_eq!((current.identity().dev, current.identity().inode), (meta.dev(), meta.ino()));
        assert_eq!(fs::metadata(current.path()).unwrap().ino(), meta.ino());
    }

    #[test]
    fn identities_are_refused_once_gone() {
        let identity = Identity { dev: 0, inode: 1 };
        assert!(matches!(Netns::find(Path::new("/proc/self/ns/net"), identity), Err(NetnsError::Gone { .. })));
    }
}
