//! What the kernel puts before a device's own queues.
//!
//! Linux gives a TAP that may have several queues 256 of them, and each, when the device comes up, a queueing discipline
//! with room for as many frames as the device holds: 25 MB of memory, in which nothing ever waits, since a TAP takes a frame
//! at once or drops it. So these devices get the discipline that has no room (`noqueue`). A device that has one queue
//! keeps what the kernel gave it, which is a hundredth of that.

use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use tracing::debug;

use super::Netns;
use super::link::{Link, acknowledged, inside, to_io};

/// Takes the room before the queues of a device away, if it has several of them. A device that comes into another namespace
/// is given room anew when it is set up there. A kernel that refuses wastes memory, and nothing else.
pub fn none_before(netns: &Netns, link: &Link) {
    if !has_several(link) {
        return;
    }
    let done = inside(netns, async |handle| {
        none(&handle, link).await;
        Ok(())
    });
    if let Err(error) = done {
        debug!("{} keeps what is before its queues: {error}", link.name);
    }
}

/// As [`none_before`], in the namespace of this handle.
pub(super) async fn none(handle: &Handle, link: &Link) {
    if !has_several(link) {
        return;
    }
    let mut message = TcMessage::with_index(link.index as i32);
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("noqueue".to_owned()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    if let Err(error) = acknowledged(handle, request).await.map_err(to_io) {
        debug!("{} keeps what is before its queues: {error}", link.name);
    }
}

/// Whether the device was made for several queues, however many it has now.
fn has_several(link: &Link) -> bool {
    link.tx_queues > 1
}
