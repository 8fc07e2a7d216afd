//! The streams between neighbours: who has one, and what is on its way out.
//!
//! A stream is kept by two tasks: one brings frames in, the other is tonic's and takes them out. The newest stream
//! with a peer is the one that counts; an older one ends when it is replaced.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;
use tonic::Status;
use weft_control::id::NodeId;
use weft_proto::v1::Frame;

/// Frames that may wait for a slow peer. Beyond that its stream is ended: when it comes back it is told the difference.
const WAITING: usize = 512;

/// The way out to one peer.
#[derive(Debug)]
struct Stream {
    number: u64,
    out: mpsc::Sender<Frame>,
    /// Dropped when the stream is to end.
    _alive: mpsc::Sender<()>,
}

/// The streams of a node.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_peer: Mutex<(u64, HashMap<NodeId, Stream>)>,
}

/// A stream that has been opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) number: u64,
    /// What goes out.
    pub(super) frames: mpsc::Receiver<Frame>,
    /// Ends when the stream is to end.
    pub(super) ended: mpsc::Receiver<()>,
}

impl Streams {
    /// Makes room for a stream with a peer, whose first frame out is `hello`. An older one with it ends.
    pub(super) fn open(&self, peer: NodeId, hello: Frame) -> Opened {
        let (out, frames) = mpsc::channel(WAITING);
        let (alive, ended) = mpsc::channel(1);
        // A new channel has room for one.
        let _ = out.try_send(hello);
        let mut streams = self.lock();
        streams.0 += 1;
        let number = streams.0;
        streams.1.insert(peer, Stream { number, out, _alive: alive });
        Opened { number, frames, ended }
    }

    /// Sends a frame. A peer that does not take what it is sent loses its stream.
    pub(super) fn send(&self, peer: NodeId, frame: Frame) {
        let mut streams = self.lock();
        let full = streams.1.get(&peer).is_some_and(|stream| stream.out.try_send(frame).is_err());
        if full {
            streams.1.remove(&peer);
        }
    }

    /// Ends the stream with a peer.
    pub(super) fn end(&self, peer: NodeId) {
        self.lock().1.remove(&peer);
    }

    /// Ends this very stream. False if another has taken its place.
    pub(super) fn close(&self, peer: NodeId, number: u64) -> bool {
        let mut streams = self.lock();
        match streams.1.get(&peer) {
            Some(stream) if stream.number == number => streams.1.remove(&peer).is_some(),
            Some(_) => false,
            None => true,
        }
    }

    /// True while there is a stream with the peer.
    pub(super) fn has(&self, peer: NodeId) -> bool {
        self.lock().1.contains_key(&peer)
    }

    /// True while this very stream is the one with the peer.
    pub(super) fn is(&self, peer: NodeId, number: u64) -> bool {
        self.lock().1.get(&peer).is_some_and(|stream| stream.number == number)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, HashMap<NodeId, Stream>)> {
        self.by_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next frame of a peer, `None` at the end of its stream.
pub(super) async fn next(inbound: &mut tonic::Streaming<Frame>) -> Option<Frame> {
    match inbound.message().await {
        Ok(frame) => frame,
        Err(error) => {
            tracing::debug!("a stream broke: {}", Status::message(&error));
            None
        }
    }
}
