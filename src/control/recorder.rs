//! The last operations of one rank: always on, of fixed size, written with plain stores, read when something went wrong.

mod message;
mod ring;
mod texts;

use super::frame::{EnteredCall, Line};
use crate::clock;
use crate::types::{Collective, Rank, TransportKind};
pub use message::{Direction, Message};
pub use ring::Failed;
use ring::{Entered, Entry, Ring};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use texts::Texts;

/// How many calls a rank tells of when it is asked for one: a difference may have gone unnoticed for some calls, where no
/// data of the ranks that differ had met.
pub const TOLD: u64 = 4;

/// The calls up to `sequence` of which a rank tells.
pub fn told_before(sequence: u64) -> std::ops::RangeInclusive<u64> {
    sequence.saturating_sub(TOLD - 1).max(1)..=sequence
}

/// Version of [`RecordedOperation`] and of the record's header as they are written.
pub const SCHEMA: u32 = 2;

/// Of every remembered operation: what, when, how far.
pub struct Recorder {
    rank: Rank,
    /// To every rank; None to this one.
    transports: Box<[Option<TransportKind>]>,
    finished: AtomicU64,
    /// Numbered by sequence.
    collectives: Ring,
    texts: Texts,
    /// Sends and receives, which have no place in the order of the calls, so that many of them do not push collectives out.
    transfers: Ring,
}

/// One of a rank's last operations, as [`crate::Communicator::recent_operations`] and the files of UNISONO_RECORD tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecordedOperation {
    /// Version of these fields.
    pub schema: u32,
    pub rank: Rank,
    /// The call's number on the communicator; of a send or receive, its number among those between its two ranks in its direction.
    pub sequence: u64,
    /// The collective's name, `send` or `recv`.
    pub operation: &'static str,
    /// With type, count, reduction, root or peer, algorithm.
    pub call: String,
    /// By the convention of nccl-tests.
    pub bytes: u64,
    /// That of all the rank's peers, or of the one peer of a send or receive; `mixed` where peers differ, None alone.
    pub transport: Option<&'static str>,
    /// Equal on all ranks that made the same call.
    pub fingerprint: u32,
    /// Nanoseconds ago that it began and, if it did, ended, well or ill.
    pub started_ns_ago: u64,
    pub ended_ns_ago: Option<u64>,
    /// Of an operation that failed: the step of this rank's program at which it stood, and the bytes of it that were done.
    pub failed_at_step: Option<u32>,
    pub failed_after_bytes: Option<u64>,
}

impl Recorder {
    /// `transports` to every rank; None to this one.
    pub fn new(rank: Rank, transports: Vec<Option<TransportKind>>) -> Recorder {
        Recorder {
            rank,
            transports: transports.into(),
            finished: AtomicU64::new(0),
            collectives: Ring::new(),
            texts: Texts::default(),
            transfers: Ring::new(),
        }
    }

