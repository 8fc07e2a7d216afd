//! Links inside namespaces: plugging an endpoint's device into its sandbox, looking links up, deleting them.
//!
//! A device of the daemon's namespace and a [`LinkSpec`] come in; a dressed interface inside the sandbox comes out, or
//! nothing at all. The device is made outside and moved because an open TAP pins the namespace that it was opened in:
//! a sandbox must be able to end while the daemon holds its endpoint's file.
//!
//! Every call blocks and does its work on a thread of its own, so that it may be used from any thread, also from one of
//! an async runtime (there by `spawn_blocking`).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use futures_util::StreamExt;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkUnspec};
use tracing::debug;
use weft_vtep::addr::Mac;

use super::{Netns, NetnsError, queue};

/// The kernel's IFNAMSIZ without the terminating zero.
const NAME_MAX: usize = 15;

/// What an interface shall be once it is inside a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Its name inside.
    pub ifname: String,
    /// Whose it is, for whoever looks for it later: names, indexes and MAC addresses may be another link's by then.
    pub alias: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The largest super-frame that it shall hand over, in bytes; `None` leaves it the kernel's limit.
    pub super_frame: Option<u32>,
    /// Its addresses. Set without duplicate address detection: the network's own allocation is what keeps them apart.
    pub addresses: Vec<IpNet>,
}

/// A link as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique within its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What says whose it is; empty for most links. It stays with the link wherever that goes.
    pub alias: String,
    /// Its MAC address; `None` for links that have none of six bytes.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True when it is administratively up.
    pub up: bool,
    /// How many queues the kernel may have for what it sends.
    pub tx_queues: u32,
}

/// Why a link could not be made as asked. A link that was being plugged does not exist any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel would not accept, or would rewrite, this interface name.
    #[error("`{0}` cannot be an interface name: use 1 to 15 characters without spaces, `/`, `:` or `%`")]
    BadName(String),
    /// The sandbox has an interface with the wanted name.
    #[error("the namespace {} already has an interface {ifname}; choose another with --ifname", netns.display())]
    NameTaken {
        /// The wanted name.
        ifname: String,
        /// The sandbox.
        netns: PathBuf,
    },
    /// There is no link with this name.
    #[error("there is no interface {0}")]
    NoSuchLink(String),
    /// The sandbox has IPv6 switched off, and an IPv6 address was to be set.
    #[error(
        "cannot set {address} on {ifname}: IPv6 is off in the namespace (sysctl net.ipv6.conf.all.disable_ipv6), or the MTU is below 1280"
    )]
    Ipv6Off {
        /// The address.
        address: IpNet,
        /// The interface.
        ifname: String,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The system refused something else.
    #[error("cannot {doing}: {error}")]
    System {
        /// What was being done.
        doing: String,
        /// What the system said. Part of the text, therefore not its `source` as well.
        error: io::Error,
    },
}

impl LinkError {
    pub(super) fn system(doing: impl Into<String>, error: io::Error) -> Self {
        LinkError::System { doing: doing.into(), error }
    }
}

/// Moves the device `device` of the calling thread's namespace into `sandbox` and makes it what `spec` says, up.
///
/// Returns its index there. On any failure the device is deleted, wherever it had got to: nothing half made stays behind.
pub fn plug(device: &str, sandbox: &Netns, spec: &LinkSpec) -> Result<u32, LinkError> {
    let moved =
        check_name(&spec.ifname).and_then(|()| here(async |handle| send_over(&handle, device, sandbox, spec).await));
    if let Err(error) = moved {
        // The kernel moves a link first and renames it then: a taken name leaves it in the sandbox under its old name.
        // The first error is the one to tell.
        let _ = here(async |handle| discard(&handle, device, &spec.alias).await);
        let _ = inside(sandbox, async |handle| discard(&handle, device, &spec.alias).await);
        return Err(error);
    }
    let dressed = inside(sandbox, async |handle| dress(&handle, spec).await);
    if dressed.is_err() {
        let _ = inside(sandbox, async |handle| discard(&handle, &spec.ifname, &spec.alias).await);
    }
    dressed
}

/// Frames that the device holds until a worker reads them: 27 ms of 150,000 small ones a second, where Linux's own 1,000
/// last less than two time slices of a busy core.
const QUEUE: u32 = 4096;

/// The link with this index, `None` if the namespace has none.
pub fn lookup(netns: &Netns, index: u32) -> Result<Option<Link>, LinkError> {
    inside(netns, async |handle| get(&handle, Some(index), None).await)
}

/// The link with this name, `None` if the namespace has none.
pub fn lookup_name(netns: &Netns, name: &str) -> Result<Option<Link>, LinkError> {
    inside(netns, async |handle| by_name(&handle, name).await)
}

