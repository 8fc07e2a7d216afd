//! The unix socket that the node is asked on.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

/// The group whose members may ask the node, where the host has it.
const GROUP: &str = "weft";

/// A bound socket file. It is removed when this value is dropped.
#[derive(Debug)]
pub struct ApiSocket {
    path: PathBuf,
    /// Which file it is: somebody else's at the same path is not ours to remove. No other has its inode while the
    /// listener lives.
    file: (u64, u64),
}

impl ApiSocket {
    /// Binds the socket, mode 0660 and group weft where the group exists, else 0600.
    ///
    /// A socket file that nobody listens on is what a killed daemon leaves: it is replaced. One that answers is an error.
    pub fn bind(path: &Path) -> Result<(ApiSocket, UnixListener)> {
        ApiSocket::bind_for(path, "--socket")
    }

    /// Does the same for the socket whose path is chosen with `flag`.
    pub fn bind_for(path: &Path, flag: &str) -> Result<(ApiSocket, UnixListener)> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| {
                format!("cannot make the directory {} for the socket; choose another with {flag}", parent.display())
            })?;
        }
        remove_stale(path, flag)?;
        let listener = listen(path);
        let shown = path.display();
        let listener =
            listener.with_context(|| format!("cannot listen on {shown}; choose another path with {flag}"))?;
        let meta =
            fs::symlink_metadata(path).with_context(|| format!("cannot find the socket {shown} that was just made"))?;
        let socket = ApiSocket { path: path.to_owned(), file: (meta.dev(), meta.ino()) };
        share(path);
        listener.set_nonblocking(true).with_context(|| format!("cannot listen on {shown}"))?;
        Ok((socket, listener))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ApiSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file) {
            // What stays is stale, and replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path, flag: &str) -> Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {shown}; choose another path with {flag}"));
        }
        Ok(meta) if !meta.file_type().is_socket() => {
            bail!("{shown} is not a socket, so it is left alone: choose another path with {flag}");
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("a daemon answers on {shown} already: end it, or choose another path with {flag}"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove the stale socket {shown}"))
        }
        // Full backlog, or not ours to ask: somebody is there.
        Err(error) => {
            Err(error).with_context(|| format!("{shown} seems to be in use; choose another path with {flag}"))
        }
    }
}

/// Listens with mode 0600 from the first moment on: bind(2) gives the file the mode that the socket has.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// Lets the group in. Where there is no such group, or it cannot be given the file, the owner stays the only one.
fn share(path: &Path) {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(group) = group_id(&groups, GROUP)
        && std::os::unix::fs::chown(path, None, Some(group)).is_ok()
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o660))
    {
        tracing::warn!("cannot open {} to the group {GROUP}: {error}", path.display());
    }
}

/// The number of a group of this host, from the lines of `/etc/group` (group(5)). Not asked of the C library: linked
/// statically it loads the host's name services, and crashes in those that were built against another.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields[0] == name).and_then(|fields| fields.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nwefts:x:5:a\n\nweft:x:990:a,b\n";
        assert_eq!((group_id(groups, "weft"), group_id(groups, "wef")), (Some(990), None));
        assert_eq!((group_id("weft", "weft"), group_id("weft:x:many:", "weft")), (None, None));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/weft.sock");
        let (first, listener) = ApiSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert!(mode == 0o600 || mode == 0o660, "{mode:o}");
        let error = ApiSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("answers") && error.contains("--socket"), "{error}");
        drop(listener);
        let (second, _listener) = ApiSocket::bind(&path).unwrap();
        assert!(path.exists());
        drop(first);
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn the_end_of_one_daemon_leaves_the_socket_of_the_next_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weft.sock");
        let (first, _listener) = ApiSocket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (_second, _other) = ApiSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weft.sock");
        fs::write(&path, "precious").unwrap();
        assert!(ApiSocket::bind(&path).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
