//! Who a certificate speaks for.
//!
//! A node's certificate names it by one URI, `weft://node/<id>`, among its alternative names (RFC 5280 section
//! 4.2.1.6), and carries the node's name as its common name. The id is what counts: it is what is allowed, denied,
//! and expected of the peer that was dialled. The name is there for people.

use std::fmt;

use weft_proto::limits;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::id::NodeId;

/// What stands before the id in a certificate's URI.
const SCHEME: &str = "weft://node/";

/// A node's id and name, as its certificate says them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    node: NodeId,
    name: String,
}

/// Why something is not accepted as a node's identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// The name cannot stand in a certificate.
    #[error(
        "a node's name has 1 to {} bytes, none of them a control character: choose another with --name",
        limits::NAME_BYTES
    )]
    Name,
    /// It is no certificate at all.
    #[error("it is not an X.509 certificate")]
    Encoding,
    /// It names no node, or more than one thing.
    #[error("it does not name exactly one node of weft")]
    NoNode,
}

impl Identity {
    /// The identity of a node with this name.
    pub fn new(node: NodeId, name: &str) -> Result<Identity, BadIdentity> {
        let fits = (1..=limits::NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if fits { Ok(Identity { node, name: name.to_owned() }) } else { Err(BadIdentity::Name) }
    }

    /// Reads the identity in a certificate. Whether the certificate is to be believed is not asked here.
    pub fn of_certificate(der: &[u8]) -> Result<Identity, BadIdentity> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| BadIdentity::Encoding)?;
        if !rest.is_empty() {
            return Err(BadIdentity::Encoding);
        }
        let names = certificate.subject_alternative_name().map_err(|_| BadIdentity::Encoding)?;
        let names = names.ok_or(BadIdentity::NoNode)?;
        let [GeneralName::URI(uri)] = names.value.general_names[..] else { return Err(BadIdentity::NoNode) };
        let mut common = certificate.subject().iter_common_name();
        let name = common.next().and_then(|name| name.as_str().ok()).ok_or(BadIdentity::NoNode)?;
        if common.next().is_some() {
            return Err(BadIdentity::NoNode);
        }
        Identity::from_parts(uri, name)
    }

    /// The identity that a URI and a common name make.
    pub(super) fn from_parts(uri: &str, name: &str) -> Result<Identity, BadIdentity> {
        let node = uri.strip_prefix(SCHEME).and_then(|id| id.parse().ok()).ok_or(BadIdentity::NoNode)?;
        let identity = Identity::new(node, name)?;
        // One node, one spelling: the parser also takes capital digits.
        if identity.uri() == uri { Ok(identity) } else { Err(BadIdentity::NoNode) }
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URI that stands in its certificate.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.node)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_one_uri_with_one_spelling() {
        let identity = Identity::new(NodeId(0xab), "left").unwrap();
        assert_eq!(identity.uri(), "weft://node/00000000000000ab");
        assert_eq!(Identity::from_parts(&identity.uri(), "left"), Ok(identity));
        for uri in
            ["", "weft://node/", "weft://node/ab", "weft://node/00000000000000AB", "http://node/00000000000000ab"]
        {
            assert_eq!(Identity::from_parts(uri, "left"), Err(BadIdentity::NoNode), "{uri}");
        }
    }

    #[test]
    fn a_name_is_short_and_printable() {
        for name in ["", "two\nlines", "\u{1b}[31m", &"x".repeat(65)] {
            assert_eq!(Identity::new(NodeId(1), name), Err(BadIdentity::Name), "{name:?}");
        }
    }
}
