//! How a node becomes a member of a cluster, and one again after a restart.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::NamedTempFile;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use weft_control::cluster::{Cluster, Config as CoreConfig, Input, Me, PROTOCOL, Saved};
use weft_control::id::{NodeId, Origin};
use weft_control::networks::Registry;
use weft_control::security::ca::{Authority, CaHash, Permit};
use weft_control::security::credentials::Credentials;
use weft_control::security::identity::Identity as Certified;
use weft_control::security::key::NodeKey;
use weft_control::security::token::Token;
use weft_control::security::trust::Trust;
use weft_control::transport::join::{Joined, Joiner, join};
use weft_control::transport::listener::Listener;
use weft_control::transport::refusals::Refusals;
use weft_control::transport::serve;
use weft_proto::v1;
use weft_proto::v1::clock_server::ClockServer;
use weft_proto::v1::cluster_server::ClusterServer;
use weft_vtep::io::StartError;
use weft_vtep::seal::suite::Suite;

use super::admission::Desk;
use super::clock::Teller;
use super::core::{Core, now};
use super::lookup::lookup;
use super::peers::FRAME_BYTES;
use super::service::Service;
use super::trusted::{appointment, ca_object, key_files};
use super::{Membership, store};
use crate::node::Node;
use crate::node::config::{Config, Start};
use crate::node::daemon::not_started;
use crate::node::state::{Identity, StateDir};

/// How long the token of `--token-out` is good, and that of `weft token create` unless another time is said.
pub(in crate::node) const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a new member waits to be told all before it says that it is ready.
const CATCH_UP: Duration = Duration::from_secs(3);

/// A node on its way into its cluster.
pub(in crate::node) struct Entry {
    credentials: Credentials,
    authority: Option<Authority>,
    saved: Saved,
    /// Inputs for the core when it begins.
    first: Vec<Input>,
    fresh: bool,
}

/// What a start of a member says: who it is, and with what it enters.
pub(in crate::node) async fn enter(
    config: &Config,
    dir: &StateDir,
    remembered: Option<&Identity>,
) -> Result<(Identity, Entry)> {
    let files = key_files(dir)?;
    match (&config.start, files.credentials()?, remembered) {
        // Flags that say how a node comes to be are needed once, and then said in vain.
        (_, Some(credentials), Some(known)) => {
            one_port(config, known.vxlan_port)?;
            let objects = store::load_objects(dir)?;
            one_cluster(config, dir, &credentials, &objects)?;
            let identity = config.identity(remembered, None)?;
            let saved = Saved { roster: store::load_roster(dir)?, objects };
            let authority = files.authority()?;
            Ok((identity, Entry { credentials, authority, saved, first: Vec::new(), fresh: false }))
        }
        (Start::Bootstrap { token_out }, ..) => {
            // Before there is a cluster that nobody has a token of.
            token_out.as_deref().map(new_token_file).transpose()?;
            bootstrap(config.identity(remembered, None)?)
        }
        (Start::Join { host, token_file }, ..) => joined(config, remembered, host, token_file).await,
        _ => bail!(
            "{} remembers a member of a cluster, but not its secrets: join anew with --join HOST --token-file F",
            dir.path().display()
        ),
    }
}

fn certified(identity: &Identity) -> Result<Certified> {
    Ok(Certified::new(identity.id.parse()?, &identity.name)?)
}

fn bootstrap(identity: Identity) -> Result<(Identity, Entry)> {
    let now = SystemTime::now();
    let authority = Authority::found(now);
    let (key, name) = (NodeKey::generate(), certified(&identity)?);
    let certificate = authority.sign(&key.request(&name), &Permit::Renewal(name.node()), now)?;
    let credentials = Credentials::new(&key, &certificate, &[authority.certificate()])?;
    let first = vec![ca_object(authority.certificate()), appointment(&authority, name.node())];
    Ok((identity, Entry { credentials, authority: Some(authority), saved: Saved::default(), first, fresh: true }))
}

