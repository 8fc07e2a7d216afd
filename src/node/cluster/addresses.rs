//! Addresses of the cluster's networks: the questions that a request asks other nodes, and their questions to this one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::runtime::Handle;
use weft_control::blocks::{self, AddressError, Blocks, ClaimAnswer, Record, Step, TakeAnswer, View};
use weft_control::cluster::{Cluster, Input};
use weft_control::id::NodeId;
use weft_control::network::Network;
use weft_control::table::{Key, Value};
use weft_proto::request::AskedAddress;
use weft_proto::v1;
use weft_vtep::addr::Vni;

use super::Membership;
use super::store::octets;
use crate::node::Node;

/// What the table and the membership say of one network.
pub(super) struct Seen<'a> {
    cluster: &'a Cluster,
    vni: Vni,
}

impl View for Seen<'_> {
    fn blocks(&self) -> impl Iterator<Item = (IpNet, NodeId)> {
        self.cluster.table().blocks(self.vni)
    }

    fn ip_owners(&self, address: IpAddr) -> impl Iterator<Item = NodeId> {
        self.cluster.table().claimants(&Key::Ip(self.vni, address)).collect::<Vec<_>>().into_iter()
    }

    fn reachable(&self) -> impl Iterator<Item = NodeId> {
        let me = self.cluster.table().me().node;
        let there = self.cluster.members().filter(|member| member.state.is_active()).map(|member| member.node);
        there.filter(move |node| *node != me)
    }

    fn name(&self, node: NodeId) -> String {
        self.cluster.table().node(node).map_or_else(|| node.to_string(), |record| record.name.clone())
    }
}

