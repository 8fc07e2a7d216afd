//! The grammar of the command line: names and flags are Docker's where it has one.

mod up;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use weft_proto::request::{self, AskedAddress, Refused};
use weft_vtep::addr::{Mac, Vni};

pub use up::{Docker, DockerNetworks, LogFormat, SealSuite, UpArgs};

/// The daemon's default socket.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";

/// An overlay network for containers on many hosts.
#[derive(Debug, Parser)]
#[command(name = "weft", version, arg_required_else_help = true, propagate_version = false)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that may stand before or after the subcommand.
#[derive(Debug, Args)]
pub struct Global {
    /// The daemon's unix socket
    #[arg(long, global = true, env = "WEFT_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Up(Box<UpArgs>),
    /// Make, list, show and remove networks
    #[command(subcommand, arg_required_else_help = true)]
    Network(NetworkCommand),
    /// Put an interface on a network into a network namespace
    Attach(AttachArgs),
    /// Remove an endpoint and its interface
    Detach {
        /// The endpoint's id, or an unambiguous beginning of it
        endpoint: String,
    },
    /// Say who the node is; exit 1 until it is ready
    Status,
    /// List the nodes that this node knows, itself included
    Members {
        /// What to do with them, if not list them
        #[command(subcommand)]
        command: Option<MembersCommand>,
    },
    /// Show which MAC address lives behind which port or VTEP
    Fdb {
        /// Only this network
        network: Option<String>,
    },
    /// Show which address answers to which MAC address
    Neigh {
        /// Only this network
        network: Option<String>,
    },
    /// Show the counters since the daemon started
    Stats,
    /// Show what happened
    Events {
        /// Go on with what happens from now on
        #[arg(short, long)]
        follow: bool,
    },
    /// Look for what is wrong with this host and the cluster, and say what to do; exit 1 if something failed
    Doctor {
        /// Write a support archive (tar.gz) without secrets
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Say what would become of a frame, step by step, here and on the node that it is for; exit 1 if it would not arrive
    Trace(super::trace::TraceArgs),
    /// Show frames as they pass this node, opened: a line for each, or a file for Wireshark
    Capture(super::capture::CaptureArgs),
    /// Watch the node and its cluster in a terminal: nodes, endpoints, networks, flows, drops, events, with their rates
    Top(super::top::TopArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        directory: PathBuf,
    },
    /// Make new keys with every peer
    Rekey,
    /// Leave the cluster for good
    Leave,
    /// Make, list and revoke join tokens
    #[command(subcommand, arg_required_else_help = true)]
    Token(TokenCommand),
    /// Say which members hold the CA's key and so admit others
    #[command(subcommand, arg_required_else_help = true)]
    Signer(SignerCommand),
    /// Show an overlay of several nodes in namespaces on this machine, measure it, and remove it again
    Demo(DemoArgs),
    /// Hand a managed plugin's requests to the daemon
    #[command(hide = true)]
    PluginShim(ShimArgs),
}

/// `weft members`.
#[derive(Debug, Subcommand)]
pub enum MembersCommand {
    /// List them
    #[command(visible_alias = "list")]
    Ls,
    /// Declare a member dead for good: its certificate is refused, its addresses are free again
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name, its id, or an unambiguous beginning of its id
        node: String,
    },
}

/// `weft token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a join token and print it
    Create {
        /// How long nodes may join with it, as in 30m, 24h or 7d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
        ttl: Duration,
        /// How many nodes may join with it [default: any number]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
    },
    /// List the join tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls,
    /// Revoke a join token
    #[command(visible_alias = "remove")]
    Rm {
        /// The token's id
        id: String,
    },
}

/// `weft signer`.
#[derive(Debug, Subcommand)]
pub enum SignerCommand {
    /// Give a member the CA's key
    Add {
        /// Its name, its id, or an unambiguous beginning of its id
        node: String,
    },
    /// Take a member off the list of signers
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name, its id, or an unambiguous beginning of its id
        node: String,
    },
}

/// `weft network`.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network
    Create(CreateArgs),
    /// List the networks
    #[command(visible_alias = "list")]
    Ls,
    /// Show one network as JSON
    Inspect {
        /// Its name, its id, or an unambiguous beginning of its id
        name: String,
    },
    /// Remove a network that has no endpoints
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name, its id, or an unambiguous beginning of its id
        name: String,
    },
}

