//! Chakra execution traces of a plan, one file per rank, for other simulators: ASTRA-sim takes them as the implementation of a
//! collective.
//!
//! A file is length-delimited protobuf: `GlobalMetadata`, then a `Node` per message sent (`COMM_SEND_NODE`) or received (`COMM_RECV_NODE`)
//! and per move that folds or copies in memory (`COMP_NODE`). The schema is `schema/protobuf/et_def.proto` of
//! mlcommons/chakra, whose numbers stand below; attributes are those that its feeder knows: `comm_src`, `comm_dst`, `comm_tag`,
//! `comm_size`, `num_ops`, `tensor_size`, `is_cpu_op`. Both ends of a message have the same tag, which no other message between the two
//! ranks has. Nothing has a duration: what takes how long is for the simulator to say.
//!
//! `data_deps` are the rules by which a plan blocks: a receive or a computation comes after what came before in its lane and after the steps
//! that it waits for; a send is posted, and is waited for only by who overwrites its memory or, if it has none, by the next step.

mod protobuf;
#[cfg(test)]
mod tests;

use super::check::Checked;
use super::chunk::{Counts, Extents};
use super::sequence::{Sequence, Turn};
use super::{Buffer, Move, Operand, Plan, Problem, Program, Span, Step};
use crate::error::{Error, ErrorKind};
use crate::types::{Collective, Rank};
use protobuf::Message;
use std::collections::HashMap;
use std::ops::Range;

/// Numbers of the enum `NodeType`.
#[derive(Clone, Copy)]
enum NodeType {
    Comp = 4,
    CommSend = 5,
    CommRecv = 6,
}

/// Field numbers of `GlobalMetadata`, `Node` and `AttributeProto`, one table for the three.
mod field {
    pub const METADATA_VERSION: u32 = 1;
    pub const METADATA_ATTR: u32 = 2;

    pub const NODE_ID: u32 = 1;
    pub const NODE_NAME: u32 = 2;
    pub const NODE_TYPE: u32 = 3;
    pub const NODE_DATA_DEPS: u32 = 5;
    pub const NODE_ATTR: u32 = 10;

    pub const ATTR_NAME: u32 = 1;
    pub const ATTR_INT32: u32 = 7;
    pub const ATTR_INT64: u32 = 9;
    pub const ATTR_UINT64: u32 = 13;
    pub const ATTR_BOOL: u32 = 27;
    pub const ATTR_STRING: u32 = 29;
}

/// The traces of all ranks, for a collective of `bytes` (nccl-tests convention) in elements of `element_bytes`.
///
/// # Errors
/// So few bytes that a rank has no element; more than the plan can cut into the equal chunks that it demands.
pub fn traces(checked: &Checked, bytes: u64, element_bytes: u64) -> Result<Vec<Vec<u8>>, Error> {
    let plan = checked.plan();
    let counts = counts(plan, bytes, element_bytes)?;
    let sequence = Sequence::new(plan);
    let tags = u64::from(checked.facts().max_channel) + 1;
    let writer = |(rank, program)| Writer {
        rank,
        program,
        extents: Extents::new(plan, program, rank, &counts),
        element_bytes,
        tags,
        file: metadata(plan, bytes),
        next_id: 0,
        lanes: vec![LaneState::default(); program.lanes.len()],
        numbers: HashMap::new(),
        posted: Vec::new(),
    };
    let mut writers: Vec<Writer> = sequence.programs.iter().enumerate().map(writer).collect();
    for turn in &sequence.turns {
        writers[turn.rank].one_move(turn, sequence.one(turn));
    }
    Ok(writers.into_iter().map(|writer| writer.file).collect())
}

/// Whole elements on every rank, and whole chunks where they must be equal.
fn counts(plan: &Plan, bytes: u64, element_bytes: u64) -> Result<Counts, Error> {
    let Problem { collective, ranks, .. } = plan.problem;
    let multiple = if plan.demands.equal_chunks { u64::from(plan.grid().chunks_of_count()) } else { 1 };
    let count = match Counts::of_elements(collective, ranks, bytes / element_bytes) {
        Counts::Even(count) => count / multiple * multiple,
        counts => return Ok(counts),
    };
    if count == 0 && collective != Collective::Barrier {
        let least = (1..).find(|parts| Counts::of_elements(collective, ranks, *parts) == Counts::Even(1));
        let least = least.unwrap_or(1) * element_bytes * multiple;
        let told = format!("{bytes} bytes are less than this plan can cut: it takes {least} or more");
        return Err(Error::new(ErrorKind::InvalidArgument, told));
    }
    Ok(Counts::Even(count))
}

