//! A node that was removed for good: a line of the cluster's deny list, signed by the CA.
//!
//! The list travels as cluster objects, which every member can write. The signature makes sure that a member which was
//! broken into cannot shut others out: only a signer can. A denial is needed for as long as the node's certificates
//! could live, so that it may end with the CA that signed it.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::SigningKey as _;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::Authority;
use super::hex;
use crate::id::NodeId;

/// What stands before the signed data, so that the signature can be taken for nothing else. A certificate's begins
/// with 0x30.
const CONTEXT: &[u8] = b"weft denial v1\0";

/// The value of a cluster object of kind `DENIED`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    node: NodeId,
    /// When it was signed, in seconds since 1970.
    at: u64,
    /// ECDSA over P-256 with SHA-256, in ASN.1, hexadecimal.
    signature: String,
}

/// No CA of the cluster has signed this. It denies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a denial of a node is damaged or not signed by the cluster's CA: it is ignored")]
pub struct NotSigned;

impl Denial {
    /// The denial of `node`. Only a signer can make it.
    pub fn new(authority: &Authority, node: NodeId, now: SystemTime) -> Denial {
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = authority.pair().sign(&message(node, at)).expect("AWS-LC signs with its own key");
        Denial { node, at, signature: hex::encode(&signature) }
    }

    /// The node that is denied, if one of the cluster's CAs (DER) says so.
    pub fn verify<R: AsRef<[u8]>>(&self, roots: &[R]) -> Result<NodeId, NotSigned> {
        let signature = hex::decode_any(&self.signature, 80).ok_or(NotSigned)?;
        let message = message(self.node, self.at);
        let signed = roots.iter().any(|root| {
            X509Certificate::from_der(root.as_ref()).is_ok_and(|(_, root)| {
                let key = &root.tbs_certificate.subject_pki.subject_public_key.data;
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&message, &signature).is_ok()
            })
        });
        if signed { Ok(self.node) } else { Err(NotSigned) }
    }

    /// When it was signed, in seconds since 1970.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The value of the cluster's object.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a denial is plain data")
    }

    /// Reads the value of a cluster's object. Whether to believe it says [`verify`](Self::verify).
    pub fn from_json(json: &[u8]) -> Result<Denial, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn message(node: NodeId, at: u64) -> Vec<u8> {
    [CONTEXT, &node.0.to_be_bytes(), &at.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_holds_under_the_ca_that_signed_it_and_for_its_node_only() {
        let now = SystemTime::now();
        let (authority, other) = (Authority::found(now), Authority::found(now));
        let denial = Denial::new(&authority, NodeId(5), now);
        let denial = Denial::from_json(&denial.to_json()).unwrap();
        assert_eq!(denial.verify(&[other.certificate(), authority.certificate()]), Ok(NodeId(5)));
        assert_eq!(denial.verify(&[other.certificate()]), Err(NotSigned));
        let changed = [
            Denial { node: NodeId(6), ..denial.clone() },
            Denial { at: denial.at + 1, ..denial.clone() },
            Denial { signature: String::new(), ..denial.clone() },
            Denial { signature: "ü".repeat(40), ..denial.clone() },
            Denial { signature: "00".repeat(10_000), ..denial },
        ];
        for bad in changed {
            assert_eq!(bad.verify(&[authority.certificate()]), Err(NotSigned));
        }
    }
}
