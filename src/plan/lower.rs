//! From a plan to what one rank runs: flat instructions with byte offsets, and every wait for a release made explicit.
//!
//! One lowered program serves every reach. Whether a message is staged, lent or written to a socket, its source memory is free
//! again at the latest when the receiver has taken all of it; the program waits for that before it overwrites the memory, so it
//! is right under the weakest of the promises that transports make.

mod elide;
mod posted;
mod validate;

pub use validate::Misfit;

use super::check::Checked;
use super::chunk::{Counts, Extents};
use super::{Buffer, Move, Operand, Program, Reduction, Span, Step, Through};
use crate::types::{Collective, LinkName, Rank};
use posted::{Memory, Posted};
use std::collections::HashMap;

/// A place in one of the three memories, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub buffer: Buffer,
    pub offset: u64,
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Local(Place),
    /// The next message of this inbox, by index into [`Lowered::inboxes`].
    Inbox(usize),
}

/// A post that must be released: index of the outbox and of the post in it. All posts before it are then released too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub outbox: usize,
    pub post: usize,
}

/// The first `instructions` instructions of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub lane: usize,
    pub instructions: usize,
}

/// One step of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Waited for before the first byte is read: what another lane must have done.
    pub after: Option<Beginning>,
    /// Waited for before the first byte is written.
    pub awaits: Vec<Release>,
    pub reduction: Option<Reduction>,
    pub sources: Vec<Source>,
    /// None: nothing is computed, the instruction only makes its posts ready.
    pub destination: Option<Place>,
    /// Where the result is wanted as well.
    pub copies: Vec<Place>,
    /// Outboxes that have a post of this instruction.
    pub outboxes: Vec<usize>,
    pub bytes: u64,
    /// What the move says; executors that pass messages need not look.
    pub through: Through,
}

impl Instruction {
    /// Does nothing but wait.
    fn waiting_for(awaits: Vec<Release>) -> Instruction {
        Instruction {
            after: None,
            awaits,
            reduction: None,
            sources: Vec::new(),
            destination: None,
            copies: Vec::new(),
            outboxes: Vec::new(),
            bytes: 0,
            through: Through::Messages,
        }
    }
}

/// A message to be sent from local memory once its instruction has run, or piece by piece while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    pub lane: usize,
    pub instruction: usize,
    pub place: Place,
    pub bytes: u64,
}

/// What one rank runs for one shape of a call.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    pub lanes: Vec<Vec<Instruction>>,
    pub inboxes: Vec<LinkName>,
    /// Each with its messages in order.
    pub outboxes: Vec<(LinkName, Vec<Post>)>,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub scratch_bytes: u64,
    /// As [`alias_offset`] says, if the program is for a call in place.
    pub alias: Option<i64>,
}

/// Where the input lies in the output's address space when a call is in place, in bytes: negative where the output is a part
/// of the input.
pub fn alias_offset(collective: Collective, rank: Rank, counts: &Counts, element_bytes: u64) -> i64 {
    let own_block = |counts: &Counts| match counts {
        Counts::Even(count) => rank as u64 * count,
        Counts::PerRank(counts) => counts[..rank].iter().sum(),
        Counts::Pairwise { .. } => 0,
    };
    let bytes = (own_block(counts) * element_bytes) as i64;
    match collective.even() {
        Collective::AllGather | Collective::Gather => bytes,
        Collective::ReduceScatter | Collective::Scatter => -bytes,
        _ => 0,
    }
}

