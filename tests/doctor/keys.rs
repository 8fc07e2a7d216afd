//! Certificates that have ended, and sessions that cannot be made.

use std::path::Path;
use std::time::{Duration, SystemTime};

use weft_control::security::ca::Permit;
use weft_control::security::credentials::Credentials;
use weft_control::security::files::KeyFiles;
use weft_control::security::key::NodeKey;

use super::*;
use crate::harness::{needs, privileged};

/// Where a lab's daemon keeps its secrets, in its host's own /run.
const KEYS: &str = "/run/weft/state/keys";
const MONTH: Duration = Duration::from_secs(30 * 86_400);

#[test]
fn a_certificate_that_has_ended_is_named() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let [a, b] = &lab.hosts[..] else { unreachable!() };
    let mut daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
    overlay::converge(&lab, &daemons).unwrap();
    // The second node gets a certificate that ended yesterday, and no key of the CA to make itself another.
    let signing = |files: &KeyFiles| files.authority().unwrap();
    let second = daemons.remove(1);
    eventually("the second node is a signer", || {
        a.run(|| signing(&KeyFiles::open(Path::new(KEYS)).unwrap()).is_some()).unwrap()
            && b.run(|| signing(&KeyFiles::open(Path::new(KEYS)).unwrap()).is_some()).unwrap()
    });
    assert!(second.stop().unwrap().success());
    b.run(|| {
        let files = KeyFiles::open(Path::new(KEYS)).unwrap();
        let (old, authority) = (files.credentials().unwrap().unwrap(), signing(&files).unwrap());
        let key = NodeKey::generate();
        let request = key.request(old.identity());
        let node = old.identity().node();
        let then = SystemTime::now() - MONTH - Duration::from_secs(86_400);
        let certificate = authority.sign(&request, &Permit::Renewal(node), then).unwrap();
        files.store_credentials(&Credentials::new(&key, &certificate, old.roots()).unwrap()).unwrap();
        files.remove_authority().unwrap();
    })
    .unwrap();
    let daemon = Daemon::up(weft(), b, &[]).unwrap();
    let diagnosis = Diagnosis::of(b, &daemon);
    diagnosis.must_name("certificate", &["ended 1.0 days ago", "signer"]);
    assert!(!diagnosis.well);
}

#[test]
fn a_peer_without_a_session_is_named() {
    privileged!();
    needs!("nft");
    let lab = Lab::build(LabSpec::new(3)).unwrap();
    let [a, _, c] = &lab.hosts[..] else { unreachable!() };
    let mut daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    eventually("all sessions", || !Diagnosis::of(c, &daemons[2]).names("sessions", &[]));
    // The first and the third do not hear each other over TCP any more; the second keeps both alive. A new life of the
    // third begins without keys.
    let _rules = [
        Rule::new(a, "ip saddr 192.0.2.3 tcp dport 7956 drop"),
        Rule::new(c, "ip saddr 192.0.2.1 tcp dport 7956 drop"),
    ];
    daemons.pop().unwrap().crash().unwrap();
    let third = Daemon::up(weft(), c, &[]).unwrap();
    let mut last = None;
    eventually("the third node misses a session", || {
        let diagnosis = Diagnosis::of(c, &third);
        let named = diagnosis.names("sessions", &["node1", "7956"]) && !diagnosis.names("sessions", &["node2"]);
        last = Some(diagnosis);
        named
    });
    let diagnosis = last.unwrap();
    diagnosis.must_name("control-port", &["node1", "TCP 192.0.2.1:7956"]);
    diagnosis.must_name("firewall", &["192.0.2.1", "TCP 7956"]);
    assert!(!diagnosis.well);
}
