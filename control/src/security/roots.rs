//! Which CAs a cluster trusts, and how one takes another's place.
//!
//! The old CA vouches for the new one, and the new one for the old (cross-certificates, RFC 5280 section 3.2): for as
//! long as both are trusted, a node that has not heard of the new one accepts its certificates all the same, and a
//! token made under either opens every node. The old one goes when the last certificate that it signed has ended, and
//! the vouchers with it. So a rotation is no answer to a CA key that was stolen: for that, found a new cluster.
//!
//! The certificates travel as cluster objects, which every member can write: so a CA that is offered is taken only if
//! one that is trusted already vouches for it, and whether an old one has to go says the new one's certificate, not
//! whoever asks for it. The first certificate of [`merge`]'s answer is that of the CA in force.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ca::{CERTIFICATE_LIFE, CLOCK_SLACK};
use super::credentials::MAX_ROOTS;

/// How long an old CA is trusted beside the new one: the last certificate that it signed, and an hour for clocks.
pub const OVERLAP: Duration = Duration::from_secs(CERTIFICATE_LIFE.as_secs() + CLOCK_SLACK.as_secs());
/// How many offered certificates are taken at a time. Who signed them is looked at before that: else whoever writes as many
/// that nobody vouches for would keep every other one out.
const OFFERED: usize = 256;
/// How many signatures are looked at for that: about half a second's.
const LOOKED_AT: usize = 1 << 13;

/// A CA certificate, read.
struct Ca<'a> {
    der: &'a [u8],
    parsed: X509Certificate<'a>,
}

impl<'a> Ca<'a> {
    fn read(der: &'a [u8]) -> Option<Ca<'a>> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        (rest.is_empty() && parsed.is_ca()).then_some(Ca { der, parsed })
    }

    fn key(&self) -> &[u8] {
        &self.parsed.tbs_certificate.subject_pki.subject_public_key.data
    }

    fn is_signed_by(&self, key: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
        key.verify(self.parsed.tbs_certificate.as_ref(), &self.parsed.signature_value.data).is_ok()
    }

    fn is_self_signed(&self) -> bool {
        self.parsed.subject() == self.parsed.issuer() && self.is_signed_by(self.key())
    }

    /// When the CA was made.
    fn made(&self) -> SystemTime {
        SystemTime::from(self.parsed.validity().not_before.to_datetime()) + CLOCK_SLACK
    }

    fn is_over(&self, now: SystemTime) -> bool {
        SystemTime::from(self.parsed.validity().not_after.to_datetime()) <= now
    }
}

/// The CAs to trust, of those that are trusted and those that are offered. The one in force comes first.
///
/// The answer is the same whatever the order of `offered`, and never empty if `trusted` holds a self-signed CA.
pub fn merge<T: AsRef<[u8]>, O: AsRef<[u8]>>(
    trusted: &[T],
    offered: &[O],
    now: SystemTime,
) -> Vec<CertificateDer<'static>> {
    let trusted: Vec<_> = trusted.iter().filter_map(|der| Ca::read(der.as_ref())).collect();
    let mut offered: Vec<_> = offered.iter().filter_map(|der| Ca::read(der.as_ref())).collect();

    let mut keys: BTreeSet<Vec<u8>> = trusted.iter().map(|ca| ca.key().to_vec()).collect();
    let (mut vouched, mut looks) = (Vec::new(), LOOKED_AT);
    // One step for each link of a chain of vouchers: with the keys that are new, what is left is looked at once more.
    let mut new = keys.clone();
    while !new.is_empty() {
        let is_vouched = |ca: &mut Ca<'_>| {
            new.iter().any(|key| {
                let looked = looks > 0;
                looks = looks.saturating_sub(1);
                looked && ca.is_signed_by(key)
            })
        };
        let found: Vec<_> = offered.extract_if(.., is_vouched).take(OFFERED).collect();
        new = BTreeSet::new();
        for ca in found.iter().filter(|ca| !ca.is_over(now) && !keys.contains(ca.key())) {
            new.insert(ca.key().to_vec());
        }
        keys.extend(new.iter().cloned());
        vouched.extend(found);
    }
    let vouched = vouched.iter().filter(|ca| keys.contains(ca.key()));
    let all: Vec<_> = trusted.iter().chain(vouched).collect();

    // A CA made in the future is one of a signer with a wrong clock, or a trick to be rid of the present one.
    let made = |ca: &&&Ca<'_>| ca.is_self_signed() && ca.made() <= now + CLOCK_SLACK;
    let newest = all.iter().filter(made).max_by_key(|ca| (ca.made(), ca.der));
    let Some(newest) = newest.or_else(|| all.iter().find(|ca| ca.is_self_signed())) else {
        return trusted.iter().map(|ca| CertificateDer::from(ca.der.to_vec())).collect();
    };
    let overlapping = newest.made() + OVERLAP > now;
    let mut kept: Vec<_> = all.iter().filter(|ca| overlapping || ca.key() == newest.key()).collect();
    kept.sort_by_key(|ca| {
        (ca.der != newest.der, !ca.is_self_signed(), std::cmp::Reverse(ca.parsed.validity().not_before), ca.der)
    });
    kept.dedup_by_key(|ca| ca.der);
    kept.iter().take(MAX_ROOTS).map(|ca| CertificateDer::from(ca.der.to_vec())).collect()
}

