//! The daemon's life: start, ready, end.
//!
//! The order matters. The lock on the state directory comes first, so that two daemons never work on one
//! state; the VXLAN port next, since without it there is nothing to serve; then the socket answers, `status`
//! already with "not ready"; then the endpoints come back. Whatever fails on the way, one line says so and
//! nothing is left but an empty state directory.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use weft_control::transport::listener::Listener;
use weft_proto::v1::DESCRIPTORS;
use weft_proto::v1::doctor_server::DoctorServer;
use weft_proto::v1::node_server::NodeServer;
use weft_vtep::io::{StartError, Vtep, VtepConfig};

use super::Node;
use super::api::Api;
use super::cluster::enter as cluster;
use super::config::{Config, Start};
use super::error::device_advice;
use super::examine::Examiner;
use super::key_log::KeyLog;
use super::notify::{self, Ending};
use super::reconcile::PERIOD;
use super::reload::Reload;
use super::served;
use super::socket::ApiSocket;
use super::state::{Identity, Mode, State, StateDir};
use crate::docker::{self, Driver};

/// How long open requests may take to finish when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Runs the daemon until it is told to end.
///
/// `reread` reads the configuration again, when SIGHUP asks for it; `started` hears that the node is ready, before others do.
pub async fn run(config: Config, reread: impl Fn() -> Result<Config>, started: impl FnOnce()) -> Result<()> {
    check_privileges()?;
    // From here on a signal ends the daemon in order, however early it comes.
    let mut ending = Ending::watch(config.until_stdin_closes)?;
    let dir = StateDir::open(&config.state_dir)?;
    let state = dir.load()?;
    let remembered = state.as_ref().map(|s| &s.node);
    let (socket, listener) = ApiSocket::bind(&config.socket)?;
    let (identity, membership) = match config.mode(remembered)? {
        Mode::Standalone => (config.identity(remembered, None)?, None),
        Mode::Cluster => {
            let (identity, entry) = cluster::enter(&config, &dir, remembered).await?;
            let membership = entry.membership(&identity, &dir, config.suite)?;
            (identity, Some(membership))
        }
    };
    let taken = served::take(&identity)?;
    let vtep = start_vtep(&identity, &config)?;
    let (networks, endpoints) = state.map(|s| (s.networks, s.endpoints)).unwrap_or_default();
    let state = State::new(identity.clone(), networks, endpoints);

    let node = Arc::new(Node::new(identity, vtep, dir, membership));
    if let Some(path) = &config.key_log {
        // Nobody else has set it.
        let _ = node.key_log.set(KeyLog::open(path, &node.events)?);
    }
    let control_port = cluster::listen(&node).await?;
    let (stop, server) = serve(&node, listener)?;
    let served = served::start(taken, &node, &config.socket)?;
    let reload = Reload::new(&config, reread, served)?;
    let mut ended = tokio::select! {
        ready = get_ready(&node, state, control_port, &config) => ready.map(Some),
        () = ending.wait() => Ok(None),
    };
    if let Ok(Some(_)) = &ended {
        match serve_docker(&node, &config).await {
            Ok(_docker) => {
                started();
                notify::ready();
                tokio::select! {
                    () = ending.wait() => {}
                    () = node.over.notified() => {}
                    () = look_after(&node) => {}
                    () = node.keep_samples() => {}
                    () = reload.follow(&node) => {}
                }
            }
            Err(error) => ended = Err(error),
        }
    }
    // The file goes first: nobody should find it and then not be answered.
    drop(socket);
    drop(stop);
    // A change that is under way is finished; a client that does not hang up is not waited for.
    let _turn = node.turn().await;
    let _ = timeout(FAREWELL, server).await;
    let living = ended.as_mut().ok().and_then(Option::take).flatten();
    if let Some((stop, server)) = living {
        drop(stop);
        let _ = timeout(FAREWELL, server).await;
    }
    ended.map(drop)
}

/// A member's control port, as long as the sender lives.
type Living = Option<(oneshot::Sender<()>, JoinHandle<()>)>;

/// Restores the state, and on a member takes up with the others.
async fn get_ready(node: &Arc<Node>, state: State, control_port: Option<Listener>, config: &Config) -> Result<Living> {
    let restored = {
        let (turn, node) = (node.turn().await, Arc::clone(node));
        spawn_blocking(move || {
            let _turn = turn;
            node.restore(state)
        })
    };
    restored.await.context("the daemon failed while it restored its state").flatten()?;
    let living = control_port.and_then(|port| node.live(port));
    if let Start::Bootstrap { token_out: Some(path) } = &config.start {
        node.write_token(path)?;
    }
    node.catch_up().await;
    let node = Arc::clone(node);
    // It is nobody's to wait for.
    spawn_blocking(move || node.let_ask_again());
    Ok(living)
}

