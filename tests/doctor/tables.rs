//! Tables that differ, and stay so.

use super::*;
use crate::harness::{needs, privileged};

#[test]
fn tables_that_differ_are_named() {
    privileged!();
    needs!("nft");
    let lab = Lab::build(LabSpec { containers: 2, ..LabSpec::new(2) }).unwrap();
    let daemons = overlay::cluster(&lab, weft(), &[]).unwrap();
    let [a, b] = &lab.hosts[..] else { unreachable!() };
    let attach = |n: usize| {
        daemons[0].json(a, &["attach", "blue", "--netns", &a.containers[n].netns_arg()]).unwrap();
    };
    daemons[0].json(a, &["network", "create", "blue", "--internal", "--subnet", "10.77.0.0/16"]).unwrap();
    overlay::converge(&lab, &daemons).unwrap();
    // The first endpoint brings a block of addresses, so that the second needs nobody's word.
    attach(0);
    overlay::converge(&lab, &daemons).unwrap();
    eventually("tables that agree", || !Diagnosis::of(a, &daemons[0]).names("tables", &[]));
    // What the first node says does not arrive; it hears the second, and who hears nobody accuses nobody.
    let _rule = Rule::new(b, "ip saddr 192.0.2.1 meta l4proto tcp meta length > 60 drop");
    attach(1);
    eventually("the difference is reported", || {
        Diagnosis::of(a, &daemons[0]).names("tables", &["node2", "other than"])
    });
}
