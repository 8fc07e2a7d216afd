//! What the daemon says, over its socket.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tonic::transport::Channel;
use weft_proto::limits;
use weft_proto::v1;
use weft_proto::v1::doctor_client::DoctorClient;
use weft_proto::v1::fdb_entry::Place;
use weft_proto::v1::node_client::NodeClient;

use super::super::facts::{Contested, Daemon, Echoes, Endpoint, Network, Peer};
use crate::cli::client::answer;

/// Asks for all that the checks look at; the error is a line for people.
pub(super) async fn ask(channel: Channel) -> Result<Daemon, String> {
    let mut node = NodeClient::new(channel.clone()).max_decoding_message_size(limits::ANSWER_BYTES);
    let mut doctor = DoctorClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES);
    let text = |error: anyhow::Error| format!("{error:#}");
    let status = answer(node.status(v1::StatusRequest {}).await).map_err(text)?;
    if !status.ready {
        return Ok(of_status(&status));
    }
    let members = answer(node.members(v1::MembersRequest {}).await).map_err(text)?.members;
    let networks = answer(node.list_networks(v1::ListNetworksRequest {}).await).map_err(text)?.networks;
    let entries = answer(node.fdb(v1::FdbRequest::default()).await).map_err(text)?.entries;
    let seen = answer(doctor.examine(v1::ExamineRequest {}).await).map_err(text)?;
    let heard = heard(&entries);
    let overlays = networks.into_iter().filter(|network| network.vni != 0);
    Ok(Daemon {
        uptime_seconds: seen.uptime_seconds,
        window_seconds: seen.window_seconds,
        recent_drops: seen.recent_drops,
        recent_sent: seen.recent_tx_frames,
        recent_checksum_errors: seen.recent_checksum_errors,
        recent_damaged_frames: seen.recent_damaged_frames,
        certificate: seen.certificate.map(|life| (life.not_before, life.not_after)),
        signers: members.iter().filter(|member| member.signer).count(),
        peers: seen.peers.into_iter().map(peer).collect(),
        networks: overlays.map(|network| overlay(network, &heard)).collect(),
        endpoints: seen.endpoints.into_iter().map(endpoint).collect(),
        contested: seen.contested.into_iter().map(contested).collect(),
        ..of_status(&status)
    })
}

fn of_status(status: &v1::StatusResponse) -> Daemon {
    Daemon {
        node: status.node.clone(),
        version: status.version.clone(),
        in_cluster: status.mode() == v1::NodeMode::Cluster,
        ready: status.ready,
        advertise: status.advertise.parse().ok(),
        vxlan_port: status.vxlan_port.try_into().unwrap_or(0),
        control_port: status.control_port.try_into().unwrap_or(0),
        ..Daemon::default()
    }
}

/// The VTEPs behind which stations were learned, by VNI.
fn heard(entries: &[v1::FdbEntry]) -> BTreeMap<u32, Vec<IpAddr>> {
    let mut heard: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for entry in entries {
        if let (v1::FdbKind::Learned, Some(Place::Vtep(vtep))) = (entry.kind(), &entry.place) {
            heard.entry(entry.vni).or_default().extend(vtep.parse::<IpAddr>().ok());
        }
    }
    heard
}

fn overlay(network: v1::Network, heard: &BTreeMap<u32, Vec<IpAddr>>) -> Network {
    Network {
        sealed: network.mode() == v1::NetworkMode::Sealed,
        vni: network.vni,
        mtu: network.mtu.try_into().unwrap_or(u16::MAX),
        remotes: network.remotes.iter().filter_map(|remote| remote.parse().ok()).collect(),
        heard: heard.get(&network.vni).cloned().unwrap_or_default(),
        name: network.name,
    }
}

fn peer(peer: v1::ExaminedPeer) -> Peer {
    Peer {
        vtep: peer.vtep.parse().ok(),
        name: peer.name,
        control: peer.control,
        state: peer.state,
        shares_sealed: peer.shares_sealed,
        has_session: peer.has_session,
        tables_differ_seconds: peer.tables_differ_seconds,
        unreachable: peer.unreachable,
        clock_offset_ms: peer.clock_offset_ms,
        heard_seconds: peer.heard_seconds,
        echoes: peer.path.map(echoes),
    }
}

fn echoes(path: v1::Path) -> Echoes {
    Echoes { rtt_us: path.rtt_us, silent: path.silent, mtu: path.mtu, needed: path.mtu_needed }
}

fn endpoint(endpoint: v1::ExaminedEndpoint) -> Endpoint {
    Endpoint {
        id: endpoint.id,
        network: endpoint.network,
        ifname: endpoint.ifname,
        netns: endpoint.netns,
        attached: endpoint.attached,
        link_up: endpoint.link_up,
        link_mtu: endpoint.link_mtu,
    }
}

fn contested(contested: v1::Contested) -> Contested {
    let v1::Contested { network, address, nodes, frozen } = contested;
    Contested { network, address, nodes, frozen }
}