/// Is ready, and serves Docker. Nobody changes the node before the addresses that Docker keeps are held again.
async fn serve_docker(node: &Arc<Node>, config: &Config) -> Result<Option<docker::listen::Service>> {
    let (turn, dir) = (node.turn().await, config.state_dir.clone());
    node.set_ready();
    let node = Arc::clone(node);
    let restored = spawn_blocking(move || {
        let _turn = turn;
        Driver::restore(node, &dir)
    });
    let driver = restored.await.context("the daemon failed while it restored Docker's networks")??;
    docker::listen::start(&Arc::new(driver), &config.docker)
}

fn start_vtep(identity: &Identity, config: &Config) -> Result<Vtep> {
    let (local, port) = (identity.advertise, identity.vxlan_port);
    Vtep::start(VtepConfig { local, port, workers: config.workers }).map_err(|error| not_started(&error))
}

/// Why there is no VTEP, and what to do.
pub(super) fn not_started(error: &StartError) -> anyhow::Error {
    let advice = match error {
        StartError::NoSuchAddress { .. } => "; give one of this host's with --advertise",
        StartError::PortTaken { .. } => "; end that program, or choose another port with --vxlan-port",
        StartError::System { error, .. } => device_advice(error),
    };
    anyhow::anyhow!("{error}{advice}")
}

/// Answers on the socket until the sender is dropped.
pub fn serve(node: &Arc<Node>, listener: UnixListener) -> Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    let listener = tokio::net::UnixListener::from_std(listener).context("cannot listen on the socket")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("cannot offer gRPC reflection")?;
    let api = NodeServer::new(Api::new(Arc::clone(node)));
    let doctor = DoctorServer::new(Examiner { node: Arc::clone(node) });
    let node = Arc::clone(node);
    let server = tokio::spawn(async move {
        health.set_not_serving::<NodeServer<Api>>().await;
        let tell_ready = async {
            node.wait_ready().await;
            health.set_serving::<NodeServer<Api>>().await;
            std::future::pending::<()>().await;
        };
        let served = Server::builder()
            .add_service(health_service)
            .add_service(reflection)
            .add_service(api)
            .add_service(doctor)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::error!("the socket is not served any more: {error}");
            },
            () = tell_ready => {}
        }
    });
    Ok((stop, server))
}

/// Notices sandboxes that end.
async fn look_after(node: &Arc<Node>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (turn, node) = (node.turn().await, Arc::clone(node));
        let look = spawn_blocking(move || {
            let _turn = turn;
            node.reconcile();
        });
        if look.await.is_err() {
            tracing::error!("looking after the endpoints failed");
        }
    }
}

/// Refuses to start where no endpoint could ever be attached, rather than at the first one.
fn check_privileges() -> Result<()> {
    let status = fs::read_to_string("/proc/thread-self/status").context("cannot read this process's capabilities")?;
    let missing = missing_capabilities(&status);
    if !missing.is_empty() {
        bail!(
            "the daemon lacks {}, which it needs to make and move TAP devices: run it as root",
            missing.join(" and ")
        );
    }
    let tun = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    tun.map(drop).map_err(|error| anyhow::anyhow!("cannot open /dev/net/tun: {error}{}", device_advice(&error)))
}

/// Those of the needed capabilities that are not in the effective set (capabilities(7) has the numbers).
pub(crate) fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let needed = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];
    needed.into_iter().filter(|(_, bit)| !is_effective(status, *bit)).map(|(name, _)| name).collect()
}

/// Whether the capability with this number is in the effective set.
pub(crate) fn is_effective(status: &str, capability: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    effective & (1 << capability) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let status = |effective: &str| format!("Name:\tweft\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\n");
        assert!(missing_capabilities(&status("000001ffffffffff")).is_empty());
        assert_eq!(missing_capabilities(&status("0000000000001000")), ["CAP_SYS_ADMIN"]);
        assert!(is_effective(&status("0000000000080000"), 19) && !is_effective(&status("0000000000040000"), 19));
        assert_eq!(missing_capabilities(&status("0000000000000000")), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    }
}
