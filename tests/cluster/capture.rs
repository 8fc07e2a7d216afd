//! `weft capture`: the inside of a sealed network, as Wireshark's decoder and people see it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use weft::lab::{LabSpec, kernel::INSIDE};
use weft::traffic::ping;
use weft_vtep::addr::Mac;

use crate::harness::content::{self, Talk};
use crate::harness::frames::{MARK, mark, vxlan};
use crate::harness::port::Port;
use crate::harness::vtep::Vtep;
use crate::harness::{PATIENCE, eventually, needs, privileged, weft};
use crate::{BLUE, Cluster, text, words};

/// What only those who may look inside can read.
const SECRET: &[u8] = b"the marker inside of the seal";
const SOCKET: &str = "/run/weft/weft.sock";

/// A capture that runs, and its standard output: a pipe that nobody reads would stop it.
struct Running(Child, JoinHandle<Vec<u8>>);

/// What it said when it ended.
struct Said {
    out: Vec<u8>,
    frames: usize,
    lost: u64,
}

impl Cluster {
    /// Begins a capture on a node: what comes after this is seen.
    fn capture(&self, n: usize, line: &str) -> Running {
        let begun = || self.events(n).iter().filter(|kind| *kind == "capture_started").count();
        let before = begun();
        let mut command = Command::new(weft());
        command.args(["--socket", SOCKET, "capture"]).args(words(line));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.host(n).run(|| command.spawn()).unwrap().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut out = Vec::new();
            stdout.read_to_end(&mut out).unwrap();
            out
        });
        eventually("the capture has begun", || begun() > before);
        Running(child, reader)
    }
}

impl Running {
    /// Ends it as Ctrl-C does.
    fn interrupt(self) -> Said {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.wait()
    }

    /// Waits until it ends by itself.
    fn wait(self) -> Said {
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [frames, lost] = numbers[..] else { panic!("{said}") };
        Said { out: self.1.join().unwrap(), frames: frames.try_into().unwrap(), lost }
    }
}

