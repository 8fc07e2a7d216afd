//! Why the node refuses a change. The change left nothing behind.

use std::io;
use std::net::IpAddr;

use weft_control::blocks::AddressError;
use weft_control::define::DefineError;
use weft_control::local::LocalError;
use weft_control::network::{Lookup, Mode};
use weft_control::security::files::FileError;
use weft_control::space::AssignError;
use weft_proto::request::Refused;
use weft_vtep::addr::Mac;
use weft_vtep::io::TableError;

use super::state::StateError;
use crate::drivers::DriverError;
use crate::sandbox::{LinkError, NetnsError};

/// Why the node refuses a change. The change left nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The message is no request.
    #[error(transparent)]
    Request(#[from] Refused),
    /// The network cannot be as it is asked for.
    #[error(transparent)]
    Define(#[from] DefineError),
    /// The network of this host cannot be as it is asked for.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The network's driver refuses.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The network is not there.
    #[error(transparent)]
    Lookup(#[from] Lookup),
    /// The endpoint gets no addresses.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// The data plane refuses.
    #[error("the data plane refuses: {0}")]
    Table(#[from] TableError),
    /// The namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The interface cannot be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys cannot be read, stored or removed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The endpoint is another network's.
    #[error(
        "the endpoint {endpoint} is not on the network {network}: `weft network inspect {network}` lists those that are"
    )]
    NotOnNetwork {
        /// The endpoint.
        endpoint: String,
        /// The network.
        network: String,
    },
    /// The kernel forwards there.
    #[error("{0} is a network of this host, which the kernel forwards: only overlays are traced")]
    TraceLocal(String),
    /// The kernel forwards there.
    #[error("{0} is a network of this host, which the kernel forwards: capture there with tcpdump")]
    CaptureLocal(String),
    /// The text is no filter.
    #[error("{0}")]
    Filter(String),
    /// No capture can be begun.
    #[error("{0}")]
    Capture(String),
    /// Too early.
    #[error("the node is not ready yet: it is restoring its endpoints, try again in a moment")]
    NotReady,
    /// It is about a cluster.
    #[error("this node stands alone, and that is about a cluster: start one with `weft up --bootstrap`")]
    NeedsCluster,
    /// The member is not there.
    #[error("there is no member `{0}`; `weft members` lists those that are known")]
    NoSuchMember(String),
    /// The name, or the beginning of an id, is not enough.
    #[error("`{0}` could be several members: give an id")]
    SeveralMembers(String),
    /// A node does not remove itself.
    #[error("a node cannot remove itself: run `weft leave` here, or `weft members rm` on another member")]
    RemoveSelf,
    /// Only a signer's word counts.
    #[error("this node is no signer, and only a signer can do that: run it on one (`weft members` shows them)")]
    NoSigner,
    /// A signer takes itself off the list.
    #[error("a signer cannot dismiss itself: run `weft signer rm` on another signer")]
    DismissSelf,
    /// Nobody would be left to let others in.
    #[error("{0} is the only signer: give another member the CA's key first, with `weft signer add`")]
    LastSigner(String),
    /// There is no such token.
    #[error("there is no join token `{0}`; `weft token ls` lists those that exist")]
    NoSuchToken(String),
    /// The node has endpoints, and so is of use to somebody.
    #[error("this node has {0} endpoint(s): detach them first, with `weft detach`")]
    LeaveWithEndpoints(usize),
    /// The cluster takes no more objects.
    #[error("the cluster has as many networks as it can: remove one first")]
    ClusterFull,
    /// The cluster did not take what was to be written.
    #[error(
        "the cluster has not taken it: it has as many objects as it can, or a member has written this one with a clock \
         that nothing outranks (`weft events` tells of what was refused)"
    )]
    NotTaken,
    /// A signer is one no more, and the CA whose key it knows is still in force.
    #[error("no new CA could be put in force, so the one whose key that node knows still is: `weft events` says why")]
    SameCa,
    /// The MAC address moved too often.
    #[error(
        "the MAC address {0} moved between nodes too often and is frozen where it is: two containers have it; \
             choose another, or wait until it was quiet for 3 minutes"
    )]
    MacFrozen(Mac),
    /// No address is to be had.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The network is in use on other nodes.
    #[error(
        "the network `{network}` has endpoints on other nodes ({nodes}): detach them there first; a node that will not \
         come back is taken out with `weft members rm`"
    )]
    HasEndpointsElsewhere {
        /// The network.
        network: String,
        /// Their names, as text.
        nodes: String,
    },
    /// The network is in use.
    #[error("the network `{network}` has endpoints ({endpoints}): detach them first, with `weft detach`")]
    HasEndpoints {
        /// The network.
        network: String,
        /// Their identifiers, as text.
        endpoints: String,
    },
    /// The endpoint is not there.
    #[error("there is no endpoint `{0}`; `weft network inspect` lists those of a network")]
    NoSuchEndpoint(String),
    /// The beginning of an id is not enough.
    #[error("`{0}` is the beginning of several endpoints' ids: give more of it")]
    SeveralEndpoints(String),
    /// No station can have the MAC address.
    #[error(
        "{0} cannot be an endpoint's MAC address, it is a group address or zero: choose another, or leave --mac out"
    )]
    BadMac(Mac),
    /// Another endpoint has the MAC address.
    #[error("the MAC address {mac} is held by the endpoint {holder}: choose another, or leave --mac out")]
    MacInUse {
        /// The address.
        mac: Mac,
        /// Who has it.
        holder: String,
    },
    /// The underlay carries less than when the network was made.
    #[error(
        "the network's MTU is {mtu}, but the underlay's is {underlay} now, which carries {max} inside a {mode} tunnel: \
         raise the underlay's, or make the network with --mtu {max}"
    )]
    UnderlayShrunk {
        /// The network's MTU.
        mtu: u16,
        /// The underlay's.
        underlay: u32,
        /// The most that it carries.
        max: u32,
        /// The network's mode.
        mode: Mode,
    },
    /// The tunnel address is not this host's any more.
    #[error(
        "no interface of this host that is up has the tunnel address {0}: give it back, or restart weft with --advertise"
    )]
    AddressGone(IpAddr),
    /// The underlay cannot be examined.
    #[error("{0}")]
    Underlay(String),
    /// The cluster chooses addresses, each node inside its own share.
    #[error("the cluster chooses the addresses, so none can be chosen from {0}: leave --ip-range out")]
    RangeInCluster(ipnet::IpNet),
    /// The address cannot be kept.
    #[error("{0}")]
    Kept(String),
    /// The device cannot be made or changed.
    #[error("cannot {doing}: {error}{}", device_advice(.error))]
    Device {
        /// What was being done.
        doing: String,
        /// What the system said.
        error: io::Error,
    },
}

/// What usually helps when the kernel refuses a TAP device.
pub(super) fn device_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "; there is no /dev/net/tun: load the module with `modprobe tun`, or give the container the device"
        }
        io::ErrorKind::PermissionDenied => "; it needs CAP_NET_ADMIN and access to /dev/net/tun: run as root",
        _ => "",
    }
}
