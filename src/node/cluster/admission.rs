//! What admission has to know of this node, and what it changes: tokens are used up, newcomers become signers.

use std::sync::Arc;
use std::time::SystemTime;

use tonic::Status;
use weft_control::cluster::{Input, PROTOCOL};
use weft_control::id::NodeId;
use weft_control::membership::State;
use weft_control::objects::Kind;
use weft_control::security::ca::Authority;
use weft_control::security::token::{TokenId, TokenRecord};
use weft_control::transport::admission::{Registrar, Welcome};
use weft_proto::v1;

use super::Membership;
use crate::node::Node;

/// So many members hold the CA's key without being told to.
pub(super) const SIGNERS: usize = 3;

/// Admission, as this node knows it.
pub(super) struct Desk {
    pub(super) node: Arc<Node>,
    pub(super) membership: Arc<Membership>,
}

impl Desk {
    fn change_use(&self, id: TokenId, change: impl FnOnce(&mut TokenRecord) -> bool) -> bool {
        // Counting is one look and one write of the core, and joins are few: they take turns here.
        let _turn = self.membership.registry();
        let Some(mut record) = self.token(id) else { return false };
        if !change(&mut record) {
            return false;
        }
        let put = Input::PutObject { kind: Kind::Token, id: id.to_string(), value: record.to_json() };
        self.membership.core.tell(put);
        true
    }
}

#[tonic::async_trait]
impl Registrar for Desk {
    fn token(&self, id: TokenId) -> Option<TokenRecord> {
        self.membership.core.look(|cluster| {
            let json = cluster.objects().get(Kind::Token, &id.to_string())?;
            TokenRecord::from_json(json).ok()
        })
    }

    fn take_use(&self, id: TokenId) -> bool {
        self.change_use(id, |record| {
            let open = record.is_open(SystemTime::now());
            record.used = record.used.saturating_add(u32::from(open));
            open
        })
    }

    fn return_use(&self, id: TokenId) {
        self.change_use(id, |record| {
            record.used = record.used.saturating_sub(1);
            true
        });
    }

    fn is_taken(&self, node: NodeId) -> bool {
        // An id that is dead may be joined with again: its host was set up anew and kept nothing but its name. Not that of
        // a signer: who has it is given the CA's key. Nor of one that was a signer: any member may have taken its
        // appointment away, and puts it back when it is in.
        let there = |member: &weft_control::cluster::Member| {
            member.node == node && matches!(member.state, State::Alive | State::Suspect)
        };
        node == self.membership.me
            || self.membership.trust.is_denied(node)
            || self.membership.appointed().contains(&node)
            || self.membership.core.look(|c| c.objects().object(Kind::Signer, &node.to_string()).is_some())
            || self.membership.core.look(|cluster| cluster.members().any(|member| there(&member)))
    }

    fn authority(&self) -> Option<Arc<Authority>> {
        self.membership.authority()
    }

    async fn forward(&self, token: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        let signed = self.membership.ask_signers(|| v1::SignRequest {
            request: request.to_vec(),
            token: token.to_owned(),
            want_key: false,
        });
        Ok(signed.await?.certificate)
    }

    fn welcome(&self, (min, max): (u32, u32)) -> Result<Welcome, Status> {
        if min > *PROTOCOL.end() || max < *PROTOCOL.start() {
            return Err(Status::failed_precondition(format!(
                "the newcomer speaks versions {min} to {max} of the protocol, this cluster {} to {}: use a version of \
                 weft that fits",
                PROTOCOL.start(),
                PROTOCOL.end()
            )));
        }
        let (roster, objects) =
            self.membership.core.look(|cluster| (cluster.roster(), cluster.objects().all().collect()));
        let (roots, vxlan_port) = (self.membership.roots(), self.node.identity.vxlan_port);
        Ok(Welcome { roots, vxlan_port, roster, objects })
    }
}

impl Membership {
    /// The CAs that the cluster trusts, in DER.
    pub(super) fn roots(&self) -> Vec<Vec<u8>> {
        self.trust.credentials().roots().iter().map(|root| root.to_vec()).collect()
    }

    /// The members that the cluster names as signers, this node left out.
    fn signers(&self) -> Vec<NodeId> {
        let me = self.me;
        let appointed = self.appointed();
        self.core.look(|cluster| {
            let alive: Vec<_> =
                cluster.members().filter(|m| m.state == State::Alive).map(|member| member.node).collect();
            appointed.into_iter().filter(|node| *node != me && alive.contains(node)).collect()
        })
    }

    /// True if this node has the key of the CA that is in force.
    pub(super) fn has_ca_in_force(&self) -> bool {
        let credentials = self.trust.credentials();
        let root = credentials.roots().first();
        self.authority().is_some_and(|authority| root == Some(authority.certificate()))
    }

    /// The key of the CA that is in force, from whichever signer has it.
    pub(super) async fn fetch_authority(&self) -> Option<Authority> {
        let root = self.trust.credentials().roots().first()?.to_vec();
        for signer in self.signers() {
            let request = v1::SignRequest { want_key: true, ..v1::SignRequest::default() };
            match self.call(signer, |mut client| async move { client.sign(request).await }).await {
                Ok(answer) if answer.certificate == root => {
                    return Authority::from_parts(&answer.certificate, &answer.key).ok();
                }
                Ok(_) => {}
                Err(status) => tracing::debug!("{signer} does not give the CA's key: {}", status.message()),
            }
        }
        None
    }

    /// Asks the signers one after another, until one answers.
    pub(super) async fn ask_signers(&self, request: impl Fn() -> v1::SignRequest) -> Result<v1::SignResponse, Status> {
        let mut last = Status::unavailable(
            "no signer of the cluster can be reached: bring one back, or make another one with `weft signer add`",
        );
        for signer in self.signers() {
            let asked = self.call(signer, |mut client| {
                let request = request();
                async move { client.sign(request).await }
            });
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_unreachable(&status) => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }
}

fn is_unreachable(status: &Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}
