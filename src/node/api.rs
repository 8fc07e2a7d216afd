//! The node's gRPC service: wire messages in, wire messages out, refusals as statuses of one line.
//!
//! Changes run on threads that may block, each holding the turn until it is done, so that a client that goes
//! away does not let the next change overtake it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};
use weft_control::define::DefineError;
use weft_control::local::{LocalError, is_local};
use weft_control::network::{Mode, Network, Subnet};
use weft_proto::request::{self, Refused};
use weft_proto::v1;
use weft_proto::v1::node_server::Node as NodeService;
use weft_vtep::addr::Vni;
use weft_vtep::drops::DropReason;
use weft_vtep::switch::{FdbKind, Place};

use super::state::{self, Endpoint};
use super::tables::Tables;
use super::{Node, NodeError};

/// The service.
#[derive(Debug, Clone)]
pub struct Api {
    node: Arc<Node>,
}

impl Api {
    /// A service of this node.
    pub fn new(node: Arc<Node>) -> Api {
        Api { node }
    }

    /// Makes a change on a thread that may block, when it is its turn.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let (turn, node) = (self.node.turn().await, Arc::clone(&self.node));
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&node)
        });
        match done.await {
            Ok(done) => Ok(Response::new(done.map_err(status)?)),
            Err(_) => Err(Status::internal("the daemon failed while it made the change; its log says more")),
        }
    }
}

impl Api {
    /// The VNI of a network that is named, if one is.
    fn vni_of(&self, reference: Option<String>) -> Result<Option<Vni>, Status> {
        let Some(reference) = reference else { return Ok(None) };
        let reference = request::reference(reference, "network").map_err(refused)?;
        Ok(Some(self.node.tables().network(&reference).map_err(status)?.vni))
    }
}