/// The link with this alias, `None` if the namespace has none.
pub fn lookup_alias(netns: &Netns, alias: &str) -> Result<Option<Link>, LinkError> {
    inside(netns, async |handle| {
        let mut answers = std::pin::pin!(handle.link().get().execute());
        while let Some(answer) = answers.next().await {
            let message = answer.map_err(|error| LinkError::system("list the interfaces", to_io(error)))?;
            let link = link_of(&message);
            if link.alias == alias {
                return Ok(Some(link));
            }
        }
        Ok(None)
    })
}

/// Gives the device `device` of the calling thread's namespace its alias, MAC address, MTU and limits, and leaves it where
/// it is: whoever moves it later does the rest. Returns its index.
pub fn shape(device: &str, alias: &str, mac: Mac, mtu: u32, super_frame: Option<u32>) -> Result<u32, LinkError> {
    here(async |handle| set_shape(&handle, device, alias, mac, mtu, super_frame).await)
}

/// The present name of the link with this index, `None` if the namespace has none: containers rename their interfaces.
pub fn name_of(netns: &Netns, index: u32) -> Result<Option<String>, LinkError> {
    Ok(lookup(netns, index)?.map(|link| link.name))
}

/// Deletes the link with this index. A link that is not there is no error: it is what was asked for.
pub fn delete(netns: &Netns, index: u32) -> Result<(), LinkError> {
    inside(netns, async |handle| match handle.link().del(index).execute().await.map_err(to_io) {
        Ok(()) => Ok(()),
        Err(error) if is(&error, Errno::ENODEV) => Ok(()),
        Err(error) => Err(LinkError::system(format!("delete the interface with index {index}"), error)),
    })
}

/// Says whether the kernel would take `name` literally as an interface name.
pub fn check_name(name: &str) -> Result<(), LinkError> {
    // `%` is refused because the kernel takes it as a pattern when a link changes its namespace.
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.is_empty() || name.len() > NAME_MAX || name.contains(bad) || matches!(name, "." | "..") {
        return Err(LinkError::BadName(name.to_owned()));
    }
    Ok(())
}

/// Gives the device its alias, its MAC address, its MTU and its limits. Returns its index.
async fn set_shape(
    handle: &Handle,
    device: &str,
    alias: &str,
    mac: Mac,
    mtu: u32,
    super_frame: Option<u32>,
) -> Result<u32, LinkError> {
    let index = by_name(handle, device).await?.ok_or_else(|| LinkError::NoSuchLink(device.to_owned()))?.index;
    let named = LinkAttribute::IfAlias(alias.to_owned());
    let shape = LinkUnspec::new_with_index(index).append_extra_attribute(named).build();
    let doing = || format!("give {device} the alias {alias}");
    handle.link().set(shape).execute().await.map_err(|error| LinkError::system(doing(), to_io(error)))?;
    let shape = LinkUnspec::new_with_index(index).address(mac.octets().to_vec()).build();
    let doing = || format!("give {device} the MAC address {mac}");
    handle.link().set(shape).execute().await.map_err(|error| LinkError::system(doing(), to_io(error)))?;
    let shape = LinkUnspec::new_with_index(index).mtu(mtu).build();
    let doing = || format!("set the MTU of {device} to {mtu}");
    handle.link().set(shape).execute().await.map_err(|error| LinkError::system(doing(), to_io(error)))?;
    // Only a matter of speed: a kernel that refuses it keeps its own limits.
    let shape = LinkUnspec::new_with_index(index).append_extra_attribute(LinkAttribute::TxQueueLen(QUEUE));
    let shape = super_frame
        .into_iter()
        .fold(shape, |shape, largest| shape.append_extra_attribute(LinkAttribute::GsoMaxSize(largest)));
    if let Err(error) = handle.link().set(shape.build()).execute().await.map_err(to_io) {
        debug!("{device} keeps the kernel's limits: {error}");
    }
    Ok(index)
}

/// Gives the device its MAC address and MTU, and moves and renames it in one request.
async fn send_over(handle: &Handle, device: &str, sandbox: &Netns, spec: &LinkSpec) -> Result<(), LinkError> {
    let index = set_shape(handle, device, &spec.alias, spec.mac, spec.mtu, spec.super_frame).await?;
    let request = LinkUnspec::new_with_index(index).name(spec.ifname.clone());
    let request = request.setns_by_fd(sandbox.as_fd().as_raw_fd()).build();
    handle.link().set(request).execute().await.map_err(|error| match to_io(error) {
        source if is(&source, Errno::EEXIST) => {
            LinkError::NameTaken { ifname: spec.ifname.clone(), netns: sandbox.path().to_owned() }
        }
        source => LinkError::system(format!("move {device} into {}", sandbox.path().display()), source),
    })
}

