//! `--join NAME`: where names of hosts come from, and what is said of those that lead nowhere.

use std::net::{IpAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use weft::lab::{Daemon, Host, LabSpec};

use crate::harness::{privileged, weft};
use crate::{Cluster, try_up, write};

const TOKEN_FILE: &str = "/run/weft/token";

/// Gives a host its own version of a file of /etc.
fn lay_over(host: &Host, path: &str, content: &str) {
    let copy = format!("/run/{}", path.replace('/', "-"));
    write(host, &copy, content);
    const NONE: Option<&str> = None;
    host.run(|| mount(Some(&*copy), path, NONE, MsFlags::MS_BIND, NONE)).unwrap().unwrap();
}

/// A name server on a host that knows one name, with an IPv4 address, for as long as it is asked within a while.
fn serve(host: &Host, name: &str, address: [u8; 4]) -> JoinHandle<()> {
    let socket = host.run(|| UdpSocket::bind((host.address, 53))).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let known: Vec<u8> = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let answer = answer(&query[..length], &known, address);
            socket.send_to(&answer, client).unwrap();
        }
    })
}

/// The answer of RFC 1035 section 4.1 to a query with one question.
fn answer(query: &[u8], known: &[u8], address: [u8; 4]) -> Vec<u8> {
    let (name, kind) = query[12..].split_at(query[12..].iter().position(|byte| *byte == 0).unwrap());
    let is_known = name.eq_ignore_ascii_case(known);
    let has_it = is_known && kind[1..3] == [0, 1];
    let code = if is_known { 0 } else { 3 };
    let mut answer = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, u8::from(has_it), 0, 0, 0, 0]].concat();
    answer.extend_from_slice(&query[12..12 + name.len() + 5]);
    if has_it {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&address);
    }
    answer
}

#[test]
fn a_name_of_the_hosts_file_is_found_though_no_name_server_answers() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(2));
    let joins = cluster.host(1);
    // The search list must not come first: whoever answers for example.net would be asked before the file is.
    lay_over(joins, "/etc/resolv.conf", "search example.net\nnameserver 192.0.2.99\n");
    lay_over(joins, "/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 first Member # the first\n");
    write(joins, TOKEN_FILE, &cluster.token(0));
    let daemon = Daemon::up(weft(), joins, &["--join", "member", "--token-file", TOKEN_FILE]).unwrap();
    let members = daemon.json(joins, &["members"]).unwrap();
    assert_eq!(members.as_array().unwrap().len(), 2);
}

#[test]
fn a_name_server_is_asked_and_its_search_list_is_used() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(3));
    let server = serve(cluster.host(0), "member.example.net", [192, 0, 2, 1]);
    for (n, name) in [(1, "member.example.net:7956"), (2, "member")] {
        let joins = cluster.host(n);
        lay_over(joins, "/etc/hosts", "127.0.0.1 localhost\n");
        lay_over(joins, "/etc/resolv.conf", "search example.net\nnameserver 192.0.2.1\n");
        write(joins, TOKEN_FILE, &cluster.token(0));
        let asked = ["--join", "nobody.example.org", "--token-file", TOKEN_FILE];
        let said = try_up(joins, &asked);
        assert!(said.contains("cannot find the host nobody.example.org of --join"), "{said}");
        assert!(
            said.contains("/etc/hosts") && said.contains("192.0.2.1") && said.contains("give an address"),
            "{said}"
        );
        let daemon = Daemon::up(weft(), joins, &["--join", name, "--token-file", TOKEN_FILE]).unwrap();
        assert!(daemon.json(joins, &["members"]).unwrap().as_array().unwrap().len() > 1);
    }
    assert!(!server.is_finished());
}

#[test]
fn what_is_wrong_with_the_name_servers_is_said() {
    privileged!();
    let cluster = Cluster::begun(LabSpec::new(2));
    let joins = cluster.host(1);
    write(joins, TOKEN_FILE, &cluster.token(0));
    lay_over(joins, "/etc/hosts", "127.0.0.1 localhost\n");
    let asked = ["--join", "member.example.net", "--token-file", TOKEN_FILE];
    // Nobody listens there.
    lay_over(joins, "/etc/resolv.conf", "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n");
    let said = try_up(joins, &asked);
    assert!(said.contains("member.example.net") && said.contains("/etc/resolv.conf (192.0.2.1)"), "{said}");
    lay_over(joins, "/etc/resolv.conf", "# none\n");
    let said = try_up(joins, &asked);
    assert!(said.contains("/etc/resolv.conf") && said.contains("give an address"), "{said}");
    for bad in ["member:http", "http://member"] {
        let said = try_up(joins, &["--join", bad, "--token-file", TOKEN_FILE]);
        assert!(said.contains(bad) && said.contains("HOST:PORT"), "{said}");
    }
    // An address needs none of it.
    let address = IpAddr::from([192, 0, 2, 1]).to_string();
    Daemon::up(weft(), joins, &["--join", &address, "--token-file", TOKEN_FILE]).unwrap();
}