fn metadata(plan: &Plan, bytes: u64) -> Vec<u8> {
    let mut metadata = Message::default();
    metadata.string(field::METADATA_VERSION, "0.0.4");
    let mut attribute = |name, value: &str| {
        let value = |attribute: &mut Message| attribute.string(field::ATTR_STRING, value);
        metadata.message(field::METADATA_ATTR, &named(name, value));
    };
    attribute("schema", "1.0.2-chakra.0.0.4");
    attribute("algorithm", &plan.algorithm);
    attribute("collective", plan.problem.collective.name());
    attribute("ranks", &plan.problem.ranks.to_string());
    attribute("bytes", &bytes.to_string());
    let mut file = Vec::new();
    metadata.write_to(&mut file);
    file
}

/// An `AttributeProto`.
fn named(name: &str, value: impl FnOnce(&mut Message)) -> Message {
    let mut attribute = Message::default();
    attribute.string(field::ATTR_NAME, name);
    value(&mut attribute);
    attribute
}

#[derive(Clone, Default)]
struct LaneState {
    /// Nodes that must be complete before the lane's next move.
    before: Vec<u64>,
    /// Steps that the lane has passed, waits included.
    passed: usize,
    /// Of every step that moves, the nodes that are complete when it has ended.
    ends: Vec<(usize, Vec<u64>)>,
}

/// Memory that a send still reads.
struct Posted {
    id: u64,
    buffer: Buffer,
    elements: Range<u64>,
}

/// Writes the nodes of one rank.
struct Writer<'a> {
    rank: Rank,
    program: &'a Program,
    extents: Extents,
    element_bytes: u64,
    /// Channels: a tag is a message's number on its channel, times this, plus the channel.
    tags: u64,
    file: Vec<u8>,
    next_id: u64,
    lanes: Vec<LaneState>,
    /// Messages so far to (true) or from a peer on a channel.
    numbers: HashMap<(bool, Rank, u16), u64>,
    posted: Vec<Posted>,
}

