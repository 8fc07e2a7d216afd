//! The receiving end of the pure core, with a sink that counts where the worker would write to a TAP.

use weft_vtep::drops::DropReason;
use weft_vtep::engine::run::Run;
use weft_vtep::offload::coalesce::{Coalescer, Output, Sink};

/// Headers that the coalescer may edit in place: Ethernet, IPv6 without extensions, TCP with its options.
const HEADERS: usize = 14 + 40 + 60;

/// Counts what leaves, and remembers where, so that the arena can be put back as it was.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) frames: usize,
    pub(crate) bytes: u64,
    pub(crate) outputs: Vec<u32>,
}

impl Sink for Counting {
    fn deliver(&mut self, _arena: &[u8], output: Output<'_>) {
        self.frames += output.frames as usize;
        self.bytes += output.bytes;
        self.outputs.push(output.pieces[0].at);
    }

    fn drop_frame(&mut self, reason: DropReason) {
        panic!("a bench's frame was dropped: {reason:?}");
    }
}

/// A receive batch that can be taken again and again: after each, [`Batch::restore`] undoes what coalescing edited.
pub(crate) struct Batch {
    pub(crate) arena: Vec<u8>,
    pristine: Vec<u8>,
    pub(crate) coalescer: Coalescer,
    pub(crate) sink: Counting,
    /// The run that goes on, and the MTU and hash of its flow.
    #[allow(dead_code, reason = "what comes without a tunnel makes no decision")]
    pub(crate) run: Option<Run>,
    #[allow(dead_code, reason = "as above")]
    pub(crate) looked_up: (u16, u64),
}

impl Batch {
    pub(crate) fn new(arena: Vec<u8>) -> Self {
        let (pristine, coalescer, sink) = (arena.clone(), Coalescer::default(), Counting::default());
        Batch { arena, pristine, coalescer, sink, run: None, looked_up: (0, 0) }
    }

    /// Ends the batch: everything gathered leaves. Returns how many frames went through.
    pub(crate) fn end(&mut self) -> usize {
        self.coalescer.flush(&mut self.arena, &mut self.sink);
        self.run = None;
        self.restore();
        std::mem::take(&mut self.sink.frames)
    }

    /// Of a few headers only, one for each super-frame: next to the work itself it costs nothing.
    fn restore(&mut self) {
        for at in self.sink.outputs.drain(..) {
            let headers = at as usize..self.arena.len().min(at as usize + HEADERS);
            self.arena[headers.clone()].copy_from_slice(&self.pristine[headers]);
        }
    }
}
