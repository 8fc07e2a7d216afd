//! The command line.
//!
//! Arguments come in; one document (text or, with `--json`, JSON) goes out on standard output, or one line on
//! standard error that says what failed, why, and what to do. The exit status is 0 for done, 1 for refused or
//! failed, 2 for wrong usage. [`args`] is the grammar, [`client`] the way to the daemon, [`view`] the JSON
//! documents, [`mod@print`] their form for people, [`style`] its colours, `progress` a sign of life, `log` what the
//! daemon says.

pub mod args;
pub mod capture;
pub mod client;
mod commands;
mod file;
mod log;
mod pages;
pub mod print;
pub(crate) mod progress;
mod shim;
pub mod style;
pub mod top;
pub mod trace;
mod up;
pub mod view;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::demo::{self, DemoOptions};
use crate::doctor;
use args::{Command, Global};

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    // Wrong usage ends in here, with status 2; --help and --version with 0.
    let line: Vec<_> = std::env::args_os().collect();
    let cli = match file::arguments(line.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let done = match cli.command {
        Command::Up(args) => up::run(*args, cli.global.socket, line),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::manual(&directory),
        Command::Demo(args) => demo::run(DemoOptions { nodes: args.nodes, plain: args.plain, seconds: args.seconds }),
        Command::Doctor { bundle } => {
            let Global { socket, json } = cli.global;
            doctor::run(doctor::Options { socket, json, bundle })
        }
        Command::Top(args) => top::run(&cli.global, &args),
        Command::PluginShim(args) => shim::run(args),
        command => commands::run(command, &cli.global),
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on one line what failed and why.
fn complain(error: &anyhow::Error) {
    let text: Vec<_> = format!("{error:#}").split_whitespace().map(str::to_owned).collect();
    // There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "weft: {}", text.join(" "));
}

/// Writes a document. A reader that has seen enough (`weft fdb | head`) is no failure.
pub(crate) fn output(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
