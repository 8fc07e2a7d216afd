//! What a node shows to others and judges them by: its key, its certificate, the cluster's CAs.
//!
//! A value of [`Credentials`] is whole and never changes: a renewal or a rotation makes another one, and
//! [`Trust`](super::trust::Trust) swaps it in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::ca::CLOCK_SLACK;
use super::identity::{BadIdentity, Identity};
use super::key::{BadKey, NodeKey};
use super::{roots, tls};

/// The most CAs that a cluster trusts at a time: the old one, the new one, and the old one's word for the new one.
pub const MAX_ROOTS: usize = 8;

/// A node's key and certificate with the CAs that its cluster trusts.
pub struct Credentials {
    identity: Identity,
    key: Zeroizing<Vec<u8>>,
    roots: Vec<CertificateDer<'static>>,
    root_store: Arc<RootCertStore>,
    client_verifier: Arc<dyn ClientCertVerifier>,
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a key, a certificate and CAs do not make credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// The certificate names no node.
    #[error("the node's certificate is no good: {0}")]
    Identity(#[from] BadIdentity),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The certificate is for another key.
    #[error("the node's certificate is not for the node's key")]
    Mismatch,
    /// There is none, there are too many, or one is none.
    #[error("the cluster's CAs are no good: expected 1 to {MAX_ROOTS} CA certificates, and each must be one")]
    Roots,
    /// No CA among them signed the certificate.
    #[error("no CA of the cluster has signed the node's certificate ({0})")]
    Chain(String),
}

impl Credentials {
    /// Puts credentials together: the certificate is in DER and for the key, and one of the roots (DER) signed it. The
    /// first root is the CA in force.
    ///
    /// Whether the certificate is valid now is not asked: a node whose certificate has ended, or whose clock is wrong,
    /// must be able to start and say so.
    pub fn new<R: AsRef<[u8]>>(key: &NodeKey, certificate: &[u8], roots: &[R]) -> Result<Credentials, BadCredentials> {
        let identity = Identity::of_certificate(certificate)?;
        let (not_before, not_after) = validity(certificate).ok_or(BadIdentity::Encoding)?;
        let roots: Vec<_> = roots.iter().map(|root| CertificateDer::from(root.as_ref().to_vec())).collect();
        let root_store = Arc::new(root_store(&roots).ok_or(BadCredentials::Roots)?);

        let own = CertificateDer::from(certificate.to_vec());
        let loaded = tls::provider().key_provider.load_private_key(key.to_rustls());
        let loaded = loaded.expect("rustls loads the keys that AWS-LC makes");
        // The CAs are sent too: a joiner knows its cluster's CA by hash only, and finds it in the chain.
        let chain = std::iter::once(own.clone()).chain(roots.iter().cloned()).collect();
        let certified = CertifiedKey::new(chain, loaded);
        certified.keys_match().map_err(|_| BadCredentials::Mismatch)?;

        let parsed = ParsedCertificate::try_from(&own).map_err(|_| BadIdentity::Encoding)?;
        let algorithms = tls::provider().signature_verification_algorithms.all;
        let born = UnixTime::since_unix_epoch(not_before.duration_since(UNIX_EPOCH).unwrap_or_default());
        verify_server_cert_signed_by_trust_anchor(&parsed, &root_store, &roots, born, algorithms)
            .map_err(|error| BadCredentials::Chain(error.to_string()))?;
        let client_verifier = WebPkiClientVerifier::builder_with_provider(root_store.clone(), tls::provider());
        let client_verifier = client_verifier.build().map_err(|_| BadCredentials::Roots)?;
        let certified = Arc::new(certified);
        let key = key.der();
        Ok(Credentials { identity, key, roots, root_store, client_verifier, certified, not_before, not_after })
    }

    /// The same node, judging others by other CAs: after a rotation began, went on or ended.
    pub fn with_roots<R: AsRef<[u8]>>(&self, roots: &[R]) -> Result<Credentials, BadCredentials> {
        Credentials::new(&NodeKey::from_der(&self.key)?, self.certificate(), roots)
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certified.cert[0]
    }

    /// The cluster's CAs, in DER.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Its key, in PKCS #8.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// When its certificate begins.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When its certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// When its certificate should be renewed: at half of its life, or at once if the CA that signed it is not the one
    /// in force, which comes first among the roots.
    pub fn renew_at(&self) -> SystemTime {
        if !roots::names_issuer(self.certificate(), &self.roots[0]) {
            return self.not_before;
        }
        self.not_before + self.not_after.duration_since(self.not_before).unwrap_or_default() / 2
    }

    /// How long until the certificate should be renewed; zero if that time has come.
    pub fn renew_in(&self, now: SystemTime) -> Duration {
        self.renew_at().duration_since(now).unwrap_or_default()
    }

    /// Whether a renewal was worth it: it need not be renewed at once itself, or is good for much longer than `old`.
    pub fn is_better_than(&self, old: &Credentials, now: SystemTime) -> bool {
        !self.renew_in(now).is_zero() || self.not_after > old.not_after + CLOCK_SLACK
    }

    pub(super) fn root_store(&self) -> &RootCertStore {
        &self.root_store
    }

    pub(super) fn client_verifier(&self) -> &dyn ClientCertVerifier {
        &*self.client_verifier
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Credentials");
        shown.field("identity", &self.identity).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The trust anchors that CA certificates make; nothing if one of them is no CA's.
pub(super) fn root_store(roots: &[CertificateDer<'_>]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in roots {
        let is_ca = X509Certificate::from_der(root).is_ok_and(|(_, parsed)| parsed.is_ca());
        if !is_ca || store.add(root.clone().into_owned()).is_err() {
            return None;
        }
    }
    (1..=MAX_ROOTS).contains(&roots.len()).then_some(store)
}

/// When a certificate begins and ends.
pub(crate) fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.to_datetime().into(), validity.not_after.to_datetime().into()))
}
