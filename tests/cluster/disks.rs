//! Disks that are full, and files that are damaged: the node says which, and goes on where it can.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use weft::lab::{Host, LabSpec};
use weft::sandbox::Netns;

use crate::harness::{eventually, privileged};
use crate::{BLUE, Cluster, text, try_up};

const STATE_DIR: &str = "/run/weft/state";

fn on<T: Send>(host: &Host, work: impl FnOnce() -> T + Send) -> T {
    host.run(work).unwrap()
}

/// Takes all the room that is left on the state directory's disk.
fn fill() {
    let full = std::fs::write(format!("{STATE_DIR}/filler"), vec![0; 128 << 10]);
    assert!(full.is_err(), "the disk did not fill up");
}

#[test]
fn a_node_whose_disk_is_full_goes_on_and_says_so() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(3));
    let token = cluster.token(0);
    on(cluster.host(2), || {
        std::fs::create_dir_all(STATE_DIR).unwrap();
        mount(Some("tmpfs"), STATE_DIR, Some("tmpfs"), MsFlags::empty(), Some("size=64k,mode=0700")).unwrap();
    });
    for n in [1, 2] {
        cluster.join(n, 0, &token);
    }
    cluster.network(0, BLUE, "");
    for n in 0..3 {
        let container = &cluster.lab.hosts[n].containers[0];
        cluster.attach(n, BLUE, &format!("--ip {} --ip {}", container.v4, container.v6));
    }
    cluster.converge();
    on(cluster.host(2), fill);

    // What others change is taken over, and the user is told that it could not be written down.
    cluster.json(0, "network create green --plain");
    eventually("the full node has the network", || cluster.run(2, "network inspect green").status.success());
    eventually("it says that it could not write", || cluster.events(2).contains(&"not_saved".to_owned()));
    // What its own user changes is refused, and the cluster hears nothing of it.
    let netns = Netns::anonymous().unwrap();
    let attach = format!("attach green --netns {}", netns.path().display());
    for line in ["network create red", &attach, &format!("detach {}", cluster.endpoint(2))] {
        let said = cluster.refused(2, line);
        assert!(said.contains("make room"), "`weft {line}`: {said}");
    }
    cluster.converge();
    assert!(cluster.refused(0, "network inspect red").contains("no network"));
    cluster.ping_all(&[0, 1, 2]);

    on(cluster.host(2), || std::fs::remove_file(format!("{STATE_DIR}/filler")).unwrap());
    eventually("it says that it can write again", || cluster.events(2).contains(&"saved".to_owned()));
    cluster.json(2, &attach);
    cluster.crash(2);
    cluster.start(2);
    cluster.converge();
    assert_eq!(cluster.json(2, "status")["networks"], 2);
    cluster.ping_all(&[0, 1, 2]);
}

/// A node that is killed while its disk is full comes back to what it had.
#[test]
fn a_full_disk_does_not_cost_what_was_written() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    on(cluster.host(1), || {
        std::fs::create_dir_all(STATE_DIR).unwrap();
        mount(Some("tmpfs"), STATE_DIR, Some("tmpfs"), MsFlags::empty(), Some("size=64k,mode=0700")).unwrap();
    });
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.network(1, BLUE, "");
    for n in 0..2 {
        let container = &cluster.lab.hosts[n].containers[0];
        cluster.attach(n, BLUE, &format!("--ip {} --ip {}", container.v4, container.v6));
    }
    let id = text(&cluster.json(1, "status")["id"]);
    on(cluster.host(1), fill);
    cluster.json(0, "network create green --plain");
    eventually("it could not write", || cluster.events(1).contains(&"not_saved".to_owned()));
    cluster.crash(1);
    on(cluster.host(1), || std::fs::remove_file(format!("{STATE_DIR}/filler")).unwrap());
    cluster.start(1);
    cluster.converge();
    assert_eq!(cluster.json(1, "status")["id"], id.as_str());
    eventually("it has what it missed", || cluster.json(1, "status")["networks"] == 2);
    cluster.ping_all(&[0, 1]);
}

/// The files of a member that could be damaged, one after another.
#[test]
fn a_damaged_file_is_named_and_not_written_over() {
    privileged!();
    let mut cluster = Cluster::shared(LabSpec::new(2), &[]);
    cluster.crash(1);
    let files = on(cluster.host(1), || {
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.is_file()).map(|path| path.display().to_string()).collect()
        };
        [names(STATE_DIR), names(&format!("{STATE_DIR}/keys"))].concat()
    });
    let state: Vec<_> = files.iter().filter(|file| !file.ends_with("lock") && !file.ends_with("docker.json")).collect();
    assert!(state.len() >= 5, "{files:?}");
    for file in state {
        let good = on(cluster.host(1), || std::fs::read(file).unwrap());
        for bad in [&good[..good.len() / 2], b"", b"\0\xff\0 nonsense"] {
            on(cluster.host(1), || std::fs::write(file, bad).unwrap());
            let said = try_up(cluster.host(1), &[]);
            let name = Path::new(file).file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name) && said.contains("damaged"), "{file}: {said}");
            let now = on(cluster.host(1), || std::fs::read(file).unwrap());
            assert_eq!(now, bad, "{file} was written over");
        }
        on(cluster.host(1), || std::fs::write(file, &good).unwrap());
    }
    cluster.start(1);
    cluster.converge();
    cluster.ping_all(&[0, 1]);
}
