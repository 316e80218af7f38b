//! Hands what the mesh hears to a sink, in order, and keeps it until there is one.

use super::ranks::RankSet;
use crate::types::Rank;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of announcements that wait for a sink; later ones are dropped.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Hears what comes over the mesh. Called by the mesh's thread, or by [`set_sink`](super::World::set_sink) for what came
/// earlier; one call at a time, in order. It should be quick, and must not call `set_sink`.
pub trait ControlSink: Send + Sync {
    /// `origin` announced this: it is the first word on its topic that reached this rank, and the only one that it hears. One may
    /// still come after `lost`.
    fn announced(&self, origin: Rank, topic: u64, word: &[u8]);
    /// Some rank asks on this topic about this sequence number. At most [`MAX_ANSWER_BYTES`](super::MAX_ANSWER_BYTES); before
    /// there is a sink, and where there is nothing to say, the answer is empty.
    fn asked(&self, topic: u64, sequence: u64) -> Vec<u8>;
    /// What ranks answered in a round of questions on a topic. Those of one rank come in order of their rounds.
    fn answered(&self, topic: u64, round: u64, answer: &[u8], ranks: &RankSet);
    /// `rank` ended without a goodbye. Comes once, and neither after nor before `left` of the same rank.
    fn lost(&self, rank: Rank, how: &str);
    /// `rank` said goodbye.
    fn left(&self, rank: Rank);
}

enum Event {
    Announced { origin: Rank, topic: u64, word: Vec<u8> },
    Lost { rank: Rank, how: String },
    Left { rank: Rank },
}

impl Event {
    fn deliver(&self, sink: &dyn ControlSink) {
        match self {
            Event::Announced { origin, topic, word } => sink.announced(*origin, *topic, word),
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

    pub fn announced(&self, origin: Rank, topic: u64, word: &[u8]) {
        let mut inner = self.inner();
        if let Some(sink) = &inner.sink {
            sink.announced(origin, topic, word);
        } else if !inner.closed && inner.kept_bytes + word.len() <= MAX_KEPT_BYTES {
            // An empty word costs memory too.
            inner.kept_bytes += word.len() + size_of::<Event>();
            inner.kept.push_back(Event::Announced { origin, topic, word: word.to_vec() });
        }
    }

    pub fn asked(&self, topic: u64, sequence: u64) -> Vec<u8> {
        self.inner().sink.as_ref().map_or_else(Vec::new, |sink| sink.asked(topic, sequence))
    }

    /// Before there is a sink nobody here has asked.
    pub fn answered(&self, topic: u64, round: u64, answer: &[u8], ranks: &RankSet) {
        if let Some(sink) = &self.inner().sink {
            sink.answered(topic, round, answer, ranks);
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
