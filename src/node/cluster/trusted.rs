//! Whom this node trusts, as the cluster's objects say: certificates of CAs, and nodes that are denied.
//!
//! Every member can write such objects, so none is believed for being there: a CA counts if one that is trusted vouches
//! for it, a denial if a trusted CA has signed it ([`weft_control::security`]).

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use weft_control::cluster::Input;
use weft_control::id::NodeId;
use weft_control::objects::{Kind, Object};
use weft_control::security::appointment::Appointment;
use weft_control::security::ca::{Authority, Succession};
use weft_control::security::denial::Denial;
use weft_control::security::files::{FileError, KeyFiles};
use weft_control::security::roots::merge;

use super::Membership;
use crate::node::{Node, NodeError};

/// How long the connections of a member that was removed go on, to tell it so. The core speaks with it for less long.
const PARTING: Duration = Duration::from_millis(500);

/// A CA's certificate as an object of the cluster. Its id is that of nothing else: a number.
#[derive(Serialize, Deserialize)]
struct CaObject {
    /// In DER, in hexadecimal digits.
    certificate: String,
}

/// The object of a CA's certificate.
pub(super) fn ca_object(certificate: &[u8]) -> Input {
    let digits: String = certificate.iter().map(|octet| format!("{octet:02x}")).collect();
    let id = weft_control::security::ca::CaHash::of(certificate).to_string();
    let value = serde_json::json!({ "certificate": digits }).to_string().into_bytes();
    Input::PutObject { kind: Kind::Ca, id, value }
}

fn ca_of(value: &[u8]) -> Option<Vec<u8>> {
    let digits = serde_json::from_slice::<CaObject>(value).ok()?.certificate;
    let pairs = digits.is_ascii() && digits.len() % 2 == 0;
    let octets = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    octets.collect::<Option<Vec<_>>>().filter(|_| pairs)
}

/// What a signer writes when it removes a node for good.
pub(super) fn denial(authority: &Authority, node: NodeId) -> Input {
    let value = Denial::new(authority, node, SystemTime::now()).to_json();
    Input::PutObject { kind: Kind::Denied, id: node.to_string(), value }
}

/// What a signer writes when another member is to be one.
pub(super) fn appointment(authority: &Authority, node: NodeId) -> Input {
    let value = Appointment::new(authority, node, SystemTime::now()).to_json();
    Input::PutObject { kind: Kind::Signer, id: node.to_string(), value }
}

impl Membership {
    /// Parts with all who were removed for good. Who was is denied from then on, and on the disk, whatever becomes of the
    /// object: a member can take that away.
    pub(super) fn evict_all(&self) {
        let roots = self.roots();
        let found: Vec<NodeId> = self.core.look(|cluster| {
            let all = cluster.objects().iter(Kind::Denied);
            let read = all.filter_map(|(_, object)| Denial::from_json(object.value.as_deref()?).ok());
            read.filter_map(|denial| denial.verify(&roots).ok()).collect()
        });
        let (all, grown) = {
            let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            let before = denied.len();
            denied.extend(found);
            (denied.clone(), denied.len() > before)
        };
        if grown {
            self.unsaved.mark_denied();
        }
        self.core.tell_all(all.into_iter().map(Input::Evict));
    }

    /// All who were removed for good, as far as this node has heard.
    pub(super) fn denied(&self) -> BTreeSet<NodeId> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses all who were removed for good, and ends their connections.
    pub(super) fn refuse_denied(&self) {
        self.trust.deny(self.denied());
    }

    /// The members that are to have the CA's key, as one who has it said.
    pub(super) fn appointed(&self) -> Vec<NodeId> {
        let roots = self.roots();
        self.core.look(|cluster| {
            let read = |(id, object): (&str, &Object)| {
                let appointment = Appointment::from_json(object.value.as_deref()?).ok()?;
                let node = appointment.verify(&roots).ok()?;
                (id.parse() == Ok(node)).then_some(node)
            };
            cluster.objects().iter(Kind::Signer).filter_map(read).collect()
        })
    }

    /// Trusts those CAs that it should.
    fn merge_roots(&self) -> Result<bool> {
        let now = self.trust.credentials();
        let offered: Vec<_> = self.core.look(|cluster| {
            let all = cluster.objects().iter(Kind::Ca);
            all.filter_map(|(_, object)| ca_of(object.value.as_deref()?)).collect()
        });
        let roots = merge(now.roots(), &offered, SystemTime::now());
        if roots == now.roots() {
            return Ok(false);
        }
        self.trust.swap(now.with_roots(&roots)?);
        Ok(true)
    }

    /// Writes its secrets to their files.
    pub(super) fn save_secrets(&self) -> Result<(), FileError> {
        self.files.store_credentials(&self.trust.credentials())?;
        match self.authority() {
            Some(authority) => self.files.store_authority(&authority),
            None => self.files.remove_authority(),
        }
    }

    /// Puts a new CA beside the present one, which it follows when all certificates of that one have ended.
    pub(super) fn rotate_ca(&self, authority: &Authority) -> Result<()> {
        let Succession { authority, vouchers } = authority.succeed(SystemTime::now());
        let certificates = std::iter::once(authority.certificate().to_vec()).chain(vouchers);
        let appointed = self.appointed();
        for certificate in certificates {
            self.write(ca_object(&certificate))?;
        }
        self.merge_roots()?;
        // What the old one said ends with it.
        self.core.tell_all(appointed.into_iter().map(|node| appointment(&authority, node)));
        self.core.tell_all(self.denied().into_iter().map(|node| denial(&authority, node)));
        self.set_authority(Some(Arc::new(authority)));
        Ok(())
    }
}

impl Node {
    /// The cluster's CAs have changed.
    pub(super) fn trust_changed(&self, membership: &Membership) {
        match membership.merge_roots() {
            Ok(false) => {}
            Ok(true) => {
                self.save_secrets(membership);
                membership.ca_changed.notify_one();
                self.events.record("ca_changed", "the cluster's CA certificates have changed".to_owned());
            }
            Err(error) => {
                self.events.record("ca_refused", format!("the cluster's CA certificates are no good: {error:#}"));
            }
        }
    }

    /// Puts a new CA in force.
    pub(super) fn rotate_ca(&self, membership: &Membership, authority: &Authority) -> Result<(), NodeError> {
        membership.rotate_ca(authority).map_err(|error| {
            self.events.record("ca_refused", format!("the new CA cannot be put in force: {error:#}"));
            NodeError::SameCa
        })?;
        self.save_secrets(membership);
        membership.ca_changed.notify_one();
        Ok(())
    }

    /// The deny list has changed.
    pub(super) fn denied_changed(&self, membership: &Arc<Membership>) {
        membership.evict_all();
        let membership = Arc::clone(membership);
        tokio::spawn(async move {
            tokio::time::sleep(PARTING).await;
            membership.refuse_denied();
        });
    }

    pub(super) fn save_secrets(&self, membership: &Membership) {
        if let Err(error) = membership.save_secrets() {
            self.events.record("not_saved", error.to_string());
        }
    }
}

/// The files of a member's secrets.
pub(super) fn key_files(dir: &crate::node::state::StateDir) -> Result<KeyFiles, FileError> {
    KeyFiles::open(&dir.path().join("keys"))
}