impl Said {
    /// The frames of a capture with `--json`.
    fn json(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What Wireshark's decoder says of a frame.
#[derive(Debug)]
struct Decoded {
    protocols: String,
    comment: String,
    interface: String,
    way: String,
    malformed: String,
    length: u32,
}

fn decode(file: &[u8]) -> Vec<Decoded> {
    let fields = [
        "frame.protocols",
        "frame.comment",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "_ws.malformed",
        "frame.len",
    ];
    let mut tshark = Command::new("tshark");
    // From a pipe, as users do.
    tshark.args(["-r", "-", "-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let mut child = tshark.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(file).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let [protocols, comment, interface, way, malformed, length] =
            line.split('|').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"));
        let (protocols, comment, interface) = (protocols.to_owned(), comment.to_owned(), interface.to_owned());
        let (way, malformed) = (way.to_owned(), malformed.to_owned());
        Decoded { protocols, comment, interface, way, malformed, length: length.parse().unwrap() }
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Sends datagrams from one container to another, which hears them.
fn tell(cluster: &Cluster, from: usize, to: usize, what: &[u8], times: usize) {
    let to = cluster.container(to);
    let hears = to.netns.run(|| UdpSocket::bind((to.ip(), 0))).unwrap().unwrap();
    hears.set_read_timeout(Some(PATIENCE)).unwrap();
    let says =
        cluster.container(from).netns.run(|| UdpSocket::bind((cluster.container(from).ip(), 0))).unwrap().unwrap();
    for _ in 0..times {
        says.send_to(what, hears.local_addr().unwrap()).unwrap();
        hears.recv(&mut vec![0; what.len()]).unwrap();
    }
}

#[test]
fn wireshark_sees_the_inside_of_a_sealed_network() {
    privileged!();
    needs!("tshark");
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    cluster.ping_all(&[0, 1]);
    let running = cluster.capture(0, &format!("{BLUE} -w -"));
    let (here, there) = (cluster.container(0), cluster.container(1));
    for address in [there.ip(), there.ip6()] {
        assert!(ping::once(&here.netns, address, PATIENCE).unwrap().is_some());
        content::tcp(&here.netns, &there.netns, address, Talk { write: 60_000, writes: 5 });
    }
    tell(&cluster, 1, 0, SECRET, 1);
    // An address that nobody has: asked of all.
    let nobody = here.netns.run(|| UdpSocket::bind((here.ip(), 0))).unwrap().unwrap();
    nobody.send_to(b"hello", "10.77.99.99:9").unwrap();
    cluster.ping_soon(0, there.ip());
    let said = running.interrupt();

    assert!(holds(&said.out, SECRET), "the marker is readable");
    let frames = decode(&said.out);
    assert_eq!(frames.len(), said.frames);
    assert_eq!(said.lost, 0);
    for frame in &frames {
        assert_eq!(frame.malformed, "", "{frame:?}");
        let (flag, word) =
            if frame.comment.starts_with("out to ") { ("0x00000002", "out") } else { ("0x00000001", "in") };
        assert_eq!(frame.way, flag, "{frame:?}");
        assert!(frame.comment.starts_with(word) && frame.comment.contains("; network blue; VNI "), "{frame:?}");
        assert!(!frame.comment.contains("dropped"), "{frame:?}");
    }
    let has = |protocol: &str, comment: &str| {
        let is = |frame: &&Decoded| frame.protocols.contains(protocol) && frame.comment.contains(comment);
        frames.iter().filter(is).count()
    };
    let peer = format!("node2 ({})", cluster.host(1).address);
    for protocol in ["ip:icmp", "ipv6:icmpv6", "ip:tcp", "ipv6:tcp"] {
        assert!(has(protocol, &format!("out to {peer}")) > 0, "{protocol} out: {frames:?}");
        assert!(has(protocol, &format!("in from {peer}")) > 0, "{protocol} in: {frames:?}");
    }
    assert!(has("ip:udp", &format!("in from {peer}")) > 0);
    assert!(has("arp", "out to all") > 0, "a question that is asked of all");
    let large = frames.iter().filter(|frame| frame.length > 1_500).collect::<Vec<_>>();
    assert!(
        !large.is_empty() && large.iter().all(|frame| frame.comment.contains("super-frame, cut into ")),
        "{large:?}"
    );
    let endpoint = cluster.endpoint(0);
    let interfaces = [BLUE.to_owned(), format!("{BLUE}/{endpoint}")];
    assert!(frames.iter().all(|frame| interfaces.contains(&frame.interface)), "{frames:?}");
    let events = cluster.json(0, "events");
    let texts: Vec<_> =
        events.as_array().unwrap().iter().filter(|e| text(&e["kind"]).starts_with("capture_")).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(text(&texts[0]["text"]).contains("on the network blue has begun, asked for by the user with the number 0"));
    assert!(text(&texts[1]["text"]).contains("has ended"), "{texts:?}");
}

#[test]
fn what_is_dropped_is_shown_with_its_reason() {
    privileged!();
    needs!("tshark");
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    cluster.ping_all(&[0, 1]);
    let network = |n: usize| cluster.json(n, &format!("network inspect {BLUE}"));
    let vni = u32::try_from(network(0)["vni"].as_u64().unwrap()).unwrap();
    let [here, there] = [0, 1].map(|n| -> Mac { text(&network(n)["endpoints"][0]["mac"]).parse().unwrap() });
    let nobody: Mac = "02:00:00:00:77:77".parse().unwrap();

    let (file, lines) = (cluster.capture(0, "--drops -w -"), cluster.capture(0, "--drops --json"));
    let says = Port::open(&cluster.container(0).netns, INSIDE, MARK);
    says.send(&mark(nobody, here, 1));
    says.send(&mark(there, nobody, 2));
    // This one is not dropped.
    says.send(&mark(there, here, 3));
    let wire = Vtep::from_port(cluster.host(1), cluster.host(0), 0);
    wire.send(&vxlan(vni, &mark(here, there, 4)));
    wire.send(&vxlan(vni ^ 1, &mark(here, there, 5)));
    // Sealed, of a session that there is not; neither plain nor sealed.
    wire.send(&[&[0x80, 1, 0, 0, 9, 9, 9, 9][..], &[7; 60]].concat());
    wire.send(b"this is no VXLAN");
    let expected = [
        ("unknown_unicast", "out"),
        ("source_mac_foreign", "out"),
        ("plain_on_sealed", "in"),
        ("unknown_vni", "in"),
        ("unknown_index", "in"),
        ("not_vxlan", "in"),
    ];
    let counted = || expected.map(|(reason, _)| cluster.json(0, "stats")["drops"][reason].as_u64().unwrap());
    eventually("all are counted", || counted().iter().all(|count| *count > 0));

    thread::sleep(Duration::from_millis(300));
    let frames = lines.interrupt().json();
    assert!(frames.iter().all(|frame| frame["dropped"].is_string()), "{frames:?}");
    for (reason, way) in expected {
        let frame =
            frames.iter().find(|frame| frame["dropped"] == reason).unwrap_or_else(|| panic!("{reason}: {frames:?}"));
        assert_eq!(frame["way"], way, "{frame}");
        let (of_vni, far) = match reason {
            "unknown_vni" => (vni ^ 1, true),
            "unknown_index" | "not_vxlan" => (0, true),
            _ => (vni, way == "in"),
        };
        assert_eq!(frame["vni"], of_vni, "{frame}");
        let address = cluster.host(1).address.to_string();
        assert_eq!(frame["vtep"].as_str(), far.then_some(address.as_str()), "{frame}");
    }
    let frames = decode(&file.interrupt().out);
    for (reason, _) in expected {
        let frame = frames.iter().find(|frame| frame.comment.contains(&format!("dropped: {reason}")));
        let frame = frame.unwrap_or_else(|| panic!("{reason}: {frames:?}"));
        assert_eq!(frame.malformed, "", "{frame:?}");
        let interface = match reason {
            "unknown_vni" => "elsewhere".to_owned(),
            "unknown_index" | "not_vxlan" => "underlay".to_owned(),
            "plain_on_sealed" => BLUE.to_owned(),
            _ => format!("{BLUE}/{}", cluster.endpoint(0)),
        };
        assert_eq!(frame.interface, interface, "{frame:?}");
    }
    let selected = cluster.capture(0, &format!("{BLUE} --drops --json -c 1"));
    wire.send(b"this is no VXLAN");
    wire.send(&vxlan(vni, &mark(here, there, 6)));
    let frames = selected.wait().json();
    assert_eq!((frames.len(), &frames[0]["dropped"]), (1, &Value::from("plain_on_sealed")), "{frames:?}");
}

#[test]
fn a_capture_is_limited_as_it_is_asked_to_be() {
    privileged!();
    needs!("tshark");
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    cluster.ping_all(&[0, 1]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = directory.path().join("capture.pcapng");
    let shown = path.display();
    // The filter; and bytes kept of each frame.
    let only =
        cluster.capture(1, &format!("{BLUE} icmp and src host {} -c 2 -s 40 -w {shown}", cluster.container(0).ip()));
    let lines = cluster.capture(1, &format!("--endpoint {} udp", cluster.endpoint(1)));
    let timed = cluster.capture(1, &format!("{BLUE} --json --seconds 1"));
    for _ in 0..3 {
        tell(&cluster, 0, 1, SECRET, 1);
        cluster.ping(0, cluster.container(1).ip());
    }
    assert_eq!(only.wait().frames, 2);
    let file = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let frames = decode(&file);
    assert_eq!(frames.len(), 2);
    for frame in &frames {
        assert!(frame.protocols.contains("icmp") && frame.way == "0x00000001" && frame.length == 98, "{frame:?}");
    }
    assert!(!holds(&file, SECRET));
    let lines = lines.interrupt();
    let lines = String::from_utf8(lines.out).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let line = format!("UDP {}:", cluster.container(0).ip());
    let at: Vec<_> = lines.lines().map(|shown| shown.find(&line).unwrap()).collect();
    assert!(at.iter().all(|column| *column == at[0]), "aligned: {lines}");
    assert!(timed.wait().frames > 0);

    // As users write it.
    let pipe = format!(
        "{} --socket {SOCKET} capture {BLUE} -w - -c 4 | tshark -r - -T fields -e frame.comment",
        weft().display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &pipe]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let before = cluster.events(0).len();
    let child = cluster.host(0).run(|| shell.spawn()).unwrap().unwrap();
    eventually("the capture has begun", || cluster.events(0).len() > before);
    cluster.ping(0, cluster.container(1).ip());
    cluster.ping(0, cluster.container(1).ip());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
}

#[test]
fn what_cannot_be_captured_is_refused() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    File::create(&path).unwrap().write_all(b"precious").unwrap();
    for (line, why) in [
        ("capture green", "network"),
        ("capture --endpoint ffff", "endpoint"),
        ("capture blue tcp and", "the filter ends where"),
        ("capture blue tcp host 10.0.0.1", "`host`"),
        ("capture blue --network blue", "where a primitive"),
        ("capture blue -w /nonexistent/file", "--write"),
    ] {
        let line = if line.contains("-w") { line.to_owned() } else { format!("{line} -w {}", path.display()) };
        let said = cluster.refused(0, &line);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"precious", "a refused command changes nothing");
    assert!(Path::new(&path).exists());
    let running: Vec<_> = (0..4).map(|_| cluster.capture(0, BLUE)).collect();
    let said = cluster.refused(0, "capture");
    assert!(said.contains("4 captures run already"), "{said}");
    for one in running {
        one.interrupt();
    }
    eventually("all have ended", || {
        let events = cluster.events(0);
        let count = |kind| events.iter().filter(|event| *event == kind).count();
        count("capture_started") == count("capture_ended")
    });
    cluster.capture(0, BLUE).interrupt();
}

/// Captures that see more than they can take lose copies, and the path loses nothing.
#[test]
fn captures_do_not_take_from_the_path() {
    privileged!();
    let cluster = Cluster::shared(LabSpec::new(2), &[]);
    cluster.ping_all(&[0, 1]);
    let drops = |n: usize| cluster.json(n, "stats")["drops"].clone();
    let before = [0, 1].map(drops);
    let running: Vec<_> = [0, 0, 0, 1].map(|n| cluster.capture(n, &format!("{BLUE} -w /dev/null"))).into();
    let (here, there) = (cluster.container(0), cluster.container(1));
    content::tcp(&here.netns, &there.netns, there.ip(), Talk { write: 60_000, writes: 2_000 });
    content::tcp(&there.netns, &here.netns, here.ip6(), Talk { write: 60_000, writes: 2_000 });
    let said: Vec<_> = running.into_iter().map(Running::interrupt).collect();
    assert!(said.iter().all(|said| said.frames > 0));
    let lost: u64 = said.iter().map(|said| said.lost).sum();
    eprintln!("{} frames, {lost} lost", said.iter().map(|said| said.frames).sum::<usize>());
    for n in [0, 1] {
        let now = drops(n);
        for (reason, count) in before[n].as_object().unwrap() {
            let congestion = ["tap_busy", "receive_overflow", "underlay_busy"].contains(&reason.as_str());
            assert!(congestion || now[reason] == *count, "{reason} on node{}: {count} and {}", n + 1, now[reason]);
        }
    }
}
