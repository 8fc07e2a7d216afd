//! Frames as they pass, for whoever asks on the node's socket: `weft capture`.
//!
//! Enters: what is to be seen. The workers copy it into rings ([`weft_vtep::capture`]); a task of the capture's own takes
//! that out at a fixed pace and hands it on in batches ([`mod@wire`]). Where the client is slower, the rings fill up, and what
//! finds no room is lost and counted: the pace and the rings bound what a capture costs. Beginning and end are told as
//! events, with who asked: a capture shows the inside of sealed networks.

mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::server::UdsConnectInfo;
use weft_control::network::Network;
use weft_proto::request::{self, Refused};
use weft_proto::v1;
use weft_vtep::capture::Selection;
use weft_vtep::io::capture::Tail;

use self::wire::Names;
use super::{Node, NodeError};

/// How often the rings are emptied: what they hold, so often a second, is the most that a capture sees.
const PACE: Duration = Duration::from_millis(50);
/// Batches that wait for the client.
const AHEAD: usize = 2;
/// Bytes of a filter.
const LONGEST_FILTER: usize = 2_048;

/// Batches for a client, or why there are no more.
pub(super) type Batches = ReceiverStream<Result<v1::CaptureBatch, Status>>;

/// What is to be seen, in words.
struct Subject {
    network: Option<String>,
    endpoint: Option<String>,
    drops: bool,
    filter: String,
}

impl Node {
    /// Begins a capture that ends when its client goes away.
    pub(super) async fn capture(
        self: &Arc<Self>,
        asked: v1::CaptureRequest,
        by: Option<UdsConnectInfo>,
    ) -> Result<Batches, NodeError> {
        self.check_ready()?;
        let (selection, subject) = self.read_capture(asked)?;
        let node = Arc::clone(self);
        let tail = spawn_blocking(move || node.vtep.capture(selection)).await;
        let tail = tail.map_err(|_| NodeError::Capture("the daemon failed while it began the capture".into()))?;
        let tail = tail.map_err(|error| NodeError::Capture(error.to_string()))?;
        self.events.record("capture_started", format!("a capture of {subject} has begun, asked for by {}", Asker(by)));
        let (sender, receiver) = mpsc::channel(AHEAD);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let (frames, lost) = node.hand_over(tail, &sender).await;
            node.events.record(
                "capture_ended",
                format!("the capture of {subject} has ended: {frames} frames shown, {lost} lost"),
            );
        });
        Ok(ReceiverStream::new(receiver))
    }

    fn read_capture(&self, asked: v1::CaptureRequest) -> Result<(Selection, Subject), NodeError> {
        if asked.filter.len() > LONGEST_FILTER {
            return Err(Refused::TooLong { what: "filter", limit: LONGEST_FILTER }.into());
        }
        let filter = match asked.filter.trim() {
            "" => None,
            text => Some(text.parse().map_err(|error| NodeError::Filter(format!("{error}")))?),
        };
        let reference = asked.network.map(|network| request::reference(network, "network")).transpose()?;
        // Before the tables are held: it reads them as well, and a writer that waits lets no second reader in.
        if let Some(reference) = reference.as_ref().filter(|reference| self.local_network(reference).is_some()) {
            return Err(NodeError::CaptureLocal(reference.clone()));
        }
        let tables = self.tables();
        let network: Option<Network> = reference.map(|reference| tables.network(&reference).cloned()).transpose()?;
        let endpoint = asked.endpoint.map(|endpoint| request::reference(endpoint, "endpoint")).transpose()?;
        let endpoint = endpoint.map(|reference| tables.find_endpoint(&reference)).transpose()?.map(|l| &l.endpoint);
        if let (Some(endpoint), Some(network)) = (endpoint, &network)
            && endpoint.network != network.id
        {
            return Err(NodeError::NotOnNetwork { endpoint: endpoint.id.clone(), network: network.name.clone() });
        }
        let of_endpoint = endpoint.and_then(|endpoint| tables.network_by_id(&endpoint.network));
        let snap_len = if asked.snap_len == 0 { usize::MAX } else { asked.snap_len as usize };
        let selection = Selection {
            vni: network.as_ref().or(of_endpoint).map(|network| network.vni),
            endpoint: endpoint.map(|endpoint| endpoint.mac),
            drops: asked.drops,
            filter,
            snap_len,
        };
        let subject = Subject {
            network: network.map(|network| network.name),
            endpoint: endpoint.map(|endpoint| endpoint.id.clone()),
            drops: asked.drops,
            filter: asked.filter,
        };
        Ok((selection, subject))
    }

    /// Empties the rings until the client has gone. Returns how many frames were handed over, and how many were lost.
    async fn hand_over(&self, mut tail: Tail, client: &mpsc::Sender<Result<v1::CaptureBatch, Status>>) -> (u64, u64) {
        let mut names = Names::default();
        let (mut frames, mut lost) = (0, 0);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first says that the capture has begun.
        let mut batches = vec![v1::CaptureBatch::default()];
        'client: loop {
            for batch in batches.drain(..) {
                let count = batch.frames.len() as u64;
                if client.send(Ok(batch)).await.is_err() {
                    break 'client;
                }
                frames += count;
            }
            tokio::select! {
                () = client.closed() => break,
                _ = ticks.tick() => {}
            }
            batches = names.batches(self, &mut tail);
            let now_lost = tail.lost();
            if now_lost > lost && batches.is_empty() {
                batches.push(v1::CaptureBatch::default());
            }
            if let Some(first) = batches.first_mut() {
                first.lost = now_lost - lost;
                lost = now_lost;
            }
        }
        lost = tail.lost();
        // It waits for the workers.
        let _ = spawn_blocking(move || drop(tail)).await;
        (frames, lost)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.drops { "what is dropped" } else { "what passes" })?;
        match (&self.endpoint, &self.network) {
            (Some(endpoint), _) => write!(f, " at the endpoint {endpoint}")?,
            (None, Some(network)) => write!(f, " on the network {network}")?,
            (None, None) => f.write_str(" on all networks")?,
        }
        if self.filter.trim().is_empty() { Ok(()) } else { write!(f, " ({})", self.filter.trim().escape_debug()) }
    }
}

/// Who is at the other end of the socket.
struct Asker(Option<UdsConnectInfo>);

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(credentials) = self.0.as_ref().and_then(|by| by.peer_cred) else { return f.write_str("somebody") };
        write!(f, "the user with the number {}", credentials.uid())?;
        // Another namespace's process has none here.
        credentials.pid().map_or(Ok(()), |pid| write!(f, ", process {pid}"))
    }
}
