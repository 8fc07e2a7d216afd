//! Whether a peer's certificate lets it in, and as whom.
//!
//! One function judges both ends of a connection: the chain must lead to a CA of the cluster and be valid now
//! (RFC 5280 section 6, by webpki), the certificate must name one node, the node must not be denied, must not be this
//! one, and, where a certain node was dialled, must be that one. A connection that lives on is judged again whenever
//! credentials or the deny list change, and when its certificate ends.

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};

use super::identity::{BadIdentity, Identity};
use super::tls;
use super::trust::State;
use crate::id::NodeId;

/// Which end of the connection is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It dialled.
    Client,
    /// It was dialled.
    Server,
}

/// Why a certificate does not let its holder in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// Its chain leads to no CA of this cluster.
    #[error(
        "its certificate is not of this cluster: it belongs to another one, or missed a rotation of the CA; let it join anew"
    )]
    Untrusted,
    /// Its time is over.
    #[error("its certificate has expired, or a clock is wrong: check both clocks, then let it join anew")]
    Expired,
    /// Its time has not come.
    #[error("its certificate is not valid yet: one of the clocks is wrong")]
    NotYetValid,
    /// It is no node's certificate.
    #[error("its certificate is none of a node: {0}")]
    NoNode(#[from] BadIdentity),
    /// It was removed from the cluster.
    #[error("node {0} was removed from the cluster (`weft members rm`): its certificate is denied")]
    Denied(NodeId),
    /// Another node was dialled.
    #[error("node {found} answers where node {expected} was expected")]
    WrongNode {
        /// Which was dialled.
        expected: NodeId,
        /// Which answered.
        found: NodeId,
    },
    /// It says that it is this node.
    #[error(
        "it has this node's own certificate, {0}: two hosts run from one state directory, or this node dials itself"
    )]
    Own(NodeId),
    /// webpki found something else.
    #[error("its certificate is not acceptable: {0}")]
    Other(String),
}

impl PeerRefused {
    fn from_tls(error: &Error) -> PeerRefused {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer};
        match error {
            Error::InvalidCertificate(UnknownIssuer) => PeerRefused::Untrusted,
            Error::InvalidCertificate(Expired | ExpiredContext { .. }) => PeerRefused::Expired,
            Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => PeerRefused::NotYetValid,
            other => PeerRefused::Other(other.to_string()),
        }
    }

    /// The error that makes rustls send the alert which tells the peer (RFC 8446 section 6.2).
    pub(super) fn to_tls(&self) -> Error {
        Error::InvalidCertificate(match self {
            PeerRefused::Untrusted => CertificateError::UnknownIssuer,
            PeerRefused::Expired => CertificateError::Expired,
            PeerRefused::NotYetValid => CertificateError::NotValidYet,
            PeerRefused::NoNode(_) | PeerRefused::Other(_) => CertificateError::BadEncoding,
            PeerRefused::Denied(_) => CertificateError::Revoked,
            PeerRefused::WrongNode { .. } | PeerRefused::Own(_) => CertificateError::ApplicationVerificationFailure,
        })
    }
}

/// Judges the chain that a peer sent, its own certificate first.
pub(crate) fn judge(
    role: Role,
    state: &State,
    chain: &[CertificateDer<'_>],
    expected: Option<NodeId>,
    now: UnixTime,
) -> Result<Identity, PeerRefused> {
    let (own, others) = chain.split_first().ok_or(PeerRefused::NoNode(BadIdentity::Encoding))?;
    let credentials = &state.credentials;
    let verified = match role {
        Role::Client => credentials.client_verifier().verify_client_cert(own, others, now).map(drop),
        Role::Server => ParsedCertificate::try_from(own).and_then(|parsed| {
            let algorithms = tls::provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, credentials.root_store(), others, now, algorithms)
        }),
    };
    verified.map_err(|error| PeerRefused::from_tls(&error))?;
    let identity = Identity::of_certificate(own)?;
    let found = identity.node();
    if state.denied.contains(&found) {
        return Err(PeerRefused::Denied(found));
    }
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(PeerRefused::WrongNode { expected, found });
    }
    if found == credentials.identity().node() {
        return Err(PeerRefused::Own(found));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::security::ca::{Authority, Permit, Succession};
    use crate::security::credentials::Credentials;
    use crate::security::key::NodeKey;
    use crate::security::roots::{OVERLAP, merge};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn credentials(authority: &Authority, node: u64, roots: &[impl AsRef<[u8]>], now: SystemTime) -> Credentials {
        let (key, identity) = (NodeKey::generate(), Identity::new(NodeId(node), "n").unwrap());
        let (request, permit) = (key.request(&identity), Permit::Renewal(NodeId(node)));
        let certificate = authority.sign_for(&request, &permit, now, 90 * DAY).unwrap();
        Credentials::new(&key, &certificate, roots).unwrap()
    }

    fn verdict(own: Credentials, denied: &[u64], peer: &Credentials, now: SystemTime) -> Result<Identity, PeerRefused> {
        let denied: BTreeSet<_> = denied.iter().copied().map(NodeId).collect();
        let state = State { credentials: Arc::new(own), denied };
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let judge = |role| judge(role, &state, &peer.certified().cert, Some(NodeId(2)), now);
        let (client, server) = (judge(Role::Client), judge(Role::Server));
        assert_eq!(client, server, "both ends are judged alike");
        client
    }

    #[test]
    fn each_reason_to_refuse_has_its_verdict() {
        let now = SystemTime::now();
        let (ours, other) = (Authority::found(now), Authority::found(now));
        let own = || credentials(&ours, 1, &[ours.certificate()], now);
        let peer = |node| credentials(&ours, node, &[ours.certificate()], now);
        assert_eq!(verdict(own(), &[3], &peer(2), now).unwrap().node(), NodeId(2));
        let foreign = credentials(&other, 2, &[other.certificate()], now);
        assert_eq!(verdict(own(), &[], &foreign, now), Err(PeerRefused::Untrusted));
        assert_eq!(verdict(own(), &[], &peer(2), now + 91 * DAY), Err(PeerRefused::Expired));
        assert_eq!(verdict(own(), &[], &peer(2), now - DAY), Err(PeerRefused::NotYetValid));
        assert_eq!(verdict(own(), &[2], &peer(2), now), Err(PeerRefused::Denied(NodeId(2))));
        let wrong = PeerRefused::WrongNode { expected: NodeId(2), found: NodeId(3) };
        assert_eq!(verdict(own(), &[], &peer(3), now), Err(wrong));
        let twin = credentials(&ours, 2, &[ours.certificate()], now);
        assert_eq!(verdict(twin, &[], &peer(2), now), Err(PeerRefused::Own(NodeId(2))));
    }

    #[test]
    fn a_ca_that_was_replaced_is_worth_nothing_when_the_overlap_is_over() {
        let now = SystemTime::now();
        let old = Authority::found(now);
        let Succession { authority: new, vouchers } = old.succeed(now);
        let offered: Vec<_> = std::iter::once(new.certificate().to_vec()).chain(vouchers).collect();
        let both = merge(&[old.certificate()], &offered, now);
        // It shows all that there is to show, and its own certificate would live on.
        let peer = credentials(&old, 2, &both, now);
        for (at, good) in [(now, true), (now + OVERLAP - DAY, true), (now + OVERLAP + DAY, false)] {
            let roots = merge(&both, &offered, at);
            let own = credentials(&new, 1, &roots, at);
            assert_eq!(verdict(own, &[], &peer, at).is_ok(), good);
        }
    }
}
