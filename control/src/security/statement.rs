//! What only the CA may say of a node.
//!
//! Cluster objects can be written by every member. Where that would be too much, the object's value is a statement that
//! the CA has signed: a member that was broken into can then neither shut others out nor make itself more than it is. A
//! statement holds for as long as the CA that signed it is trusted.

use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::SigningKey as _;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::Authority;
use super::hex;
use crate::id::NodeId;

/// What a kind of statement says.
pub trait Claim {
    /// What stands before the signed data, so that a signature on one kind of statement is good for no other, nor for a
    /// certificate, whose signed data begins with 0x30.
    const CONTEXT: &'static [u8];
}

/// A statement on a node, signed by the cluster's CA: the value of a cluster object, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<C> {
    node: NodeId,
    /// When it was signed, in seconds since 1970.
    at: u64,
    /// ECDSA over P-256 with SHA-256, in ASN.1, hexadecimal.
    signature: String,
    #[serde(skip)]
    claim: PhantomData<C>,
}

/// No CA of the cluster has signed this. It says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a statement on a node is damaged or not signed by the cluster's CA: it is ignored")]
pub struct NotSigned;

impl<C: Claim> Statement<C> {
    /// A statement on `node`. Only a signer can make it.
    pub fn new(authority: &Authority, node: NodeId, now: SystemTime) -> Statement<C> {
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = authority.pair().sign(&message::<C>(node, at)).expect("AWS-LC signs with its own key");
        Statement { node, at, signature: hex::encode(&signature), claim: PhantomData }
    }

    /// The node that it is about, if one of the cluster's CAs (DER) says so.
    pub fn verify<R: AsRef<[u8]>>(&self, roots: &[R]) -> Result<NodeId, NotSigned> {
        let signature = hex::decode_any(&self.signature, 80).ok_or(NotSigned)?;
        let message = message::<C>(self.node, self.at);
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
        serde_json::to_vec(self).expect("a statement is plain data")
    }

    /// Reads the value of a cluster's object. Whether to believe it says [`verify`](Self::verify).
    pub fn from_json(json: &[u8]) -> Result<Statement<C>, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn message<C: Claim>(node: NodeId, at: u64) -> Vec<u8> {
    [C::CONTEXT, &[0], &node.0.to_be_bytes(), &at.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::appointment::Appointment;
    use crate::security::denial::Denial;

    #[test]
    fn a_statement_holds_under_the_ca_that_signed_it_and_as_it_was_signed_only() {
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

    #[test]
    fn one_kind_of_statement_is_good_for_no_other() {
        let authority = Authority::found(SystemTime::now());
        let denial = Denial::new(&authority, NodeId(5), SystemTime::now());
        let appointment = Appointment::from_json(&denial.to_json()).unwrap();
        assert_eq!(appointment.verify(&[authority.certificate()]), Err(NotSigned));
    }
}
