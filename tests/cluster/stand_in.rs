//! A member of a cluster inside the test: the control plane's pure core on the real transport, without a data plane.
//!
//! It says what no daemon can be brought to say: records of a hundred thousand stations, or versions that do not exist
//! yet. Its id is lower than any daemon's, so that it dials its neighbours and they wait for it: it has no control port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::ReceiverStream;
use weft::lab::Host;
use weft_control::cluster::{Cluster, Config, Event, Input, Me, Now, Output, Saved};
use weft_control::id::{NodeId, Origin};
use weft_control::security::identity::Identity;
use weft_control::security::key::NodeKey;
use weft_control::security::trust::Trust;
use weft_control::table::NodeRecord;
use weft_control::transport::connect::connect;
use weft_control::transport::join::{JoinError, Joined, Joiner, join};
use weft_proto::v1;
use weft_proto::v1::cluster_client::ClusterClient;
use weft_proto::v1::frame::Kind;

const CONTROL_PORT: u16 = 7956;
/// Frames on their way to one neighbour, far more than a window's.
const WAITING: usize = 4096;

/// The member. It falls silent when this value is dropped, as a killed one would.
pub(crate) struct StandIn {
    core: Arc<Mutex<Core>>,
    tell: UnboundedSender<Input>,
}

struct Core {
    cluster: Cluster,
    events: Vec<Event>,
    started: Instant,
}

impl StandIn {
    /// Joins the cluster of the daemon on `at` from the host `on`, speaking these versions of the protocol.
    pub(crate) fn join(on: &Host, at: &Host, token: &str, protocol: RangeInclusive<u32>) -> StandIn {
        Self::join_as(on, at, token, protocol.clone(), protocol)
    }

    /// Joins as a program that speaks `then`, and goes on as one that speaks `protocol`.
    pub(crate) fn join_as(
        on: &Host,
        at: &Host,
        token: &str,
        then: RangeInclusive<u32>,
        protocol: RangeInclusive<u32>,
    ) -> StandIn {
        let joined = Self::ask(on, at, token, then).unwrap();
        let name = name(on);
        let version = "stand-in".to_owned();
        let record = NodeRecord { name, address: on.address, control_port: CONTROL_PORT, version, signer: false };
        let me = Me { origin: Origin { node: NodeId(1), incarnation: 1 }, record };
        let saved = Saved { roster: joined.roster, objects: joined.objects };
        let started = Instant::now();
        let config = Config { protocol, ..Config::default() };
        let cluster = Cluster::new(config, me, saved, now(started), 7);
        let core = Arc::new(Mutex::new(Core { cluster, events: Vec::new(), started }));
        let (tell, told) = unbounded_channel();
        let run = Run { core: core.clone(), trust: Trust::new(joined.credentials), tell: tell.downgrade() };
        // A thread is where its parent was: on the host.
        on.run(|| std::thread::spawn(move || runtime().block_on(run.live(told)))).unwrap();
        StandIn { core, tell }
    }

    /// Why a program that speaks these versions is not let in.
    pub(crate) fn refused(on: &Host, at: &Host, token: &str, protocol: RangeInclusive<u32>) -> String {
        Self::ask(on, at, token, protocol).unwrap_err().to_string()
    }

    fn ask(on: &Host, at: &Host, token: &str, protocol: RangeInclusive<u32>) -> Result<Joined, JoinError> {
        let identity = Identity::new(NodeId(1), &name(on)).unwrap();
        let (token, key) = (token.trim().parse().unwrap(), NodeKey::generate());
        let protocol = protocol.into_inner();
        let asking = || {
            let joiner = Joiner { token: &token, identity: &identity, key: &key, protocol };
            runtime().block_on(join(SocketAddr::new(at.address, CONTROL_PORT), joiner))
        };
        on.run(asking).unwrap()
    }

