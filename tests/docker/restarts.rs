//! Restarts of the engine and of weft, in either order, under running containers.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::harness::{eventually, privileged};
use crate::{IMAGE, blue, engines, lab};

#[test]
fn a_crash_of_weft_is_not_felt_by_containers() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, b] = blue(&lab);
    a.container("web", "--network blue --ip 10.77.9.1");
    b.container("client", "--network blue --ip 10.77.9.2");
    assert!(b.reaches("client", "10.77.9.1"));
    let echoes = thread::scope(|scope| {
        let pinging = scope.spawn(|| b.engine.run("exec client ping -c 100 -i 0.05 10.77.9.1"));
        thread::sleep(Duration::from_secs(1));
        a.crash_weft();
        pinging.join().unwrap()
    });
    let answered: BTreeSet<u32> = (0..100).filter(|n| echoes.contains(&format!("seq={n} "))).collect();
    let silence = answered.iter().zip(answered.iter().skip(1)).map(|(one, next)| next - one).max();
    // Before it was killed, and after it had come back.
    assert!(answered.contains(&0) && answered.contains(&99), "{echoes}");
    println!("without an answer while weft was killed and started: {} ms", silence.unwrap() * 50);
    assert!(b.reaches("client", "10.77.9.1"), "the device was not attached again");
    // Everything of the engine's is still known.
    a.engine.run("network disconnect blue web");
    a.engine.run("network connect --ip 10.77.9.3 blue web");
    assert!(b.reaches("client", "10.77.9.3"));
    a.engine.run("rm --force web");
    assert_eq!(a.endpoints("blue"), 0);
    a.node().is_well();
}

#[test]
fn a_restart_of_the_engine_leaves_no_stale_endpoint() {
    privileged!();
    engines!();
    let lab = lab();
    let [mut a, b] = blue(&lab);
    b.container("client", "--network blue --ip 10.77.9.2");
    a.container("web", "--network blue --ip 10.77.9.1 --restart always");
    a.container("once", "--network blue --ip 10.77.9.4");
    for crash in [false, true] {
        a.engine.restart(crash);
        eventually("the container is back", || b.reaches("client", "10.77.9.1"));
        assert_eq!(a.endpoints("blue"), 1, "that of the container that is not restarted is gone");
    }
    // Both at once.
    a.node = None;
    a.engine.restart(true);
    a.node = Some(crate::harness::node::Node::with(&lab.hosts[0], &crate::FLAGS));
    eventually("the container is back", || {
        a.engine.docker("start web");
        b.reaches("client", "10.77.9.1")
    });
    a.engine.run(&format!("run --rm --network blue {IMAGE} ping -c 1 -W 5 10.77.9.2"));
    a.engine.run("rm --force web once");
    assert_eq!(a.endpoints("blue"), 0);
}
