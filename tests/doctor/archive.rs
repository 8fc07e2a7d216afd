//! The support archive of a real node.

use std::io::Read;

use super::*;
use crate::harness::{privileged, secrets};

#[test]
fn the_archive_has_what_helps_and_no_secret() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
    overlay::share(&lab, &daemons, "blue", &[]).unwrap();
    let (host, daemon) = (&lab.hosts[0], &daemons[0]);
    let token = daemon.token(host).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar.gz");
    let output = daemon.weft(host, &["doctor", "--bundle", path.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(" ok, ") && said.contains(&format!("archive written: {}", path.display())), "{output:?}");

    let file = std::fs::File::open(&path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut names = Vec::new();
    let secrets = secrets::of(host, &token);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        secrets::none_in(&name, &text, &secrets);
        names.push(name);
    }
    for wanted in ["report.json", "facts.json", "daemon/status.json", "daemon/events.json", "kernel/proc/net/snmp"] {
        assert!(names.contains(&format!("weft-doctor/{wanted}")), "{wanted} is not among {names:?}");
    }
    secrets::none_in("the log", &daemon.log(), &secrets);
    // It writes over nothing.
    let output = daemon.weft(host, &["doctor", "--bundle", path.to_str().unwrap()]).unwrap();
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("not there yet"),
        "{output:?}"
    );
}