async fn joined(
    config: &Config,
    remembered: Option<&Identity>,
    host: &str,
    token_file: &Path,
) -> Result<(Identity, Entry)> {
    let text = std::fs::read_to_string(token_file)
        .with_context(|| format!("cannot read the join token from {}", token_file.display()))?;
    let token: Token = text.trim().parse().with_context(|| format!("{}", token_file.display()))?;
    let mut refusals = Vec::new();
    for address in lookup(host).await? {
        let attempt = match towards(config, remembered, address) {
            Ok(identity) => join_at(address, &identity, &token).await.map(|joined| (identity, joined)),
            Err(error) => Err(error),
        };
        match attempt {
            Ok((identity, joined)) => return accepted(config, identity, joined),
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    bail!(refusals.join("; "))
}

/// Who this node is to be, if it is to join at this address.
fn towards(config: &Config, remembered: Option<&Identity>, address: SocketAddr) -> Result<Identity> {
    let identity = config.identity(remembered, Some(address.ip()))?;
    ensure!(
        identity.advertise.is_ipv4() == address.is_ipv4(),
        "this node's tunnel address {} is of another address family than {address}, where it is to join",
        identity.advertise
    );
    check_ports(&identity)?;
    Ok(identity)
}

/// A join uses a token up: what this host itself would refuse afterwards is asked before.
fn check_ports(identity: &Identity) -> Result<()> {
    let (address, port) = (identity.advertise, identity.vxlan_port);
    if let Err(error) = UdpSocket::bind((address, port)) {
        match error.kind() {
            ErrorKind::AddrInUse => return Err(not_started(&StartError::PortTaken { address, port })),
            ErrorKind::AddrNotAvailable => return Err(not_started(&StartError::NoSuchAddress { address })),
            // The VTEP says it better, if it meets it.
            _ => {}
        }
    }
    let taken = TcpListener::bind((address, identity.control_port)).is_err_and(|e| e.kind() == ErrorKind::AddrInUse);
    ensure!(
        !taken,
        "TCP port {} on {address} is taken by another program; end it, or choose another port with --control-port",
        identity.control_port
    );
    Ok(())
}

/// A file beside `path`, which is to become it: only its owner reads it.
fn new_token_file(path: &Path) -> Result<NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    NamedTempFile::with_prefix_in(".weft-token-", dir).map_err(|error| {
        let why = if dir.is_dir() { error.kind().to_string() } else { format!("{} is no directory", dir.display()) };
        anyhow!("cannot write the join token to {}: {why}; choose another file with --token-out", path.display())
    })
}

async fn join_at(address: SocketAddr, identity: &Identity, token: &Token) -> Result<Joined> {
    let (key, name) = (NodeKey::generate(), certified(identity)?);
    let protocol = (*PROTOCOL.start(), *PROTOCOL.end());
    Ok(join(address, Joiner { token, identity: &name, key: &key, protocol }).await?)
}

/// All members of a cluster have its VXLAN port: one that has another reaches nobody.
fn one_port(config: &Config, cluster: u16) -> Result<()> {
    match config.vxlan_port {
        Some(port) if port != cluster => {
            bail!("the cluster's VXLAN port is {cluster}, not {port}: leave --vxlan-port out")
        }
        _ => Ok(()),
    }
}

/// A member stays what it is, whatever `--join` says, unless that means another cluster: whoever wrote it would believe
/// that this node is there. A token that is gone means nothing, and a CA that was followed by another is an object still.
fn one_cluster(config: &Config, dir: &StateDir, credentials: &Credentials, objects: &[v1::Object]) -> Result<()> {
    let Start::Join { token_file, .. } = &config.start else { return Ok(()) };
    let text = std::fs::read_to_string(token_file).unwrap_or_default();
    let Ok(token) = text.parse::<Token>() else { return Ok(()) };
    let ca = token.ca().to_string();
    let trusted = credentials.roots().iter().any(|root| CaHash::of(root) == token.ca());
    let followed = objects.iter().any(|object| object.kind() == v1::ObjectKind::Ca && object.id == ca);
    ensure!(
        trusted || followed,
        "{} is a member of another cluster than the one that the token in {} is for: to stay in it leave --join and \
         --token-file out; to change, end that membership with `weft leave` first, or give another --state-dir",
        dir.path().display(),
        token_file.display()
    );
    Ok(())
}

fn accepted(config: &Config, mut identity: Identity, joined: Joined) -> Result<(Identity, Entry)> {
    one_port(config, joined.vxlan_port)?;
    identity.vxlan_port = joined.vxlan_port;
    let saved = Saved { roster: joined.roster, objects: joined.objects };
    let credentials = joined.credentials;
    Ok((identity, Entry { credentials, authority: None, saved, first: Vec::new(), fresh: true }))
}

impl Entry {
    /// The membership of the node that enters; `suite` is what it likes to seal with. Nothing runs yet.
    pub(in crate::node) fn membership(
        self,
        identity: &Identity,
        dir: &StateDir,
        suite: Option<Suite>,
    ) -> Result<Arc<Membership>> {
        let me: NodeId = identity.id.parse()?;
        let Entry { credentials, authority, .. } = self;
        let files = key_files(dir)?;
        if self.fresh {
            files.store_credentials(&credentials)?;
            if let Some(authority) = &authority {
                files.store_authority(authority)?;
            }
            store::save_objects(dir, &self.saved.objects)?;
            store::save_roster(dir, &self.saved.roster)?;
        }
        let record = weft_control::table::NodeRecord {
            name: identity.name.clone(),
            address: identity.advertise,
            control_port: identity.control_port,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            signer: authority.is_some(),
        };
        let origin = Origin { node: me, incarnation: identity.incarnation };
        let started = Instant::now();
        let me_record = Me { origin, record };
        let cluster = Cluster::new(CoreConfig::default(), me_record, self.saved, now(started), rand::random());
        let membership = Membership {
            me,
            core: Core::new(cluster, started),
            trust: Trust::new(credentials),
            files,
            denied: Mutex::new(store::load_denied(dir)?),
            authority: RwLock::new(authority.map(Arc::new)),
            streams: super::Streams::default(),
            channels: super::Channels::default(),
            sessions: super::Sessions::new(suite),
            blocks: Mutex::new(HashMap::new()),
            registry: Mutex::new(Registry::new()),
            unreadable: Mutex::new(HashSet::new()),
            networks_changed: tokio::sync::Notify::new(),
            ca_changed: tokio::sync::Notify::new(),
            unsaved: super::drive::Unsaved::default(),
        };
        membership.evict_all();
        membership.refuse_denied();
        membership.core.tell_all(self.first);
        Ok(Arc::new(membership))
    }
}

/// The control port, open but not served yet.
pub(in crate::node) async fn listen(node: &Arc<Node>) -> Result<Option<Listener>> {
    let Some(membership) = &node.membership else { return Ok(None) };
    let address = SocketAddr::new(node.identity.advertise, node.identity.control_port);
    let teller = Arc::downgrade(node);
    let refusals = Refusals::new(move |refusal| {
        if let Some(node) = teller.upgrade() {
            node.events.record("connection_refused", refusal.to_string());
        }
    });
    let listener = Listener::bind(address, membership.trust.clone(), refusals).await;
    let advice = "end the program that has it, or choose another port with --control-port";
    Ok(Some(listener.with_context(|| format!("cannot listen on {address}: {advice}"))?))
}

impl Node {
    /// Begins to live as a member: serves the control port, looks for the others. Ends with the sender.
    pub(in crate::node) fn live(self: &Arc<Self>, listener: Listener) -> Option<(oneshot::Sender<()>, JoinHandle<()>)> {
        let membership = self.membership.clone()?;
        let service = ClusterServer::new(Service { node: Arc::clone(self), membership: membership.clone() });
        let routes = Routes::new(service.max_decoding_message_size(FRAME_BYTES)).add_service(ClockServer::new(Teller));
        let desk = Arc::new(Desk { node: Arc::clone(self), membership });
        let (stop, stopped) = oneshot::channel::<()>();
        let node = Arc::clone(self);
        let server = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            if let Err(error) = serve(listener, desk, routes, shutdown).await {
                node.events.record("control_port", format!("the control port is not served any more: {error}"));
            }
        });
        tokio::spawn(Arc::clone(self).drive());
        tokio::spawn(Arc::clone(self).keep_saved());
        tokio::spawn(Arc::clone(self).follow_networks());
        tokio::spawn(Arc::clone(self).renew());
        tokio::spawn(Arc::clone(self).keep_sessions());
        Some((stop, server))
    }

    /// Waits until this node has been told what the others know, or nobody is there to tell it.
    pub(in crate::node) async fn catch_up(&self) {
        let Some(membership) = &self.membership else { return };
        let deadline = Instant::now() + CATCH_UP;
        while Instant::now() < deadline {
            let (others, agreeing) =
                membership.core.look(|cluster| (cluster.members().count() - 1, cluster.agreeing()));
            if others == 0 || agreeing > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes a join token to a file that only its owner reads, as a whole or not at all.
    pub(in crate::node) fn write_token(&self, path: &Path) -> Result<()> {
        use std::io::Write;
        let token = self.new_token(TOKEN_LIFE, None)?.0.to_string();
        let what = || format!("cannot write the join token to {}", path.display());
        let mut file = new_token_file(path)?;
        file.write_all(token.as_bytes()).and_then(|()| file.write_all(b"\n")).with_context(what)?;
        file.as_file().sync_all().with_context(what)?;
        file.persist(path).with_context(what)?;
        Ok(())
    }
}
