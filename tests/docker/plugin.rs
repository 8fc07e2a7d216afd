//! The plugin socket without an engine: who asks badly is answered, and nothing else happens.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use weft::lab::{Lab, LabSpec};

use crate::harness::node::Node;
use crate::harness::program::Program;
use crate::harness::{eventually, ip, privileged};
use crate::{lab, nodes};

/// How a weft is started that is to serve Docker, whether or not there is an engine.
const ON: [&str; 2] = ["--docker", "on"];

const SOCKET: &str = "/run/docker/plugins/weft.sock";

/// Everything that takes a request.
const METHODS: [&str; 17] = [
    "/NetworkDriver.AllocateNetwork",
    "/NetworkDriver.FreeNetwork",
    "/NetworkDriver.CreateNetwork",
    "/NetworkDriver.DeleteNetwork",
    "/NetworkDriver.CreateEndpoint",
    "/NetworkDriver.DeleteEndpoint",
    "/NetworkDriver.EndpointOperInfo",
    "/NetworkDriver.Join",
    "/NetworkDriver.Leave",
    "/NetworkDriver.DiscoverNew",
    "/NetworkDriver.DiscoverDelete",
    "/NetworkDriver.ProgramExternalConnectivity",
    "/NetworkDriver.RevokeExternalConnectivity",
    "/IpamDriver.RequestPool",
    "/IpamDriver.ReleasePool",
    "/IpamDriver.RequestAddress",
    "/IpamDriver.ReleaseAddress",
];

/// The fields that a method reads, none of which is a list of numbers.
const FIELDS: [(&str, &[&str]); 13] = [
    ("/NetworkDriver.AllocateNetwork", &["NetworkID", "Options", "IPv4Data", "IPv6Data"]),
    ("/NetworkDriver.FreeNetwork", &["NetworkID"]),
    ("/NetworkDriver.CreateNetwork", &["NetworkID", "Options", "IPv4Data", "IPv6Data"]),
    ("/NetworkDriver.DeleteNetwork", &["NetworkID"]),
    ("/NetworkDriver.CreateEndpoint", &["NetworkID", "EndpointID", "Interface"]),
    ("/NetworkDriver.DeleteEndpoint", &["NetworkID", "EndpointID"]),
    ("/NetworkDriver.EndpointOperInfo", &["NetworkID", "EndpointID"]),
    ("/NetworkDriver.Join", &["NetworkID", "EndpointID", "SandboxKey"]),
    ("/NetworkDriver.Leave", &["NetworkID", "EndpointID"]),
    ("/IpamDriver.RequestPool", &["AddressSpace", "Pool", "SubPool", "Options", "V6"]),
    ("/IpamDriver.ReleasePool", &["PoolID"]),
    ("/IpamDriver.RequestAddress", &["PoolID", "Address", "Options"]),
    ("/IpamDriver.ReleaseAddress", &["PoolID", "Address"]),
];

struct Plugin<'a> {
    node: Node<'a>,
    socket: PathBuf,
}

