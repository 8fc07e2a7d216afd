//! Who may join: with which token, how often, until when, and what somebody hears who may not.

use weft::lab::{Daemon, LabSpec};

use crate::harness::{eventually, privileged, weft};
use crate::{Cluster, text, try_up, write};

const TOKEN_FILE: &str = "/run/weft/token";

/// Tries to join node 1's cluster with a token, which must be refused.
fn refused(cluster: &Cluster, n: usize, at: usize, token: &str) -> String {
    write(cluster.host(n), TOKEN_FILE, token);
    try_up(cluster.host(n), &["--join", &cluster.host(at).address.to_string(), "--token-file", TOKEN_FILE])
}

/// Tokens that are no good for one reason or another are not told apart by whoever tries them.
const NO_GOOD: &str = "the join token is wrong, used up, expired or revoked";

#[test]
fn a_token_is_good_for_as_many_nodes_as_it_says() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(4));
    let token = cluster.json(0, "token create --uses 2");
    assert_eq!(token["uses_left"], 2);
    for (n, left) in [(1, 1), (2, 0)] {
        cluster.join(n, 0, token["token"].as_str().unwrap());
        assert_eq!(cluster.json(0, "token ls")[0]["uses_left"], left);
    }
    cluster.converge();
    // On whichever member.
    for at in [0, 2] {
        let said = refused(&cluster, 3, at, token["token"].as_str().unwrap());
        assert!(said.contains(NO_GOOD), "{said}");
    }
    assert_eq!(cluster.json(0, "members").as_array().unwrap().len(), 3);
    // The one that was refused may come with a good one.
    let token = cluster.token(1);
    cluster.join(3, 1, &token);
    cluster.converge();
}

/// What is in the way on the newcomer's own host is said before the token is used up.
#[test]
fn a_join_that_cannot_be_costs_no_use() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let token = text(&cluster.json(0, "token create --uses 1")["token"]);
    let taken = cluster.host(1).netns.run(|| {
        let address = cluster.host(1).address;
        (std::net::UdpSocket::bind((address, 4789)).unwrap(), std::net::TcpListener::bind((address, 7956)).unwrap())
    });
    let (udp, tcp) = taken.unwrap();
    let said = refused(&cluster, 1, 0, &token);
    assert!(said.contains("4789") && said.contains("--vxlan-port"), "{said}");
    drop(udp);
    let said = refused(&cluster, 1, 0, &token);
    assert!(said.contains("7956") && said.contains("--control-port"), "{said}");
    drop(tcp);
    cluster.join(1, 0, &token);
    cluster.converge();
}

/// Whoever is no signer any more takes the CA's secret along: another CA follows. Members have its certificates at once.
#[test]
fn a_token_of_now_is_good_on_every_member_after_one_ca_has_followed_another() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(4));
    let first = cluster.token(0);
    for n in [1, 2] {
        cluster.join(n, 0, &first);
    }
    cluster.converge();
    for n in [0, 1, 2] {
        let signs = |of: usize| cluster.json(n, "members")[of]["signer"] == true;
        eventually("all are signers", || (0..3).all(signs));
    }
    cluster.json(0, "signer rm node2");
    cluster.json(0, "signer rm node3");
    for n in [0, 1, 2] {
        eventually("it has a certificate of the CA in force", || cluster.events(n).contains(&"renewed".to_owned()));
    }
    let token = cluster.token(0);
    for at in [0, 1, 2] {
        cluster.join(3, at, &token);
        cluster.json(3, "leave");
        assert!(cluster.daemons[3].take().unwrap().stop().unwrap().success());
    }
}

#[test]
fn a_token_ends_with_its_time_or_when_it_is_revoked() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(2));
    let short = text(&cluster.json(0, "token create --ttl 1s")["token"]);
    let revoked = cluster.json(0, "token create");
    assert_eq!(cluster.json(0, &format!("token rm {}", revoked["id"].as_str().unwrap()))["id"], revoked["id"]);
    let said = refused(&cluster, 1, 0, revoked["token"].as_str().unwrap());
    assert!(said.contains(NO_GOOD), "{said}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let said = refused(&cluster, 1, 0, &short);
    assert!(said.contains(NO_GOOD), "{said}");
    assert_eq!(cluster.json(0, "members").as_array().unwrap().len(), 1);
    assert!(cluster.refused(0, "token rm no-such-token").contains("there is no join token"));
}