/// Whether `root` is the issuer that `certificate` names.
pub(super) fn names_issuer(certificate: &[u8], root: &[u8]) -> bool {
    let (Ok((_, certificate)), Some(root)) = (X509Certificate::from_der(certificate), Ca::read(root)) else {
        return false;
    };
    certificate.issuer() == root.parsed.subject()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::ca::{Authority, Succession};

    fn now() -> SystemTime {
        SystemTime::now()
    }

    fn rotated(old: &Authority, at: SystemTime) -> (Authority, Vec<Vec<u8>>) {
        let Succession { authority, vouchers } = old.succeed(at);
        let offered = std::iter::once(authority.certificate().to_vec()).chain(vouchers).collect();
        (authority, offered)
    }

    #[test]
    fn a_vouched_ca_comes_first_beside_the_old_one_and_alone_when_the_overlap_ends() {
        let start = now() - Duration::from_secs(24 * 3600);
        let old = Authority::found(start);
        let (new, offered) = rotated(&old, start + CLOCK_SLACK);
        let during = merge(&[old.certificate()], &offered, start + 2 * CLOCK_SLACK);
        assert_eq!((&during[0], during.len()), (new.certificate(), 4));
        assert!(during.contains(old.certificate()));
        let mut other_way: Vec<_> = offered.clone();
        other_way.reverse();
        assert_eq!(merge(&[old.certificate()], &other_way, start + 2 * CLOCK_SLACK), during);
        // Merging again changes nothing; nor does offering nothing.
        assert_eq!(merge(&during, &offered, start + 2 * CLOCK_SLACK), during);
        assert_eq!(merge(&during, &[] as &[Vec<u8>], start + 2 * CLOCK_SLACK), during);

        let after = merge(&during, &offered, start + CLOCK_SLACK + OVERLAP);
        assert_eq!(&after[0], new.certificate());
        assert!(!after.contains(old.certificate()));
        // What remains is the new key's, so the old one cannot come back.
        assert_eq!(merge(&after, &[old.certificate()], start + CLOCK_SLACK + OVERLAP), after);
    }

    #[test]
    fn a_ca_that_nobody_vouches_for_is_not_taken() {
        let (old, foreign) = (Authority::found(now()), Authority::found(now()));
        let (_, chain) = rotated(&foreign, now());
        let offered: Vec<_> = chain.into_iter().chain([foreign.certificate().to_vec()]).collect();
        assert_eq!(merge(&[old.certificate()], &offered, now()), [old.certificate().clone()]);
    }

    #[test]
    fn a_voucher_for_one_ca_does_not_let_another_in() {
        let (old, foreign) = (Authority::found(now()), Authority::found(now()));
        let (_, mut offered) = rotated(&old, now());
        offered[0] = foreign.certificate().to_vec();
        let merged = merge(&[old.certificate()], &offered, now());
        assert!(!merged.contains(foreign.certificate()) && merged[0] == *old.certificate());
    }

    #[test]
    fn a_node_that_slept_through_a_rotation_takes_the_next_one() {
        let start = now();
        let first = Authority::found(start);
        let (second, mut offered) = rotated(&first, start + CLOCK_SLACK * 2);
        let (third, more) = rotated(&second, start + CLOCK_SLACK * 4);
        offered.extend(more);
        let merged = merge(&[first.certificate()], &offered, start + CLOCK_SLACK * 5);
        assert_eq!(&merged[0], third.certificate());
    }

    #[test]
    fn a_new_ca_is_in_force_at_once_even_if_the_clock_went_back() {
        let old = Authority::found(now());
        for at in [now(), now() - CLOCK_SLACK] {
            let (new, offered) = rotated(&old, at);
            assert_eq!(&merge(&[old.certificate()], &offered, now())[0], new.certificate());
        }
    }

    #[test]
    fn a_ca_of_the_future_is_not_in_force() {
        let old = Authority::found(now());
        let (_, offered) = rotated(&old, now() + Duration::from_secs(365 * 24 * 3600));
        assert_eq!(&merge(&[old.certificate()], &offered, now())[0], old.certificate());
    }

    #[test]
    fn certificates_that_nobody_vouches_for_do_not_keep_a_new_ca_out() {
        let (old, foreign) = (Authority::found(now()), Authority::found(now()));
        let (new, chain) = rotated(&old, now());
        let mut offered = vec![foreign.certificate().to_vec(); 2 * OFFERED];
        offered.extend(chain);
        assert_eq!(&merge(&[old.certificate()], &offered, now())[0], new.certificate());
    }

    #[test]
    fn garbage_is_passed_over() {
        let old = Authority::found(now());
        let endless: Vec<_> = (0..10_000).map(|n: u32| n.to_be_bytes().to_vec()).collect();
        assert_eq!(merge(&[old.certificate()], &endless, now()), [old.certificate().clone()]);
    }
}