/// `weft network create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The network's name
    pub name: String,
    /// The driver: overlay, or for a network of this host bridge, host or macvlan
    #[arg(short, long, default_value = "overlay", value_parser = NonEmptyStringValueParser::new())]
    pub driver: String,
    /// The VXLAN network identifier [default: a free one from 4096 up]
    #[arg(long, value_name = "N")]
    pub vni: Option<Vni>,
    /// A subnet; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub subnet: Vec<String>,
    /// The default gateway of a subnet
    #[arg(long, value_name = "IP", value_parser = address)]
    pub gateway: Vec<String>,
    /// The part of a subnet that addresses are given out from
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    pub ip_range: Vec<String>,
    /// The largest inner IP packet [default: the most that the underlay carries]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Do not encrypt
    #[arg(long)]
    pub plain: bool,
    /// Give endpoints no default route
    #[arg(long)]
    pub internal: bool,
    /// A VTEP outside of any cluster; may be repeated, needs --plain
    #[arg(long, value_name = "IP", value_parser = address)]
    pub remote: Vec<String>,
    /// The host's interface that a macvlan network leads through
    #[arg(long, value_name = "IF")]
    pub parent: Option<String>,
    /// An option (trust-macs, vlan=keep, ageing=SECONDS, plain, encrypted, macvlan_mode=MODE); may be repeated
    #[arg(short = 'o', long = "opt", value_name = "K=V")]
    pub option: Vec<String>,
}

/// `weft attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The network
    pub network: String,
    /// A network namespace: its name under /run/netns, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: String,
    /// The interface's name in the namespace
    #[arg(long, value_name = "NAME", default_value = "eth0", value_parser = NonEmptyStringValueParser::new())]
    pub ifname: String,
    /// The address [default: the next free one]; once more for the other family
    #[arg(long, value_name = "CIDR", value_parser = asked)]
    pub ip: Vec<String>,
    /// The MAC address [default: a random local one]
    #[arg(long)]
    pub mac: Option<Mac>,
}

/// `weft plugin-shim`.
#[derive(Debug, Args)]
pub struct ShimArgs {
    /// Where the engine asks
    #[arg(long, value_name = "PATH", default_value = "/run/docker/plugins/weft.sock")]
    pub listen: PathBuf,
    /// The plugin socket of the daemon
    #[arg(long, value_name = "PATH")]
    pub daemon: PathBuf,
    /// Who makes the driver's networks: each engine its own, or a Swarm for all of its engines
    #[arg(long, value_enum, env = "WEFT_SCOPE", default_value_t = crate::docker::Scope::Local)]
    pub scope: crate::docker::Scope,
}

/// `weft demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many nodes, from 2 to 64
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: u32,
    /// Do not encrypt
    #[arg(long)]
    pub plain: bool,
    /// How long each throughput is measured
    #[arg(long, value_name = "S", default_value_t = 3)]
    pub seconds: u32,
}

/// What is no address is wrong usage; what it is good for says the daemon. So with the next two.
fn address(text: &str) -> Result<String, Refused> {
    request::address(text).map(|_| text.to_owned())
}

fn cidr(text: &str) -> Result<String, Refused> {
    request::cidr(text).map(|_| text.to_owned())
}

fn asked(text: &str) -> Result<String, Refused> {
    text.parse::<AskedAddress>().map(|_| text.to_owned())
}

/// A number with a unit: s, m, h or d.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write a number and s, m, h or d, as in 24h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is not between a second and a year")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn socket_and_json_stand_before_or_after_the_subcommand() {
        for line in [
            "weft --socket /s --json network ls",
            "weft network --socket /s --json ls",
            "weft network ls --json --socket /s",
            "weft --json network ls --socket /s",
        ] {
            let cli = parse(line).unwrap();
            assert!(cli.global.json && cli.global.socket.as_os_str() == "/s", "{line}");
        }
        assert_eq!(parse("weft up --standalone --socket /s").unwrap().global.socket, PathBuf::from("/s"));
    }

    #[test]
    fn up_takes_every_flag_and_one_mode() {
        let up = "weft up --state-dir /d --socket /s --name n --advertise 192.0.2.1 --vxlan-port 4790 --control-port 1 \
                  --docker off --docker-socket /p --docker-networks off --metrics 9469 --page 9470";
        for mode in ["--standalone", "--bootstrap", "--bootstrap --token-out /t", "--join h:1 --token-file /t", ""] {
            assert!(parse(&format!("{up} {mode}")).is_ok(), "{mode}");
        }
        for wrong in [
            "--standalone --bootstrap",
            "--join h",
            "--token-file /t",
            "--standalone --token-out /t",
            "--standalone --token-file /t",
            "--join h --token-file /t --token-out /t",
        ] {
            let error = parse(&format!("{up} {wrong}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn wrong_usage_is_status_2_and_help_is_0() {
        for line in ["weft", "weft nothing", "weft attach blue", "weft network create n --vni 0", "weft detach"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("weft --help").unwrap_err().exit_code(), 0);
        assert_eq!(parse("weft --version").unwrap_err().exit_code(), 0);
    }
}