/// The addresses, then up: nobody sees the link up and not yet complete. Returns its index.
async fn dress(handle: &Handle, spec: &LinkSpec) -> Result<u32, LinkError> {
    // The index may have changed on the way in, if the sandbox had a link with that index.
    let link = by_name(handle, &spec.ifname).await?.ok_or_else(|| LinkError::NoSuchLink(spec.ifname.clone()))?;
    for address in &spec.addresses {
        set_address(handle, link.index, &spec.ifname, *address).await?;
    }
    queue::none(handle, &link).await;
    let up = LinkUnspec::new_with_index(link.index).up().build();
    let doing = || format!("set {} up", spec.ifname);
    handle.link().set(up).execute().await.map_err(|error| LinkError::system(doing(), to_io(error)))?;
    Ok(link.index)
}

/// Deletes the link if it is the one that was to be plugged, as its alias tells.
async fn discard(handle: &Handle, name: &str, alias: &str) -> Result<(), LinkError> {
    match by_name(handle, name).await? {
        Some(link) if link.alias == alias => {
            let deleted = handle.link().del(link.index).execute().await;
            deleted.map_err(|error| LinkError::system(format!("delete {name}"), to_io(error)))
        }
        _ => Ok(()),
    }
}

/// Adds an address without duplicate address detection.
pub(super) async fn set_address(handle: &Handle, index: u32, ifname: &str, address: IpNet) -> Result<(), LinkError> {
    let mut request = handle.address().add(index, address.addr(), address.prefix_len());
    let message = request.message_mut();
    message.header.flags |= AddressHeaderFlags::Nodad;
    if matches!(address, IpNet::V4(net) if net.prefix_len() >= 31) {
        // A /31 has no broadcast address (RFC 3021): the one that would be computed is the other host's.
        message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
    }
    request.execute().await.map_err(|error| match to_io(error) {
        source
            if matches!(address.addr(), IpAddr::V6(_))
                && (is(&source, Errno::EACCES) || is(&source, Errno::EINVAL)) =>
        {
            LinkError::Ipv6Off { address, ifname: ifname.to_owned() }
        }
        source => LinkError::system(format!("set the address {address} on {ifname}"), source),
    })
}

pub(super) async fn by_name(handle: &Handle, name: &str) -> Result<Option<Link>, LinkError> {
    get(handle, None, Some(name)).await
}

async fn get(handle: &Handle, index: Option<u32>, name: Option<&str>) -> Result<Option<Link>, LinkError> {
    let mut request = handle.link().get();
    if let Some(index) = index {
        request = request.match_index(index);
    }
    if let Some(name) = name {
        request = request.match_name(name.to_owned());
    }
    let mut answers = std::pin::pin!(request.execute());
    let mut found = None;
    while let Some(answer) = answers.next().await {
        match answer.map_err(to_io) {
            Ok(message) => found = Some(link_of(&message)),
            Err(error) if is(&error, Errno::ENODEV) => {}
            Err(error) => return Err(LinkError::system("look up an interface", error)),
        }
    }
    Ok(found)
}

fn link_of(message: &LinkMessage) -> Link {
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut link = Link { index: message.header.index, up, ..Link::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Address(octets) if octets.len() == 6 => link.mac = Mac::read(octets),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::NumTxQueues(queues) => link.tx_queues = *queues,
            _ => {}
        }
    }
    link
}

/// Makes a request that rtnetlink has no words for, and waits until it is done.
pub(super) async fn acknowledged(
    handle: &Handle,
    request: NetlinkMessage<RouteNetlinkMessage>,
) -> Result<(), rtnetlink::Error> {
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

/// Talks rtnetlink in the namespace of the calling thread.
pub(super) fn here<T: Send>(talk: impl AsyncFnOnce(Handle) -> Result<T, LinkError> + Send) -> Result<T, LinkError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("rtnetlink".into()).spawn_scoped(scope, || converse(talk));
        let thread = thread.map_err(|source| LinkError::system("start a thread", source))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Talks rtnetlink inside a namespace.
pub(super) fn inside<T: Send>(
    netns: &Netns,
    talk: impl AsyncFnOnce(Handle) -> Result<T, LinkError> + Send,
) -> Result<T, LinkError> {
    netns.run(|| converse(talk))?
}

/// A netlink socket belongs to the namespace of the thread that opens it, so each conversation has its own small runtime.
fn converse<T>(talk: impl AsyncFnOnce(Handle) -> Result<T, LinkError>) -> Result<T, LinkError> {
    let doing = |source| LinkError::system("open a netlink socket", source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(doing)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(doing)?;
        tokio::spawn(connection);
        talk(handle).await
    })
}

pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_or_rewrite_are_refused() {
        for good in ["eth0", "a", "fifteen-letters", "wan.100"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "sixteen-letters!", ".", "..", "a b", "a/b", "a:1", "eth%d", "a\n"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
