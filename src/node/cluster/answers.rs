//! What the user asks and orders about the cluster.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_control::cluster::{Input, Member};
use weft_control::id::NodeId;
use weft_control::membership::State;
use weft_control::network::Network;
use weft_control::objects::Kind;
use weft_control::security::ca::CaHash;
use weft_control::security::token::{Token, TokenRecord};
use weft_proto::v1;
use weft_vtep::addr::{Mac, Vni};

use super::Membership;
use super::trusted::{appointment, denial};
use crate::node::{Node, NodeError};

/// How long a farewell may take to reach the others.
const FAREWELL: Duration = Duration::from_millis(500);

impl Node {
    pub(super) fn cluster(&self) -> Result<&Arc<Membership>, NodeError> {
        self.check_ready()?;
        self.membership.as_ref().ok_or(NodeError::NeedsCluster)
    }

    /// All members that are known; on a node that stands alone itself.
    pub(in crate::node) fn members(&self) -> Vec<v1::Member> {
        let Some(membership) = &self.membership else {
            return vec![v1::Member {
                name: self.identity.name.clone(),
                id: self.identity.id.clone(),
                address: self.identity.advertise.to_string(),
                state: v1::MemberState::Alive.into(),
                signer: false,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: Some(self.identity.incarnation),
            }];
        };
        let signers = membership.appointed();
        let mut members: Vec<_> =
            membership.core.look(|cluster| cluster.members().map(|member| wire(cluster, &member, &signers)).collect());
        members.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        members
    }

    /// Members that answer, those whose tables are compared, and those of these whose tables are this node's; itself
    /// included.
    pub(in crate::node) fn convergence(&self) -> (usize, usize, usize) {
        let Some(membership) = &self.membership else { return (1, 1, 1) };
        membership.core.look(|cluster| {
            let alive = cluster.members().filter(|member| member.state.is_active()).count();
            (alive, 1 + cluster.neighbours().count(), 1 + cluster.agreeing())
        })
    }

    /// By how many milliseconds this node's clock is ahead of most of its neighbours', where they have said the time.
    pub(in crate::node) fn clock_ahead_ms(&self) -> Option<i64> {
        self.membership.as_ref()?.core.look(|cluster| cluster.clock_ahead_ms())
    }

    /// The member with this name, id, or beginning of an id.
    fn find_member(&self, reference: &str) -> Result<v1::Member, NodeError> {
        let members = self.members();
        let named: Vec<_> = members.iter().filter(|m| m.id == reference || m.name == reference).collect();
        let begins = |m: &&v1::Member| !reference.is_empty() && m.id.starts_with(reference);
        // A host that left and came anew is meant as it is now.
        let current: Vec<_> = named.iter().copied().filter(|m| m.state() != v1::MemberState::Left).collect();
        let named = if current.is_empty() { named } else { current };
        let found = if named.is_empty() { members.iter().filter(begins).collect() } else { named };
        match found.as_slice() {
            [] => Err(NodeError::NoSuchMember(reference.to_owned())),
            [one] => Ok((*one).clone()),
            _ => Err(NodeError::SeveralMembers(reference.to_owned())),
        }
    }

    /// Removes a member for good.
    pub(in crate::node) fn remove_member(&self, reference: &str) -> Result<v1::Member, NodeError> {
        let membership = self.cluster()?;
        let member = self.find_member(reference)?;
        let node = id_of(&member)?;
        if node == membership.me {
            return Err(NodeError::RemoveSelf);
        }
        let authority = membership.authority().ok_or(NodeError::NoSigner)?;
        membership.write(denial(&authority, node))?;
        membership.core.tell(Input::RemoveObject { kind: Kind::Signer, id: member.id.clone() });
        // Who is out may know the CA's key, and the others' certificates do not depend on it for long.
        if member.signer {
            self.rotate_ca(membership, &authority)?;
        }
        membership.unsaved.mark_objects();
        self.watch_signers(membership);
        Ok(v1::Member { state: v1::MemberState::Dead.into(), ..member })
    }

    /// Makes a member a signer, or none any more. Who is none any more still knows the CA's key: another CA takes its place.
    pub(in crate::node) fn set_signer(&self, reference: &str, signer: bool) -> Result<v1::Member, NodeError> {
        let membership = self.cluster()?;
        let member = self.find_member(reference)?;
        let node = id_of(&member)?;
        let authority = membership.authority().ok_or(NodeError::NoSigner)?;
        if signer {
            membership.write(appointment(&authority, node))?;
        } else {
            if membership.appointed() == [node] {
                return Err(NodeError::LastSigner(member.name));
            }
            if node == membership.me {
                return Err(NodeError::DismissSelf);
            }
            membership.erase(Kind::Signer, &member.id)?;
            self.rotate_ca(membership, &authority)?;
        }
        self.watch_signers(membership);
        Ok(v1::Member { signer, ..member })
    }