#[tonic::async_trait]
impl NodeService for Api {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let (alive, compared, agreeing) = self.node.convergence();
        let (identity, tables) = (&self.node.identity, self.node.tables());
        let mode = match identity.mode {
            state::Mode::Standalone => v1::NodeMode::Standalone,
            state::Mode::Cluster => v1::NodeMode::Cluster,
        };
        Ok(Response::new(v1::StatusResponse {
            node: identity.name.clone(),
            id: identity.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            advertise: identity.advertise.to_string(),
            vxlan_port: identity.vxlan_port.into(),
            mode: mode.into(),
            ready: self.node.is_ready(),
            members_alive: count(alive),
            members_compared: count(compared),
            members_agreeing: count(agreeing),
            control_port: if identity.mode == state::Mode::Cluster { identity.control_port.into() } else { 0 },
            sessions: self.node.session_list(),
            clock_ahead_ms: self.node.clock_ahead_ms(),
            uptime_seconds: self.node.recent.uptime().as_secs(),
            networks: count(tables.networks.len() + self.node.local.counts().0),
            endpoints: count(tables.endpoints.len() + self.node.local.counts().1),
        }))
    }

    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        Ok(Response::new(v1::MembersResponse { members: self.node.members() }))
    }

    async fn remove_member(&self, request: Request<v1::RemoveMemberRequest>) -> Result<Response<v1::Member>, Status> {
        let reference = request::reference(request.into_inner().member, "member").map_err(refused)?;
        self.change(move |node| node.remove_member(&reference)).await
    }

    async fn leave(&self, _: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        let node = Arc::clone(&self.node);
        // As a whole, also where nobody waits for the answer any more.
        let left = tokio::spawn(async move {
            let _turn = node.turn().await;
            node.say_goodbye().await?;
            node.forget_cluster()?;
            node.over.notify_one();
            Ok(())
        });
        let left = left.await.map_err(|_| Status::internal("the daemon failed while it left; its log says more"))?;
        left.map_err(status)?;
        Ok(Response::new(v1::LeaveResponse {}))
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Result<Response<v1::Token>, Status> {
        let asked = request.into_inner();
        self.change(move |node| node.create_token(&asked)).await
    }

    async fn list_tokens(&self, _: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensResponse>, Status> {
        Ok(Response::new(v1::ListTokensResponse { tokens: self.node.tokens().map_err(status)? }))
    }

    async fn remove_token(&self, request: Request<v1::RemoveTokenRequest>) -> Result<Response<v1::Token>, Status> {
        let id = request::reference(request.into_inner().id, "token").map_err(refused)?;
        self.change(move |node| node.remove_token(&id)).await
    }

    async fn set_signer(&self, request: Request<v1::SetSignerRequest>) -> Result<Response<v1::Member>, Status> {
        let asked = request.into_inner();
        let reference = request::reference(asked.member, "member").map_err(refused)?;
        self.change(move |node| node.set_signer(&reference, asked.signer)).await
    }

    async fn neighbors(
        &self,
        request: Request<v1::NeighborsRequest>,
    ) -> Result<Response<v1::NeighborsResponse>, Status> {
        let only = self.vni_of(request.into_inner().network)?;
        Ok(Response::new(v1::NeighborsResponse { neighbors: self.node.neighbors(only).map_err(status)? }))
    }

    async fn rekey(&self, _: Request<v1::RekeyRequest>) -> Result<Response<v1::RekeyResponse>, Status> {
        Ok(Response::new(v1::RekeyResponse { peers: self.node.rekey().map_err(status)? }))
    }

    async fn create_network(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let asked = request::CreateNetwork::try_from(request.into_inner()).map_err(refused)?;
        self.change(|node| match is_local(&asked.driver) {
            true => node.create_local(asked),
            false if node.has_local_name(&asked.name) => Err(DefineError::NameInUse(asked.name).into()),
            false => Ok(network_to_wire(&node.create_network(asked)?, Vec::new(), node.membership.is_some())),
        })
        .await
    }

    async fn list_networks(
        &self,
        _: Request<v1::ListNetworksRequest>,
    ) -> Result<Response<v1::ListNetworksResponse>, Status> {
        self.node.check_ready().map_err(status)?;
        let tables = self.node.tables();
        let mut networks: Vec<_> = tables.networks.values().map(|n| whole_network(&tables, n)).collect();
        drop(tables);
        networks.extend(self.node.local_networks());
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(v1::ListNetworksResponse { networks }))
    }

    async fn inspect_network(
        &self,
        request: Request<v1::InspectNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        self.node.check_ready().map_err(status)?;
        let reference = request::reference(request.into_inner().network, "network").map_err(refused)?;
        if let Some(network) = self.node.local_network(&reference) {
            return Ok(Response::new(self.node.show_local(&network)));
        }
        let tables = self.node.tables();
        let network = tables.network(&reference).map_err(status)?;
        Ok(Response::new(whole_network(&tables, network)))
    }

    async fn remove_network(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Result<Response<v1::RemoveNetworkResponse>, Status> {
        let reference = request::reference(request.into_inner().network, "network").map_err(refused)?;
        self.change(move |node| {
            if let Some(network) = node.local_network(&reference) {
                return node.remove_local(&network);
            }
            let network = node.remove_network(&reference)?;
            Ok(v1::RemoveNetworkResponse { id: network.id, name: network.name })
        })
        .await
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Result<Response<v1::Endpoint>, Status> {
        let asked = request::Attach::try_from(request.into_inner()).map_err(refused)?;
        self.change(|node| {
            if let Some(network) = node.local_network(&asked.network) {
                return node.attach_local(&network, &asked);
            }
            let (endpoint, network) = node.attach(asked)?;
            Ok(endpoint_to_wire(&endpoint, &network.name, true))
        })
        .await
    }

    async fn detach(&self, request: Request<v1::DetachRequest>) -> Result<Response<v1::Endpoint>, Status> {
        let reference = request::reference(request.into_inner().endpoint, "endpoint").map_err(refused)?;
        self.change(move |node| {
            if let Some(id) = node.local_endpoint(&reference) {
                return node.detach_local(&id);
            }
            let (endpoint, network) = node.detach(&reference)?;
            Ok(endpoint_to_wire(&endpoint, &network, false))
        })
        .await
    }

    async fn fdb(&self, request: Request<v1::FdbRequest>) -> Result<Response<v1::FdbResponse>, Status> {
        self.node.check_ready().map_err(status)?;
        let only = self.vni_of(request.into_inner().network)?;
        let tables = self.node.tables();
        let names: HashMap<_, _> = tables.networks.values().map(|n| (n.vni, n.name.as_str())).collect();
        let live = tables.endpoints.values();
        let ports: HashMap<_, _> = live.filter_map(|l| Some((l.port?.id, l.endpoint.id.as_str()))).collect();
        let mut rows = self.node.vtep.fdb();
        rows.retain(|row| only.is_none_or(|vni| row.vni == vni));
        rows.sort_by_key(|row| (row.vni, row.mac));
        let entry = |row: &weft_vtep::switch::FdbRow| {
            let place = match row.place {
                // A port that was removed in this very moment has no endpoint any more.
                Place::Local(port) => v1::fdb_entry::Place::Port((*ports.get(&port)?).to_owned()),
                Place::Vtep(address) => v1::fdb_entry::Place::Vtep(address.to_string()),
            };
            let kind = match row.kind {
                FdbKind::Local => v1::FdbKind::Local,
                FdbKind::Remote => v1::FdbKind::Remote,
                FdbKind::Learned => v1::FdbKind::Learned,
            };
            Some(v1::FdbEntry {
                network: (*names.get(&row.vni)?).to_owned(),
                vni: row.vni.get(),
                mac: row.mac.octets().to_vec(),
                kind: kind.into(),
                place: Some(place),
            })
        };
        Ok(Response::new(v1::FdbResponse { entries: rows.iter().filter_map(entry).collect() }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn events(&self, request: Request<v1::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let (kept, live) = self.node.events.subscribe();
        let kept = tokio_stream::iter(kept.into_iter().map(Ok));
        if !request.into_inner().follow {
            return Ok(Response::new(Box::pin(kept)));
        }
        // A follower that was too slow goes on with what there is.
        let live = BroadcastStream::new(live).filter_map(|event| event.ok().map(Ok));
        Ok(Response::new(Box::pin(kept.chain(live))))
    }

    async fn stats(&self, _: Request<v1::StatsRequest>) -> Result<Response<v1::StatsResponse>, Status> {
        let stats = self.node.vtep.stats();
        let drops = DropReason::ALL.iter().map(|r| (r.name().to_owned(), stats.drops_of(*r))).collect();
        Ok(Response::new(v1::StatsResponse {
            tx_frames: stats.tx_frames,
            tx_bytes: stats.tx_bytes,
            rx_frames: stats.rx_frames,
            rx_bytes: stats.rx_bytes,
            drops,
        }))
    }

    async fn trace(&self, request: Request<v1::TraceRequest>) -> Result<Response<v1::TraceResponse>, Status> {
        self.node.trace(request.into_inner()).await.map(Response::new).map_err(status)
    }

    type CaptureStream = super::capture::Batches;

    async fn capture(&self, request: Request<v1::CaptureRequest>) -> Result<Response<Self::CaptureStream>, Status> {
        let by = request.extensions().get().cloned();
        self.node.capture(request.into_inner(), by).await.map(Response::new).map_err(status)
    }
}

fn whole_network(tables: &Tables, network: &Network) -> v1::Network {
    let endpoints = tables.endpoints_of(&network.id);
    let endpoints = endpoints.map(|l| endpoint_to_wire(&l.endpoint, &network.name, l.port.is_some()));
    // The addresses of a cluster's network are shared out elsewhere.
    let in_cluster = !tables.spaces.contains_key(&network.id);
    network_to_wire(network, endpoints.collect(), in_cluster)
}

/// In a cluster's network a gateway is kept in each subnet, whether one was named or not, and shown.
fn network_to_wire(network: &Network, endpoints: Vec<v1::Endpoint>, in_cluster: bool) -> v1::Network {
    let mode = match network.mode {
        Mode::Plain => v1::NetworkMode::Plain,
        Mode::Sealed => v1::NetworkMode::Sealed,
    };
    v1::Network {
        id: network.id.clone(),
        name: network.name.clone(),
        driver: Network::DRIVER.to_owned(),
        vni: network.vni.get(),
        mtu: network.mtu.into(),
        mode: mode.into(),
        subnets: network
            .subnets
            .iter()
            .map(|subnet| {
                let gateway = if in_cluster { subnet.reserved() } else { subnet.gateway };
                subnet_to_wire(&Subnet { gateway, ..subnet.clone() })
            })
            .collect(),
        internal: network.internal,
        remotes: network.remotes.iter().map(ToString::to_string).collect(),
        options: network.options.clone(),
        endpoints,
        state: Default::default(),
    }
}

pub(super) fn subnet_to_wire(subnet: &Subnet) -> v1::Subnet {
    v1::Subnet {
        subnet: subnet.subnet.to_string(),
        gateway: subnet.gateway.map(|g| g.to_string()).unwrap_or_default(),
        ip_range: subnet.ip_range.map(|r| r.to_string()).unwrap_or_default(),
    }
}

pub(super) fn endpoint_to_wire(endpoint: &Endpoint, network: &str, up: bool) -> v1::Endpoint {
    let state = if up { v1::EndpointState::Up } else { v1::EndpointState::Lost };
    v1::Endpoint {
        id: endpoint.id.clone(),
        network: network.to_owned(),
        mac: endpoint.mac.octets().to_vec(),
        ips: endpoint.ips.iter().map(ToString::to_string).collect(),
        ifname: endpoint.ifname.clone(),
        netns: endpoint.netns.display().to_string(),
        state: state.into(),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn refused(refused: Refused) -> Status {
    status(refused.into())
}

/// The refusal as a client sees it.
fn status(error: NodeError) -> Status {
    let code = match &error {
        NodeError::Request(_) | NodeError::BadMac(_) | NodeError::Filter(_) => Code::InvalidArgument,
        NodeError::Define(DefineError::NameInUse(_) | DefineError::VniInUse { .. }) => Code::AlreadyExists,
        NodeError::MacInUse { .. } => Code::AlreadyExists,
        NodeError::Local(LocalError::Define(DefineError::NameInUse(_))) => Code::AlreadyExists,
        NodeError::Local(_) => Code::InvalidArgument,
        NodeError::Define(_) => Code::InvalidArgument,
        NodeError::Lookup(_) | NodeError::NoSuchEndpoint(_) | NodeError::SeveralEndpoints(_) => Code::NotFound,
        NodeError::NotReady => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}
