//! A sign of life while something takes long: a line on standard error, where that is a terminal, gone when it is done.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time from one picture to the next.
const STEP: Duration = Duration::from_millis(100);
const PICTURES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The line is shown for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` once it is over.
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows what is done, and for how many seconds it has been. Nothing where standard error is no terminal.
    pub(crate) fn show(what: &'static str) -> Progress {
        let stderr = std::io::stderr();
        if !stderr.is_terminal() || std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
            return Progress { running: None };
        }
        let (end, ended) = channel();
        let since = Instant::now();
        let thread = thread::spawn(move || {
            for picture in PICTURES.iter().cycle() {
                if ended.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                // It is no reason to end that nobody sees it.
                let _ = write!(std::io::stderr(), "\r{picture} {what} {} s\u{1b}[K", since.elapsed().as_secs());
            }
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        });
        Progress { running: Some((end, thread)) }
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
