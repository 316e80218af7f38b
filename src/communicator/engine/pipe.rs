//! The ways of messages to each peer and from it, which are kept.

use super::Engine;
use crate::control::recorder::{Direction, Message};
use crate::error::Result;
use crate::exec::links::Hope;
use crate::exec::run::Runner;
use crate::plan::lower::{Instruction, Lowered, Place, Post, Source};
use crate::plan::{Buffer, Through};
use crate::transport::arena::CHANNELS;
use crate::types::{LinkName, Rank};

const CHANNEL: u16 = CHANNELS - 1;

/// The way of messages to a peer or from it.
pub struct Pipe {
    way: (Direction, Rank),
    element_bytes: usize,
    /// None until there is a connection.
    pub runner: Option<Runner>,
    /// Messages so far.
    pub messages: u64,
    /// One of them is on its way; the next has to wait for its end.
    pub busy: bool,
    /// What goes over the link for an empty one.
    pub filler: Box<u8>,
}

/// The pipes that were used so far.
#[derive(Default)]
pub struct Pipes {
    pub all: Vec<Pipe>,
    /// By peer, where there are any: the indices of those to it and from it.
    by_way: [Vec<Option<usize>>; 2],
}

impl Pipe {
    pub fn peer(&self) -> Rank {
        self.way.1
    }

    pub fn is_open(&self) -> bool {
        self.runner.is_some()
    }

    pub fn opened(&self) -> &Runner {
        self.runner.as_ref().expect("a message is on its way only through an open pipe")
    }

    pub fn opened_mut(&mut self) -> &mut Runner {
        self.runner.as_mut().expect("a message is on its way only through an open pipe")
    }
}

impl Pipes {
    /// The index of a message's pipe, which may be yet to be opened.
    pub fn of(&mut self, message: &Message) -> usize {
        let Message { direction, peer, dtype, .. } = *message;
        let of_peers = &mut self.by_way[usize::from(direction == Direction::Receive)];
        if of_peers.len() <= peer {
            of_peers.resize(peer + 1, None);
        }
        *of_peers[peer].get_or_insert_with(|| {
            let (way, element_bytes) = ((direction, peer), dtype.size());
            self.all.push(Pipe { way, element_bytes, runner: None, messages: 0, busy: false, filler: Box::new(0) });
            self.all.len() - 1
        })
    }
}

impl Engine {
    /// Opens a pipe if it isn't open. Its connection is there.
    pub(super) fn open_pipe(&mut self, index: usize) -> Result<()> {
        let Pipe { way: (direction, peer), element_bytes, ref runner, .. } = self.pipes.all[index];
        if runner.is_none() {
            let hope = Hope { deadline: self.control.clock.now(), hopeless: &|_| None };
            let runner = self.make_runner(program(direction, peer, 1), None, element_bytes, &hope)?;
            self.pipes.all[index].runner = Some(runner);
        }
        Ok(())
    }
}

/// The link on which messages to a peer and from it go.
pub fn link_to(peer: Rank) -> LinkName {
    LinkName { peer, channel: CHANNEL }
}

/// The program of one rank for messages of one way.
fn program(direction: Direction, peer: Rank, bytes: u64) -> Lowered {
    let name = link_to(peer);
    let place = Place { buffer: Buffer::Input, offset: 0 };
    let target = Place { buffer: Buffer::Output, offset: 0 };
    let instruction = |sources, destination, outboxes| Instruction {
        after: None,
        awaits: Vec::new(),
        reduction: None,
        sources,
        destination,
        copies: Vec::new(),
        outboxes,
        bytes,
        through: Through::Messages,
    };
    let (step, inboxes, outboxes) = match direction {
        Direction::Send => {
            let post = Post { lane: 0, instruction: 0, place, bytes };
            (instruction(vec![Source::Local(place)], None, vec![0]), vec![], vec![(name, vec![post])])
        }
        Direction::Receive => (instruction(vec![Source::Inbox(0)], Some(target), vec![]), vec![name], vec![]),
    };
    let lanes = vec![vec![step]];
    Lowered { lanes, inboxes, outboxes, input_bytes: bytes, output_bytes: bytes, ..Lowered::default() }
}
