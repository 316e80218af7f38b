//! Hands what the mesh hears to a sink, in order, and keeps it until there is one.

use crate::types::Rank;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Payload bytes that wait for a sink; later ones are dropped.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Hears what comes over the mesh. Called by the mesh's thread, or by [`set_sink`](super::World::set_sink) for what came
/// earlier; one call at a time, in order. It should be quick, and must not call `set_sink`.
pub trait ControlSink: Send + Sync {
    /// `origin` flooded this. Each payload comes once, those of one origin in order. One may still come after `lost`.
    fn frame(&self, origin: Rank, payload: &[u8]);
    /// `rank` ended without a goodbye. Comes once, and neither after nor before `left` of the same rank.
    fn lost(&self, rank: Rank, how: &str);
    /// `rank` said goodbye.
    fn left(&self, rank: Rank);
}

enum Event {
    Frame { origin: Rank, payload: Vec<u8> },
    Lost { rank: Rank, how: String },
    Left { rank: Rank },
}

impl Event {
    fn deliver(&self, sink: &dyn ControlSink) {
        match self {
            Event::Frame { origin, payload } => sink.frame(*origin, payload),
            Event::Lost { rank, how } => sink.lost(*rank, how),
            Event::Left { rank } => sink.left(*rank),
        }
    }
}

#[derive(Default)]
struct Inner {
    sink: Option<Arc<dyn ControlSink>>,
    kept: VecDeque<Event>,
    kept_bytes: usize,
    closed: bool,
}

/// The lock is held while a sink is called: that is what keeps the order.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<Inner>);

impl Mailbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what was kept, then everything as it comes.
    pub fn open(&self, sink: Arc<dyn ControlSink>) {
        let mut inner = self.inner();
        if inner.closed {
            return;
        }
        for event in inner.kept.drain(..) {
            event.deliver(&*sink);
        }
        inner.kept_bytes = 0;
        inner.sink = Some(sink);
    }

    /// Lets go of the sink for good.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.kept.clear();
        let sink = inner.sink.take();
        drop(inner);
        // Outside of the lock: the end of a sink may be the end of what holds this mailbox.
        drop(sink);
    }

    pub fn frame(&self, origin: Rank, payload: &[u8]) {
        let mut inner = self.inner();
        if let Some(sink) = &inner.sink {
            sink.frame(origin, payload);
        } else if !inner.closed && inner.kept_bytes + payload.len() <= MAX_KEPT_BYTES {
            // An empty payload costs memory too.
            inner.kept_bytes += payload.len() + size_of::<Event>();
            inner.kept.push_back(Event::Frame { origin, payload: payload.to_vec() });
        }
    }

    pub fn lost(&self, rank: Rank, how: String) {
        self.news(Event::Lost { rank, how });
    }

    pub fn left(&self, rank: Rank) {
        self.news(Event::Left { rank });
    }

    /// At most one per rank, so these are always kept.
    fn news(&self, event: Event) {
        let mut inner = self.inner();
        match &inner.sink {
            Some(sink) => event.deliver(&**sink),
            None if inner.closed => {}
            None => inner.kept.push_back(event),
        }
    }
}