impl Membership {
    /// Works on a network's share of addresses with what the cluster knows at this moment.
    fn with<T>(&self, network: &Network, work: impl FnOnce(&mut Blocks, Duration, &Seen<'_>) -> T) -> T {
        let mut all = self.blocks();
        let blocks = all.entry(network.id.clone()).or_insert_with(|| Blocks::new(self.me, network));
        let now = self.core.now().mono;
        let done = self.core.look(|cluster| work(blocks, now, &Seen { cluster, vni: network.vni }));
        self.publish(network.vni, blocks);
        done
    }

    fn publish(&self, vni: Vni, blocks: &mut Blocks) {
        let records: Vec<_> = std::iter::from_fn(|| blocks.poll_record()).collect();
        if !records.is_empty() {
            self.unsaved.mark_blocks();
            self.core.tell_all(records.into_iter().map(|record| match record {
                Record::Put(block) => Input::Put(Key::Block(vni, block), Value::Block),
                Record::Remove(block) => Input::Remove(Key::Block(vni, block)),
            }));
        }
    }

    /// Judges another node's question about a network; `None` if the network is not known here.
    pub(super) fn judge<T>(
        &self,
        node: &Node,
        vni: Vni,
        judge: impl FnOnce(&mut Blocks, Duration, &Seen<'_>) -> T,
    ) -> Option<T> {
        let network = node.tables().network_of(vni).cloned()?;
        Some(self.with(&network, judge))
    }

    /// Gives `holder` its addresses. Blocks, for as long as other nodes take to answer.
    pub(in crate::node) fn assign(
        &self,
        network: &Network,
        asked: &[AskedAddress],
        holder: &str,
    ) -> Result<Vec<IpNet>, AddressError> {
        let request = self.with(network, |blocks, _, _| blocks.request(holder, asked))?;
        self.settle(network, request)
    }

    /// Gives `holder` these addresses, and one of each of the families in `any`, of which `true` is IPv4. Blocks, as
    /// [`Membership::assign`].
    pub(in crate::node) fn assign_of(
        &self,
        network: &Network,
        asked: &[AskedAddress],
        any: &[bool],
        holder: &str,
    ) -> Result<Vec<IpNet>, AddressError> {
        let request = self.with(network, |blocks, _, _| blocks.request_of(holder, asked, any))?;
        self.settle(network, request)
    }

    fn settle(&self, network: &Network, mut request: blocks::Request) -> Result<Vec<IpNet>, AddressError> {
        loop {
            match self.with(network, |blocks, now, seen| blocks.step(now, seen, &mut request)) {
                Step::Done(addresses) => return Ok(addresses),
                Step::Refused(error) => return Err(error),
                Step::Pause(pause) => std::thread::sleep(pause),
                Step::Claim { block, ask } => {
                    let answers = Handle::current().block_on(self.ask_for_block(network.vni, block, ask));
                    self.with(network, |blocks, _, _| blocks.claimed(&request, answers));
                }
                Step::Take { owner, address } => {
                    let answer = Handle::current().block_on(self.ask_for_address(network.vni, owner, address));
                    self.with(network, |blocks, _, seen| blocks.taken(seen, &mut request, answer));
                }
            }
        }
    }

    async fn ask_for_block(&self, vni: Vni, block: IpNet, ask: Vec<NodeId>) -> Vec<(NodeId, ClaimAnswer)> {
        let prefix = v1::Prefix { address: octets(block.addr()), bits: block.prefix_len().into() };
        let asked = ask.into_iter().map(|node| {
            let request = v1::ClaimBlockRequest { vni: vni.get(), block: Some(prefix.clone()) };
            async move {
                let answer = self.call(node, |mut client| async move { client.claim_block(request).await });
                let answer = match answer.await {
                    Ok(answer) if answer.granted => ClaimAnswer::Granted,
                    Ok(_) => ClaimAnswer::Denied,
                    Err(_) => ClaimAnswer::Silent,
                };
                (node, answer)
            }
        });
        join_all(asked).await
    }

    async fn ask_for_address(&self, vni: Vni, owner: NodeId, address: IpAddr) -> TakeAnswer {
        let request = v1::TakeAddressRequest { vni: vni.get(), address: octets(address) };
        match self.call(owner, |mut client| async move { client.take_address(request).await }).await {
            Ok(answer) if answer.granted => TakeAnswer::Granted,
            Ok(answer) => TakeAnswer::Denied(answer.holder),
            Err(_) => TakeAnswer::Silent,
        }
    }

    /// Makes `to` the holder of an address that `from` has. False if `from` does not have it.
    pub(in crate::node) fn hand_on(&self, network: &Network, address: IpAddr, from: &str, to: &str) -> bool {
        self.with(network, |blocks, _, _| blocks.hand_on(address, from, to))
    }

    /// Takes back all that an endpoint has of a network's addresses.
    pub(in crate::node) fn release(&self, network: &Network, holder: &str) {
        self.with(network, |blocks, _, _| blocks.release(holder));
    }

    /// Gives back to an endpoint what it had before a restart.
    pub(in crate::node) fn restore_address(
        &self,
        network: &Network,
        address: IpAddr,
        holder: &str,
    ) -> Result<(), String> {
        self.with(network, |blocks, _, _| blocks.restore_address(address, holder)).map_err(|error| error.to_string())
    }

    /// This node's blocks, by the network's id.
    pub(super) fn owned_blocks(&self) -> BTreeMap<String, Vec<IpNet>> {
        let all = self.blocks();
        all.iter().map(|(id, blocks)| (id.clone(), blocks.owned().collect())).collect()
    }

    /// Gives a network the blocks that this node had before a restart.
    pub(super) fn restore_blocks(&self, network: &Network, owned: &[IpNet]) {
        self.with(network, |blocks, _, _| owned.iter().for_each(|block| blocks.restore_block(*block)));
    }

    /// The network is elsewhere, or gone.
    pub(super) fn forget_blocks(&self, network: &str) {
        self.blocks().remove(network);
    }

    /// The network has left this VNI: what was told of its blocks there is taken back.
    pub(super) fn withdraw_blocks(&self, network: &str, vni: Vni) {
        let owned: Vec<_> = self.blocks().get(network).map(|blocks| blocks.owned().collect()).unwrap_or_default();
        self.core.tell_all(owned.into_iter().map(|block| Input::Remove(Key::Block(vni, block))));
    }

    /// The network has moved to another VNI: its blocks are told of there.
    pub(super) fn republish_blocks(&self, network: &Network) {
        self.with(network, |blocks, _, _| blocks.republish());
    }

    /// Another node's record of an address has come: what was promised to it there is kept.
    pub(super) fn address_recorded(&self, node: &Node, vni: Vni, address: IpAddr, owner: NodeId) {
        let network = node.tables().network_of(vni).map(|network| network.id.clone());
        let Some(network) = network else { return };
        if let Some(blocks) = self.blocks().get_mut(&network) {
            blocks.recorded(self.core.now().mono, address, owner);
        }
    }

    /// Lets a second pass; what came to light is told.
    pub(super) fn tick_blocks(self: &Arc<Self>, node: &Node) -> Vec<String> {
        let networks: Vec<_> = node.tables().networks.values().cloned().collect();
        let (mut conflicts, mut renewals) = (Vec::new(), Vec::new());
        for network in networks.iter().filter(|network| self.blocks().contains_key(&network.id)) {
            let tick = |blocks: &mut Blocks, now, seen: &Seen<'_>| (blocks.tick(now, seen), blocks.renewals(now, seen));
            let (found, again) = self.with(network, tick);
            conflicts.extend(found.iter().map(ToString::to_string));
            renewals.extend(again.into_iter().map(|(owner, address)| (network.vni, owner, address)));
        }
        if !renewals.is_empty() {
            let membership = Arc::clone(self);
            tokio::spawn(async move {
                // Whatever the answers are: that two have an address comes to light when it has a record.
                let ask = |(vni, owner, address)| membership.ask_for_address(vni, owner, address);
                join_all(renewals.into_iter().map(ask)).await;
            });
        }
        conflicts
    }
}
