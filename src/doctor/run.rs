//! The command: look, judge, tell.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::report::{self, Report};
use super::{bundle, checks, gather};
use crate::cli::client::channel;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::style::Style;

/// What `weft doctor` was told.
#[derive(Debug)]
pub struct Options {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Print one JSON document.
    pub json: bool,
    /// Write a support archive here.
    pub bundle: Option<PathBuf>,
}

/// Runs it. The status is 0 where nothing failed, 1 where something did.
pub fn run(options: Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("cannot start the client")?.block_on(examine(options))
}

async fn examine(options: Options) -> Result<ExitCode> {
    let progress = Progress::unless(options.json, "looking at this host, its node and the ways to its peers");
    let way = channel(&options.socket).await.map_err(|error| format!("{error:#}"));
    let documents = match &way {
        Ok(channel) if options.bundle.is_some() => bundle::documents(channel.clone()).await,
        _ => Vec::new(),
    };
    let facts = gather::gather(way).await;
    drop(progress);
    let findings = checks::all(&facts);
    let report = Report { well: checks::is_well(&findings), findings: &findings };
    if let Some(path) = &options.bundle {
        bundle::write(path, &report, &facts, documents)?;
    }
    if options.json {
        output(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        let archive = options.bundle.map(|path| format!("archive written: {}\n", path.display())).unwrap_or_default();
        output(&(report::text(&findings, Style::of_stdout()) + &archive))?;
    }
    Ok(if report.well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
