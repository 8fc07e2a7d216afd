//! `weft plugin-shim`: what Docker's managed plugin runs.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::args::ShimArgs;
use crate::docker::shim;

/// Runs the shim until it is told to end.
pub(super) fn run(args: ShimArgs) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the shim")?;
    let config = shim::Config { socket: args.listen, daemon: args.daemon, scope: args.scope };
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let ended = async move {
            terminate.recv().await;
        };
        shim::run(config, ended).await
    })?;
    Ok(ExitCode::SUCCESS)
}
