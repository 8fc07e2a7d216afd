//! Open vSwitch with its userspace datapath: a VTEP that shares no line with the kernel's or with weft's.

use std::path::Path;

use tempfile::TempDir;
use weft::lab::{Host, Lab, LabSpec, UPLINK, Underlay, kernel};
use weft::sandbox::devices;

use crate::harness::node::Node;
use crate::harness::program::{Program, run};
use crate::harness::{eventually, needs, privileged};
use crate::{VNI, check_ping, check_tcp, containers};

#[test]
fn open_vswitch_is_reached_by_ping_and_tcp() {
    privileged!();
    needs!("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ethtool");
    // Its userspace datapath reads packet sockets: super-frames and unfinished checksums are not for it.
    let lab = Lab::build(LabSpec { underlay: Underlay::Wire, ..LabSpec::new(2) }).unwrap();
    let [ours, theirs] = &lab.hosts[..] else { panic!("a lab of two hosts") };
    let node = Node::start(ours);
    node.network("blue", VNI, &[theirs], "");
    node.attach("blue", &ours.containers[0]);
    let switch = Switch::start(theirs);
    switch.join(&lab, theirs, ours);
    check_ping(containers(&lab));
    check_tcp(containers(&lab));
    node.is_well();
}

/// A running Open vSwitch on a host.
struct Switch<'a> {
    host: &'a Host,
    directory: TempDir,
    // In the order in which they end.
    _switch: Program,
    _database: Program,
}

impl<'a> Switch<'a> {
    fn start(host: &'a Host) -> Switch<'a> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        let environment = environment(directory.path());
        run(
            host,
            &["ovsdb-tool", "create", &text("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema"],
            &environment,
        );
        let remote = format!("--remote=punix:{}", text("db.sock"));
        let database = ["ovsdb-server", &text("conf.db"), &remote];
        let database = Program::start(host, &database, &environment, &path("ovsdb.log"));
        eventually("ovsdb-server listens", || path("db.sock").exists());
        let connection = format!("unix:{}", text("db.sock"));
        let switch = Program::start(host, &["ovs-vswitchd", &connection], &environment, &path("vswitchd.log"));
        Switch { host, _switch: switch, _database: database, directory }
    }

    /// Makes the container of `host` a port of the segment: the uplink's address moves to a bridge of the switch's own,
    /// through which the tunnels of the bridge with the container leave.
    fn join(&self, lab: &Lab, host: &Host, peer: &Host) {
        let container = &host.containers[0];
        devices::veth((&container.netns, kernel::INSIDE), (&host.netns, "c0"), lab.spec.inner_mtu()).unwrap();
        Underlay::Wire.shape(&container.netns, kernel::INSIDE).unwrap();
        Underlay::Wire.shape(&host.netns, "c0").unwrap();
        devices::address(&container.netns, kernel::INSIDE, container.v4.into()).unwrap();
        devices::address(&container.netns, kernel::INSIDE, container.v6.into()).unwrap();
        let (local, remote) = (host.address.to_string(), peer.address.to_string());
        let tunnel = format!("options:remote_ip={remote} options:local_ip={local} options:key={VNI}");
        self.vsctl("add-br underlay -- set bridge underlay datapath_type=netdev");
        self.vsctl(&format!("add-port underlay {UPLINK}"));
        run(host, &["ip", "address", "flush", "dev", UPLINK], &[]);
        run(host, &["ip", "address", "add", &format!("{local}/24"), "dev", "underlay"], &[]);
        run(host, &["ip", "link", "set", "underlay", "up"], &[]);
        self.vsctl("add-br overlay -- set bridge overlay datapath_type=netdev");
        self.vsctl("add-port overlay c0");
        self.vsctl(&format!("add-port overlay vx0 -- set interface vx0 type=vxlan {tunnel}"));
    }

    /// Runs `ovs-vsctl`, which waits until the switch has done what it says.
    fn vsctl(&self, line: &str) {
        let database = format!("--db=unix:{}", self.directory.path().join("db.sock").display());
        let command: Vec<_> =
            ["ovs-vsctl", &database, "--timeout=30"].into_iter().chain(line.split_whitespace()).collect();
        run(self.host, &command, &environment(self.directory.path()));
    }
}

/// Nothing of it is where an Open vSwitch of the machine would be.
fn environment(directory: &Path) -> [(&'static str, &Path); 4] {
    ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"].map(|name| (name, directory))
}