    /// The transport of all peers, `mixed` where they differ, None without peers.
    pub fn transport(&self) -> Option<&'static str> {
        let mut kinds = self.transports.iter().flatten();
        let first = kinds.next()?;
        Some(if kinds.all(|kind| kind == first) { first.name() } else { "mixed" })
    }

    /// Registers the text of a call that is prepared; the number stands for it until it is [retired](Recorder::retire).
    pub fn register(&self, collective: Collective, text: String) -> u32 {
        self.texts.register(collective.name(), text, self.collectives.calls())
    }

    /// The call is prepared no longer; what is remembered of it stays.
    pub fn retire(&self, call: u32) {
        self.texts.retire(call);
    }

    /// The rank enters its call number `sequence`.
    #[inline]
    pub fn enter(&self, sequence: u64, call: u32, bytes: u64, fingerprint: u32) {
        self.collectives.enter(sequence, Entered { sequence, call, fingerprint, bytes });
    }

    /// The call number `sequence` has returned without an error.
    #[inline]
    pub fn finish(&self, sequence: u64) {
        self.collectives.finish(sequence);
        self.finished.store(sequence, Ordering::Release);
    }

    /// The call number `sequence`, if it was entered, has failed.
    pub fn fail(&self, sequence: u64, at: Failed) {
        self.collectives.fail(sequence, at);
    }

    /// The rank begins to send or receive the message number `sequence` of its way. The number returned names it from then on.
    #[inline]
    pub fn enter_message(&self, message: &Message, sequence: u64) -> u64 {
        let number = self.transfers.last() + 1;
        self.transfers.enter(number, message.entered(sequence));
        number
    }

    #[inline]
    pub fn finish_message(&self, number: u64) {
        self.transfers.finish(number);
    }

    pub fn fail_message(&self, number: u64, at: Failed) {
        self.transfers.fail(number, at);
    }

    /// Where the rank stands, its last calls, and those up to `sequence`.
    pub fn line(&self, sequence: u64) -> Line {
        let entered = self.collectives.last();
        let (asked, newest) = (told_before(sequence.min(entered)), told_before(entered));
        let before = asked.filter(|one| !newest.contains(one));
        Line {
            entered,
            finished: self.finished.load(Ordering::Acquire),
            calls: newest.clone().rev().chain(before.rev()).filter_map(|one| self.call(one)).collect(),
            doing: self.doing(),
            left: false,
        }
    }

    /// What the rank has begun and not ended: its oldest message, else its call.
    fn doing(&self) -> Option<String> {
        let open = self.transfers.entries().find(|entry| entry.ended.is_none());
        let message = open.and_then(|entry| Some(Message::of(&entry.entered)?.numbered(entry.entered.sequence)));
        message.or_else(|| {
            let entry = self.collectives.read(self.collectives.last()).filter(|entry| entry.ended.is_none())?;
            Some(format!("call number {}, {}", entry.number, self.told(&entry)?.1))
        })
    }

    /// As the line is for good when the rank makes no more calls.
    pub fn last_line(&self) -> Line {
        Line { left: true, ..self.line(u64::MAX) }
    }

    /// Of the call at a sequence number, if it was entered and is still remembered.
    pub fn fingerprint(&self, sequence: u64) -> Option<u32> {
        Some(self.collectives.read(sequence)?.entered.fingerprint)
    }

    fn call(&self, sequence: u64) -> Option<EnteredCall> {
        let entry = self.collectives.read(sequence)?;
        let (_, text) = self.told(&entry)?;
        Some(EnteredCall { sequence, fingerprint: entry.entered.fingerprint, text })
    }

    /// Name and text of a collective's entry.
    fn told(&self, entry: &Entry) -> Option<(&'static str, String)> {
        let text = self.texts.get(entry.entered.call)?;
        // The text's number may have been given to another call meanwhile, but only after this entry was forgotten.
        self.collectives.holds(entry.number).then_some((text.operation, text.call))
    }

    /// Sequence number of the oldest collective that is remembered; None before the first.
    pub fn oldest(&self) -> Option<u64> {
        Some(self.collectives.entries().next()?.entered.sequence)
    }

    /// The remembered operations, oldest first.
    pub fn operations(&self) -> Vec<RecordedOperation> {
        let now = clock::ticks();
        let collectives = self.collectives.entries().filter_map(|entry| {
            let (operation, call) = self.told(&entry)?;
            Some(self.operation(&entry, now, operation, call, self.transport()))
        });
        let transfers = self.transfers.entries().filter_map(|entry| {
            let message = Message::of(&entry.entered)?;
            let transport = self.transports[message.peer].map(TransportKind::name);
            Some(self.operation(&entry, now, message.direction.name(), message.to_string(), transport))
        });
        let mut operations: Vec<RecordedOperation> = collectives.chain(transfers).collect();
        operations.sort_by_key(|operation| std::cmp::Reverse(operation.started_ns_ago));
        operations
    }

    fn operation(
        &self,
        entry: &Entry,
        now: u64,
        operation: &'static str,
        call: String,
        transport: Option<&'static str>,
    ) -> RecordedOperation {
        let ago = |then: u64| clock::nanoseconds(now.saturating_sub(then));
        RecordedOperation {
            schema: SCHEMA,
            rank: self.rank,
            sequence: entry.entered.sequence,
            operation,
            call,
            bytes: entry.entered.bytes,
            transport,
            fingerprint: entry.entered.fingerprint,
            started_ns_ago: ago(entry.started),
            ended_ns_ago: entry.ended.map(ago),
            failed_at_step: entry.failed.map(|at| at.step),
            failed_after_bytes: entry.failed.map(|at| at.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ring::KEPT;
    use super::*;
    use crate::types::DType;

    const LAST: u64 = KEPT as u64 + 10;

    fn recorder() -> Recorder {
        Recorder::new(1, vec![Some(TransportKind::Shm), None, Some(TransportKind::Tcp)])
    }

    #[test]
    fn the_last_operations_are_kept_and_older_ones_forgotten() {
        let recorder = recorder();
        let call = recorder.register(Collective::AllReduce, "all_reduce f32 x 8".to_owned());
        assert!(recorder.operations().is_empty() && recorder.line(0).calls.is_empty());
        for sequence in 1..=LAST {
            recorder.enter(sequence, call, 32, 7);
            if sequence != LAST {
                recorder.finish(sequence);
            }
        }
        let operations = recorder.operations();
        assert_eq!(operations.len(), KEPT);
        assert_eq!((operations[0].sequence, recorder.oldest()), (11, Some(11)));
        let last = operations.last().unwrap();
        assert!(last.ended_ns_ago.is_none() && last.call == "all_reduce f32 x 8");
        assert_eq!((last.operation, last.bytes, last.rank, last.transport), ("all_reduce", 32, 1, Some("mixed")));
        let told = |sequence| recorder.line(sequence).calls.iter().map(|call| call.sequence).collect::<Vec<_>>();
        let newest = [LAST, LAST - 1, LAST - 2, LAST - 3];
        assert_eq!(told(10), newest, "what was asked for is forgotten, the last ones are told");
        assert_eq!(told(20), [&newest[..], &[20, 19, 18, 17]].concat());
        assert_eq!(told(LAST - 1), [&newest[..], &[LAST - 4]].concat());
        assert_eq!(recorder.line(LAST + 1).calls[0].sequence, LAST, "what was not entered is not told");
        assert_eq!((recorder.line(20).entered, recorder.line(20).finished), (LAST, LAST - 1));
    }

    #[test]
    fn where_a_failed_operation_stood_is_told() {
        let recorder = recorder();
        let call = recorder.register(Collective::Barrier, "barrier".to_owned());
        recorder.enter(1, call, 1, 0);
        recorder.fail(1, Failed { step: 3, bytes: 4096 });
        let [ref failed] = recorder.operations()[..] else { panic!("one operation") };
        assert_eq!((failed.failed_at_step, failed.failed_after_bytes), (Some(3), Some(4096)));
        assert!(failed.ended_ns_ago.is_some());
    }

    #[test]
    fn messages_stand_between_the_calls_and_push_none_out() {
        let recorder = recorder();
        let call = recorder.register(Collective::Barrier, "barrier".to_owned());
        recorder.enter(1, call, 1, 0);
        let message = Message { direction: Direction::Send, peer: 2, dtype: DType::F32, bytes: 8 };
        for sequence in 1..=LAST {
            let number = recorder.enter_message(&message, sequence);
            recorder.finish_message(number);
        }
        recorder.enter(2, call, 1, 0);
        let operations = recorder.operations();
        assert_eq!(operations.len(), KEPT + 2);
        let (first, middle, last) = (&operations[0], &operations[KEPT], &operations[KEPT + 1]);
        assert_eq!((first.call.as_str(), last.call.as_str()), ("barrier", "barrier"));
        assert_eq!((middle.operation, middle.call.as_str(), middle.sequence), ("send", "send f32 x 2 to rank 2", LAST));
        assert_eq!((middle.bytes, middle.transport), (8, Some("tcp")));
        assert!(middle.ended_ns_ago.is_some());
    }

    /// Every call is another one, and each is prepared no longer when the next one comes.
    #[test]
    fn ever_changing_calls_take_bounded_memory_and_stay_told_while_remembered() {
        let recorder = recorder();
        for sequence in 1..=10 * LAST {
            let call = recorder.register(Collective::AllReduce, format!("number {sequence}"));
            recorder.enter(sequence, call, 0, 0);
            recorder.retire(call);
        }
        assert!(recorder.texts.len() <= KEPT + 2, "{} texts", recorder.texts.len());
        let operations = recorder.operations();
        assert_eq!(operations.len(), KEPT);
        assert!(operations.iter().all(|one| one.call == format!("number {}", one.sequence)), "{operations:?}");
    }
}
