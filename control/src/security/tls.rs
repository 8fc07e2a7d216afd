//! TLS as weft speaks it: version 1.3 (RFC 8446), AWS-LC, certificates on both sides, nothing resumed.
//!
//! What a listener on the wire sees is that it is TLS: certificates travel encrypted, and no server name is sent.
//! Sessions are not resumed and no tickets are issued, because a resumed session would skip the verdict on the peer.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig, SignatureScheme,
};

use super::authz::{self, PeerRefused, Role};
use super::ca::CaHash;
use super::credentials;
use super::identity::Identity;
use super::trust::{State, Trust};
use crate::id::NodeId;

/// The protocol inside: HTTP/2.
const ALPN: &[u8] = b"h2";

/// The cryptography that is used, whatever the process's default is.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// What rustls asks for the name of the server. It is not sent, and not looked at: a node is known by its id.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("weft").expect("a DNS name")
}

/// One handshake's verdict on its peer.
pub(crate) struct PeerVerifier {
    state: Arc<State>,
    expected: Option<NodeId>,
    verdict: Mutex<Option<Result<Identity, PeerRefused>>>,
}

impl PeerVerifier {
    /// Judges by what is trusted now; `expected` is the node that was dialled.
    pub(crate) fn new(trust: &Trust, expected: Option<NodeId>) -> Arc<PeerVerifier> {
        Arc::new(PeerVerifier { state: trust.state(), expected, verdict: Mutex::new(None) })
    }

    /// The verdict, if the peer showed a certificate.
    pub(crate) fn verdict(&self) -> Option<Result<Identity, PeerRefused>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(
        &self,
        role: Role,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<_> = std::iter::once(own).chain(others).cloned().collect();
        let verdict = authz::judge(role, &self.state, &chain, self.expected, now);
        let answer = verdict.as_ref().map(drop).map_err(PeerRefused::to_tls);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        answer
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// The listener's side of one handshake. A client may come without a certificate: what it may do then is not TLS's matter.
pub(crate) fn server_config(trust: &Trust, verifier: &Arc<PeerVerifier>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_details(provider(), trust.clock().clone());
    let key = verifier.state.credentials.certified();
    let mut config = builder
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_client_cert_verifier(verifier.clone())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// The dialling side of one handshake.
pub(crate) fn client_config(trust: &Trust, verifier: &Arc<PeerVerifier>) -> Arc<ClientConfig> {
    let key = verifier.state.credentials.certified();
    let builder = ClientConfig::builder_with_details(provider(), trust.clock().clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    quiet(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))))
}

/// A joiner's side: it has no certificate, and accepts a server by the CA's hash alone.
pub(crate) fn joiner_config(ca: CaHash, clock: Arc<dyn TimeProvider>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CaVerifier { ca }));
    quiet(builder.with_no_client_auth())
}

fn quiet(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// Accepts a node whose chain leads to the CA with one hash, which the server itself sends.
#[derive(Debug)]
struct CaVerifier {
    ca: CaHash,
}

impl ServerCertVerifier for CaVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = others.iter().find(|other| CaHash::of(other) == self.ca).ok_or(PeerRefused::Untrusted.to_tls())?;
        let roots = credentials::root_store(std::slice::from_ref(ca)).ok_or(PeerRefused::Untrusted.to_tls())?;
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(own)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms)?;
        Identity::of_certificate(own).map_err(|error| PeerRefused::NoNode(error).to_tls())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(Role::Server, own, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A member has one certificate to choose from.
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(Role::Client, own, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn no_tls12() -> Error {
    Error::PeerMisbehaved(PeerMisbehaved::SelectedTls12UsingTls13VersionExtension)
}
