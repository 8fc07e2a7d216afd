//! The cluster's certificate authority, as a signer holds it.
//!
//! In: a node's request and who it may be for. Out: a certificate for 30 days, good for both ends of a connection.
//! Of the request only the identity and the key are used (RFC 5280 profile: no CA, digital signature, client and
//! server authentication).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, rand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::hex;
use super::key::{self, BadKey, BadRequest, NodeKey, Request};
use crate::id::NodeId;

/// How long a node's certificate is good.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a cluster's CA is good.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How far before its making a certificate begins, for hosts whose clocks are behind.
pub const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// The SHA-256 of a CA's certificate: what a join token carries, and all that a joiner trusts. 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaHash([u8; 32]);

/// A CA with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    key: Zeroizing<Vec<u8>>,
    not_after: OffsetDateTime,
}

/// For whom a request may ask.
pub enum Permit<'a> {
    /// A member, for itself: a renewal.
    Renewal(NodeId),
    /// A newcomer with a token, for any id but those that are taken: a member's, or one that is denied.
    Join(&'a (dyn Fn(NodeId) -> bool + Sync)),
}

/// Why no certificate was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The request itself is no good.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// A member asks for another node's certificate.
    #[error("node {caller} asks for a certificate of node {named}: a member renews only its own")]
    Foreign {
        /// Who asks.
        caller: NodeId,
        /// For whom.
        named: NodeId,
    },
    /// A newcomer asks for an id that is in use or denied.
    #[error(
        "the id {0} belongs to a member or to a node that was removed: move the state directory away to join as a new node"
    )]
    Taken(NodeId),
    /// The CA itself is over.
    #[error(
        "the cluster's CA has expired or expires within the hour, or this host's clock is wrong: check the clock, then rotate the CA"
    )]
    Expired,
}

/// Why a CA cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// Its key is no key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// Its certificate is none, or not a CA's.
    #[error("the CA's certificate is damaged or is no CA's")]
    Certificate,
    /// They do not belong together.
    #[error("the CA's key is not the one in its certificate")]
    Mismatch,
}

impl Authority {
    /// Founds a cluster: a new CA with a new key.
    pub fn found(now: SystemTime) -> Authority {
        let key = NodeKey::generate();
        let params = ca_params(now);
        let certificate = params.self_signed(key.pair()).expect("AWS-LC signs with its own key");
        Authority::new(certificate.der().clone(), &key).expect("a CA reads what it wrote")
    }

    /// A CA from its certificate and its key in PKCS #8, as [`certificate`](Self::certificate) and [`key`](Self::key)
    /// gave them.
    pub fn from_parts(certificate: &[u8], key: &[u8]) -> Result<Authority, BadAuthority> {
        Authority::new(CertificateDer::from(certificate.to_vec()), &NodeKey::from_der(key)?)
    }

    fn new(certificate: CertificateDer<'static>, key: &NodeKey) -> Result<Authority, BadAuthority> {
        let not_after = {
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| BadAuthority::Certificate)?;
            if !parsed.is_ca() {
                return Err(BadAuthority::Certificate);
            }
            if parsed.public_key().subject_public_key.data.as_ref() != key.pair().public_key_raw() {
                return Err(BadAuthority::Mismatch);
            }
            parsed.validity().not_after.to_datetime()
        };
        let der = key.der();
        let pair = NodeKey::from_der(&der)?.into_pair();
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).map_err(|_| BadAuthority::Certificate)?;
        Ok(Authority { certificate, issuer, key: der, not_after })
    }

    /// The CA's certificate, in DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's key in PKCS #8, for another signer or for the disk.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// What a join token carries of this CA.
    pub fn hash(&self) -> CaHash {
        CaHash::of(&self.certificate)
    }

    /// Signs a request, if `permit` allows it for whom it names. The certificate is in DER.
    ///
    /// It begins an hour ago and ends in 30 days, or with the CA itself.
    pub fn sign(&self, request: &[u8], permit: &Permit<'_>, now: SystemTime) -> Result<Vec<u8>, SignError> {
        self.sign_for(request, permit, now, CERTIFICATE_LIFE)
    }

    /// As [`sign`](Self::sign), for another time than the usual one.
    pub fn sign_for(
        &self,
        request: &[u8],
        permit: &Permit<'_>,
        now: SystemTime,
        life: Duration,
    ) -> Result<Vec<u8>, SignError> {
        let request = Request::read(request)?;
        let named = request.identity().node();
        match *permit {
            Permit::Renewal(caller) if caller != named => return Err(SignError::Foreign { caller, named }),
            Permit::Join(taken) if taken(named) => return Err(SignError::Taken(named)),
            Permit::Renewal(_) | Permit::Join(_) => {}
        }
        let mut params = key::subject(request.identity());
        params.not_before = OffsetDateTime::from(now) - CLOCK_SLACK;
        params.not_after = (OffsetDateTime::from(now) + life).min(self.not_after);
        if params.not_after <= OffsetDateTime::from(now) {
            return Err(SignError::Expired);
        }
        params.serial_number = Some(serial());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&request.key, &self.issuer).expect("AWS-LC signs with its own key");
        Ok(certificate.der().to_vec())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("hash", &self.hash()).finish_non_exhaustive()
    }
}

/// A CA that may stand above one other, so that it can vouch for its successor.
fn ca_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Each CA has a name of its own, so that a chain is looked for under the right one.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("weft cluster CA {}", hex::encode(&random::<4>())));
    params.not_before = OffsetDateTime::from(now) - CLOCK_SLACK;
    params.not_after = OffsetDateTime::from(now) + CA_LIFE;
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn serial() -> SerialNumber {
    let mut bytes = random::<16>();
    // Positive, and without leading zeros: RFC 5280 section 4.1.2.2.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

impl CaHash {
    /// The hash of a certificate in DER.
    pub fn of(certificate: &[u8]) -> CaHash {
        let hash = digest::digest(&digest::SHA256, certificate);
        CaHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaHash({self})")
    }
}

impl FromStr for CaHash {
    type Err = hex::NotHex;

    fn from_str(text: &str) -> Result<CaHash, hex::NotHex> {
        hex::decode(text).map(CaHash)
    }
}