#[test]
fn wrong_tokens_are_refused_in_one_line() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(3));
    let other = Daemon::bootstrap(weft(), cluster.host(1), &[]).unwrap();
    let (good, foreign) = (cluster.token(0), other.token(cluster.host(1)).unwrap());
    // The right cluster and another secret: the last sign of the secret counts only in part.
    let at = good.len() - 5;
    let changed = if &good[at..=at] == "a" { "b" } else { "a" };
    let wrong = [&good[..at], changed, &good[at + 1..]].concat();
    assert!(refused(&cluster, 2, 0, &wrong).contains(NO_GOOD));
    let said = refused(&cluster, 2, 0, &foreign);
    assert!(said.contains("is not of the cluster that the token is for"), "{said}");
    for nonsense in ["", "\n", "nonsense", "a b c"] {
        let said = refused(&cluster, 2, 0, nonsense);
        assert!(said.contains("this is not a join token"), "{nonsense:?}: {said}");
    }
    let address = cluster.host(0).address.to_string();
    let said = try_up(cluster.host(2), &["--join", &address, "--token-file", "/run/no/such/file"]);
    assert!(said.contains("/run/no/such/file") && said.contains("No such file"), "{said}");
    // Nobody is at home there.
    let nobody = cluster.host(2).address.to_string();
    write(cluster.host(2), TOKEN_FILE, &good);
    let said = try_up(cluster.host(2), &["--join", &nobody, "--token-file", TOKEN_FILE]);
    assert!(said.contains(&nobody), "{said}");
    assert_eq!(cluster.json(0, "members").as_array().unwrap().len(), 1);
    assert!(!cluster.host(2).run(|| std::path::Path::new("/run/weft/state/state.json").exists()).unwrap());
}

#[test]
fn nodes_join_at_another_signer_while_the_first_is_down() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(4));
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.join(2, 1, &token);
    cluster.converge();
    for n in [1, 2] {
        // Named as a signer, and with the key at hand.
        eventually("it is a signer", || cluster.events(n).contains(&"signer".to_owned()));
    }
    cluster.crash(0);
    cluster.join(3, 2, &token);
    eventually("the first one is dead", || cluster.state(3, 0) == "dead");
    cluster.converge();
    cluster.start(0);
    cluster.converge();
    assert_eq!(cluster.json(0, "members").as_array().unwrap().len(), 4);
}

/// Who joins with the id of a signer would be given the CA's key for it, while that one is down.
#[test]
fn the_id_of_a_signer_that_is_down_is_not_to_be_joined_with() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(4));
    let token = cluster.token(0);
    for n in [1, 2, 3] {
        cluster.join(n, 0, &token);
        cluster.converge();
    }
    eventually("node2 is a signer", || cluster.events(1).contains(&"signer".to_owned()));
    // Node 4 is none: its host may have lost its secrets and come again.
    for (n, signer) in [(1, true), (3, false)] {
        cluster.crash(n);
        eventually("it is dead", || cluster.state(0, n) == "dead");
        let lose = || std::fs::remove_dir_all("/run/weft/state/keys");
        cluster.host(n).run(lose).unwrap().unwrap();
        if signer {
            let said = refused(&cluster, n, 0, &token);
            assert!(said.contains("belongs to a member"), "{said}");
        } else {
            cluster.join(n, 0, &token);
            cluster.converge();
        }
    }
}

#[test]
fn the_first_token_is_in_its_file_before_the_node_is_ready() {
    privileged!();
    let lab = weft::lab::Lab::build(LabSpec::new(2)).unwrap();
    let first = Daemon::bootstrap(weft(), &lab.hosts[0], &["--token-out", "/run/weft/out"]).unwrap();
    let read = || {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata("/run/weft/out").unwrap().permissions().mode() & 0o777;
        (mode, std::fs::read_to_string("/run/weft/out").unwrap())
    };
    let (mode, token) = lab.hosts[0].run(read).unwrap();
    assert_eq!((mode, token.lines().count()), (0o600, 1));
    let _second = Daemon::join(weft(), &lab.hosts[1], &lab.hosts[0], &token, &[]).unwrap();
    assert_eq!(first.json(&lab.hosts[0], &["status"]).unwrap()["members_alive"], 2);
}

/// Whoever starts a member with another cluster's token would believe that it is there now.
#[test]
fn a_member_that_is_to_join_another_cluster_says_that_it_is_in_one() {
    privileged!();
    let mut cluster = Cluster::begun(LabSpec::new(2));
    let token = cluster.token(0);
    cluster.join(1, 0, &token);
    cluster.converge();
    cluster.stop(1);
    let other = token.split('.').enumerate().map(|(n, part)| if n == 1 { "aa".repeat(32) } else { part.to_owned() });
    let said = refused(&cluster, 1, 0, &other.collect::<Vec<_>>().join("."));
    assert!(said.contains("another cluster") && said.contains("weft leave") && said.contains("--state-dir"), "{said}");
    // Started again as it was the first time, it is the same member.
    cluster.join(1, 0, &token);
    cluster.converge();
    // So it is under a CA that has followed the token's, and where the token is no more.
    cluster.json(0, "signer rm node2");
    eventually("the CA is another", || cluster.events(1).contains(&"ca_changed".to_owned()));
    cluster.stop(1);
    cluster.join(1, 0, &token);
    cluster.stop(1);
    cluster.join(1, 0, "used");
    cluster.converge();
}
