//! The lock on the state directory: one directory belongs to one daemon.
//!
//! The kernel releases it however the daemon ends. A daemon that was killed and is started again at once finds the
//! old process still ending, its sockets and TAPs being closed one after another. That is waited for; a daemon that
//! lives is not.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a daemon that holds the lock has to show that it is ending.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an ending daemon has to close what it had. A hundred TAPs take the kernel a second or two.
const LONG_PATIENCE: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(10);

/// The kernel's PF_EXITING, in the flags of a task's `stat` (proc_pid_stat(5)).
const EXITING: u64 = 0x4;

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another daemon has it: this process, if it said so.
    Held(Option<u32>),
    /// The system refused something.
    System(io::Error),
}

/// Takes the lock, which is held until the file is closed.
pub(super) fn take(path: &Path) -> Result<File, LockError> {
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let mut file = open.map_err(LockError::System)?;
    let begin = Instant::now();
    while let Err(error) = file.try_lock() {
        let holder = match error {
            TryLockError::WouldBlock => holder(&mut file),
            TryLockError::Error(error) => return Err(LockError::System(error)),
        };
        let patience = if holder.is_some_and(is_ending) { LONG_PATIENCE } else { PATIENCE };
        if begin.elapsed() > patience {
            return Err(LockError::Held(holder));
        }
        sleep(STEP);
    }
    sign(&mut file).map_err(LockError::System)?;
    Ok(file)
}

/// The process that wrote its number into the file. It may not have come to that; the lock counts, not the text.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// True while a thread of the process is on its way out: the last one closes the files.
fn is_ending(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).any(|stat| is_exiting(&stat))
}

/// Exiting and not yet a zombie, which has closed all it had.
fn is_exiting(stat: &str) -> bool {
    // The name stands in parentheses and may hold anything; behind it come the state and, seventh, the flags.
    let fields: Vec<_> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let flags = fields.get(6).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    flags & EXITING != 0 && !matches!(fields.first(), Some(&("Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_for_one_and_says_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path).unwrap();
        assert!(matches!(take(&path), Err(LockError::Held(Some(pid))) if pid == std::process::id()));
        drop(first);
        take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_process_that_lives_or_is_gone_is_not_ending() {
        assert!(!is_ending(std::process::id()) && !is_ending(u32::MAX));
        let stat = |state: &str, flags: u32| format!("7 (a) b) {state} 1 7 7 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0");
        assert!(is_exiting(&stat("D", 0x40_0104)));
        assert!(!is_exiting(&stat("D", 0x40_0100)) && !is_exiting(&stat("Z", 0x40_0104)));
        assert!(!is_exiting(""));
    }
}