    /// Tells its core something.
    pub(crate) fn tell(&self, input: Input) {
        self.tell.send(input).expect("it lives");
    }

    /// Looks at its core.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&lock(&self.core).cluster)
    }

    /// What it has seen happen.
    pub(crate) fn events(&self) -> Vec<Event> {
        lock(&self.core).events.clone()
    }
}

struct Run {
    core: Arc<Mutex<Core>>,
    trust: Trust,
    tell: tokio::sync::mpsc::WeakUnboundedSender<Input>,
}

impl Run {
    async fn live(self, mut told: UnboundedReceiver<Input>) {
        let streams: Arc<Mutex<HashMap<NodeId, tokio::sync::mpsc::Sender<v1::Frame>>>> = Arc::default();
        let mut input = Some(Input::Complete);
        loop {
            let (outputs, deadline) = {
                let mut core = lock(&self.core);
                let now = now(core.started);
                core.cluster.handle(now, input.take().unwrap_or(Input::Timer));
                let outputs: Vec<_> = std::iter::from_fn(|| core.cluster.poll()).collect();
                (outputs, core.started + core.cluster.deadline().unwrap_or(Duration::MAX / 4).min(now.mono + IDLE))
            };
            for output in outputs {
                match output {
                    Output::Connect { peer, address } => self.dial(peer, address, &streams),
                    Output::Disconnect { peer } => drop(streams.lock().unwrap().remove(&peer)),
                    Output::Send { peer, frame } => {
                        if let Some(stream) = streams.lock().unwrap().get(&peer) {
                            // Who is so slow is told the difference later.
                            let _ = stream.try_send(frame);
                        }
                    }
                    Output::SendSwim { peer, address, datagram } => self.datagram(peer, address, datagram),
                    Output::Event(event) => lock(&self.core).events.push(event),
                    _ => {}
                }
            }
            tokio::select! {
                next = told.recv() => match next {
                    Some(next) => input = Some(next),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    fn dial(
        &self,
        peer: NodeId,
        address: SocketAddr,
        streams: &Arc<Mutex<HashMap<NodeId, tokio::sync::mpsc::Sender<v1::Frame>>>>,
    ) {
        let (trust, tell, streams) = (self.trust.clone(), self.tell.clone(), streams.clone());
        let hello = v1::Frame { kind: Some(Kind::Hello(lock(&self.core).cluster.hello())) };
        tokio::spawn(async move {
            let say = |input| tell.upgrade().is_some_and(|tell| tell.send(input).is_ok());
            let streaming = async {
                let mut client = ClusterClient::new(connect(&trust, peer, address).await.ok()?);
                let (out, frames) = tokio::sync::mpsc::channel(WAITING);
                out.try_send(hello).ok()?;
                let mut inbound = client.exchange(ReceiverStream::new(frames)).await.ok()?.into_inner();
                let Some(Kind::Hello(hello)) = inbound.message().await.ok()??.kind else { return None };
                streams.lock().unwrap().insert(peer, out);
                say(Input::Connected { peer, hello });
                while let Ok(Some(frame)) = inbound.message().await {
                    if !say(Input::Frame { peer, frame }) {
                        break;
                    }
                }
                Some(())
            };
            streaming.await;
            streams.lock().unwrap().remove(&peer);
            say(Input::Disconnected { peer });
        });
    }

    fn datagram(&self, peer: NodeId, address: SocketAddr, datagram: Vec<u8>) {
        let trust = self.trust.clone();
        tokio::spawn(async move {
            let channel = connect(&trust, peer, address).await.ok()?;
            ClusterClient::new(channel).swim(v1::SwimRequest { datagram }).await.ok()
        });
    }
}

fn name(on: &Host) -> String {
    format!("{}-stand-in", on.name)
}

/// How long nothing may be planned.
const IDLE: Duration = Duration::from_secs(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { mono: started.elapsed(), wall_ms: wall.as_millis().try_into().unwrap() }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap()
}
