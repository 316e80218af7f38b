//! One rank's memory, element by element, and who touched each last.

use super::Wrong;
use super::value::{NOTHING, Value};
use crate::plan::Buffer;
use crate::plan::lower::{Lowered, Place};
use crate::types::Rank;
use std::rc::Rc;

/// Of every lane, numbered through all ranks, how many of its events are before the present.
pub(super) type Clock = Rc<[u32]>;

/// One event of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) lane: usize,
    pub(super) number: u32,
}

impl Event {
    /// Whether it is before the present event of the lane with this clock, or is it.
    pub(super) fn is_before(self, clock: &[u32]) -> bool {
        clock[self.lane] >= self.number
    }
}

/// A post, by its outbox and its index there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PostId {
    pub(super) outbox: usize,
    pub(super) post: usize,
}

/// A read of an element: by its own rank, or by a peer that took this post.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) event: Event,
    pub(super) post: Option<PostId>,
}

#[derive(Clone)]
struct Element {
    value: Value,
    last_write: Option<Event>,
    /// Since that write.
    reads: Vec<Read>,
    /// Posts that are ready here and not taken.
    posted: Vec<usize>,
}

pub(super) struct Memory {
    elements: Vec<Element>,
    element_bytes: u64,
    input: u64,
    output: u64,
    scratch: u64,
}

impl Memory {
    /// All memory of the rank that runs this program; nothing is in it yet.
    pub(super) fn new(program: &Lowered, element_bytes: u64) -> Result<Memory, Wrong> {
        let sizes = [program.input_bytes, program.output_bytes];
        let alias = program.alias.unwrap_or(0);
        let is_whole = |bytes: u64| bytes.is_multiple_of(element_bytes);
        if !sizes.into_iter().all(is_whole) || !is_whole(alias.unsigned_abs()) {
            return Err(Wrong::Misaligned);
        }
        let [inputs, outputs] = sizes.map(|bytes| bytes / element_bytes);
        let offset = alias.unsigned_abs() / element_bytes;
        let (input, output) = match program.alias {
            None => (0, inputs),
            Some(alias) if alias >= 0 => (offset, 0),
            Some(_) => (0, offset),
        };
        let scratch = (input + inputs).max(output + outputs);
        let elements = scratch + program.scratch_bytes.div_ceil(element_bytes);
        let nothing = Element { value: NOTHING, last_write: None, reads: Vec::new(), posted: Vec::new() };
        Ok(Memory { elements: vec![nothing; elements as usize], element_bytes, input, output, scratch })
    }

    /// The element at a place, which lies in its buffer.
    pub(super) fn index(&self, place: Place) -> Result<usize, Wrong> {
        if !place.offset.is_multiple_of(self.element_bytes) {
            return Err(Wrong::Misaligned);
        }
        let start = match place.buffer {
            Buffer::Input => self.input,
            Buffer::Output => self.output,
            Buffer::Scratch => self.scratch,
        };
        Ok((start + place.offset / self.element_bytes) as usize)
    }

    pub(super) fn fill(&mut self, index: usize, value: Value) {
        self.elements[index].value = value;
    }

    pub(super) fn value(&self, index: usize) -> Value {
        self.elements[index].value
    }

    /// Reads an element in the present event of a lane, whose clock this is.
    pub(super) fn read(&mut self, index: usize, event: Event, clock: &[u32]) -> Result<Value, Wrong> {
        let element = &mut self.elements[index];
        if element.value == NOTHING {
            return Err(Wrong::Unwritten);
        }
        if let Some(write) = element.last_write.filter(|write| !write.is_before(clock)) {
            return Err(Wrong::Race { other: write.lane });
        }
        element.note(Read { event, post: None });
        Ok(element.value)
    }

    /// From now on the element may be read on behalf of this rank.
    pub(super) fn post(&mut self, index: usize, reader: Rank, event: Event, clock: &[u32]) -> Result<(), Wrong> {
        self.read(index, event, clock)?;
        self.elements[index].posted.push(reader);
        Ok(())
    }

    /// A peer has read a posted element.
    pub(super) fn take(&mut self, index: usize, reader: Rank, read: Read) -> Value {
        let element = &mut self.elements[index];
        let posted = element.posted.iter().position(|posted| *posted == reader).expect("it was posted");
        element.posted.swap_remove(posted);
        element.note(read);
        element.value
    }

    /// Overwrites an element. `is_over` says of a read whether it is surely over.
    pub(super) fn write(
        &mut self,
        index: usize,
        value: Value,
        event: Event,
        clock: &[u32],
        is_over: impl Fn(&Read) -> bool,
    ) -> Result<(), Unordered> {
        let element = &mut self.elements[index];
        if let Some(&reader) = element.posted.first() {
            return Err(Unordered::Posted(reader));
        }
        if let Some(write) = element.last_write.filter(|write| !write.is_before(clock)) {
            return Err(Unordered::With(Read { event: write, post: None }));
        }
        if let Some(read) = element.reads.iter().find(|read| !is_over(read)) {
            return Err(Unordered::With(*read));
        }
        element.reads.clear();
        (element.value, element.last_write) = (value, Some(event));
        Ok(())
    }
}

/// What a write is not ordered with.
pub(super) enum Unordered {
    /// A message to this rank that is not taken yet.
    Posted(Rank),
    With(Read),
}

impl Element {
    /// The last of a lane's own reads stands for those before it.
    fn note(&mut self, read: Read) {
        if read.post.is_none()
            && let Some(known) =
                self.reads.iter_mut().find(|known| known.post.is_none() && known.event.lane == read.event.lane)
        {
            *known = read;
        } else {
            self.reads.push(read);
        }
    }
}
