//! Open vSwitch's userspace datapath on the hosts of a lab, with VXLAN between its bridges.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft::lab::{Host, Lab, UPLINK, Underlay, kernel};
use weft::sandbox::devices;
use weft_vtep::addr::Vni;

use super::tunnel::{Tunnel, succeeded};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Nothing of it is where an Open vSwitch of the machine would be.
const DIRECTORIES: [&str; 4] = ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"];

/// A switch on every host; each container is a port.
pub(crate) fn overlay(lab: &Lab, vni: Vni) -> Result<Vec<Tunnel>> {
    let mut programs = Vec::new();
    for host in &lab.hosts {
        // The switch keeps its files open, and is told nothing after this.
        let dir = tempfile::tempdir()?;
        let text = |name: &str| dir.path().join(name).display().to_string();
        run(host, dir.path(), &["ovsdb-tool", "create", &text("conf.db"), SCHEMA])?;
        let listen = format!("--remote=punix:{}", text("db.sock"));
        programs.push(start(host, dir.path(), &["ovsdb-server", &text("conf.db"), &listen])?);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !dir.path().join("db.sock").exists() {
            ensure!(Instant::now() < deadline, "ovsdb-server on {} does not listen", host.name);
            sleep(Duration::from_millis(20));
        }
        let database = format!("unix:{}", text("db.sock"));
        programs.push(start(host, dir.path(), &["ovs-vswitchd", &database])?);
        join(lab, host, vni, |line| {
            let database = format!("--db={database}");
            let command: Vec<_> =
                ["ovs-vsctl", &database, "--timeout=30"].into_iter().chain(line.split_whitespace()).collect();
            run(host, dir.path(), &command)
        })?;
    }
    Ok(programs)
}

/// Makes the container of `host` a port of the segment: the uplink's address moves to a bridge of the switch's own,
/// through which the tunnels of the bridge with the container leave.
fn join(lab: &Lab, host: &Host, vni: Vni, vsctl: impl Fn(&str) -> Result<()>) -> Result<()> {
    let container = &host.containers[0];
    devices::veth((&container.netns, kernel::INSIDE), (&host.netns, "c0"), lab.spec.inner_mtu())?;
    // The datapath reads packet sockets: super-frames and unfinished checksums are not for it.
    Underlay::Wire.shape(&container.netns, kernel::INSIDE)?;
    Underlay::Wire.shape(&host.netns, "c0")?;
    devices::address(&container.netns, kernel::INSIDE, container.v4.into())?;
    vsctl("add-br underlay -- set bridge underlay datapath_type=netdev")?;
    vsctl(&format!("add-port underlay {UPLINK}"))?;
    let local = host.address;
    for line in [
        format!("ip address flush dev {UPLINK}"),
        format!("ip address add {local}/24 dev underlay"),
        "ip link set underlay up".into(),
    ] {
        run(host, Path::new("/"), &line.split_whitespace().collect::<Vec<_>>())?;
    }
    vsctl("add-br overlay -- set bridge overlay datapath_type=netdev")?;
    vsctl("add-port overlay c0")?;
    for peer in lab.peers_of(host) {
        let options = format!("options:remote_ip={peer} options:local_ip={local} options:key={vni}");
        vsctl(&format!("add-port overlay vx0 -- set interface vx0 type=vxlan {options}"))?;
    }
    Ok(())
}

fn start(host: &Host, dir: &Path, program: &[&str]) -> Result<Tunnel> {
    let environment = DIRECTORIES.map(|name| format!("{name}={}", dir.display()));
    let program: Vec<_> =
        ["env"].into_iter().chain(environment.iter().map(String::as_str)).chain(program.iter().copied()).collect();
    Tunnel::run(host, &dir.join("log"), &program.into_iter().map(OsStr::new).collect::<Vec<_>>())
}

fn run(host: &Host, dir: &Path, command: &[&str]) -> Result<()> {
    let environment = DIRECTORIES.map(|name| (name, dir));
    succeeded(host.output(Command::new(command[0]).args(&command[1..]).envs(environment))?).map(drop)
}