    /// A cluster with one signer lets nobody in once that one is lost.
    fn watch_signers(&self, membership: &Membership) {
        let signers = membership.appointed().len();
        if signers < 2 {
            let text = format!(
                "the cluster has {signers} signer(s): add one with `weft signer add`, so that joins and \
                                renewals outlive it"
            );
            self.events.record("few_signers", text);
        }
    }

    /// A new join token and the cluster's record of it.
    pub(in crate::node) fn new_token(
        &self,
        life: Duration,
        uses: Option<u32>,
    ) -> Result<(Token, TokenRecord), NodeError> {
        let membership = self.membership.as_ref().ok_or(NodeError::NeedsCluster)?;
        let root = membership.trust.credentials().roots().first().map(|root| CaHash::of(root));
        let (token, record) = Token::create(root.ok_or(NodeError::NotReady)?, life, uses, SystemTime::now());
        let id = record.id.to_string();
        membership.write(Input::PutObject { kind: Kind::Token, id, value: record.to_json() })?;
        Ok((token, record))
    }

    /// Makes a join token.
    pub(in crate::node) fn create_token(&self, asked: &v1::CreateTokenRequest) -> Result<v1::Token, NodeError> {
        self.cluster()?;
        let life =
            if asked.ttl_seconds == 0 { super::enter::TOKEN_LIFE } else { Duration::from_secs(asked.ttl_seconds) };
        let (token, record) = self.new_token(life, Some(asked.uses).filter(|uses| *uses > 0))?;
        Ok(v1::Token { token: token.to_string(), ..token_out(&record) })
    }

    /// The join tokens.
    pub(in crate::node) fn tokens(&self) -> Result<Vec<v1::Token>, NodeError> {
        let membership = self.cluster()?;
        let records: Vec<TokenRecord> = membership.core.look(|cluster| {
            let all = cluster.objects().iter(Kind::Token);
            all.filter_map(|(_, object)| TokenRecord::from_json(object.value.as_deref()?).ok()).collect()
        });
        Ok(records.iter().map(token_out).collect())
    }

    /// Revokes a join token.
    pub(in crate::node) fn remove_token(&self, id: &str) -> Result<v1::Token, NodeError> {
        let membership = self.cluster()?;
        let token = self.tokens()?.into_iter().find(|token| token.id == id);
        let token = token.ok_or_else(|| NodeError::NoSuchToken(id.to_owned()))?;
        membership.erase(Kind::Token, id)?;
        Ok(token)
    }

    /// Who answers for which address, in one network or in all.
    pub(in crate::node) fn neighbors(&self, only: Option<Vni>) -> Result<Vec<v1::Neighbor>, NodeError> {
        self.check_ready()?;
        let Some(membership) = &self.membership else { return Ok(self.own_neighbors(only)) };
        let names: Vec<_> = self.tables().networks.values().map(|n| (n.vni, n.name.clone())).collect();
        let mut neighbors: Vec<_> = membership.core.look(|cluster| {
            let table = cluster.table();
            let all = table.neighbors().filter(|(vni, ..)| only.is_none_or(|asked| asked == *vni));
            let row = |(vni, ip, mac, node): (Vni, IpAddr, Mac, NodeId)| {
                let network = names.iter().find(|(of, _)| *of == vni)?.1.clone();
                let record = table.node(node);
                let name = record.map_or_else(|| node.to_string(), |record| record.name.clone());
                let vtep = record.map(|record| record.address.to_string()).unwrap_or_default();
                Some((
                    vni,
                    ip,
                    v1::Neighbor {
                        network,
                        vni: vni.get(),
                        ip: ip.to_string(),
                        mac: mac.octets().to_vec(),
                        node: name,
                        vtep,
                    },
                ))
            };
            all.filter_map(row).collect()
        });
        neighbors.sort_by_key(|(vni, ip, _)| (*vni, *ip));
        Ok(neighbors.into_iter().map(|(.., neighbor)| neighbor).collect())
    }