/// Lowers the program of `rank`. `in_place`: the input lies in the output, or the output in the input, as
/// [`alias_offset`] says.
///
/// # Panics
/// If the call is not as the plan [demands](super::Demands).
pub fn lower(checked: &Checked, rank: Rank, counts: &Counts, element_bytes: u64, in_place: bool) -> Lowered {
    let plan = checked.plan();
    assert!(!(in_place && plan.demands.apart), "the plan {} is for input and output apart", plan.algorithm);
    if let (true, Counts::Even(count)) = (plan.demands.equal_chunks, counts) {
        let chunks = plan.grid().chunks_of_count();
        assert!(
            count.is_multiple_of(u64::from(chunks)),
            "the plan {} cuts {count} elements into {chunks}",
            plan.algorithm
        );
    }
    let program = plan.program(rank);
    let program = if in_place { program } else { elide::without_input_copies(program) };
    let extents = Extents::new(plan, &program, rank, counts);
    let alias = in_place.then(|| alias_offset(plan.problem.collective, rank, counts, element_bytes));
    let mut lowering = Lowering {
        extents: &extents,
        element_bytes,
        lowered: Lowered {
            input_bytes: extents.total(Buffer::Input) * element_bytes,
            output_bytes: extents.total(Buffer::Output) * element_bytes,
            scratch_bytes: extents.total(Buffer::Scratch) * element_bytes,
            alias,
            ..Lowered::default()
        },
        posted: Posted::default(),
        inboxes: HashMap::new(),
        outboxes: HashMap::new(),
    };
    lowering.run(&program);
    lowering.lowered
}

impl Lowered {
    fn memory(&self, place: Place, bytes: u64) -> Memory {
        let start = place.offset as i64;
        let (buffer, start) = match (place.buffer, self.alias) {
            (Buffer::Input, Some(offset)) => (Buffer::Output, start + offset),
            (buffer, _) => (buffer, start),
        };
        Memory { buffer, range: start..start + bytes as i64 }
    }
}

struct Lowering<'a> {
    extents: &'a Extents,
    element_bytes: u64,
    lowered: Lowered,
    /// By the lane that is being lowered.
    posted: Posted,
    /// The numbers of links that are known.
    inboxes: HashMap<LinkName, usize>,
    outboxes: HashMap<LinkName, usize>,
}

