//! A cluster of one node whose port is served, and what it takes to call it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use weft_control::id::NodeId;
use weft_control::security::ca::{Authority, Permit};
use weft_control::security::credentials::Credentials;
use weft_control::security::identity::Identity;
use weft_control::security::key::NodeKey;
use weft_control::security::token::{Token, TokenId, TokenRecord};
use weft_control::security::trust::Trust;
use weft_control::transport::admission::{Registrar, Welcome};
use weft_control::transport::listener::{Limits, Listener};
use weft_control::transport::refusals::{Refusal, Refusals};
use weft_control::transport::{peer_of, serve};
use weft_proto::v1;
use weft_proto::v1::cluster_server::{Cluster, ClusterServer};

pub(crate) const SERVER: NodeId = NodeId(0x5e);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A node's id and name.
pub(crate) fn identity(node: NodeId) -> Identity {
    Identity::new(node, &format!("host-{}", node.0)).unwrap()
}

/// Credentials of `node` by `authority`, made at `now` for `life`.
pub(crate) fn credentials_for(authority: &Authority, node: NodeId, now: SystemTime, life: Duration) -> Credentials {
    let key = NodeKey::generate();
    let request = key.request(&identity(node));
    let certificate = authority.sign_for(&request, &Permit::Renewal(node), now, life).unwrap();
    Credentials::new(&key, &certificate, &[authority.certificate()]).unwrap()
}

/// Credentials of `node` by `authority`, as usual.
pub(crate) fn credentials(authority: &Authority, node: NodeId) -> Credentials {
    credentials_for(authority, node, SystemTime::now(), 30 * 24 * HOUR)
}

/// What the node knows.
pub(crate) struct Office {
    pub(crate) authority: Arc<Authority>,
    pub(crate) signer: bool,
    pub(crate) tokens: Mutex<HashMap<TokenId, TokenRecord>>,
    pub(crate) taken: Mutex<BTreeSet<NodeId>>,
    pub(crate) roots: Mutex<Vec<Vec<u8>>>,
    /// Whether another signer can be reached.
    pub(crate) reachable: Mutex<bool>,
}

#[tonic::async_trait]
impl Registrar for Office {
    fn token(&self, id: TokenId) -> Option<TokenRecord> {
        self.tokens.lock().unwrap().get(&id).cloned()
    }

    fn take_use(&self, id: TokenId) -> bool {
        let mut tokens = self.tokens.lock().unwrap();
        let Some(record) = tokens.get_mut(&id).filter(|record| record.uses_left() != Some(0)) else { return false };
        record.used += 1;
        true
    }

    fn return_use(&self, id: TokenId) {
        self.tokens.lock().unwrap().get_mut(&id).unwrap().used -= 1;
    }

    fn is_taken(&self, node: NodeId) -> bool {
        self.taken.lock().unwrap().contains(&node)
    }

    fn authority(&self) -> Option<Arc<Authority>> {
        self.signer.then(|| self.authority.clone())
    }

    async fn forward(&self, token: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        if !*self.reachable.lock().unwrap() {
            return Err(Status::unavailable("no signer can be reached"));
        }
        Ok(weft_control::transport::admission::issue(self, &self.authority, token, request, SystemTime::now())?)
    }

    fn welcome(&self, (min, max): (u32, u32)) -> Result<Welcome, Status> {
        if !(min..=max).contains(&1) {
            return Err(Status::failed_precondition("this cluster speaks version 1"));
        }
        let roots = self.roots.lock().unwrap().clone();
        let roster = vec![v1::RosterEntry { node: SERVER.0, incarnation: 1, record: None, renewal: 0 }];
        Ok(Welcome { roots, vxlan_port: 4789, roster, objects: Vec::new() })
    }
}

/// Answers with the caller's id, so that a test sees whom the service takes it for.
struct Echo;

#[tonic::async_trait]
impl Cluster for Echo {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<v1::Frame, Status>> + Send>>;

    async fn exchange(&self, request: Request<Streaming<v1::Frame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        peer_of(&request)?;
        Ok(Response::new(request.into_inner().boxed()))
    }

    async fn swim(&self, _: Request<v1::SwimRequest>) -> Result<Response<v1::SwimResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn sign(&self, _: Request<v1::SignRequest>) -> Result<Response<v1::SignResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn claim_block(
        &self,
        request: Request<v1::ClaimBlockRequest>,
    ) -> Result<Response<v1::ClaimBlockResponse>, Status> {
        let holder = peer_of(&request)?.0;
        Ok(Response::new(v1::ClaimBlockResponse { granted: true, holder }))
    }

    async fn take_address(
        &self,
        request: Request<v1::TakeAddressRequest>,
    ) -> Result<Response<v1::TakeAddressResponse>, Status> {
        let holder = String::from_utf8(request.into_inner().address).unwrap();
        Ok(Response::new(v1::TakeAddressResponse { granted: true, holder }))
    }

    async fn open_session(
        &self,
        _: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn trace_frame(&self, _: Request<v1::TraceFrameRequest>) -> Result<Response<v1::TraceFrameResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A served node.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) trust: Trust,
    pub(crate) office: Arc<Office>,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    shutdown: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    pub(crate) async fn start() -> Node {
        Node::start_with(Limits::default(), true).await
    }

    pub(crate) async fn start_with(limits: Limits, signer: bool) -> Node {
        let authority = Arc::new(Authority::found(SystemTime::now()));
        let trust = Trust::new(credentials(&authority, SERVER));
        let roots = Mutex::new(vec![authority.certificate().to_vec()]);
        let office = Office {
            authority,
            signer,
            tokens: Mutex::default(),
            taken: Mutex::default(),
            roots,
            reachable: Mutex::new(true),
        };
        let office = Arc::new(office);
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let told = refusals.clone();
        let outlet = Refusals::new(move |refusal| told.lock().unwrap().push(refusal));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), trust.clone(), outlet).await.unwrap();
        let listener = listener.with_limits(limits);
        let address = listener.local_addr().unwrap();
        let (shutdown, signal) = oneshot::channel();
        let signal = async move { drop(signal.await) };
        let services = Routes::new(ClusterServer::new(Echo));
        let serving = serve(listener, office.clone(), services, signal);
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Node { address, trust, office, refusals, shutdown: Some(shutdown), served: Some(served) }
    }

    /// The trust of a member of the same cluster.
    pub(crate) fn member(&self, node: NodeId) -> Trust {
        Trust::new(credentials(&self.office.authority, node))
    }

    /// A token of the cluster.
    pub(crate) fn token(&self, life: Duration, uses: Option<u32>) -> Token {
        let (token, record) = Token::create(self.office.authority.hash(), life, uses, SystemTime::now());
        self.office.tokens.lock().unwrap().insert(record.id, record);
        token
    }

    /// What was refused so far, as it is told.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// Waits until a refusal is told that says `what`.
    pub(crate) async fn wait_refusal(&self, what: &str) {
        for _ in 0..500 {
            if self.refusals().iter().any(|refusal| refusal.contains(what)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("`{what}` was not told: {:?}", self.refusals());
    }

    /// Ends serving, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
        self.served.take().unwrap().await.unwrap();
    }
}

/// Asks whom the service takes the caller for.
pub(crate) async fn who(channel: tonic::transport::Channel) -> Result<NodeId, Status> {
    let mut client = v1::cluster_client::ClusterClient::new(channel);
    let answer = client.claim_block(v1::ClaimBlockRequest::default()).await?;
    Ok(NodeId(answer.into_inner().holder))
}
