//! weft while somebody looks: captures of all that passes, and the metrics page of a node with many endpoints.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft::lab::{Daemon, Host, Lab, overlay};
use weft::sandbox::Netns;
use weft_vtep::addr::Vni;

use super::tunnel::Tunnel;

/// Endpoints of a crowded node, beside the one that is measured.
const CROWD: usize = 500;
const METRICS: &str = "127.0.0.1:9469";
const PATIENCE: Duration = Duration::from_secs(5);

/// `weft capture` of everything on every host, with a reader that throws it away. Its time counts as the overlay's.
pub(crate) fn capture(lab: &Lab, daemons: &[Daemon], binary: &Path) -> Result<Vec<Tunnel>> {
    let mut captures = Vec::new();
    for (host, daemon) in lab.hosts.iter().zip(daemons) {
        let socket = daemon.socket();
        let program = [binary.as_os_str(), OsStr::new("--socket"), socket.as_os_str()];
        let program = [&program[..], &["capture", "--write", "-"].map(OsStr::new)].concat();
        captures.push(Tunnel::run(host, Path::new("/dev/null"), &program)?);
        let deadline = Instant::now() + PATIENCE;
        while !daemon.json(host, &["events"])?.to_string().contains("capture_started") {
            ensure!(Instant::now() < deadline, "no capture has begun on {}", host.name);
            sleep(Duration::from_millis(20));
        }
    }
    Ok(captures)
}

/// As [`overlay::weft`], but each node has [`CROWD`] endpoints more, on a network of their own, and serves its metrics. The
/// namespaces are theirs: without them the endpoints are gone.
pub(crate) fn crowded(lab: &Lab, binary: &Path, name: &str, vni: Vni) -> Result<(Vec<Daemon>, Vec<Netns>)> {
    let crowd = |host: &Host| -> Result<(Daemon, Netns)> {
        let daemon = Daemon::start(binary, host, &["--metrics", METRICS])?;
        overlay::join(lab, &daemon, host, name, vni)?;
        let netns = Netns::anonymous()?;
        let path = netns.path().display().to_string();
        daemon.json(host, &["network", "create", "crowd", "--plain", "--subnet", "10.80.0.0/16"])?;
        for n in 0..CROWD {
            daemon.json(host, &["attach", "crowd", "--netns", &path, "--ifname", &format!("c{n}")])?;
        }
        Ok((daemon, netns))
    };
    thread::scope(|scope| {
        let hosts: Vec<_> = lab.hosts.iter().map(|host| scope.spawn(move || crowd(host))).collect();
        let joined = hosts.into_iter().map(|host| host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect()
    })
}

/// Reads a host's metrics page, and says how long that took.
pub(crate) fn scrape(host: &Host) -> Result<Duration> {
    let start = Instant::now();
    let page = host.run(|| -> Result<String> {
        let mut stream = TcpStream::connect(METRICS)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    })??;
    let took = start.elapsed();
    let row = format!("weft_network_endpoints{{network=\"crowd\",state=\"up\"}} {CROWD}");
    ensure!(page.contains(&row), "`{row}` is not on the page of {}", host.name);
    Ok(took)
}
