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

use super::key::{self, BadKey, BadRequest, NodeKey, Request};
use super::{hex, roots};
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
    name: DistinguishedName,
    made: SystemTime,
    not_after: OffsetDateTime,
}

/// A CA that takes another's place.
#[derive(Debug)]
pub struct Succession {
    /// The new CA.
    pub authority: Authority,
    /// The old CA's word for the new one, and the new one's for the old, in DER: to be trusted while both are.
    pub vouchers: [Vec<u8>; 2],
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
        let (name, made, not_after) = {
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| BadAuthority::Certificate)?;
            if !parsed.is_ca() {
                return Err(BadAuthority::Certificate);
            }
            if parsed.public_key().subject_public_key.data.as_ref() != key.pair().public_key_raw() {
                return Err(BadAuthority::Mismatch);
            }
            let mut names = parsed.subject().iter_common_name();
            let common = names.next().and_then(|name| name.as_str().ok()).ok_or(BadAuthority::Certificate)?;
            let mut name = DistinguishedName::new();
            name.push(DnType::CommonName, common);
            let validity = parsed.validity();
            let made = SystemTime::from(validity.not_before.to_datetime()) + CLOCK_SLACK;
            (name, made, validity.not_after.to_datetime())
        };
        let der = key.der();
        let pair = NodeKey::from_der(&der)?.into_pair();
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).map_err(|_| BadAuthority::Certificate)?;
        Ok(Authority { certificate, issuer, key: der, name, made, not_after })
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

    /// A new CA, and what makes nodes that trust only this one accept it. See [`roots`].
    ///
    /// The newest CA is the one in force: the new one begins after this one, whatever this host's clock says.
    pub fn succeed(&self, now: SystemTime) -> Succession {
        let authority = Authority::found(now.max(self.made + Duration::from_secs(1)));
        let vouchers = [self.vouch_for(&authority, authority.made), authority.vouch_for(self, authority.made)];
        Succession { authority, vouchers }
    }

    /// A certificate for another CA's key and name, signed by this one.
    fn vouch_for(&self, other: &Authority, now: SystemTime) -> Vec<u8> {
        let mut params = ca_params(now);
        params.distinguished_name = other.name.clone();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        // Whoever shows a voucher is believed under the CA that signed it: so it ends with the overlap.
        params.not_after = params.not_after.min(OffsetDateTime::from(now) + roots::OVERLAP);
        let voucher = params.signed_by(other.pair(), &self.issuer);
        voucher.expect("AWS-LC signs with its own key").der().to_vec()
    }

    pub(super) fn pair(&self) -> &KeyPair {
        self.issuer.key()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::credentials::Credentials;
    use crate::security::identity::Identity;

    const NODE: NodeId = NodeId(7);

    fn request(key: &NodeKey) -> Vec<u8> {
        key.request(&Identity::new(NODE, "seven").unwrap())
    }

    #[test]
    fn a_renewal_that_is_due_at_once_is_taken_only_if_it_lives_longer() {
        let (start, month) = (SystemTime::now(), CERTIFICATE_LIFE);
        let (authority, key) = (Authority::found(start), NodeKey::generate());
        let request = key.request(&Identity::new(NODE, "web").unwrap());
        let of = |authority: &Authority, roots: &[Vec<u8>], at: SystemTime| {
            let certificate = authority.sign(&request, &Permit::Renewal(NODE), at).unwrap();
            Credentials::new(&key, &certificate, roots).unwrap()
        };
        let roots = [authority.certificate().to_vec()];
        let old = of(&authority, &roots, start);
        let again = of(&authority, &roots, start + CLOCK_SLACK / 2);
        assert!(again.is_better_than(&old, start + CLOCK_SLACK / 2));
        // This host's clock is ahead by 20 days.
        let ahead = start + month * 2 / 3;
        assert!(again.renew_in(ahead).is_zero() && !again.is_better_than(&old, ahead));
        let late = of(&authority, &roots, start + CLOCK_SLACK * 2);
        assert!(late.renew_in(ahead).is_zero() && late.is_better_than(&old, ahead));
        // The signer has not heard of the CA in force.
        let new = authority.succeed(start);
        let roots = [new.authority.certificate().to_vec(), roots[0].clone()];
        let (old, stale) = (old.with_roots(&roots).unwrap(), of(&authority, &roots, start));
        assert!(stale.renew_in(start).is_zero() && !stale.is_better_than(&old, start));
        assert!(of(&new.authority, &roots, start).is_better_than(&old, start));
    }

    #[test]
    fn a_ca_reads_as_it_is_written() {
        let authority = Authority::found(SystemTime::now());
        let again = Authority::from_parts(authority.certificate(), authority.key()).unwrap();
        assert_eq!(again.hash(), authority.hash());
        assert_eq!(authority.hash().to_string().parse(), Ok(authority.hash()));
        let other = Authority::found(SystemTime::now());
        let mixed = Authority::from_parts(authority.certificate(), other.key()).unwrap_err();
        assert_eq!(mixed, BadAuthority::Mismatch);
    }

    #[test]
    fn a_certificate_is_no_ca_and_lives_from_an_hour_ago_for_thirty_days() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let (authority, key) = (Authority::found(now), NodeKey::generate());
        let certificate = authority.sign(&request(&key), &Permit::Renewal(NODE), now).unwrap();
        let credentials = Credentials::new(&key, &certificate, &[authority.certificate()]).unwrap();
        assert_eq!(credentials.identity().node(), NODE);
        assert_eq!(credentials.not_after(), now + CERTIFICATE_LIFE);
        let half = CERTIFICATE_LIFE / 2 - credentials.renew_in(now);
        assert!(half <= CLOCK_SLACK, "{half:?}");
        assert_eq!(Authority::from_parts(&certificate, &key.der()).unwrap_err(), BadAuthority::Certificate);
        assert!(Credentials::new(&key, &certificate, &[&certificate]).is_err());
    }

    #[test]
    fn serial_numbers_are_new_and_a_certificate_never_outlives_its_ca() {
        let now = SystemTime::now();
        let (authority, key) = (Authority::found(now), NodeKey::generate());
        let sign = |at| authority.sign(&request(&key), &Permit::Renewal(NODE), at);
        assert_ne!(sign(now).unwrap(), sign(now).unwrap());
        let late = sign(now + CA_LIFE - Duration::from_secs(60)).unwrap();
        let late = Credentials::new(&key, &late, &[authority.certificate()]).unwrap();
        assert!(late.not_after() <= now + CA_LIFE);
        assert_eq!(sign(now + CA_LIFE), Err(SignError::Expired));
    }

    #[test]
    fn a_member_renews_its_own_certificate_only_and_a_newcomer_takes_nobodys_id() {
        let now = SystemTime::now();
        let (authority, key) = (Authority::found(now), NodeKey::generate());
        let sign = |permit: &Permit<'_>| authority.sign(&request(&key), permit, now);
        let foreign = SignError::Foreign { caller: NodeId(8), named: NODE };
        assert_eq!(sign(&Permit::Renewal(NodeId(8))), Err(foreign));
        assert_eq!(sign(&Permit::Join(&|node| node == NODE)), Err(SignError::Taken(NODE)));
        assert!(sign(&Permit::Join(&|node| node != NODE)).is_ok());
    }

    #[test]
    fn what_a_request_asks_for_beside_its_name_is_not_granted() {
        let now = SystemTime::now();
        let (authority, key) = (Authority::found(now), NodeKey::generate());
        let mut params = key::subject(&Identity::new(NODE, "seven").unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let asked = params.serialize_request(key.pair()).unwrap();
        let certificate = authority.sign(asked.der(), &Permit::Renewal(NODE), now).unwrap();
        let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
        assert!(!parsed.is_ca());
        assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
    }
}
