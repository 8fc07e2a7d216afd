//! `weft up`: the daemon in the foreground.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use weft_vtep::seal::suite::Suite;

use super::args::{Command, Docker, DockerNetworks, LogFormat, SealSuite, UpArgs};
use super::progress::Progress;
use super::{file, log};
use crate::docker;
use crate::node::config::{Config, Start};
use crate::node::daemon;

/// Runs the daemon until it is told to end.
///
/// `line` is what it was started with, to be read again with the file when SIGHUP asks for it.
pub(super) fn run(args: UpArgs, socket: PathBuf, line: Vec<OsString>) -> Result<ExitCode> {
    let format = args.log_format;
    let config = config(args, socket)?;
    let progress = Progress::show(match &config.start {
        Start::Join { host, .. } => format!("joining the cluster at {host}"),
        _ => "starting".to_owned(),
    });
    let reread = move || {
        let cli = file::again(line.clone())?;
        match cli.command {
            Command::Up(args) => self::config(*args, cli.global.socket),
            _ => bail!("the command line is not that of `weft up`"),
        }
    };
    log::begin(format);
    // The data plane has its own threads; the control side of one node is little work.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the daemon's threads")?;
    let done = runtime.block_on(daemon::run(config, reread, || drop(progress)));
    // A thread that waits for standard input, or for the kernel, does not hold up the end.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

fn config(args: UpArgs, socket: PathBuf) -> Result<Config> {
    let start = match (args.join, args.token_file) {
        (Some(host), Some(token_file)) => Start::Join { host, token_file },
        _ if args.bootstrap => Start::Bootstrap { token_out: args.token_out },
        _ if args.standalone => Start::Standalone,
        _ => Start::Remembered,
    };
    Ok(Config {
        state_dir: std::path::absolute(&args.state_dir).context("cannot use the state directory's path")?,
        socket,
        name: args.name,
        advertise: args.advertise,
        vxlan_port: args.vxlan_port,
        control_port: args.control_port,
        start,
        workers: args.workers.map(usize::from),
        suite: args.suite.map(Suite::from),
        docker: docker::Config {
            when: args.docker.into(),
            socket: args.docker_socket,
            engine: args.docker_engine,
            networks: args.docker_networks == DockerNetworks::Auto,
        },
        metrics: args.metrics,
        page: args.page,
        key_log: args.key_log,
        log_json: args.log_format == LogFormat::Json,
        until_stdin_closes: args.until_stdin_closes,
    })
}

impl From<Docker> for docker::When {
    fn from(docker: Docker) -> docker::When {
        match docker {
            Docker::Auto => docker::When::Auto,
            Docker::On => docker::When::On,
            Docker::Off => docker::When::Off,
        }
    }
}

impl From<SealSuite> for Suite {
    fn from(suite: SealSuite) -> Suite {
        match suite {
            SealSuite::Aes256Gcm => Suite::Aes256Gcm,
            SealSuite::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
        }
    }
}
