//! A node's private key, and the request for a certificate that it signs.

use std::fmt;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::identity::{BadIdentity, Identity};

/// The longest request that is looked at, in bytes. A usual one has about 250.
pub(crate) const REQUEST_BYTES: usize = 4096;

/// A private key: ECDSA over P-256, PKCS #8 where it is written. Never shown.
pub struct NodeKey {
    pair: KeyPair,
}

/// Why a key cannot be made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key cannot be used ({0}): it must be an ECDSA P-256 key in PKCS #8")]
pub struct BadKey(String);

/// Why a request is not signed. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It is too long to be one.
    #[error("the certificate request has {0} bytes, and at most {REQUEST_BYTES} are read")]
    Length(usize),
    /// It is none, or not signed by the key that it carries.
    #[error("the certificate request is damaged, or not signed by its own key")]
    Encoding,
    /// Its key is of another kind.
    #[error("the certificate request has a key of another kind than ECDSA P-256")]
    Key,
    /// It does not name exactly one node.
    #[error("the certificate request does not name exactly one node: {0}")]
    Identity(BadIdentity),
}

/// A request whose signature was verified: who wants a certificate, for which key.
#[derive(Debug)]
pub struct Request {
    pub(super) identity: Identity,
    pub(super) key: rcgen::PublicKey,
}

impl NodeKey {
    /// A new key, from the cryptographic library's generator.
    pub fn generate() -> NodeKey {
        // The generator of AWS-LC aborts before it returns without randomness.
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("AWS-LC makes P-256 keys");
        NodeKey { pair }
    }

    /// Reads a key as [`der`](Self::der) wrote it.
    pub fn from_der(der: &[u8]) -> Result<NodeKey, BadKey> {
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        Ok(NodeKey { pair: pair.map_err(|error| BadKey(error.to_string()))? })
    }

    /// The key itself, in PKCS #8. It is wiped where this value ends.
    pub fn der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }

    /// Asks for a certificate for `identity`: a PKCS #10 request in DER.
    pub fn request(&self, identity: &Identity) -> Vec<u8> {
        let request = subject(identity).serialize_request(&self.pair);
        request.expect("an identity can be written in a request").der().to_vec()
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.pair
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// The key in the form that rustls loads.
    pub(super) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

impl Request {
    /// Reads a request and verifies that it was signed by the key that it carries.
    ///
    /// Nothing but the identity and the key is taken from it: what else it asks for is not granted.
    pub fn read(der: &[u8]) -> Result<Request, BadRequest> {
        if der.len() > REQUEST_BYTES {
            return Err(BadRequest::Length(der.len()));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        let CertificateSigningRequestParams { params, public_key } = request.map_err(|_| BadRequest::Encoding)?;
        // The library names the algorithm by the signature; the curve shows in the key: an uncompressed point of P-256.
        let point = public_key.der_bytes();
        if public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 || point.len() != 65 || point[0] != 4 {
            return Err(BadRequest::Key);
        }
        let no_node = BadRequest::Identity(BadIdentity::NoNode);
        let [SanType::URI(uri)] = &params.subject_alt_names[..] else { return Err(no_node) };
        let name = match params.distinguished_name.get(&DnType::CommonName) {
            Some(DnValue::Utf8String(name)) => name.as_str(),
            Some(DnValue::PrintableString(name)) => name.as_str(),
            _ => return Err(no_node),
        };
        let identity = Identity::from_parts(uri.as_str(), name).map_err(BadRequest::Identity)?;
        Ok(Request { identity, key: public_key })
    }

    /// Who asks.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// What a request and a certificate have in common.
pub(super) fn subject(identity: &Identity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, identity.name());
    let uri = identity.uri().try_into().expect("a URI of weft is ASCII");
    params.subject_alt_names = vec![SanType::URI(uri)];
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn identity() -> Identity {
        Identity::new(NodeId(7), "knoten-ü").unwrap()
    }

    #[test]
    fn a_request_says_who_asks() {
        let request = NodeKey::generate().request(&identity());
        assert_eq!(Request::read(&request).unwrap().identity(), &identity());
    }

    #[test]
    fn a_key_reads_as_it_is_written() {
        let key = NodeKey::generate();
        let again = NodeKey::from_der(&key.der()).unwrap();
        assert_eq!(again.der(), key.der());
        assert!(NodeKey::from_der(b"no key").is_err());
    }

    #[test]
    fn no_flipped_bit_changes_what_a_request_says() {
        let request = NodeKey::generate().request(&identity());
        let said = Request::read(&request).unwrap();
        let mut read = 0;
        for bit in 0..request.len() * 8 {
            let mut bad = request.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A few bits lie outside of what is signed, and have no meaning.
            if let Ok(bad) = Request::read(&bad) {
                assert_eq!((&bad.identity, &bad.key), (&said.identity, &said.key), "bit {bit}");
                read += 1;
            }
        }
        assert!(read < 64, "{read} of {} bits make no difference", request.len() * 8);
    }

    #[test]
    fn a_request_of_another_kind_is_refused() {
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let request = subject(&identity()).serialize_request(&p384).unwrap();
        assert_eq!(Request::read(request.der()).unwrap_err(), BadRequest::Key);
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = subject(&identity()).serialize_request(&ed).unwrap();
        assert_eq!(Request::read(request.der()).unwrap_err(), BadRequest::Key);
        assert!(matches!(Request::read(&[0; REQUEST_BYTES + 1]), Err(BadRequest::Length(_))));
    }

    #[test]
    fn a_request_that_names_more_than_a_node_is_refused() {
        let key = NodeKey::generate();
        let mut params = subject(&identity());
        params.subject_alt_names.push(SanType::DnsName("example.net".try_into().unwrap()));
        let request = params.serialize_request(key.pair()).unwrap();
        assert_eq!(Request::read(request.der()).unwrap_err(), BadRequest::Identity(BadIdentity::NoNode));
        params.subject_alt_names.clear();
        let request = params.serialize_request(key.pair()).unwrap();
        assert_eq!(Request::read(request.der()).unwrap_err(), BadRequest::Identity(BadIdentity::NoNode));
    }
}