impl Lowering<'_> {
    fn run(&mut self, program: &Program) {
        let mut ends = Vec::new();
        for steps in &program.lanes {
            self.posted.clear();
            self.lowered.lanes.push(Vec::new());
            ends.push(steps.iter().map(|step| self.lower_step(step)).collect::<Vec<usize>>());
        }
        // The programs of lanes that are waited for may come later, so waits name steps until all are known.
        for after in self.lowered.lanes.iter_mut().flatten().filter_map(|one| one.after.as_mut()) {
            after.instructions = ends[after.lane][after.instructions];
        }
    }

    /// Returns how many instructions the lane has then.
    fn lower_step(&mut self, step: &Step) -> usize {
        match step {
            Step::Move(one) => self.lower_move(one, 0),
            // Not even four billion rounds of nothing take time.
            Step::Repeat { body, .. } if body.is_empty() => {}
            Step::Repeat { count, body } => {
                for round in 0..*count {
                    body.iter().for_each(|one| self.lower_move(one, round));
                }
            }
            Step::Wait { lane, step } => {
                let after = Some(Beginning { lane: *lane as usize, instructions: *step as usize });
                self.push(Instruction { after, ..Instruction::waiting_for(Vec::new()) });
            }
        }
        self.lowered.lanes.last().map_or(0, Vec::len)
    }

    fn push(&mut self, instruction: Instruction) {
        self.lowered.lanes.last_mut().expect("instructions are of a lane").push(instruction);
    }

    fn place(&self, span: &Span, round: u32) -> (Place, u64) {
        let range = self.extents.range(span, round);
        let place = Place { buffer: span.buffer, offset: range.start * self.element_bytes };
        (place, (range.end - range.start) * self.element_bytes)
    }

    fn lower_move(&mut self, one: &Move, round: u32) {
        let local = |operand: &Operand| match operand {
            Operand::Local(span) => Some(*span),
            Operand::Peer { .. } => None,
        };
        let span = one.sources.iter().chain(&one.destinations).find_map(local).expect("a move has a local operand");
        let (_, bytes) = self.place(&span, round);
        if bytes == 0 {
            return;
        }
        let sources: Vec<Source> = one.sources.iter().map(|operand| self.source(operand, round)).collect();
        let mut places = one.destinations.iter().filter_map(local).map(|span| self.place(&span, round).0);
        let (mut destination, copies) = (places.next(), places.collect::<Vec<_>>());
        let sends: Vec<LinkName> = one.destinations.iter().filter_map(link).collect();

        // What is posted is read from local memory: the destination, the only source, or scratch of our own.
        let pure_send = matches!((one.reduction, &sources[..]), (None, [Source::Local(_)])) && destination.is_none();
        let rendezvous = destination.is_none() && !pure_send;
        if rendezvous {
            destination = Some(self.hidden_scratch(bytes));
        }
        let origin = destination.or(match sources[0] {
            Source::Local(place) => Some(place),
            Source::Inbox(_) => None,
        });
        let awaits = self.releases_before_writing(destination.iter().chain(&copies), bytes);
        let outboxes: Vec<usize> = sends.iter().map(|name| self.outbox(*name)).collect();
        let lane = self.lowered.lanes.len() - 1;
        let instruction = self.lowered.lanes[lane].len();
        for &outbox in &outboxes {
            let place = origin.expect("a send has local memory to send from");
            let posts = &mut self.lowered.outboxes[outbox].1;
            posts.push(Post { lane, instruction, place, bytes });
            let release = Release { outbox, post: posts.len() - 1 };
            let memory = self.lowered.memory(place, bytes);
            self.posted.add(&memory, release);
        }
        let reduction = one.reduction;
        let destination = if pure_send { None } else { destination };
        let lowered = Instruction {
            after: None,
            awaits,
            reduction,
            sources,
            destination,
            copies,
            outboxes: outboxes.clone(),
            bytes,
            through: one.through,
        };
        self.push(lowered);
        if rendezvous {
            let awaits = outboxes
                .iter()
                .map(|&outbox| Release { outbox, post: self.lowered.outboxes[outbox].1.len() - 1 })
                .collect();
            self.push(Instruction::waiting_for(awaits));
        }
    }

    fn source(&mut self, operand: &Operand, round: u32) -> Source {
        match operand {
            Operand::Local(span) => Source::Local(self.place(span, round).0),
            Operand::Peer { rank, channel } => {
                let name = LinkName { peer: *rank, channel: *channel };
                let inboxes = &mut self.lowered.inboxes;
                Source::Inbox(*self.inboxes.entry(name).or_insert_with(|| {
                    inboxes.push(name);
                    inboxes.len() - 1
                }))
            }
        }
    }

    fn outbox(&mut self, name: LinkName) -> usize {
        let outboxes = &mut self.lowered.outboxes;
        *self.outboxes.entry(name).or_insert_with(|| {
            outboxes.push((name, Vec::new()));
            outboxes.len() - 1
        })
    }

    fn hidden_scratch(&mut self, bytes: u64) -> Place {
        let offset = self.lowered.scratch_bytes.next_multiple_of(64);
        self.lowered.scratch_bytes = offset + bytes;
        Place { buffer: Buffer::Scratch, offset }
    }

    /// The latest post of each outbox, in this lane, that reads what is about to be written. Other lanes' posts are ordered by
    /// messages: the checker proved it.
    fn releases_before_writing<'p>(&mut self, places: impl Iterator<Item = &'p Place>, bytes: u64) -> Vec<Release> {
        let mut awaits: Vec<Release> = Vec::new();
        for place in places {
            let written = self.lowered.memory(*place, bytes);
            // What is written now is waited for now; later writes need not wait for the same posts again.
            for taken in self.posted.take_overlapping(&written) {
                match awaits.iter_mut().find(|release| release.outbox == taken.outbox) {
                    Some(release) => release.post = release.post.max(taken.post),
                    None => awaits.push(taken),
                }
            }
        }
        awaits
    }
}

fn link(operand: &Operand) -> Option<LinkName> {
    match operand {
        Operand::Local(_) => None,
        Operand::Peer { rank, channel } => Some(LinkName { peer: *rank, channel: *channel }),
    }
}