    /// The addresses of a node that stands alone: those of its own endpoints.
    fn own_neighbors(&self, only: Option<Vni>) -> Vec<v1::Neighbor> {
        let tables = self.tables();
        let mut own: Vec<_> = tables
            .endpoints
            .values()
            .filter_map(|live| Some((tables.network_by_id(&live.endpoint.network)?, &live.endpoint)))
            .filter(|(network, _)| only.is_none_or(|asked| asked == network.vni))
            .flat_map(|(network, endpoint)| endpoint.ips.iter().map(move |ip| (network, ip.addr(), endpoint.mac)))
            .collect();
        own.sort_by_key(|(network, ip, _)| (network.vni, *ip));
        let row = |(network, ip, mac): (&Network, IpAddr, Mac)| v1::Neighbor {
            network: network.name.clone(),
            vni: network.vni.get(),
            ip: ip.to_string(),
            mac: mac.octets().to_vec(),
            node: self.identity.name.clone(),
            vtep: self.identity.advertise.to_string(),
        };
        own.into_iter().map(row).collect()
    }

    /// Says goodbye to the others. The caller ends the daemon and forgets that it was a member.
    pub(in crate::node) async fn say_goodbye(&self) -> Result<(), NodeError> {
        let membership = self.cluster()?;
        let endpoints: Vec<_> = self.tables().endpoints.keys().cloned().collect();
        if !endpoints.is_empty() {
            return Err(NodeError::LeaveWithEndpoints(endpoints.len()));
        }
        let id = membership.me.to_string();
        let others = membership.core.look(|cluster| cluster.members().filter(|m| m.state.is_active()).count() > 1);
        let signers = membership.appointed().into_iter().filter(|node| *node != membership.me).count();
        if others && signers == 0 {
            return Err(NodeError::LastSigner(self.identity.name.clone()));
        }
        membership.core.tell(Input::RemoveObject { kind: Kind::Signer, id });
        // The farewell ends all exchange: what is said before it has to be on its way.
        tokio::time::sleep(FAREWELL).await;
        membership.core.tell(Input::Leave);
        tokio::time::sleep(FAREWELL).await;
        Ok(())
    }

    /// Removes all that this node has of the cluster from its disk. The caller has the turn.
    pub(in crate::node) fn forget_cluster(&self) -> Result<(), NodeError> {
        self.dir.forget()?;
        Ok(self.cluster()?.files.remove()?)
    }
}

impl Membership {
    /// Writes an object, and looks whether it is there: the cluster may be full, or somebody was there before.
    pub(super) fn write(&self, put: Input) -> Result<(), NodeError> {
        let Input::PutObject { kind, id, value } = &put else { return Err(NodeError::NotTaken) };
        let (kind, id, value) = (*kind, id.clone(), value.clone());
        self.core.tell(put);
        let taken = self.core.look(|cluster| cluster.objects().get(kind, &id) == Some(&value[..]));
        if taken { Ok(()) } else { Err(NodeError::NotTaken) }
    }

    /// Removes an object, and looks whether it is gone.
    fn erase(&self, kind: Kind, id: &str) -> Result<(), NodeError> {
        self.core.tell(Input::RemoveObject { kind, id: id.to_owned() });
        let gone = self.core.look(|cluster| cluster.objects().get(kind, id).is_none());
        if gone { Ok(()) } else { Err(NodeError::NotTaken) }
    }
}

fn id_of(member: &v1::Member) -> Result<NodeId, NodeError> {
    member.id.parse().map_err(|_| NodeError::NoSuchMember(member.id.clone()))
}

fn token_out(record: &TokenRecord) -> v1::Token {
    v1::Token {
        id: record.id.to_string(),
        token: String::new(),
        created: record.created,
        expires: record.expires,
        uses_left: record.uses_left(),
    }
}

fn wire(cluster: &weft_control::cluster::Cluster, member: &Member, signers: &[NodeId]) -> v1::Member {
    let state = match member.state {
        State::Alive => v1::MemberState::Alive,
        State::Suspect => v1::MemberState::Suspect,
        State::Dead => v1::MemberState::Dead,
        State::Left => v1::MemberState::Left,
    };
    let id = member.node.to_string();
    v1::Member {
        name: member.name.clone().unwrap_or_else(|| id.clone()),
        address: member.address.ip().to_string(),
        state: state.into(),
        signer: signers.contains(&member.node),
        version: cluster.table().node(member.node).map(|record| record.version.clone()).unwrap_or_default(),
        // A life has the moment of its start for a number, but for a clock that has gone back since the one before.
        started: member.state.is_active().then_some(member.incarnation),
        id,
    }
}
