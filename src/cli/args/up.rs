//! The flags of the daemon.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::http::Listen;

/// `weft up`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("mode").multiple(false)))]
pub struct UpArgs {
    /// Where the node keeps what it remembers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weft")]
    pub state_dir: PathBuf,
    /// The flags of this command as a file; those given here win [default: /etc/weft/weft.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's name [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The address that tunnels end at [default: the host's only global address]
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// The UDP port of VXLAN [default: 4789, or the cluster's]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub vxlan_port: Option<u16>,
    /// The TCP port of the control plane; a standalone node has none [default: 7956]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub control_port: Option<u16>,
    /// Serve Docker's plugin socket: auto is where there is a Docker Engine and nobody else serves it
    #[arg(long, value_enum, default_value_t = Docker::Auto)]
    pub docker: Docker,
    /// Docker's plugin socket
    #[arg(long, value_name = "PATH", default_value = "/run/docker/plugins/weft.sock")]
    pub docker_socket: PathBuf,
    /// Where the Docker Engine is asked for the names of its containers, and to make networks
    #[arg(long, value_name = "PATH", default_value = "/run/docker.sock")]
    pub docker_engine: PathBuf,
    /// Have the cluster's networks appear in Docker by themselves: auto is wherever Docker is served
    #[arg(long, value_enum, default_value_t = DockerNetworks::Auto)]
    pub docker_networks: DockerNetworks,

    /// Stand alone: plain networks, static remotes. Needed once, the state directory remembers
    #[arg(long, group = "mode")]
    pub standalone: bool,
    /// Begin a cluster. Needed once, the state directory remembers
    #[arg(long, group = "mode")]
    pub bootstrap: bool,
    /// Where to write the first join token
    #[arg(long, value_name = "FILE", requires = "bootstrap", conflicts_with_all = ["standalone", "join"])]
    pub token_out: Option<PathBuf>,
    /// Join the cluster of the node at this address. Needed once, the state directory remembers
    #[arg(long, value_name = "HOST[:PORT]", group = "mode", requires = "token_file")]
    pub join: Option<String>,
    /// The join token
    #[arg(long, value_name = "FILE", requires = "join", conflicts_with_all = ["standalone", "bootstrap"])]
    pub token_file: Option<PathBuf>,

    /// Serve metrics for Prometheus; a port alone is of 127.0.0.1. The state directory remembers
    #[arg(long, value_name = "[IP:]PORT|off")]
    pub metrics: Option<Listen>,
    /// Serve a page that shows the cluster as this node sees it; a port alone is of 127.0.0.1. The state directory remembers
    #[arg(long, value_name = "[IP:]PORT|off")]
    pub page: Option<Listen>,

    /// What the log on standard error is written as, from the daemon's start on; RUST_LOG says what is in it
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Write the keys of sealed networks to a file, for a protocol analyser; needs --insecure-key-log
    #[arg(long, value_name = "FILE", requires = "insecure_key_log")]
    pub key_log: Option<PathBuf>,
    /// Accept that whoever reads the key log can open and forge all that sealed networks carry
    #[arg(long, requires = "key_log")]
    pub insecure_key_log: bool,

    /// End when standard input ends: a leash for whoever starts nodes for a while.
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
    /// Transmit workers, and as many receive workers.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// The suite to offer first, whatever this CPU is best at.
    #[arg(long, hide = true, value_enum)]
    pub suite: Option<SealSuite>,
}

/// What seals the datagrams between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SealSuite {
    /// AES-256-GCM.
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// What a log is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object to a line.
    Json,
}

/// Whether the daemon serves Docker's plugin socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Docker {
    /// Where there is a Docker Engine.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Whether the cluster's networks appear in Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DockerNetworks {
    /// Wherever Docker is served, and not in a Swarm.
    Auto,
    /// Never.
    Off,
}
