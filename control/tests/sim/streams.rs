//! Streams: in order, nothing lost, until they break.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use prost::Message as _;
use weft_proto::v1::Frame;
use weft_proto::v1::frame::Kind;

use crate::net::Net;

/// A stream whose other end is not reached for so long is broken: a keepalive of 5 s and its timeout.
const BROKEN_AFTER: Duration = Duration::from_secs(10);
/// How often a frame that does not get through is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Both directions of one stream.
pub(crate) struct Stream {
    /// Who dialed, and who was dialed, by index.
    pub(crate) ends: [usize; 2],
    ways: [Way; 2],
}

#[derive(Default)]
struct Way {
    frames: VecDeque<(Duration, Load)>,
    latest: Duration,
    stuck_since: Option<Duration>,
}

/// A frame on its way.
pub(crate) enum Load {
    /// As octets, since that is small: of a thousand nodes that tell each other all they have, gigabytes are on their way.
    Octets(Vec<u8>),
    /// As it is: an acknowledgement, of which there are millions.
    Frame(Frame),
}

impl Load {
    fn of(frame: Frame) -> Load {
        match &frame.kind {
            Some(Kind::Ack(_) | Kind::Digest(_) | Kind::Swim(_)) => Load::Frame(frame),
            _ => Load::Octets(frame.encode_to_vec()),
        }
    }

    pub(crate) fn frame(self) -> Frame {
        match self {
            Load::Octets(octets) => Frame::decode(&octets[..]).expect("it was encoded"),
            Load::Frame(frame) => frame,
        }
    }
}

/// What came of looking at a stream.
pub(crate) enum Flow {
    /// This frame arrives; look again then, if there is more.
    Arrived(Load, Option<Duration>),
    /// Look again.
    Wait(Duration),
    /// The stream is broken.
    Broken,
    /// Nothing is on its way.
    Idle,
}

#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) all: BTreeMap<u64, Stream>,
    /// The one that each node uses with each other.
    pub(crate) used: BTreeMap<(usize, usize), u64>,
    made: u64,
}

impl Streams {
    pub(crate) fn open(&mut self, from: usize, to: usize) -> u64 {
        self.made += 1;
        self.all.insert(self.made, Stream { ends: [from, to], ways: Default::default() });
        self.made
    }

    /// Takes a frame from `from` on its stream to `to`. Says when to look, if nobody is looking yet.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        net: &mut Net,
        from: usize,
        to: usize,
        frame: Frame,
    ) -> Option<(u64, usize, Duration)> {
        let id = *self.used.get(&(from, to))?;
        let stream = self.all.get_mut(&id)?;
        let way_index = usize::from(stream.ends[0] != from);
        let way = &mut stream.ways[way_index];
        way.latest = way.latest.max(now + net.segment());
        way.frames.push_back((way.latest, Load::of(frame)));
        (way.frames.len() == 1).then_some((id, way_index, way.latest))
    }

    /// Looks at one direction of a stream.
    pub(crate) fn flow(&mut self, now: Duration, net: &Net, id: u64, way: usize) -> Flow {
        let Some(stream) = self.all.get_mut(&id) else { return Flow::Idle };
        let (from, to) = (stream.ends[way], stream.ends[1 - way]);
        let way = &mut stream.ways[way];
        let Some((at, _)) = way.frames.front() else { return Flow::Idle };
        if *at > now {
            return Flow::Wait(*at);
        }
        if !net.reaches(from, to) {
            let since = *way.stuck_since.get_or_insert(now);
            return if now >= since + BROKEN_AFTER { Flow::Broken } else { Flow::Wait(now + RETRY) };
        }
        way.stuck_since = None;
        let (_, frame) = way.frames.pop_front().expect("looked at");
        Flow::Arrived(frame, way.frames.front().map(|(at, _)| (*at).max(now)))
    }

    /// Ends a stream. Says which ends used it.
    pub(crate) fn close(&mut self, id: u64) -> Vec<(usize, usize)> {
        let Some(stream) = self.all.remove(&id) else { return Vec::new() };
        let [a, b] = stream.ends;
        let used = &mut self.used;
        [(a, b), (b, a)].into_iter().filter(|end| used.get(end) == Some(&id) && used.remove(end).is_some()).collect()
    }
}
