//! The only service that a caller without a certificate reaches: a join token against a certificate.
//!
//! Every member runs it. One that holds the CA's key signs ([`issue`]); another forwards to one that does, which
//! checks everything itself by the same function. What the node knows comes through [`Registrar`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status};
use weft_proto::v1;
use weft_proto::v1::admission_server::Admission;

use super::connection::Peer;
use super::listener::Source;
use super::refusals::{Reason, Refusals};
use super::throttle::Throttle;
use crate::id::NodeId;
use crate::security::ca::{Authority, Permit, SignError};
use crate::security::token::{Token, TokenId, TokenRecord, TokenRefused};

/// The longest request to join, in bytes: a token and a certificate request, with room.
pub(crate) const JOIN_BYTES: usize = 8 * 1024;
/// Joins that are worked on at a time.
const JOINS: usize = 256;

/// What a node knows that admission needs.
#[tonic::async_trait]
pub trait Registrar: Send + Sync + 'static {
    /// The cluster's record of a token, if there is one.
    fn token(&self, id: TokenId) -> Option<TokenRecord>;

    /// Counts one use of a token, at the moment; false if there is none left, or the token is gone.
    fn take_use(&self, id: TokenId) -> bool;

    /// Gives a use back: nothing was signed for it.
    fn return_use(&self, id: TokenId);

    /// Whether an id cannot be joined with: a living member has it, or it is denied.
    fn is_taken(&self, node: NodeId) -> bool;

    /// The CA, if this node is a signer.
    fn authority(&self) -> Option<Arc<Authority>>;

    /// Has another signer sign, by a `Sign` call with this token and request: the certificate. The status of a signer
    /// that refused is passed on as it is; one that cannot be reached is `UNAVAILABLE`.
    async fn forward(&self, token: &str, request: &[u8]) -> Result<Vec<u8>, Status>;

    /// What a newcomer is told beside its certificate. `protocol` is the range of versions that it speaks; one that
    /// cannot be spoken with is refused before anything is signed.
    fn welcome(&self, protocol: (u32, u32)) -> Result<Welcome, Status>;
}

/// What a newcomer is told.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// The CAs that the cluster trusts, in DER.
    pub roots: Vec<Vec<u8>>,
    /// The cluster's VXLAN port.
    pub vxlan_port: u16,
    /// Its members.
    pub roster: Vec<v1::RosterEntry>,
    /// Its objects.
    pub objects: Vec<v1::Object>,
}

/// Why nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The token does not let its holder in.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// The request is no good. The token keeps its use.
    #[error(transparent)]
    Request(#[from] SignError),
}

impl From<IssueError> for Status {
    fn from(error: IssueError) -> Status {
        match error {
            IssueError::Token(_) => Status::permission_denied(error.to_string()),
            IssueError::Request(SignError::Taken(_)) => Status::already_exists(error.to_string()),
            IssueError::Request(SignError::Expired) => Status::failed_precondition(error.to_string()),
            IssueError::Request(_) => Status::invalid_argument(error.to_string()),
        }
    }
}

/// What a signer does for a newcomer, who asked it or another member: checks the token, counts the use, signs.
pub fn issue(
    registrar: &impl Registrar,
    authority: &Authority,
    token: &str,
    request: &[u8],
    now: SystemTime,
) -> Result<Vec<u8>, IssueError> {
    let token: Token = token.parse().map_err(|_| TokenRefused)?;
    token.check(registrar.token(token.id()).as_ref(), now)?;
    if !registrar.take_use(token.id()) {
        return Err(TokenRefused.into());
    }
    let signed = authority.sign(request, &Permit::Join(&|node| registrar.is_taken(node)), now);
    Ok(signed.inspect_err(|_| registrar.return_use(token.id()))?)
}

/// The service on the wire.
pub(crate) struct Desk<R> {
    registrar: Arc<R>,
    refusals: Refusals,
    throttle: Mutex<Throttle>,
    joins: Semaphore,
}

impl<R: Registrar> Desk<R> {
    pub(crate) fn new(registrar: Arc<R>, refusals: Refusals) -> Desk<R> {
        Desk { registrar, refusals, throttle: Mutex::default(), joins: Semaphore::new(JOINS) }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self, asked: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
        let registrar = &*self.registrar;
        let now = SystemTime::now();
        // A wrong token is refused here too, so that nobody can make this node pester the signers.
        let token: Token = asked.token.parse().map_err(|_| IssueError::from(TokenRefused))?;
        token.check(registrar.token(token.id()).as_ref(), now).map_err(IssueError::from)?;
        let welcome = registrar.welcome((asked.protocol_min, asked.protocol_max))?;
        let certificate = match registrar.authority() {
            Some(authority) => issue(registrar, &authority, &asked.token, &asked.request, now)?,
            None => registrar.forward(&asked.token, &asked.request).await?,
        };
        let Welcome { roots, vxlan_port, roster, objects } = welcome;
        Ok(v1::JoinResponse { certificate, roots, vxlan_port: vxlan_port.into(), roster, objects })
    }

    fn refused(&self, address: SocketAddr, status: &Status) {
        let reason = match status.code() {
            Code::PermissionDenied => Reason::Token,
            _ => Reason::Request(status.message().to_owned()),
        };
        self.refusals.tell(address, reason);
    }
}

#[tonic::async_trait]
impl<R: Registrar> Admission for Desk<R> {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let Some(address) = request.extensions().get::<Peer>().map(|peer| peer.address) else {
            return Err(Status::internal("the connection has no address"));
        };
        let source = Source::of(address.ip());
        let Ok(_place) = self.joins.try_acquire() else {
            return Err(Status::resource_exhausted("too many nodes join at this moment: try again"));
        };
        if !self.throttle().allows(source, Instant::now()) {
            self.refusals.tell(address, Reason::Throttled);
            let text = "too many join tokens from this address were refused: wait a few seconds, then try again";
            return Err(Status::resource_exhausted(text));
        }
        let answer = self.admit(request.into_inner()).await;
        if let Err(status) = &answer {
            // That no signer can be reached is not the newcomer's fault: it may try again.
            if status.code() != Code::Unavailable {
                self.throttle().charge(source, Instant::now());
            }
            self.refused(address, status);
        }
        answer.map(Response::new)
    }
}