impl<'a> Plugin<'a> {
    fn start(lab: &'a Lab) -> Plugin<'a> {
        Plugin::of(Node::with(&lab.hosts[0], &ON))
    }

    fn of(node: Node<'a>) -> Plugin<'a> {
        let socket = format!("/proc/{}/root{SOCKET}", node.daemon.pid()).into();
        Plugin { node, socket }
    }

    /// Sends a request and returns the status and the answer, which must be JSON.
    fn raw(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // An answer may come before all of a long request has gone.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    /// A request that the engine could make; what is refused is an `Err` in the answer.
    fn call(&self, method: &str, body: &Value) -> Value {
        let (status, answer) = self.raw("POST", method, body.to_string().as_bytes());
        assert_eq!(status, 200, "{method}: {answer}");
        answer
    }

    fn refused(&self, method: &str, body: &Value) -> String {
        let answer = self.call(method, body);
        assert_eq!(answer["Err"], answer["Error"], "both of the names that engines look for");
        answer["Err"].as_str().unwrap_or_else(|| panic!("{method} was not refused: {answer}")).to_owned()
    }
}

#[test]
fn the_engine_is_greeted() {
    privileged!();
    let lab = lab();
    let plugin = Plugin::start(&lab);
    let (status, greeting) = plugin.raw("POST", "/Plugin.Activate", b"");
    assert_eq!((status, greeting), (200, json!({ "Implements": ["NetworkDriver", "IpamDriver"] })));
    let (_, capabilities) = plugin.raw("POST", "/NetworkDriver.GetCapabilities", b"");
    assert_eq!(capabilities["Scope"], "local");
    let (_, spaces) = plugin.raw("POST", "/IpamDriver.GetDefaultAddressSpaces", b"");
    assert_eq!(spaces["LocalDefaultAddressSpace"], "weft");
    let mode = std::fs::metadata(&plugin.socket).unwrap().permissions().mode() & 0o777;
    assert!(mode == 0o600 || mode == 0o660, "{mode:o}");
    assert_eq!(plugin.raw("POST", "/NetworkDriver.Unheard", b"{}").0, 404);
    assert_eq!(plugin.raw("GET", "/Plugin.Activate", b"").0, 405);
}

#[test]
fn bad_requests_are_answered_with_an_error() {
    privileged!();
    let lab = lab();
    let plugin = Plugin::start(&lab);
    let long = format!("{{\"NetworkID\":\"{}\"}}", "n".repeat(1 << 20));
    let deep = "[".repeat(100_000);
    for method in METHODS {
        for bad in ["", "{", "nothing", "\u{0}", &long[..1 << 20], &deep] {
            let (status, answer) = plugin.raw("POST", method, bad.as_bytes());
            assert!(status == 400 && answer["Err"].is_string(), "{method}: {status} {answer}");
        }
        let (status, answer) = plugin.raw("POST", method, &[b' '; 5 << 20]);
        assert!(status == 413 && answer["Err"].is_string(), "{method}: {status} {answer}");
        // Whole, but long: answered, with no more than a line.
        let (_, answer) = plugin.raw("POST", method, long.as_bytes());
        assert!(answer.to_string().len() < 2000, "{method}");
    }
    for (method, body) in [
        ("/NetworkDriver.CreateNetwork", json!({ "NetworkID": 1 })),
        ("/NetworkDriver.CreateNetwork", json!({ "NetworkID": "a", "IPv4Data": {} })),
        ("/NetworkDriver.CreateNetwork", json!([])),
        ("/NetworkDriver.CreateEndpoint", json!({ "NetworkID": "a", "EndpointID": "b", "Interface": "eth0" })),
        ("/NetworkDriver.Join", json!({ "NetworkID": "a", "EndpointID": ["b"] })),
        ("/IpamDriver.RequestPool", json!({ "V6": "yes" })),
        ("/IpamDriver.RequestAddress", json!({ "PoolID": {}, "Options": 7 })),
    ] {
        let (status, answer) = plugin.raw("POST", method, body.to_string().as_bytes());
        assert!(status == 400 && answer["Err"].is_string(), "{method} {body}: {status} {answer}");
    }
    // Every method that reads its fields refuses each of them in a wrong type, and unknown names.
    for (method, fields) in FIELDS {
        for field in fields {
            let body = json!({ *field: [7] }).to_string();
            let (status, answer) = plugin.raw("POST", method, body.as_bytes());
            assert!(status == 400 && answer["Err"].is_string(), "{method} {body}: {status} {answer}");
            let nothing = json!({ *field: null }).to_string();
            assert_eq!(plugin.raw("POST", method, nothing.as_bytes()).0, 200, "{method} {nothing}");
        }
    }
    let unknown = json!({ "NetworkID": "n0", "EndpointID": "e0", "PoolID": "p0", "SandboxKey": "", "Later": {} });
    for method in METHODS {
        assert_eq!(plugin.raw("POST", method, unknown.to_string().as_bytes()).0, 200, "{method}");
    }
    // Nothing that is missing is made up.
    let named = [
        "AllocateNetwork",
        "FreeNetwork",
        "CreateNetwork",
        "DeleteNetwork",
        "CreateEndpoint",
        "DeleteEndpoint",
        "Join",
    ];
    for method in named {
        let refused = plugin.refused(&format!("/NetworkDriver.{method}"), &json!({}));
        assert!(refused.contains("ID"), "{method}: {refused}");
    }
    plugin.refused("/IpamDriver.RequestPool", &json!({}));
    plugin.refused("/IpamDriver.RequestAddress", &json!({}));
    plugin.node.is_well();
}

/// What an engine sends to make a network of its own.
fn create(id: &str, subnet: &str) -> Value {
    json!({
        "NetworkID": id,
        "Options": { "com.docker.network.generic": { "network": "blue", "plain": "" } },
        "IPv4Data": [{ "AddressSpace": "weft", "Pool": subnet, "Gateway": "10.9.0.1/24", "AuxAddresses": null }],
        "IPv6Data": [],
    })
}

/// Two members of a cluster that share the network blue, which Docker has made on the first with these auxiliary addresses.
fn sharing<'a>(lab: &'a Lab, auxiliary: Value) -> (Plugin<'a>, Node<'a>) {
    let [first, second] = nodes(lab, &ON, &[]);
    let plugin = Plugin::of(first);
    let mut made = create("n1", "10.9.0.0/24");
    made["Options"]["com.docker.network.generic"] = json!({ "network": "blue" });
    made["IPv4Data"][0]["AuxAddresses"] = auxiliary;
    assert_eq!(plugin.call("/NetworkDriver.CreateNetwork", &made), json!({}));
    eventually("the other has it", || second.run("network ls").as_array().unwrap().len() == 1);
    (plugin, second)
}

#[test]
fn a_request_that_comes_twice_does_its_work_once() {
    privileged!();
    let lab = lab();
    let plugin = Plugin::start(&lab);
    let pool = json!({ "AddressSpace": "weft", "Pool": "10.9.0.0/24", "SubPool": "", "Options": { "network": "blue" }, "V6": false });
    let given = plugin.call("/IpamDriver.RequestPool", &pool);
    assert_eq!(plugin.call("/IpamDriver.RequestPool", &pool), given);
    let pool = given["PoolID"].as_str().unwrap();
    let gateway =
        json!({ "PoolID": pool, "Address": "", "Options": { "RequestAddressType": "com.docker.network.gateway" } });
    assert_eq!(plugin.call("/IpamDriver.RequestAddress", &gateway)["Address"], "10.9.0.1/24");
    for _ in 0..2 {
        assert_eq!(plugin.call("/NetworkDriver.CreateNetwork", &create("n1", "10.9.0.0/24")), json!({}));
    }
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let answer =
            plugin.call("/IpamDriver.RequestAddress", &json!({ "PoolID": pool, "Address": "", "Options": {} }));
        addresses.push(answer["Address"].as_str().unwrap().to_owned());
    }
    assert_eq!(addresses, ["10.9.0.2/24", "10.9.0.3/24"]);
    let endpoint = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.2/24" } });
    let made = plugin.call("/NetworkDriver.CreateEndpoint", &endpoint);
    assert!(made["Interface"]["MacAddress"].is_string() && made["Interface"]["Address"].is_null(), "{made}");
    assert_eq!(plugin.call("/NetworkDriver.CreateEndpoint", &endpoint), made);
    let other = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.3/24" } });
    plugin.refused("/NetworkDriver.CreateEndpoint", &other);
    let names = json!({ "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "/run/docker/netns/none", "Options": {} });
    let joined = plugin.call("/NetworkDriver.Join", &names);
    assert_eq!(plugin.call("/NetworkDriver.Join", &names), joined);
    assert_eq!(joined["InterfaceName"]["DstPrefix"], "eth");
    let device = joined["InterfaceName"]["SrcName"].as_str().unwrap();
    let there = || lab.hosts[0].output(Command::new("ip").args(["link", "show", device])).unwrap().status.success();
    assert!(there(), "the device waits where the engine looks for it");
    // A crash between the two: all of it is still known.
    let plugin = Plugin::of(plugin.node.crash_and_restart());
    assert_eq!(plugin.call("/NetworkDriver.Join", &names), joined);
    for _ in 0..2 {
        assert_eq!(plugin.call("/NetworkDriver.Leave", &names), json!({}));
        assert_eq!(plugin.call("/NetworkDriver.DeleteEndpoint", &names), json!({}));
        assert!(!there());
        plugin.call("/IpamDriver.ReleaseAddress", &json!({ "PoolID": pool, "Address": "10.9.0.2" }));
    }
    for _ in 0..2 {
        assert_eq!(plugin.call("/NetworkDriver.DeleteNetwork", &json!({ "NetworkID": "n1" })), json!({}));
        plugin.call("/IpamDriver.ReleasePool", &json!({ "PoolID": pool }));
    }
    assert!(plugin.node.run("network ls").as_array().unwrap().is_empty());
    plugin.node.is_well();
}

#[test]
fn a_device_that_only_looks_like_a_lost_one_is_left_alone() {
    privileged!();
    let lab = lab();
    let [host, other] = &lab.hosts[..] else { panic!("two hosts") };
    let plugin = Plugin::start(&lab);
    let ip = |host: &weft::lab::Host, line: &str| {
        host.output(Command::new("ip").args(line.split_whitespace())).unwrap().status.success()
    };
    plugin.call("/NetworkDriver.CreateNetwork", &create("n1", "10.9.0.0/24"));
    let endpoint = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.2/24" } });
    let mac = plugin.call("/NetworkDriver.CreateEndpoint", &endpoint)["Interface"]["MacAddress"].clone();
    let names = json!({ "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "/run/docker/netns/none" });
    let joined = plugin.call("/NetworkDriver.Join", &names);
    // Its device ends, as with a sandbox that ends, while a container of somebody else's, with the same address on
    // another network, has the MAC address that goes with it.
    assert!(ip(host, &format!("link del {}", joined["InterfaceName"]["SrcName"].as_str().unwrap())));
    let _process = Program::start(other, &["sleep", "1000"], &[], std::path::Path::new("/dev/null"));
    assert!(ip(other, "tuntap add dev eth7 mode tap vnet_hdr"));
    assert!(ip(other, &format!("link set eth7 address {}", mac.as_str().unwrap())));
    let plugin = Plugin::of(plugin.node.crash_and_restart());
    assert!(plugin.node.daemon.log().contains("is lost"), "{}", plugin.node.daemon.log());
    assert_eq!(plugin.call("/NetworkDriver.DeleteEndpoint", &names), json!({}));
    assert!(ip(other, "link show eth7"), "it was taken for the lost one");
    plugin.node.is_well();
}

/// Docker asks for a pool before it says which network it is for: that may be there already.
#[test]
fn a_network_that_is_found_late_gives_out_its_own_addresses() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let plugin = Plugin::start(&lab);
    plugin.node.run("network create blue --plain --subnet 10.9.0.0/24");
    let netns = lab.hosts[0].containers[0].netns_arg();
    plugin.node.run(&format!("attach blue --netns {netns} --ip 10.9.0.2"));
    let asked = json!({ "AddressSpace": "weft", "Pool": "10.9.0.0/24", "SubPool": "", "Options": {}, "V6": false });
    let given = plugin.call("/IpamDriver.RequestPool", &asked);
    let pool = given["PoolID"].as_str().unwrap();
    assert_eq!(plugin.call("/NetworkDriver.CreateNetwork", &create("n1", "10.9.0.0/24")), json!({}));
    let mut plugin = plugin;
    for expected in ["10.9.0.3/24", "10.9.0.4/24"] {
        let given = plugin.call("/IpamDriver.RequestAddress", &json!({ "PoolID": pool, "Address": "", "Options": {} }));
        assert_eq!(given["Address"], expected);
        let endpoint = json!({ "NetworkID": "n1", "EndpointID": expected, "Interface": { "Address": expected } });
        let made = plugin.call("/NetworkDriver.CreateEndpoint", &endpoint);
        assert!(made["Interface"]["MacAddress"].is_string(), "{made}");
        plugin = Plugin::of(plugin.node.crash_and_restart());
    }
    // What somebody calls a network may begin as another's id does.
    let id = plugin.node.run("network inspect blue")["id"].as_str().unwrap()[..2].to_owned();
    let said = plugin.refused("/IpamDriver.RequestPool", &json!({ "Options": { "network": id } }));
    assert!(said.contains("there is no network"), "{said}");
}

/// A device that is at home after a restart waits to be moved, but for one that has been away before.
#[test]
fn an_address_is_free_at_once_when_its_device_has_come_back() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let plugin = Plugin::start(&lab);
    let (home, sandbox) = (&lab.hosts[0].netns, &lab.hosts[0].containers[0].netns);
    plugin.call("/NetworkDriver.CreateNetwork", &create("n1", "10.9.0.0/24"));
    let pool =
        json!({ "AddressSpace": "weft", "Pool": "", "SubPool": "", "Options": { "network": "blue" }, "V6": false });
    let pool = plugin.call("/IpamDriver.RequestPool", &pool)["PoolID"].clone();
    let wanted = json!({ "PoolID": pool, "Address": "10.9.0.2", "Options": {} });
    plugin.call("/IpamDriver.RequestAddress", &wanted);
    let endpoint = json!({ "NetworkID": "n1", "EndpointID": "e1", "Interface": { "Address": "10.9.0.2/24" } });
    plugin.call("/NetworkDriver.CreateEndpoint", &endpoint);
    let names = json!({ "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": sandbox.path() });
    let joined = plugin.call("/NetworkDriver.Join", &names);
    let device = joined["InterfaceName"]["SrcName"].as_str().unwrap();
    let plugin = Plugin::of(plugin.node.crash_and_restart());
    assert!(plugin.refused("/IpamDriver.RequestAddress", &wanted).contains("10.9.0.2"), "it may be about to be moved");
    assert_eq!(plugin.call("/NetworkDriver.Join", &names), joined);

    // As the engine moves it, and back where it tells nobody of the end.
    let inside = sandbox.path().display();
    ip(home, &format!("link set {device} netns {inside}"));
    ip(sandbox, &format!("link set {device} name eth0 up"));
    let placed =
        || plugin.node.run("network inspect blue")["endpoints"][0]["netns"].to_string().contains(&inside.to_string());
    eventually("its place is known", placed);
    let node = plugin.node;
    node.daemon.crash().unwrap();
    ip(sandbox, &format!("link set eth0 down name {device} netns {}", home.path().display()));
    let plugin = Plugin::of(Node::again(&lab.hosts[0], &ON));
    assert_eq!(plugin.call("/IpamDriver.RequestAddress", &wanted)["Address"], "10.9.0.2/24");
    plugin.node.is_well();
}

/// Of a network that is made with addresses to keep, they are kept in the whole cluster, and whoever is away.
#[test]
fn addresses_that_docker_keeps_are_nobody_s_in_the_cluster() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let [one, other] = &lab.hosts[..] else { panic!("two hosts") };
    let (plugin, second) = sharing(&lab, json!({ "printer": "10.9.0.9/24" }));
    let netns = other.containers[0].netns_arg();
    let attach = format!("attach blue --netns {netns} --ip 10.9.0.9");
    let is_refused = || {
        let words: Vec<_> = attach.split_whitespace().collect();
        let said = second.daemon.json(other, &words).unwrap_err().to_string();
        assert!(said.contains("10.9.0.9"), "{said}");
    };
    is_refused();
    // Whom nobody hears keeps what it has, and has it afterwards.
    let Plugin { node, .. } = plugin;
    node.daemon.crash().unwrap();
    is_refused();
    let _node = Node::again(one, &ON);
    is_refused();
}

/// What Docker has let go of is removed once nobody uses it, which a node that has just begun does not know.
#[test]
fn a_network_that_is_to_go_waits_for_users_that_are_not_heard() {
    privileged!();
    let lab = Lab::build(LabSpec::new(2)).unwrap();
    let [one, other] = &lab.hosts[..] else { panic!("two hosts") };
    let (plugin, second) = sharing(&lab, Value::Null);
    second.run(&format!("attach blue --netns {} --ip 10.9.0.7", other.containers[0].netns_arg()));
    let blue = |node: &Node<'_>| node.run("network inspect blue");
    eventually("its container is known", || plugin.node.run("neigh").as_array().unwrap().len() == 1);
    assert_eq!(plugin.call("/NetworkDriver.DeleteNetwork", &json!({ "NetworkID": "n1" })), json!({}));
    blue(&plugin.node);
    // Who is a member is on the disk a second or two after it became one.
    std::thread::sleep(Duration::from_secs(3));
    second.daemon.crash().unwrap();
    plugin.node.daemon.crash().unwrap();
    let plugin = Plugin::of(Node::again(one, &ON));
    // It looks every five seconds for what has become free.
    std::thread::sleep(Duration::from_secs(12));
    blue(&plugin.node);
    let second = Node::again(other, &[]);
    let endpoint = blue(&second)["endpoints"][0]["endpoint"].as_str().unwrap().to_owned();
    second.run(&format!("detach {endpoint}"));
    eventually("nobody uses it", || plugin.node.run("network ls").as_array().unwrap().is_empty());
}

#[test]
fn many_requests_at_once_are_all_answered() {
    privileged!();
    let lab = lab();
    let plugin = Plugin::start(&lab);
    plugin.node.run("network create blue --plain --subnet 10.9.0.0/16");
    let given = plugin.call("/IpamDriver.RequestPool", &json!({ "Options": { "network": "blue" } }));
    let create = json!({
        "NetworkID": "n1",
        "Options": { "com.docker.network.generic": { "network": "blue" } },
        "IPv4Data": [{ "AddressSpace": "weft", "Pool": "10.9.0.0/16" }],
    });
    plugin.call("/NetworkDriver.CreateNetwork", &create);
    let pool = given["PoolID"].as_str().unwrap();
    let addresses: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let request = |n: u32| {
            let plugin = &plugin;
            move || {
                let asked = json!({ "PoolID": pool, "Address": "" });
                let address = plugin.call("/IpamDriver.RequestAddress", &asked)["Address"].as_str().unwrap().to_owned();
                let id = format!("e{}", n / 2);
                let endpoint = json!({ "NetworkID": "n1", "EndpointID": id, "Interface": { "Address": address } });
                // Every second one finds its endpoint made with another address, and is refused.
                plugin.call("/NetworkDriver.CreateEndpoint", &endpoint);
                plugin.raw("POST", "/NetworkDriver.Join", b"{");
                address
            }
        };
        let all: Vec<_> = (0..100).map(|n| scope.spawn(request(n))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(addresses.len(), 100, "no address is given twice");
    let network = plugin.node.run("network inspect blue");
    assert_eq!(network["endpoints"].as_array().unwrap().len(), 50);
    // What is left of them goes with the network.
    plugin.call("/NetworkDriver.DeleteNetwork", &json!({ "NetworkID": "n1" }));
    assert!(plugin.node.run("network inspect blue")["endpoints"].as_array().unwrap().is_empty());
    plugin.node.is_well();
}

#[test]
fn every_method_answers_a_hundred_at_once() {
    privileged!();
    let lab = lab();
    let plugin = Plugin::start(&lab);
    let pool = "new|blue|10.9.0.0/16";
    for method in METHODS {
        std::thread::scope(|scope| {
            for n in 0..100 {
                let plugin = &plugin;
                scope.spawn(move || {
                    let ids = json!({
                        "NetworkID": format!("n{}", n % 7),
                        "EndpointID": format!("e{n}"),
                        "PoolID": pool,
                        "Address": format!("10.9.1.{n}"),
                        "Options": { "network": "blue" },
                    });
                    // Some are no requests, and some break off.
                    match n % 4 {
                        0 => assert_eq!(plugin.raw("POST", method, b"[").0, 400, "{method}"),
                        1 => {
                            let mut stream = UnixStream::connect(&plugin.socket).unwrap();
                            let head = format!("POST {method} HTTP/1.1\r\nHost: weft\r\nContent-Length: 999\r\n\r\n{{");
                            stream.write_all(head.as_bytes()).unwrap();
                        }
                        _ => assert!(plugin.call(method, &ids).is_object(), "{method}"),
                    }
                });
            }
        });
    }
    assert!(plugin.node.run("network ls").as_array().unwrap().is_empty());
    plugin.node.is_well();
}

#[test]
fn a_live_socket_is_not_replaced_and_a_stale_one_is() {
    privileged!();
    let lab = lab();
    let host = &lab.hosts[0];
    let listener = host
        .run(|| {
            std::fs::create_dir_all("/run/docker/plugins").unwrap();
            std::os::unix::net::UnixListener::bind(SOCKET).unwrap()
        })
        .unwrap();
    let node = Node::with(host, &["--docker", "auto"]);
    eventually("the other one is left alone, and that is said", || {
        node.daemon.log().contains("answers on /run/docker/plugins/weft.sock already")
    });
    drop(listener);
    let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", node.daemon.pid()));
    eventually("a stale one is replaced", || UnixStream::connect(&socket).is_ok());
}