impl Writer<'_> {
    fn one_move(&mut self, turn: &Turn, one: &Move) {
        self.pass_waits(turn);
        let elements = self.spans(&one.sources, turn).chain(self.spans(&one.destinations, turn)).next();
        let elements = elements.map_or(0, |(_, elements)| elements.end - elements.start);
        let stored: Vec<_> = self.spans(&one.destinations, turn).collect();
        let received: Vec<_> = one.sources.iter().filter_map(peer).collect();
        let sent: Vec<_> = one.destinations.iter().filter_map(peer).collect();
        // Messages of nothing are numbered like others, on both sides, and leave no node.
        let tags_of = |writer: &mut Self, sends, peers: &[(Rank, u16)]| -> Vec<u64> {
            peers.iter().map(|end| writer.tag(sends, *end)).collect()
        };
        let (from_tags, to_tags) = (tags_of(self, false, &received), tags_of(self, true, &sent));
        if elements == 0 {
            return;
        }
        let before = self.lanes[turn.lane].before.clone();
        let mut arrival = before.clone();
        arrival.extend(self.releases(&stored));
        let about = |what: &str| format!("{what} lane {} step {} round {}", turn.lane, turn.step, turn.round);
        let mut inputs = Vec::new();
        for ((from, _), tag) in received.iter().zip(from_tags) {
            let message = Communication { source: *from, target: self.rank, tag, bytes: elements * self.element_bytes };
            inputs.push(self.communicate(NodeType::CommRecv, &about("receive"), &arrival, &message));
        }
        let local_sources = one.sources.len() - received.len();
        let additions = if one.reduction.is_some() { one.sources.len() as u64 - 1 } else { 0 };
        // What is received is stored once by that.
        let copies = stored.len().saturating_sub(usize::from(local_sources == 0 || additions > 0));
        if additions > 0 || copies > 0 {
            let after = if inputs.is_empty() { &arrival } else { &inputs };
            let id = self.compute(&about(if additions > 0 { "reduce" } else { "copy" }), after, additions, elements);
            inputs = vec![id];
        }
        let is_ready = if inputs.is_empty() { before } else { inputs };
        let mut sends = Vec::new();
        for ((to, _), tag) in sent.iter().zip(to_tags) {
            let message = Communication { source: self.rank, target: *to, tag, bytes: elements * self.element_bytes };
            sends.push(self.communicate(NodeType::CommSend, &about("send"), &is_ready, &message));
        }
        let is_rendezvous = one.reduction.is_some() && stored.is_empty();
        if !is_rendezvous {
            let read = if one.reduction.is_none() { self.spans(&one.sources, turn).collect() } else { Vec::new() };
            for (buffer, elements) in stored.iter().chain(&read) {
                let posted = |&id| Posted { id, buffer: *buffer, elements: elements.clone() };
                self.posted.extend(sends.iter().map(posted));
            }
        }
        let lane = &mut self.lanes[turn.lane];
        lane.before = if is_rendezvous { sends } else { is_ready };
        lane.ends.push((turn.step, lane.before.clone()));
    }

    /// Takes up what the waits before a move wait for.
    fn pass_waits(&mut self, turn: &Turn) {
        let passed = self.lanes[turn.lane].passed;
        for step in &self.program.lanes[turn.lane][passed.min(turn.step)..turn.step] {
            let Step::Wait { lane, step } = step else { continue };
            let ends = &self.lanes[*lane as usize].ends;
            let end = ends.iter().rev().find(|(ended, _)| *ended <= *step as usize);
            let more = end.map(|(_, nodes)| nodes.clone()).unwrap_or_default();
            self.lanes[turn.lane].before.extend(more);
        }
        self.lanes[turn.lane].passed = turn.step;
    }

    fn spans(&self, operands: &[Operand], turn: &Turn) -> impl Iterator<Item = (Buffer, Range<u64>)> {
        operands.iter().filter_map(|operand| match operand {
            Operand::Local(span) => Some(self.place(span, turn.round)),
            Operand::Peer { .. } => None,
        })
    }

    fn place(&self, span: &Span, round: u32) -> (Buffer, Range<u64>) {
        (span.buffer, self.extents.range(span, round))
    }

    fn tag(&mut self, sends: bool, (peer, channel): (Rank, u16)) -> u64 {
        let number = self.numbers.entry((sends, peer, channel)).or_default();
        *number += 1;
        (*number - 1) * self.tags + u64::from(channel)
    }

    /// Sends that read what is overwritten. Nobody need wait for them again.
    fn releases(&mut self, stored: &[(Buffer, Range<u64>)]) -> Vec<u64> {
        let overlaps = |posted: &Posted| {
            stored.iter().any(|(buffer, elements)| {
                posted.buffer == *buffer && posted.elements.start < elements.end && elements.start < posted.elements.end
            })
        };
        let (released, kept) = std::mem::take(&mut self.posted).into_iter().partition(overlaps);
        self.posted = kept;
        released.into_iter().map(|posted| posted.id).collect()
    }

    fn communicate(&mut self, kind: NodeType, name: &str, after: &[u64], message: &Communication) -> u64 {
        let Communication { source, target, tag, bytes } = *message;
        let int32 = |value: u64| move |attribute: &mut Message| attribute.number(field::ATTR_INT32, value);
        let attributes = [
            named("comm_src", int32(source as u64)),
            named("comm_dst", int32(target as u64)),
            named("comm_tag", int32(tag)),
            named("comm_size", |attribute: &mut Message| attribute.number(field::ATTR_INT64, bytes)),
        ];
        self.node(kind, name, after, &attributes)
    }

    fn compute(&mut self, name: &str, after: &[u64], additions: u64, elements: u64) -> u64 {
        let bytes = elements * self.element_bytes;
        let attributes = [
            named("num_ops", |attribute: &mut Message| attribute.number(field::ATTR_INT64, additions * elements)),
            named("tensor_size", |attribute: &mut Message| attribute.number(field::ATTR_UINT64, bytes)),
        ];
        self.node(NodeType::Comp, name, after, &attributes)
    }

    fn node(&mut self, kind: NodeType, name: &str, after: &[u64], attributes: &[Message]) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut after = after.to_vec();
        after.sort_unstable();
        after.dedup();
        let mut node = Message::default();
        node.number(field::NODE_ID, id);
        node.string(field::NODE_NAME, name);
        node.number(field::NODE_TYPE, kind as u64);
        node.numbers(field::NODE_DATA_DEPS, &after);
        let is_cpu_op = named("is_cpu_op", |attribute| attribute.number(field::ATTR_BOOL, 0));
        node.message(field::NODE_ATTR, &is_cpu_op);
        attributes.iter().for_each(|attribute| node.message(field::NODE_ATTR, attribute));
        node.write_to(&mut self.file);
        id
    }
}

/// What both ends of a message say of it.
struct Communication {
    source: Rank,
    target: Rank,
    tag: u64,
    bytes: u64,
}

fn peer(operand: &Operand) -> Option<(Rank, u16)> {
    match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    }
}
