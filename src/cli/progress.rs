//! A sign of life while something takes long: a line on standard error, where that is a terminal, gone when it is done.
//!
//! What else is written there meanwhile, as a daemon's log, goes through [`Aside`], which takes the line away first.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What takes no longer than this is no reason to say anything.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time from one picture to the next.
const STEP: Duration = Duration::from_millis(100);
const PICTURES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const CLEARED: &[u8] = b"\r\x1b[K";

/// Whether the line stands on the terminal. Who writes there holds it.
static SHOWN: Mutex<bool> = Mutex::new(false);

/// The line is shown for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` once it is over.
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows what is done, and for how many seconds it has been. Nothing where standard error is no terminal.
    pub(crate) fn show(what: impl Into<String>) -> Progress {
        if !io::stderr().is_terminal() || std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
            return Progress { running: None };
        }
        let (what, since) = (what.into(), Instant::now());
        let (end, ended) = channel();
        let thread = thread::spawn(move || {
            let mut wait = PATIENCE;
            for picture in PICTURES.iter().cycle() {
                if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                wait = STEP;
                let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
                *shown = true;
                // It is no reason to end that nobody sees it.
                let _ = write!(io::stderr(), "\r{picture} {what} {} s\x1b[K", since.elapsed().as_secs());
            }
            let _ = Aside.write(b"");
        });
        Progress { running: Some((end, thread)) }
    }

    /// For a command, which shows nothing beside its document where that is for a program.
    pub(crate) fn unless(json: bool, what: &'static str) -> Option<Progress> {
        (!json).then(|| Progress::show(what))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // It only waits for its next picture.
            let _ = thread.join();
        }
    }
}

/// Standard error, beside the line: that comes back below what is written, if it is not over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aside;

impl Write for Aside {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *shown) {
            io::stderr().write_all(CLEARED)?;
        }
        io::stderr().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
