//! The daemon's side of `weft doctor`: what is seen, without a judgement.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tonic::{Request, Response, Status};
use weft_proto::v1;
use weft_proto::v1::doctor_server::Doctor;

use super::Node;
use super::locate::device_in;
use super::state::Endpoint;
use super::tables::Live;
use crate::sandbox::{Netns, link};

/// The service.
#[derive(Debug)]
pub(super) struct Examiner {
    pub(super) node: Arc<Node>,
}

#[tonic::async_trait]
impl Doctor for Examiner {
    async fn examine(&self, _: Request<v1::ExamineRequest>) -> Result<Response<v1::Examination>, Status> {
        let node = Arc::clone(&self.node);
        let (peers, seen) =
            tokio::join!(self.node.examine_peers(), tokio::task::spawn_blocking(move || node.examine_endpoints()));
        let endpoints = seen.map_err(|_| Status::internal("the daemon failed while it looked at its endpoints"))?;
        let minute = self.node.last_minute();
        let certificate = self
            .node
            .certificate_life()
            .map(|(begin, end)| v1::CertificateLife { not_before: seconds(begin), not_after: seconds(end) });
        Ok(Response::new(v1::Examination {
            uptime_seconds: self.node.recent.uptime().as_secs(),
            window_seconds: minute.window.as_secs(),
            recent_drops: minute.drops.iter().map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
            recent_tx_frames: minute.frames.0,
            recent_rx_frames: minute.frames.1,
            recent_checksum_errors: minute.checksum_errors,
            recent_damaged_frames: minute.damaged,
            certificate,
            peers,
            endpoints,
            contested: self.node.contested(),
        }))
    }
}

impl Node {
    /// The endpoints, and their interfaces as they are inside. Blocks.
    fn examine_endpoints(&self) -> Vec<v1::ExaminedEndpoint> {
        let (names, endpoints): (std::collections::HashMap<_, _>, Vec<Live>) = {
            let tables = self.tables();
            let names = tables.networks.values().map(|n| (n.id.clone(), n.name.clone())).collect();
            (names, tables.endpoints.values().cloned().collect())
        };
        let examined = endpoints.into_iter().map(|live| {
            let link = link_of(&live.endpoint).filter(|_| live.port.is_some());
            v1::ExaminedEndpoint {
                network: names.get(&live.endpoint.network).cloned().unwrap_or_default(),
                id: live.endpoint.id,
                ifname: live.endpoint.ifname,
                netns: live.endpoint.netns.display().to_string(),
                attached: live.port.is_some(),
                link_up: link.as_ref().map(|link| link.up),
                link_mtu: link.as_ref().map(|link| link.mtu),
            }
        });
        examined.collect()
    }

    /// For how many seconds the tables of a member have been other than this node's.
    pub(super) fn differs_seconds(&self, node: weft_control::id::NodeId) -> Option<u64> {
        self.recent.differs_for(Instant::now(), node).map(|since| since.as_secs())
    }
}

fn link_of(endpoint: &Endpoint) -> Option<link::Link> {
    let netns = Netns::find(&endpoint.netns, endpoint.netns_identity).ok()?;
    device_in(&netns, endpoint).ok()?
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
